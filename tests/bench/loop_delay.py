"""Delay of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Pause between two measurements in seconds.
_TICK = 0.0005


@contextmanager
def measure_loop_delay() -> Iterator[list[float]]:
    """Record the delays of a sleeping task for the duration of the block."""
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
