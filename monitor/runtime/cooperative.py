"""Cooperative iteration: long work yields to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

#: Seconds before the loop yields. A delay of 20 ms would be noticeable, and the last item may exceed the slice.
_SLICE = 0.005


async def yielding(items: Iterable[T]) -> AsyncIterator[T]:
    """Iterate over *items*, and yield to the event loop whenever a time slice is used up."""
    loop = asyncio.get_running_loop()
    slice_end = loop.time() + _SLICE
    for item in items:
        yield item
        if loop.time() >= slice_end:
            # Yield twice: the first pass marks ready sockets and timers, the second runs their callbacks.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            slice_end = loop.time() + _SLICE
