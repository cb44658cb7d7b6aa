"""Long work in short slices: whoever holds the loop holds up every probe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

#: In seconds. Twenty milliseconds would be felt; this leaves room for what a single step takes.
_AT_ONCE = 0.005


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield *items*, each to be worked on until the next is asked for; others get their turn once a slice is used up."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _AT_ONCE
    for each in items:
        yield each
        if loop.time() >= until:
            # Twice: after one turn the loop has only found out whose timer or socket is ready, and we would go before them.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            until = loop.time() + _AT_ONCE
