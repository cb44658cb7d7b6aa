"""Heartbeat of this site for a hub.

A hub decides by the statuses of agencies that several sites report, and ignores a site without a heartbeat. The
heartbeat is a row in this site's database, written each second, but only after all earlier statuses of the site.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from secrets import token_hex

from alerts.persistence.clock import Clock
from monitor.evaluation.joint.freshness import STALE_AFTER, SiteHeartbeat
from monitor.store.probing.statuses import SiteStatuses

#: Maximum divergence of the wall clock and the monotonic clock between two heartbeats. A larger one shows that the wall
#: clock was set or the machine was suspended, so that the times of earlier statuses are unreliable.
_MAX_CLOCK_CHANGE = timedelta(seconds=1)


def monotonic() -> timedelta:
    """Return the time by the monotonic clock."""
    return timedelta(seconds=time.monotonic())


class SiteHeartbeatWriter:
    """Writer of the site's heartbeat."""

    def __init__(
        self,
        statuses: SiteStatuses,
        clock: Clock,
        *,
        has_unwritten: Callable[[], bool],
        check_continuity: Callable[[], Awaitable[None]],
        stale_after: timedelta = STALE_AFTER,
        is_leader: Callable[[], bool] = lambda: True,
        monotonic: Callable[[], timedelta] = monotonic,
    ) -> None:
        """Take *has_unwritten*, which returns whether any status is not written yet; then no heartbeat is written.

        *check_continuity* (`SiteContinuity.check`) marks stale statuses before each heartbeat. After a gap longer than
        *stale_after* between heartbeats, the next heartbeat has a new incarnation, which a hub trusts only after it has
        read all statuses. *is_leader* returns whether this process writes the heartbeat for all processes of the site.
        """
        self._statuses = statuses
        self._clock = clock
        self._has_unwritten = has_unwritten
        self._check_continuity = check_continuity
        self._is_leader = is_leader
        self._monotonic = monotonic
        #: Random name of an uninterrupted sequence of heartbeats.
        self._incarnation = token_hex(8)
        #: The wall-clock time at which the monotonic clock was zero, computed at the last heartbeat.
        self._monotonic_zero: datetime | None = None
        self._stale_after = stale_after
        #: Time of the last heartbeat, by the monotonic clock.
        self._last_written_at: timedelta | None = None

    async def write(self) -> None:
        """Write a heartbeat. Raise `StoreUnavailable`."""
        await self._check_continuity()
        now, monotonic = self._clock.now(), self._monotonic()
        was_silent = self._last_written_at is not None and monotonic - self._last_written_at > self._stale_after
        zero, previous_zero = now - monotonic, self._monotonic_zero
        if was_silent or (previous_zero is not None and abs(zero - previous_zero) > _MAX_CLOCK_CHANGE):
            self._incarnation = token_hex(8)
        self._monotonic_zero = zero
        if self._is_leader() and not self._has_unwritten():
            await self._statuses.write_heartbeat(
                SiteHeartbeat(at=now, monotonic=monotonic, incarnation=self._incarnation)
            )
            self._last_written_at = monotonic
