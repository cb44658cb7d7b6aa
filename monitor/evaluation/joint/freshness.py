"""Decide whether what a site says is fresh, or old news that comes late. No clock, no I/O.

A site beats each second, through the same slot as its judgements, and nothing overtakes in there: whoever has heard a beat has
heard all that was judged before it. So the age of the newest beat is how far the hub is behind the site, and one that is further
behind than `fresh_for` has no vote. What is known of that age is a bound, and each rule below only ever says "at most so old":

* A beat was written after the one before it came. It is older by no more than the time between, and silence counts likewise.
* Between two beats of one life of the process that beats, the site's steady clock tells how much later the second was written.
  Wall clocks may jump meanwhile, here and there, without anything becoming fresher or older by it.
* Of a site that nothing is known of (the hub has just started), or that was silent for longer and has begun another life, it is
  *learnt* that it is not behind: for `_LEARNT_IN` its beats come no faster than they are written. Whoever catches up is faster.

What cannot be told apart. A site that is behind and goes on being behind by just as much looks, to a hub that has just started,
like one that is not, and whose wall clock is slow: it is believed, or a site with a slow clock never had a vote. Where the hub
knows the site's wall clock, it is not: one that has begun another life, and by the clock that it used to have is behind by more
than `fresh_for`, has no vote. That may be one that was set back while it was silent; the clock put right, or a hub that starts,
lets it vote again. One whose clock is set forward by just as much as it is behind, in another life and while it catches up no
faster than clocks go, is believed. Of a life that was learnt before, no beat that is late is ever explained by a clock: where
a machine has stood still with its steady clock, another life must begin (`SiteHeartbeat.life`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: How old news may be that still has a vote.
FRESH_FOR = timedelta(seconds=30)

#: So long beats come at the speed at which they are written, before it is believed that none wait.
_LEARNT_IN = timedelta(seconds=10)

#: Beats that come so much earlier than those before them were waiting. More than a network and a look each second make of it.
_JITTER = timedelta(seconds=1)

#: A site from which nothing comes for so long is not seen to beat each second.
_GAP = timedelta(seconds=5)

#: How much two steady clocks may go apart: crystals are better, and a time service that bends them may double it.
_DRIFT = 0.0002

#: So many lives at once, of the processes of a site that beat by turns, are told apart.
_LIVES = 64


def continuous_since(
    now: datetime, last_beat: datetime | None, known: datetime | None, fresh_for: timedelta
) -> datetime | None:
    """Return since when a site has judged without a silence beyond *fresh_for*; `None`: as far back as is known.

    *last_beat*: when one of its processes last wrote that it lives; `None`: none ever has. *known*: since when its
    processes knew that themselves. Either may lie ahead where the clock was set back.
    """
    if last_beat is not None and abs(now - last_beat) > fresh_for:
        return now
    return None if known is None else min(known, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHeartbeat:
    """A sign of life of a site, which it writes each second behind all that it has judged."""

    #: By the site's wall clock.
    at: datetime
    #: By the steady clock of the process that beats: it is never set.
    steady: timedelta
    #: Another one each time that such a process starts, or finds that its clocks have gone apart: its machine stood still.
    life: str


@dataclass(slots=True)
class _Life:
    """What is known of one life of the process that beats.

    The *origin* of a beat is its steady time less the hub's on arrival. It is the same for all that come at once, and lower by as
    much as one comes late.
    """

    steady: timedelta
    arrived: timedelta
    #: The origin when the present stretch began in which none came faster than it was written; the highest in it.
    ref: timedelta
    highest: timedelta
    since: timedelta
    #: What a beat that comes at once would have for an origin, at most; `None`: nothing is known of that.
    top: timedelta | None = None
    #: That was seen, and not only concluded from how long it was silent before.
    is_learnt: bool = False


class SiteClock:
    """Hears the beats of a site; says how far it is behind at most, and how its wall clock goes."""

    def __init__(self, fresh_for: timedelta = FRESH_FOR) -> None:
        self._fresh_for = fresh_for
        self._lives: dict[str, _Life] = {}
        #: How old the newest beat was when it came, at most; `None`: that is not known.
        self._late: timedelta | None = None
        self._arrived = timedelta(0)
        #: Since when beats come, of whichever of its processes: at each look that of another one may be the newest.
        self._comes_since = timedelta(0)
        #: The site's wall clock when the hub's steady clock read zero, as it was when the site was last fresh.
        self._usual: datetime | None = None
        #: How much the site's wall clock is behind the hub's; ahead of it where negative. `None`: not known.
        self.offset: timedelta | None = None

    def behind(self, steady: timedelta) -> timedelta | None:
        """Return how old what was heard is at most, by the hub's steady clock; `None`: that is not known."""
        return None if self._late is None else self._late + max(steady - self._arrived, timedelta(0))

    def is_fresh(self, steady: timedelta) -> bool:
        """Return whether the site has a vote."""
        behind = self.behind(steady)
        return behind is not None and behind <= self._fresh_for

    def hear(self, beat: SiteHeartbeat, now: datetime, steady: timedelta) -> None:
        """Take in the newest beat that has come, by the hub's wall clock and its steady one. Again: nothing happens."""
        life = self._lives.pop(beat.life, None)
        origin, wall = beat.steady - steady, beat.at - steady
        if steady - self._arrived > _GAP:
            self._comes_since = steady
        if life is None:
            life = _Life(steady=beat.steady, arrived=steady, ref=origin, highest=origin, since=steady)
        elif beat.steady <= life.steady:
            self._lives[beat.life] = life
            return
        # It was written after that which came before it.
        late = self.behind(steady)
        if life.top is not None and origin > life.top + _JITTER:
            # What was learnt is not true: some were waiting even then.
            life.top, life.is_learnt, late = None, False, None
        self._look(life, origin, wall, steady)
        if life.top is not None:
            late = max(life.top - origin, timedelta(0))
        if late is not None:
            life.top = self._top(life, origin, late, steady)
        life.steady, life.arrived = beat.steady, steady
        self._lives[beat.life] = life
        while len(self._lives) > _LIVES:
            del self._lives[next(iter(self._lives))]
        self._late, self._arrived = late, steady
        if late is not None and late <= self._fresh_for:
            self._usual, self.offset = wall + late, now - beat.at - late

    def _look(self, life: _Life, origin: timedelta, wall: datetime, steady: timedelta) -> None:
        """Look whether beats come no faster than they are written, and go on coming."""
        if origin > life.ref + _JITTER or life.since < self._comes_since:
            life.ref = life.highest = origin
            life.since = steady
        life.highest = max(life.highest, origin)
        is_late_by_clock = self._usual is not None and self._usual - wall > self._fresh_for
        if not life.is_learnt and steady - life.since >= _LEARNT_IN and not is_late_by_clock:
            life.top, life.is_learnt = life.highest, True

    def _top(self, life: _Life, origin: timedelta, late: timedelta, steady: timedelta) -> timedelta:
        """Return what a beat of this life that comes at once has for an origin, at most, after one that is *late* so much."""
        if life.top is None:
            return origin + late
        if late > self._fresh_for:
            return life.top
        # Steady clocks go apart, so slowly that it is not taken for falling behind, or for catching up.
        drift = _DRIFT * min(steady - life.arrived, _GAP)
        return life.top + max(-drift, min(drift, origin - life.top))
