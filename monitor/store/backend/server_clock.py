"""The database's clock: one time for all engines that share a store, whatever their machines' clocks say."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

#: Smaller differences are the network's. Following them would set the clock back again and again.
_TOLERANCE = timedelta(milliseconds=100)


class ServerClock:
    """Goes on from what the server last said; also while it is away, and when this machine's clock is set."""

    def __init__(self) -> None:
        #: The server's time when this machine's uptime was nothing.
        self._zero = datetime.now(UTC) - _uptime()
        self._told = False

    def tell(self, moment: datetime) -> None:
        """Take in what the server's clock says at this moment."""
        zero = moment.astimezone(UTC) - _uptime()
        if not self._told or abs(zero - self._zero) > _TOLERANCE:
            self._zero, self._told = zero, True

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return self._zero + _uptime()


def _uptime() -> timedelta:
    # BOOTTIME also goes on while the machine sleeps, and nobody sets it.
    return timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
