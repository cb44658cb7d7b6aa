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
    """Put each line from *descriptor* into *lines* during the block, and `None` at the end of a terminal's input (Ctrl-D).

    The end of another input is ignored, because nobody types there.
    """
    loop = asyncio.get_running_loop()
    unfinished = bytearray()

    def take() -> None:
        try:
            piece = os.read(descriptor, _CHUNK_OCTETS)
        except OSError:  # The terminal has gone.
            piece = b""
        unfinished.extend(piece)
        *whole, rest = bytes(unfinished).split(b"\n")
        unfinished[:] = rest
        for line in whole:
            lines.put_nowait(line.decode(errors="replace"))
        if not piece:
            loop.remove_reader(descriptor)
            if os.isatty(descriptor):
                lines.put_nowait(None)

    try:
        # The descriptor stays blocking, because the shell shares it. It is read only when it has data.
        loop.add_reader(descriptor, take)
    except OSError:  # The descriptor is a file or closed, so nobody types there.
        yield
        return
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
