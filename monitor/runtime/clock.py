"""Wall clock of a service: monotonic against small corrections, and follows large ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from alerts.hours.elapsed import TOLERANCE

#: Share by which the clock runs slower while it is ahead of the machine's clock: one second in ten.
_SLEW = 0.1


def uptime() -> timedelta:
    """Return the time since boot. It includes suspension, and nobody can set it."""
    return timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))


def wall_time() -> datetime:
    """Return the machine's time."""
    return datetime.now(UTC)


class MachineClock:
    """Clock of a process that has a database to itself. Processes on a shared database use the database's clock.

    It follows the machine's clock forward at once. When the machine's clock is set back by at most `TOLERANCE` (a
    minute), this clock runs slower until both agree, so that nothing ends before it began. It follows a larger step
    back at once: such a step corrects a wrong clock, and duty rotas, office hours and dates of letters depend on the
    right time (ADR 0070).
    """

    def __init__(self, wall: Callable[[], datetime] = wall_time, monotonic: Callable[[], timedelta] = uptime) -> None:
        self._wall = wall
        self._monotonic = monotonic
        #: The last time returned, and the uptime at that moment.
        self._last_reading = wall(), monotonic()

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        wall, monotonic = self._wall(), self._monotonic()
        last_time, last_uptime = self._last_reading
        now = wall if last_time - wall > TOLERANCE else max(wall, last_time + (monotonic - last_uptime) * (1 - _SLEW))
        self._last_reading = now, monotonic
        return now
