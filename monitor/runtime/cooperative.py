"""Cooperative iteration: long work yields to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

#: Seconds. A delay of twenty milliseconds would be noticeable; one step may exceed the slice.
_SLICE = 0.005


async def yielding(items: Iterable[T]) -> AsyncIterator[T]:
    """Iterate over *items*, and yield to the event loop whenever a time slice is used up."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _SLICE
    for each in items:
        yield each
        if loop.time() >= until:
            # Yield twice: the first pass marks ready sockets and timers, the second runs their callbacks.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            until = loop.time() + _SLICE
