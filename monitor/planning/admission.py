"""Decide how many runs may be begun now, so that those that are made end as they would on an idle machine. Pure.

With more routes than the machine carries, every run would wait for all others at each of its steps, until deadlines pass
and good mail is called lost. So runs are begun no faster than the loop keeps up with: a rate that grows by little while
it is used up, and falls when the loop is late to a part of that at which runs end: so many the machine carries. A number
of runs under way would not do: those that hang at a dead server cost nothing, and would keep all others waiting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: The rate is looked at again after this, in seconds.
EVERY = 0.5
#: What has been begun too much is worked off before the loop is in time: it does not fall again before this, in seconds.
#: Otherwise it would fall and fall for the same cause, and leave half of the machine idle.
SETTLES = 2.0
#: The loop is late when this part of its time is spent in lags: some 50 ms at each look. A run needs the loop a hundred
#: times, so it takes five seconds longer then. A single stop of half a second is below it.
LATE = 0.5
#: It falls to this part, and grows by so many runs a second or this part.
KEPT = 0.9
MORE, MORE_OF_IT = 2.0, 0.1
#: Never fewer a second: what is late then is not late because of us.
LEAST = 5.0
#: So much of a second may be begun at once.
_AT_ONCE = 0.1
#: The pace at which runs end is a mean over so many seconds; of the best that it has been, this is remembered at the next
#: look. While the loop stands still none ends; that does not say that none could.
_MEAN = 2.0
_REMEMBERED = 0.95


@dataclass(slots=True)
class Admission:
    """Times are the loop's, in seconds; a machine that has never been late has no limit."""

    #: Runs a second.
    rate: float = math.inf
    #: How many may be begun at once, as of then.
    _credit: float = 0.0
    _credited_at: float = -math.inf
    _looked_at: float = -math.inf
    #: Since it was looked at: how many have ended, and whether all was begun that was allowed.
    _ended: int = 0
    _is_short: bool = False
    #: How many end a second: on the mean, and at best lately.
    _mean: float = 0.0
    _pace: float = 0.0
    _settled_at: float = -math.inf

    def room(self, now: float, late: float) -> int | None:
        """Return how many may be begun; `None`: all. *late*: the part of its time by which the loop was late."""
        if now - self._looked_at >= EVERY:
            self._look(now, late)
        if self.rate == math.inf:
            return None
        earned = self.rate * (now - self._credited_at)
        self._credit, self._credited_at = min(max(1.0, _AT_ONCE * self.rate), self._credit + earned), now
        return int(self._credit)

    def begun(self, count: int) -> None:
        """Note that so many were begun."""
        self._credit -= count
        self._is_short = self._is_short or self._credit < 1

    def ended(self) -> None:
        """Note that a run has ended."""
        self._ended += 1

    def refused(self) -> None:
        """Note that one of those that were begun did not run, and so has cost nothing."""
        self._credit += 1

    def pause(self) -> float:
        """Return how long somebody waits who found no room."""
        return max(0.0, 1.0 - self._credit) / self.rate

    def _look(self, now: float, late: float) -> None:
        span = now - self._looked_at
        if span < math.inf:
            self._mean += (1 - math.exp(-span / _MEAN)) * (self._ended / span - self._mean)
        self._pace = max(self._mean, _REMEMBERED * self._pace)
        if late > LATE and now >= self._settled_at:
            if self.rate == math.inf:
                self._credit, self._credited_at = 0.0, now
            # What was allowed and not used says nothing of what the machine carries.
            self.rate = max(LEAST, KEPT * min(self.rate, self._pace))
            self._settled_at = now + SETTLES
        elif late <= LATE and self._is_short:
            self.rate += max(MORE, MORE_OF_IT * self.rate)
        self._looked_at, self._ended, self._is_short = now, 0, False
