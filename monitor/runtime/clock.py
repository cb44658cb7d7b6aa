"""The machine's clock as a service goes by it: it does not go back, unless somebody has set it back."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from alerts.hours.elapsed import TOLERANCE

#: What this clock is ahead of the machine's it loses at this rate: in ten seconds one.
_SLEWED = 0.1


def uptime() -> timedelta:
    """Return how long the machine has been up: it goes on while the machine sleeps, and nobody sets it."""
    return timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))


def wall_time() -> datetime:
    """Return what the machine's clock says."""
    return datetime.now(UTC)


class MachineClock:
    """The time of a process that has its store to itself.

    It follows the machine's clock forward at once. Where that is put back by up to a minute, it goes slower until they agree, so
    that nothing ends before it began. What is more is a clock that was wrong: it is followed at once, too, because by it people
    are on duty, offices open and letters are dated (docs/adr/0070).
    """

    def __init__(self, wall: Callable[[], datetime] = wall_time, steady: Callable[[], timedelta] = uptime) -> None:
        self._wall = wall
        self._steady = steady
        self._last = wall(), steady()

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        wall, steady = self._wall(), self._steady()
        last, then = self._last
        now = wall if last - wall > TOLERANCE else max(wall, last + (steady - then) * (1 - _SLEWED))
        self._last = now, steady
        return now
