"""Lag of the event loop: a blocked loop starts probes late, answers no request, and reports good mail as lost.

It lags when it has too much to do, when the machine is busy, or when the process or the machine was suspended. On a
suspended virtual machine no time passes, but the wall clock has moved when it resumes.
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
from monitor.planning.loop_lag import HARMLESS, LoopLag

#: Seconds between two measurements, which cost microseconds.
_EVERY = 0.05
#: The maximum of so many seconds is exported.
_EXPORT_EVERY = 1.0
#: Time constant of `LagMeter.share` in seconds.
_MEMORY = 1.0
#: A single lag counts as so many seconds at most: a suspension, however long, says nothing about the load. Under load
#: the next measurement is late as well.
_ONE_STOP = 0.5
#: Time synchronization adjusts the wall clock by less than this all the time, in seconds.
_PUT_RIGHT = 1.0
#: Number of recorded lags. Those that matter are rare, and a run takes minutes.
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class LagSample:
    """A time of the loop's clock with the total lag until then."""

    at: float
    late: float


class LagMeter:
    """Measures the lag of the loop; zero before `keep_measuring`."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        """*wall*: a clock that continues during a suspension."""
        self._wall = wall
        #: Recent share of time in which the loop lagged.
        self.share = 0.0
        #: Time of the next measurement.
        self._due = math.inf
        #: Lags above `HARMLESS`: the sum, and end and length of each.
        self._late = 0.0
        self._lags: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._worst = 0.0
        #: Lead of the wall clock over the loop's clock.
        self._ahead = 0.0

    async def keep_measuring(self, metrics: Metrics) -> NoReturn:
        """Measure and export the maximum of each second, until cancelled."""
        loop = asyncio.get_running_loop()
        self._ahead = self._wall() - loop.time()
        self._look_next(loop)
        try:
            while True:
                await asyncio.sleep(_EXPORT_EVERY)
                metrics.loop_lagged(timedelta(seconds=self._worst))
                self._worst = 0.0
        finally:
            self._looking.cancel()
            self._due = math.inf

    def mark(self) -> LagSample:
        """Return the present total."""
        now = time.monotonic()
        return LagSample(now, self._late + _harmful(now - self._due))

    def since(self, mark: LagSample) -> LoopLag:
        """Return the lag since *mark*, including one in progress."""
        now = time.monotonic()
        under_way = _harmful(now - self._due)
        lags = [lag for _, lag in takewhile(lambda each: each[0] >= mark.at, reversed(self._lags))]
        whole = max(0.0, self._late + under_way - mark.late)
        return LoopLag(whole=timedelta(seconds=whole), longest=timedelta(seconds=max([*lags, under_way])))

    def _look_next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _EVERY
        # Not a sleeping task: the loop would first resume runs whose deadlines have passed.
        self._looking = loop.call_at(self._due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        lag, ahead = max(0.0, now - self._due), self._wall() - now
        if ahead - self._ahead > _PUT_RIGHT:
            lag += ahead - self._ahead
        self._ahead = ahead
        weight = 1 - math.exp(-(_EVERY + min(lag, _ONE_STOP)) / _MEMORY)
        self.share += weight * (lag / (_EVERY + lag) - self.share)
        self._worst = max(self._worst, lag)
        if harmful := _harmful(lag):
            self._late += harmful
            self._lags.append((now, harmful))
        self._look_next(loop)


def _harmful(lag: float) -> float:
    return lag if lag >= HARMLESS.total_seconds() else 0.0
