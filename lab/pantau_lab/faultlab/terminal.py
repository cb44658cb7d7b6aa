"""Reading of typed lines in the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK_OCTETS = 4096
Lines = asyncio.Queue[str | None]


@contextmanager
def typed(descriptor: int, lines: Lines) -> Iterator[None]:
    """Put each line from *descriptor* into *lines* during the block; put `None` at the end of a terminal (Ctrl-D).

    The end of any other input, such as a pipe, is ignored: the lab runs until a signal.
    """
    loop = asyncio.get_running_loop()
    unfinished = bytearray()

    def read_lines() -> None:
        try:
            chunk = os.read(descriptor, _CHUNK_OCTETS)
        except OSError:  # The terminal has gone.
            chunk = b""
        unfinished.extend(chunk)
        *complete, rest = bytes(unfinished).split(b"\n")
        unfinished[:] = rest
        for line in complete:
            lines.put_nowait(line.decode(errors="replace"))
        if not chunk:
            loop.remove_reader(descriptor)
            if os.isatty(descriptor):
                lines.put_nowait(None)

    try:
        # The descriptor stays blocking, because the shell shares it. It is read only when it has data.
        loop.add_reader(descriptor, read_lines)
    except OSError:  # The descriptor is a file or closed: nobody types there.
        yield
        return
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
