"""Measurement of the lag of the asyncio event loop: how late it runs its callbacks.

If the loop lags, probes start late, requests are not answered, and good mail is reported as lost. The loop lags when it
has too much to do, when the machine is busy, or when the process or the machine was suspended. In a suspended virtual
machine the monotonic clock stops, and only the wall clock shows the time that has passed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile
from typing import NoReturn

from monitor.metrics import Metrics
from monitor.planning.loop_lag import MIN_COUNTED_LAG, LoopLag

#: Seconds between two measurements, which cost microseconds.
_MEASURE_INTERVAL = 0.05
#: Seconds between two exports of the maximum.
_EXPORT_INTERVAL = 1.0
#: Time constant of `LagMeter.share` in seconds.
_SHARE_TIME_CONSTANT = 1.0
#: Maximum weight of one lag in `LagMeter.share`, in seconds. A single long lag is a suspension and not load: under load
#: the next measurements are late as well.
_MAX_LAG_WEIGHT = 0.5
#: Seconds. A smaller change between the wall clock and the loop's clock comes from time synchronization.
_MAX_CLOCK_ADJUSTMENT = 1.0
#: Number of recorded lags; enough for the minutes of a run, because only lags above `MIN_COUNTED_LAG` are recorded.
_MAX_LAGS = 1000


@dataclass(frozen=True, slots=True)
class LagSample:
    """A time of the loop's clock (`time.monotonic`) with the total lag until then, both in seconds."""

    at: float
    total_lag: float


class LagMeter:
    """Measures the lag of the event loop. Before `keep_measuring` runs, the lag is zero."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        """*wall_clock*: a clock that continues during a suspension."""
        self._wall_clock = wall_clock
        #: Recent share of time in which the loop lagged.
        self.share = 0.0
        #: Due time of the next measurement, by the loop's clock.
        self._due = math.inf
        #: Lags of at least `MIN_COUNTED_LAG`, in seconds: their sum, and the end and length of each lag.
        self._total = 0.0
        self._lags: deque[tuple[float, float]] = deque(maxlen=_MAX_LAGS)
        #: The longest lag since the last export.
        self._max_lag = 0.0
        #: Wall clock minus the loop's clock, in seconds, at the last measurement.
        self._wall_clock_lead = 0.0

    async def keep_measuring(self, metrics: Metrics) -> NoReturn:
        """Measure the lag, and export the maximum of each second, until cancelled."""
        loop = asyncio.get_running_loop()
        self._wall_clock_lead = self._wall_clock() - loop.time()
        self._schedule_measurement(loop)
        try:
            while True:
                await asyncio.sleep(_EXPORT_INTERVAL)
                metrics.set_loop_lag(timedelta(seconds=self._max_lag))
                self._max_lag = 0.0
        finally:
            self._next_measurement.cancel()
            self._due = math.inf

    def take_sample(self) -> LagSample:
        """Return the total lag until now."""
        now = time.monotonic()
        return LagSample(now, self._total + _counted_lag(now - self._due))

    def lag_since(self, sample: LagSample) -> LoopLag:
        """Return the lag since *sample*, including a lag in progress."""
        now = time.monotonic()
        current_lag = _counted_lag(now - self._due)
        # The lags are in the order of their ends.
        lags = [lag for _, lag in takewhile(lambda end_and_lag: end_and_lag[0] >= sample.at, reversed(self._lags))]
        total = max(0.0, self._total + current_lag - sample.total_lag)
        return LoopLag(total=timedelta(seconds=total), longest=timedelta(seconds=max([*lags, current_lag])))

    def _schedule_measurement(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _MEASURE_INTERVAL
        # A timer callback runs earlier than a sleeping task. A lag must be recorded before the loop resumes runs whose
        # deadlines have passed.
        self._next_measurement = loop.call_at(self._due, self._measure, loop)

    def _measure(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        lag, clock_lead = max(0.0, now - self._due), self._wall_clock() - now
        if clock_lead - self._wall_clock_lead > _MAX_CLOCK_ADJUSTMENT:
            lag += clock_lead - self._wall_clock_lead
        self._wall_clock_lead = clock_lead
        weight = 1 - math.exp(-(_MEASURE_INTERVAL + min(lag, _MAX_LAG_WEIGHT)) / _SHARE_TIME_CONSTANT)
        self.share += weight * (lag / (_MEASURE_INTERVAL + lag) - self.share)
        self._max_lag = max(self._max_lag, lag)
        if counted_lag := _counted_lag(lag):
            self._total += counted_lag
            self._lags.append((now, counted_lag))
        self._schedule_measurement(loop)


def _counted_lag(lag: float) -> float:
    """Return *lag* in seconds, or zero if it is below `MIN_COUNTED_LAG`."""
    return lag if lag >= MIN_COUNTED_LAG.total_seconds() else 0.0
