"""Freshness of a site's data at the hub. No clock, no I/O.

A *site* is a place from which mail is probed. The *hub* is the installation that decides by the votes of several sites.
Each second a site writes a heartbeat. It is replicated to the hub in order with the site's statuses: when a heartbeat
arrives, everything that was evaluated before it has arrived, too. So the age of the newest heartbeat is the replication
lag. A site with a lag over `stale_after` has no vote. The hub computes an upper bound of the lag:

* If the previous heartbeat arrived with the lag L, the lag is now at most L plus the time since that arrival. This
  bound is valid until the next heartbeat arrives.
* The site's monotonic clock measures the time between two heartbeats of one *incarnation* (one run of the process). So
  changes of the wall clocks, on either side, do not matter.
* If no lag is known, because the hub has just started, or because another incarnation began after a long silence, the
  hub *learns* it: the lag is zero if heartbeats arrive no faster than they are written, for `_LEARNING_SPAN`. Delayed
  heartbeats arrive faster, because they were queued.

Ambiguous cases:

* For a hub that has just started, a constant lag looks like a slow wall clock. The site has a vote, because otherwise a
  site with a slow clock would never have a vote.
* If the hub knows the site's wall clock from before, a new incarnation with a lag over `stale_after` by that clock has
  no vote. If the clock was really set back meanwhile, a correction of the clock or a restart of the hub restores the
  vote.
* A clock that was set forward by exactly the lag is not detected.
* After a suspension that stops the monotonic clock, the site must begin another incarnation
  (`SiteHeartbeat.incarnation`), because a late heartbeat of a learnt incarnation always counts as lag.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: Largest lag with a vote.
STALE_AFTER = timedelta(seconds=30)

#: If heartbeats arrive no faster than they are written for this time, they are not delayed.
_LEARNING_SPAN = timedelta(seconds=10)

#: If the delays of two heartbeats differ by more than this, the more delayed heartbeat was queued. The network, and
#: polling once per second, cause smaller differences.
_JITTER = timedelta(seconds=1)

#: After a longer time without a heartbeat, the arrival counts as interrupted.
_MAX_HEARTBEAT_GAP = timedelta(seconds=5)

#: Maximum drift between two monotonic clocks, in seconds per second. Quartz clocks are more precise, but time
#: synchronization may double their drift.
_MAX_DRIFT = 0.0002

#: Maximum number of incarnations that are kept. Several processes of a site may write heartbeats by turns.
_MAX_INCARNATIONS = 64


def continuous_since(
    now: datetime, last_heartbeat: datetime | None, continuous_before: datetime | None, stale_after: timedelta
) -> datetime | None:
    """Return since when a site has evaluated without an interruption over *stale_after*; `None`: without any so far.

    *last_heartbeat*: the last heartbeat of the site's processes; `None`: there is none. *continuous_before*: the
    previous result, which the processes stored. Both times may be in the future after the clock was set back.
    """
    if last_heartbeat is not None and abs(now - last_heartbeat) > stale_after:
        return now
    return None if continuous_before is None else min(continuous_before, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHeartbeat:
    """Heartbeat of a site, written each second after everything it has evaluated."""

    #: Time by the site's wall clock.
    at: datetime
    #: Time by the monotonic clock of the process.
    monotonic: timedelta
    #: Random value, new at each start of the process, and after a suspension of the machine.
    incarnation: str


@dataclass(slots=True)
class _Incarnation:
    """Heartbeats of one incarnation.

    The *origin* of a heartbeat is its monotonic time (`SiteHeartbeat.monotonic`) minus the hub's monotonic time at its
    arrival. It is the same for all heartbeats without a delay, and lower by the delay for others.
    """

    #: The newest heartbeat: its monotonic time, and the hub's at its arrival.
    monotonic: timedelta
    arrived_at: timedelta
    #: The first and the maximum origin since the time `since` of the hub's monotonic clock. Since then, heartbeats have
    #: arrived no faster than they were written.
    first_origin: timedelta
    max_origin: timedelta
    since: timedelta
    #: Upper bound of the origin of an undelayed heartbeat; `None`: unknown.
    origin_bound: timedelta | None = None
    #: Whether the bound was learnt by the pace of arrival, and not derived from the heartbeat of another incarnation.
    is_learnt: bool = False


class SiteClock:
    """Lag and wall clock of a site, by its heartbeats."""

    def __init__(self, stale_after: timedelta = STALE_AFTER) -> None:
        self._stale_after = stale_after
        self._incarnations: dict[str, _Incarnation] = {}
        #: Upper bound of the newest heartbeat's age at arrival; `None`: unknown.
        self._age_at_arrival: timedelta | None = None
        #: Arrival of the newest heartbeat, by the hub's monotonic clock.
        self._arrived_at = timedelta(0)
        #: Since when heartbeats arrive without an interruption, from any of the site's processes.
        self._arriving_since = timedelta(0)
        #: Time of the site's wall clock at zero of the hub's monotonic clock, by the last fresh heartbeat.
        self._fresh_wall_origin: datetime | None = None
        #: The hub's wall clock minus the site's; `None`: unknown.
        self.offset: timedelta | None = None

    def lag(self, monotonic: timedelta) -> timedelta | None:
        """Return the maximum age of the site's data, at *monotonic* of the hub's monotonic clock; `None`: unknown."""
        return (
            None
            if self._age_at_arrival is None
            else self._age_at_arrival + max(monotonic - self._arrived_at, timedelta(0))
        )

    def is_fresh(self, monotonic: timedelta) -> bool:
        """Return whether the site has a vote, at *monotonic* of the hub's monotonic clock."""
        lag = self.lag(monotonic)
        return lag is not None and lag <= self._stale_after

    def record(self, heartbeat: SiteHeartbeat, now: datetime, monotonic: timedelta) -> None:
        """Record the newest heartbeat, when the hub's clocks show *now* and *monotonic*. The call is idempotent."""
        incarnation = self._incarnations.pop(heartbeat.incarnation, None)
        origin, wall_origin = heartbeat.monotonic - monotonic, heartbeat.at - monotonic
        if monotonic - self._arrived_at > _MAX_HEARTBEAT_GAP:
            self._arriving_since = monotonic
        if incarnation is None:
            incarnation = _Incarnation(
                monotonic=heartbeat.monotonic,
                arrived_at=monotonic,
                first_origin=origin,
                max_origin=origin,
                since=monotonic,
            )
        elif heartbeat.monotonic <= incarnation.monotonic:
            self._incarnations[heartbeat.incarnation] = incarnation
            return
        # The heartbeat was written after its predecessor. So it is at most as old as the predecessor is now.
        age = self.lag(monotonic)
        if incarnation.origin_bound is not None and origin > incarnation.origin_bound + _JITTER:
            # The bound is wrong: heartbeats were delayed when it was learnt.
            incarnation.origin_bound, incarnation.is_learnt, age = None, False, None
        self._learn_bound(incarnation, origin, wall_origin, monotonic)
        if incarnation.origin_bound is not None:
            age = max(incarnation.origin_bound - origin, timedelta(0))
        if age is not None:
            incarnation.origin_bound = self._origin_bound(incarnation, origin, age, monotonic)
        incarnation.monotonic, incarnation.arrived_at = heartbeat.monotonic, monotonic
        self._incarnations[heartbeat.incarnation] = incarnation
        while len(self._incarnations) > _MAX_INCARNATIONS:
            del self._incarnations[next(iter(self._incarnations))]
        self._age_at_arrival, self._arrived_at = age, monotonic
        if age is not None and age <= self._stale_after:
            self._fresh_wall_origin, self.offset = wall_origin + age, now - heartbeat.at - age

    def _learn_bound(
        self, incarnation: _Incarnation, origin: timedelta, wall_origin: datetime, monotonic: timedelta
    ) -> None:
        """Learn the bound of the origin if heartbeats arrive continuously, and no faster than they are written."""
        if origin > incarnation.first_origin + _JITTER or incarnation.since < self._arriving_since:
            incarnation.first_origin = incarnation.max_origin = origin
            incarnation.since = monotonic
        incarnation.max_origin = max(incarnation.max_origin, origin)
        is_late_by_clock = (
            self._fresh_wall_origin is not None and self._fresh_wall_origin - wall_origin > self._stale_after
        )
        if not incarnation.is_learnt and monotonic - incarnation.since >= _LEARNING_SPAN and not is_late_by_clock:
            incarnation.origin_bound, incarnation.is_learnt = incarnation.max_origin, True

    def _origin_bound(
        self, incarnation: _Incarnation, origin: timedelta, age: timedelta, monotonic: timedelta
    ) -> timedelta:
        """Return the new bound of an undelayed heartbeat's origin, after a heartbeat with this *origin* and *age*."""
        if incarnation.origin_bound is None:
            return origin + age
        if age > self._stale_after:
            return incarnation.origin_bound
        # The bound follows the drift of the monotonic clocks, which must not look like a growing or shrinking lag.
        drift = _MAX_DRIFT * min(monotonic - incarnation.arrived_at, _MAX_HEARTBEAT_GAP)
        return incarnation.origin_bound + max(-drift, min(drift, origin - incarnation.origin_bound))
