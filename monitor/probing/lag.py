"""How late the event loop wakes: a loop that something blocks probes late, answers nobody, and takes good mail for lost.

It may be late because it has too much to do, because the machine has other work, or because the process or the whole
machine was stopped. On a virtual machine that is suspended no time passes, but the clock on the wall has moved when it
wakes.
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

#: Between two looks, in seconds. Each costs some microseconds.
_EVERY = 0.05
#: What is exported is the worst of so many seconds.
_EXPORT_EVERY = 1.0
#: After so many seconds `LagMeter.share` has mostly forgotten what was.
_MEMORY = 1.0
#: A single lag counts for no more than so many seconds of it: that the machine stood still, however long, says nothing of
#: how much it carries. Where it has too much to do, the next look is late as well.
_ONE_STOP = 0.5
#: The clock on the wall is put right by less than this, in seconds, all the time.
_PUT_RIGHT = 1.0
#: How many lags are remembered one by one. Those that matter are rare, and a run lasts some minutes.
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class LagSample:
    """A moment, on the loop's clock, and how late the loop had been in all until then."""

    at: float
    late: float


class LagMeter:
    """Measures how late the loop is; before it is told to `keep_measuring`, it never is."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        """*wall*: the clock that goes on while the machine is suspended."""
        self._wall = wall
        #: Of the last second or so, the part in which the loop was late.
        self.share = 0.0
        #: When the next look is due.
        self._due = math.inf
        #: Of what is more than harmless: all of it, and when each ended and how long it was.
        self._late = 0.0
        self._lags: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._worst = 0.0
        #: How far the clock on the wall is ahead of the loop's.
        self._ahead = 0.0

    async def keep_measuring(self, metrics: Metrics) -> NoReturn:
        """Measure, and export the worst of each second, until cancelled."""
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
        """Return where the count stands now."""
        now = time.monotonic()
        return LagSample(now, self._late + _harmful(now - self._due))

    def since(self, mark: LagSample) -> LoopLag:
        """Return how late the loop has been since *mark*, what is under way included."""
        now = time.monotonic()
        under_way = _harmful(now - self._due)
        lags = [lag for _, lag in takewhile(lambda each: each[0] >= mark.at, reversed(self._lags))]
        whole = max(0.0, self._late + under_way - mark.late)
        return LoopLag(whole=timedelta(seconds=whole), longest=timedelta(seconds=max([*lags, under_way])))

    def _look_next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _EVERY
        # No task that sleeps: the loop would first wake those runs whose deadlines have passed meanwhile.
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
