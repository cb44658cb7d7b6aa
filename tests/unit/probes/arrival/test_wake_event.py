"""Wake event with one waiter and several setters."""

from __future__ import annotations

import asyncio

import pytest

from probes.arrival.watcher import WakeEvent
from tests.timeouts import HANG_TIMEOUT


async def test_wake_event_set_twice_wakes_waiter_once() -> None:
    wake_event = WakeEvent()
    waiting = asyncio.create_task(wake_event.wait())
    await asyncio.sleep(0)
    wake_event.set()
    wake_event.set()
    await waiting

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wake_event.wait()


async def test_wake_event_set_before_wait_wakes_waiter() -> None:
    wake_event = WakeEvent()
    wake_event.set()
    async with asyncio.timeout(HANG_TIMEOUT):
        await wake_event.wait()


async def test_wake_event_cancelled_waiter_next_waiter_is_woken() -> None:
    wake_event = WakeEvent()
    waiting = asyncio.create_task(wake_event.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    wake_event.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    async with asyncio.timeout(HANG_TIMEOUT):
        await wake_event.wait()
