"""One waits, many ring."""

from __future__ import annotations

import asyncio

import pytest

from probes.arrival.watcher import WakeEvent
from tests.hanging import HANGS


async def test_who_waits_is_woken_once_however_often_it_is_rung() -> None:
    bell = WakeEvent()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    bell.set()
    bell.set()
    await waiting

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bell.wait()


async def test_what_was_rung_before_anybody_waited_is_heard() -> None:
    bell = WakeEvent()
    bell.set()
    async with asyncio.timeout(HANGS):
        await bell.wait()


async def test_one_who_gave_up_waiting_is_not_woken_and_the_next_is() -> None:
    bell = WakeEvent()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    bell.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    async with asyncio.timeout(HANGS):
        await bell.wait()
