"""Cooperative iteration: long work yields to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

#: Time after which the iteration yields. It is short, because a delay of 20 ms would be noticeable and the last item of
#: a slice may take longer.
_SLICE_SECONDS = 0.005


async def yielding(items: Iterable[T]) -> AsyncIterator[T]:
    """Iterate over *items*, and yield to the event loop whenever a time slice is used up."""
    loop = asyncio.get_running_loop()
    slice_end = loop.time() + _SLICE_SECONDS
    for item in items:
        yield item
        if loop.time() >= slice_end:
            # Yield twice: the first pass marks ready sockets and timers, the second runs their callbacks.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            slice_end = loop.time() + _SLICE_SECONDS
