"""Lines that a person types, beside whatever else the event loop does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

_PIECE = 4096
Lines = asyncio.Queue[str | None]


@contextmanager
def typed(descriptor: int, lines: Lines) -> Iterator[None]:
    """Put each line from *descriptor* into *lines* while the block lasts; `None` when a terminal's input ends (Ctrl-D).

    The end of anything else means that nobody is there to type, and is no order.
    """
    loop = asyncio.get_running_loop()
    unfinished = bytearray()

    def take() -> None:
        try:
            piece = os.read(descriptor, _PIECE)
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
        # The descriptor stays blocking: it is the shell's as well, and it is read only when there is something.
        loop.add_reader(descriptor, take)
    except OSError:  # A file, or closed: nobody types there.
        yield
        return
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
