"""Ticker: waits for the next due run of a schedule."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from alerts.persistence.clock import Clock
from monitor.planning.admission import Admission
from monitor.planning.schedule import Schedule
from monitor.probing.lag import LagMeter

#: Within this time the ticker detects that the clock was set back.
_LONGEST_SLEEP = timedelta(seconds=30)


class Ticker:
    """Sleeps until a schedule's next due time, or until it is woken after a change."""

    def __init__(self, schedule: Schedule, clock: Clock, lag: LagMeter | None = None) -> None:
        """Take *lag*, the lag of the event loop, which limits the number of runs that start."""
        self._schedule = schedule
        self._clock = clock
        self._lag = lag or LagMeter()
        self._admission = Admission()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Wake: the schedule has changed."""
        self._woken.set()

    def record_end(self) -> None:
        """Record that a run has finished."""
        self._admission.record_end()

    def refund(self) -> None:
        """Record that a due run did not run, so that another may start."""
        self._admission.refund()

    async def wait_for_due(self) -> list[str]:
        """Wait for due runs and return them, the most urgent first, marked as running."""
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            room = self._admission.capacity(loop.time(), self._lag.share)
            if names := self._schedule.due(self._clock.now(), room):
                self._admission.record_starts(len(names))
                return names
            await self._sleep()

    async def _sleep(self) -> None:
        wake = self._schedule.next_due()
        pause = _LONGEST_SLEEP if wake is None else min(_LONGEST_SLEEP, wake - self._clock.now())
        seconds = pause.total_seconds() if pause > timedelta(0) else self._admission.seconds_to_next_start()
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
