"""How late the event loop comes back while something else is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: The ticker's pause: how closely it is seen whether the loop runs.
_TICK = 0.0005


@contextmanager
def ticking() -> Iterator[list[float]]:
    """Note how much later than wanted the loop comes back, as long as the block lasts."""
    late = [0.0]

    async def tick() -> None:
        while True:
            due = time.perf_counter() + _TICK
            await asyncio.sleep(_TICK)
            late.append(time.perf_counter() - due)

    ticker = asyncio.get_running_loop().create_task(tick())
    try:
        yield late
    finally:
        ticker.cancel()
