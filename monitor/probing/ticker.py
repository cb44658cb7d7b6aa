"""Ticker: waits for the next due run of a schedule."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from alerts.persistence.clock import Clock
from monitor.planning.admission import Admission
from monitor.planning.schedule import Schedule
from monitor.probing.lag import LagMeter

#: Maximum sleep, after which the ticker detects that the clock was set back.
_MAX_SLEEP = timedelta(seconds=30)


class Ticker:
    """Sleeps until a schedule's next due time, or until it is woken after a change."""

    def __init__(self, schedule: Schedule, clock: Clock, lag: LagMeter | None = None) -> None:
        """*lag*: lag of the event loop; while the loop lags, fewer runs start a second."""
        self._schedule = schedule
        self._clock = clock
        self._lag = lag or LagMeter()
        #: Limits the rate at which runs start, not the number that run at one time.
        self._admission = Admission()
        self._wake_event = asyncio.Event()

    def wake(self) -> None:
        """End the sleep, because the schedule has changed."""
        self._wake_event.set()

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
            self._wake_event.clear()
            # The share of the recent time in which the loop was late.
            lag_share = self._lag.share
            max_runs = self._admission.capacity(loop.time(), lag_share)
            if names := self._schedule.due(self._clock.now(), max_runs):
                self._admission.record_starts(len(names))
                return names
            await self._sleep()

    async def _sleep(self) -> None:
        next_due = self._schedule.next_due()
        pause = _MAX_SLEEP if next_due is None else min(_MAX_SLEEP, next_due - self._clock.now())
        # If a run is due already, the rate limit delays it.
        seconds = pause.total_seconds() if pause > timedelta(0) else self._admission.seconds_to_next_start()
        try:
            async with asyncio.timeout(seconds):
                await self._wake_event.wait()
        except TimeoutError:
            return
