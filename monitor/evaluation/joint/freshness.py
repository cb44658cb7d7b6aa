"""Freshness of a site's data at the hub. No clock, no I/O.

A site writes a heartbeat each second into the same replication slot as its status, in order: a heartbeat that has
arrived follows everything evaluated before it. So the age of the newest heartbeat is the replication lag, and a site
with a lag over `stale_after` has no vote. The lag is known as an upper bound, and each rule only states "at most so old":

* A heartbeat was written after its predecessor arrived. So it is at most as old as the time since then; the same holds
  for silence.
* Between two heartbeats of one process life, the site's steady clock gives the time between their writing. Jumps of
  wall clocks on either side do not matter.
* Of an unknown site (the hub has just started), or one that was silent for longer and has begun another life, the lag
  is *learnt*: for `_LEARNT_IN` heartbeats arrive no faster than they are written. A backlog arrives faster.

Ambiguous cases: to a hub that has just started, a constant lag looks like a slow wall clock: the site is trusted,
because otherwise a site with a slow clock never had a vote. If the hub knows the site's wall clock, it is not trusted:
after another life, a lag over `stale_after` by the known clock means no vote. The clock may have been set back during the
silence; correcting it, or a restart of the hub, restores the vote. A clock set forward by exactly the lag, in another
life without a fast backlog, is trusted. Within a learnt life, a late heartbeat is never explained by a clock: after a
suspension that stops the steady clock, another life must begin (`SiteHeartbeat.life`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: Largest lag with a vote.
STALE_AFTER = timedelta(seconds=30)

#: Duration for which heartbeats arrive at the pace of writing before no backlog is assumed.
_LEARNT_IN = timedelta(seconds=10)

#: Heartbeats that arrive earlier than their predecessors by more than this were queued. Larger than network jitter and
#: polling each second.
_JITTER = timedelta(seconds=1)

#: A site that is silent for so long does not send a heartbeat each second.
_GAP = timedelta(seconds=5)

#: Maximum drift between two steady clocks: crystals are better, and time synchronization may double it.
_DRIFT = 0.0002

#: Maximum of distinguished lives, of a site's processes that write in turns.
_LIVES = 64


def continuous_since(
    now: datetime, last_beat: datetime | None, known: datetime | None, stale_after: timedelta
) -> datetime | None:
    """Return since when a site has evaluated without a silence over *stale_after*; `None`: as far back as known.

    *last_beat*: the last heartbeat of its processes; `None` without any. *known*: since when its processes knew that
    themselves. Either may be in the future after the clock was set back.
    """
    if last_beat is not None and abs(now - last_beat) > stale_after:
        return now
    return None if known is None else min(known, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHeartbeat:
    """Heartbeat of a site, written each second after everything it has evaluated."""

    #: By the site's wall clock.
    at: datetime
    #: By the steady clock of the process, which nobody can set.
    monotonic: timedelta
    #: A new value at each start of the process, and when its clocks drift apart after a suspension.
    incarnation: str


@dataclass(slots=True)
class _Life:
    """State of one life of a heartbeat process.

    The *origin* of a heartbeat is its steady time minus the hub's at arrival. It is equal for all that arrive without
    delay, and lower by the delay of others.
    """

    monotonic: timedelta
    arrived: timedelta
    #: Origin at the start of the current stretch in which none arrived faster than written; and its maximum.
    ref: timedelta
    highest: timedelta
    since: timedelta
    #: Upper bound of the origin of an undelayed heartbeat; `None`: unknown.
    top: timedelta | None = None
    #: Observed, and not only inferred from a preceding silence.
    is_learnt: bool = False


class SiteClock:
    """Tracks the heartbeats of a site: its lag, and its wall clock."""

    def __init__(self, stale_after: timedelta = STALE_AFTER) -> None:
        self._stale_after = stale_after
        self._lives: dict[str, _Life] = {}
        #: Upper bound of the newest heartbeat's age at arrival; `None`: unknown.
        self._late: timedelta | None = None
        self._arrived = timedelta(0)
        #: Since when heartbeats arrive, from any of the site's processes.
        self._comes_since = timedelta(0)
        #: The site's wall clock at the hub's steady time zero, when the site was last fresh.
        self._usual: datetime | None = None
        #: The hub's wall clock minus the site's. `None`: unknown.
        self.offset: timedelta | None = None

    def behind(self, monotonic: timedelta) -> timedelta | None:
        """Return the maximum age of the site's data, by the hub's steady clock; `None`: unknown."""
        return None if self._late is None else self._late + max(monotonic - self._arrived, timedelta(0))

    def is_fresh(self, monotonic: timedelta) -> bool:
        """Return whether the site has a vote."""
        behind = self.behind(monotonic)
        return behind is not None and behind <= self._stale_after

    def hear(self, beat: SiteHeartbeat, now: datetime, monotonic: timedelta) -> None:
        """Record the newest heartbeat, by the hub's wall clock and steady clock. Idempotent."""
        life = self._lives.pop(beat.incarnation, None)
        origin, wall = beat.monotonic - monotonic, beat.at - monotonic
        if monotonic - self._arrived > _GAP:
            self._comes_since = monotonic
        if life is None:
            life = _Life(monotonic=beat.monotonic, arrived=monotonic, ref=origin, highest=origin, since=monotonic)
        elif beat.monotonic <= life.monotonic:
            self._lives[beat.incarnation] = life
            return
        # It was written after its predecessor.
        late = self.behind(monotonic)
        if life.top is not None and origin > life.top + _JITTER:
            # The learnt bound is wrong: some were queued even then.
            life.top, life.is_learnt, late = None, False, None
        self._look(life, origin, wall, monotonic)
        if life.top is not None:
            late = max(life.top - origin, timedelta(0))
        if late is not None:
            life.top = self._top(life, origin, late, monotonic)
        life.monotonic, life.arrived = beat.monotonic, monotonic
        self._lives[beat.incarnation] = life
        while len(self._lives) > _LIVES:
            del self._lives[next(iter(self._lives))]
        self._late, self._arrived = late, monotonic
        if late is not None and late <= self._stale_after:
            self._usual, self.offset = wall + late, now - beat.at - late

    def _look(self, life: _Life, origin: timedelta, wall: datetime, monotonic: timedelta) -> None:
        """Check whether heartbeats arrive continuously and no faster than written."""
        if origin > life.ref + _JITTER or life.since < self._comes_since:
            life.ref = life.highest = origin
            life.since = monotonic
        life.highest = max(life.highest, origin)
        is_late_by_clock = self._usual is not None and self._usual - wall > self._stale_after
        if not life.is_learnt and monotonic - life.since >= _LEARNT_IN and not is_late_by_clock:
            life.top, life.is_learnt = life.highest, True

    def _top(self, life: _Life, origin: timedelta, late: timedelta, monotonic: timedelta) -> timedelta:
        """Return the upper bound of an undelayed heartbeat's origin in this life, after one that is *late*."""
        if life.top is None:
            return origin + late
        if late > self._stale_after:
            return life.top
        # Slow drift of steady clocks must not look like a growing or shrinking lag.
        drift = _DRIFT * min(monotonic - life.arrived, _GAP)
        return life.top + max(-drift, min(drift, origin - life.top))
