"""Waits until something on a schedule comes due."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from alerts.clock import Clock
from monitor.probing.schedule import Schedule

#: A clock that is set back is noticed within this.
_LONGEST_SLEEP = timedelta(seconds=30)


class Ticker:
    """Sleeps until a schedule's next time, or until somebody who changed the schedule pokes it."""

    def __init__(self, schedule: Schedule, clock: Clock) -> None:
        self._schedule = schedule
        self._clock = clock
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Look at the schedule again: something may come sooner than was planned."""
        self._poked.set()

    async def due(self) -> list[str]:
        """Wait for what is to be started and return it, the longest due first. It is marked as running."""
        while True:
            self._poked.clear()
            if names := self._schedule.due(self._clock.now()):
                return names
            await self._sleep()

    async def _sleep(self) -> None:
        wake = self._schedule.wake()
        pause = _LONGEST_SLEEP if wake is None else min(_LONGEST_SLEEP, wake - self._clock.now())
        try:
            async with asyncio.timeout(max(0.0, pause.total_seconds())):
                await self._poked.wait()
        except TimeoutError:
            return
