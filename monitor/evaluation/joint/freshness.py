"""Freshness of a site's data at the hub. No clock, no I/O.

A site is a place with probers; the hub is the installation that decides by the votes of several sites. Each second a
site writes a heartbeat, which is replicated to the hub in order with the site's status: when a heartbeat arrives,
everything evaluated before it has arrived. So the age of the newest heartbeat is the replication lag, and a site with a
lag over `stale_after` has no vote. The hub computes an upper bound of the lag:

* If the previous heartbeat arrived with the lag L, the lag is now at most L plus the time since that arrival. The bound
  holds at the next heartbeat, and while no heartbeat arrives.
* The site's monotonic clock gives the time between the writing of two heartbeats of one incarnation (one run of the
  process). Wall clocks that are set, on either side, do not matter.
* If no lag is known, because the hub has just started, or because another incarnation began after a long silence, the
  lag is *learnt*: it is zero if heartbeats arrive no faster than they are written for `_LEARNING_SPAN`. Heartbeats that
  were delayed arrive faster.

Ambiguous cases: to a hub that has just started, a constant lag looks like a slow wall clock. Then the site has a vote,
because otherwise a site with a slow clock would never have a vote. If the hub knows the site's wall clock from before,
a new incarnation with a lag over `stale_after` by that clock has no vote. If the clock was really set back meanwhile,
correcting it, or a restart of the hub, restores the vote. A clock that was set forward by exactly the lag is not
detected. After a suspension that stops the monotonic clock, the site must begin another incarnation
(`SiteHeartbeat.incarnation`), because a late heartbeat of a learnt incarnation always counts as lag.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: Largest lag with a vote.
STALE_AFTER = timedelta(seconds=30)

#: If heartbeats arrive no faster than they are written for so long, none of them is delayed.
_LEARNING_SPAN = timedelta(seconds=10)

#: If a heartbeat is less delayed than an earlier heartbeat by more than this, the earlier heartbeat was queued. The
#: network and the polling each second cause smaller differences.
_JITTER = timedelta(seconds=1)

#: After a longer time without a heartbeat, arrival is no longer continuous.
_MAX_BEAT_GAP = timedelta(seconds=5)

#: Maximum drift between two monotonic clocks, per second: crystals are better, and time synchronization may double it.
_MAX_DRIFT = 0.0002

#: Number of incarnations that are remembered, because several processes of a site may write in turns.
_MAX_INCARNATIONS = 64


def continuous_since(
    now: datetime, last_heartbeat: datetime | None, continuous_before: datetime | None, stale_after: timedelta
) -> datetime | None:
    """Return since when a site has evaluated without an interruption over *stale_after*; `None`: none is known.

    *last_heartbeat*: the last heartbeat of the site's processes; `None`: there is none. *continuous_before*: the result
    that the processes had stored. Both times may be in the future after the clock was set back.
    """
    if last_heartbeat is not None and abs(now - last_heartbeat) > stale_after:
        return now
    return None if continuous_before is None else min(continuous_before, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHeartbeat:
    """Heartbeat of a site, written each second after everything it has evaluated."""

    #: By the site's wall clock.
    at: datetime
    #: By the monotonic clock of the process.
    monotonic: timedelta
    #: Random value, new at each start of the process, and after a suspension of the machine.
    incarnation: str


@dataclass(slots=True)
class _Incarnation:
    """Heartbeats of one incarnation.

    The *origin* of a heartbeat is its monotonic time minus that of the hub at its arrival. It is the same for all
    heartbeats without delay, and lower by the delay for others.
    """

    monotonic: timedelta
    arrived_at: timedelta
    #: Since *since* heartbeats arrive no faster than they are written: the first origin in that time, and the maximum.
    first_origin: timedelta
    max_origin: timedelta
    since: timedelta
    #: Upper bound of the origin of an undelayed heartbeat; `None`: unknown.
    origin_bound: timedelta | None = None
    #: The bound was learnt at the pace of arrival, not derived from the previous heartbeat of another incarnation.
    is_learnt: bool = False


class SiteClock:
    """Tracks the heartbeats of a site: its lag, and its wall clock."""

    def __init__(self, stale_after: timedelta = STALE_AFTER) -> None:
        self._stale_after = stale_after
        self._incarnations: dict[str, _Incarnation] = {}
        #: Upper bound of the newest heartbeat's age at arrival; `None`: unknown.
        self._age_at_arrival: timedelta | None = None
        self._arrived_at = timedelta(0)
        #: Since when heartbeats arrive continuously, from any of the site's processes.
        self._arriving_since = timedelta(0)
        #: What the site's wall clock showed at zero of the hub's monotonic clock, as of the last fresh heartbeat.
        self._fresh_wall_origin: datetime | None = None
        #: The hub's wall clock minus the site's. `None`: unknown.
        self.offset: timedelta | None = None

    def lag(self, monotonic: timedelta) -> timedelta | None:
        """Return the maximum age of the site's data, at *monotonic* of the hub's clock; `None`: unknown."""
        return (
            None
            if self._age_at_arrival is None
            else self._age_at_arrival + max(monotonic - self._arrived_at, timedelta(0))
        )

    def is_fresh(self, monotonic: timedelta) -> bool:
        """Return whether the site has a vote."""
        lag = self.lag(monotonic)
        return lag is not None and lag <= self._stale_after

    def record(self, heartbeat: SiteHeartbeat, now: datetime, monotonic: timedelta) -> None:
        """Record the newest heartbeat, at *now* and *monotonic* of the hub's clocks. Idempotent."""
        incarnation = self._incarnations.pop(heartbeat.incarnation, None)
        origin, wall_origin = heartbeat.monotonic - monotonic, heartbeat.at - monotonic
        if monotonic - self._arrived_at > _MAX_BEAT_GAP:
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
        # It was written after its predecessor, and so is at most as old as the predecessor would be now.
        age = self.lag(monotonic)
        if incarnation.origin_bound is not None and origin > incarnation.origin_bound + _JITTER:
            # The bound is wrong: heartbeats were delayed when it was learnt.
            incarnation.origin_bound, incarnation.is_learnt, age = None, False, None
        self._check_pace(incarnation, origin, wall_origin, monotonic)
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

    def _check_pace(
        self, incarnation: _Incarnation, origin: timedelta, wall_origin: datetime, monotonic: timedelta
    ) -> None:
        """Learn the bound if heartbeats arrive continuously, and no faster than they are written."""
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
        """Return the new upper bound of an undelayed heartbeat's origin, after a heartbeat with *origin* and *age*."""
        if incarnation.origin_bound is None:
            return origin + age
        if age > self._stale_after:
            return incarnation.origin_bound
        # Follow the drift of the monotonic clocks, which must not look like a growing or shrinking lag.
        drift = _MAX_DRIFT * min(monotonic - incarnation.arrived_at, _MAX_BEAT_GAP)
        return incarnation.origin_bound + max(-drift, min(drift, origin - incarnation.origin_bound))
