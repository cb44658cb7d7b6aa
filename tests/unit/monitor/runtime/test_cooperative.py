"""Cooperative loop beside long work."""

from __future__ import annotations

import asyncio
import time

from monitor.runtime import cooperative
from monitor.runtime.cooperative import yielding


async def test_yielding_runs_ready_callbacks_between_slices() -> None:
    turns: list[str] = []
    loop = asyncio.get_running_loop()

    async def work() -> None:
        async for each in yielding(["slice", "slice", "slice"]):
            turns.append(each)
            time.sleep(cooperative._SLICE_SECONDS)  # noqa: ASYNC251 - it is what work does

    loop.call_later(cooperative._SLICE_SECONDS / 2, turns.append, "timer")
    await work()

    assert turns == ["slice", "timer", "slice", "slice"]
