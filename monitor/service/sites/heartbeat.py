"""Heartbeat of this site, written each second after all its earlier statuses."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from secrets import token_hex

from alerts.persistence.clock import Clock
from monitor.evaluation.joint.freshness import STALE_AFTER, SiteHeartbeat
from monitor.store.probing.standings import SiteStatuses

#: If wall clock and monotonic clock differ by more within a second, the clock was set or the machine was suspended:
#: nothing is known about the time between.
_APART = timedelta(seconds=1)


def monotonic() -> timedelta:
    """Return the time by the monotonic clock."""
    return timedelta(seconds=time.monotonic())


class SiteHeartbeatWriter:
    """Writes the site's heartbeat each second, after all its earlier statuses."""

    def __init__(
        self,
        standings: SiteStatuses,
        clock: Clock,
        *,
        owes: Callable[[], bool],
        look: Callable[[], Awaitable[None]],
        stale_after: timedelta = STALE_AFTER,
        is_ours: Callable[[], bool] = lambda: True,
        monotonic: Callable[[], timedelta] = monotonic,
    ) -> None:
        """*owes*: whether a status is not written yet; then no heartbeat is sent.

        *look*: marks stale statuses (`SiteContinuity.look`) before the heartbeat. *stale_after*: after a longer silence a
        new incarnation begins, for which a hub first establishes that nothing is pending here.

        *is_ours*: whether this process sends the site's heartbeat.
        """
        self._standings = standings
        self._clock = clock
        self._owes = owes
        self._look = look
        self._is_ours = is_ours
        self._monotonic = monotonic
        self._life = token_hex(8)
        #: The wall-clock time at zero of the monotonic clock, as of the last heartbeat.
        self._origin: datetime | None = None
        self._stale_after = stale_after
        #: Time of the last heartbeat, by the monotonic clock.
        self._beaten: timedelta | None = None

    async def beat(self) -> None:
        """Send a heartbeat. Raise `StoreUnavailable`."""
        await self._look()
        now, monotonic = self._clock.now(), self._monotonic()
        was_silent = self._beaten is not None and monotonic - self._beaten > self._stale_after
        if was_silent or (self._origin is not None and abs(now - monotonic - self._origin) > _APART):
            self._life = token_hex(8)
        self._origin = now - monotonic
        if self._is_ours() and not self._owes():
            await self._standings.beat(SiteHeartbeat(at=now, monotonic=monotonic, incarnation=self._life))
            self._beaten = monotonic
