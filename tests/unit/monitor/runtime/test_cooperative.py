"""Whoever waits beside long work."""

from __future__ import annotations

import asyncio
import time

from monitor.runtime import cooperative
from monitor.runtime.cooperative import yielding


async def test_whoever_became_ready_during_a_slice_has_their_turn_before_the_next() -> None:
    turns: list[str] = []
    loop = asyncio.get_running_loop()

    async def work() -> None:
        async for each in yielding(["slice", "slice", "slice"]):
            turns.append(each)
            time.sleep(cooperative._SLICE)  # noqa: ASYNC251 - it is what work does

    loop.call_later(cooperative._SLICE / 2, turns.append, "timer")
    await work()

    assert turns == ["slice", "timer", "slice", "slice"]
