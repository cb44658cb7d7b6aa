"""Long work in short slices: whoever holds the loop holds up every probe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

#: In seconds. Twenty milliseconds would be felt; this leaves room for what a single step takes.
_AT_ONCE = 0.005


class Slices:
    """Call `pause` after each step of the work; others get their turn once a slice is used up."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + _AT_ONCE

    async def pause(self) -> None:
        """Let others go on, if this slice has lasted."""
        if self._loop.time() >= self._until:
            # Twice: after one turn the loop has only found out whose timer or socket is ready, and we would go before them.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._until = self._loop.time() + _AT_ONCE


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield *items*, each to be worked on until the next is asked for; others get their turn between slices."""
    slices = Slices()
    for each in items:
        yield each
        await slices.pause()
