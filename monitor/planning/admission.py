"""Admission control: how many runs may start now. Pure.

With more routes than the machine can probe, every run would be slow, miss its deadlines and report good mail as lost.
So runs start at a limited rate. While runs use up the rate, it grows slowly. When the event loop lags, the rate is set
below the rate at which runs finish. A limit on concurrent runs would not work: runs that wait for a dead server use no
CPU time, but would take all slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Seconds between two adjustments of the rate.
ADJUSTMENT_INTERVAL = 0.5
#: Seconds between two decreases. Runs that have already started still delay the loop. Without the cooldown the rate
#: would decrease several times for one cause, and leave half of the machine idle.
COOLDOWN = 2.0
#: The loop counts as lagging if it is late for more than this share of its time, about 50 ms per lag measurement. A run
#: needs about a hundred iterations of the loop, so it then takes five seconds longer. One stop of half a second stays
#: below the threshold.
LAG_THRESHOLD = 0.5
#: The rate decreases to this share of the finish rate. It increases by `MIN_INCREASE` runs per second or the share
#: `INCREASE_FACTOR`, whichever is more.
DECREASE_FACTOR = 0.9
MIN_INCREASE, INCREASE_FACTOR = 2.0, 0.1
#: Minimum rate in runs per second. So few runs cannot cause a lag.
MIN_RATE = 5.0
#: As many runs may start at once as the rate allows in this many seconds.
_BURST = 0.1
#: The finish rate is a mean over this many seconds. Its recent peak decays by the factor `_PEAK_DECAY` per adjustment.
#: The peak is used, because no run finishes while the loop is blocked.
_MEAN_WINDOW = 2.0
_PEAK_DECAY = 0.95


@dataclass(slots=True)
class Admission:
    """Adaptive rate limit for runs. Times are those of the event loop, in seconds. Without a lag there is no limit."""

    #: Runs per second.
    rate: float = math.inf
    #: Number of runs that may start at once (a token bucket), and when the number was computed.
    _credit: float = 0.0
    _credited_at: float = -math.inf
    #: When the rate was last adjusted.
    _adjusted_at: float = -math.inf
    #: Since the last adjustment: finished runs, and whether the limit delayed a run.
    _finished: int = 0
    _is_limited: bool = False
    #: Finished runs per second: the mean, and the recent peak.
    _mean: float = 0.0
    _peak: float = 0.0
    #: End of the cooldown after the last decrease.
    _cooled_down_at: float = -math.inf

    def capacity(self, now: float, lag_share: float) -> int | None:
        """Return how many runs may start, or `None` without a limit.

        *lag_share*: recent share of time in which the loop was late.
        """
        if now - self._adjusted_at >= ADJUSTMENT_INTERVAL:
            self._adjust(now, lag_share)
        if self.rate == math.inf:
            return None
        earned = self.rate * (now - self._credited_at)
        self._credit, self._credited_at = min(max(1.0, _BURST * self.rate), self._credit + earned), now
        return int(self._credit)

    def record_starts(self, count: int) -> None:
        """Record that *count* runs have started."""
        self._credit -= count
        self._is_limited = self._is_limited or self._credit < 1

    def record_end(self) -> None:
        """Record that a run has finished."""
        self._finished += 1

    def refund(self) -> None:
        """Undo the start of a run that did not run."""
        self._credit += 1

    def seconds_to_next_start(self) -> float:
        """Return the seconds until the next run may start."""
        return max(0.0, 1.0 - self._credit) / self.rate

    def _adjust(self, now: float, lag_share: float) -> None:
        span = now - self._adjusted_at
        if span < math.inf:
            self._mean += (1 - math.exp(-span / _MEAN_WINDOW)) * (self._finished / span - self._mean)
        self._peak = max(self._mean, _PEAK_DECAY * self._peak)
        if lag_share > LAG_THRESHOLD and now >= self._cooled_down_at:
            if self.rate == math.inf:
                self._credit, self._credited_at = 0.0, now
            # A rate that was not used up may be higher than the machine can run, so the finish rate limits it.
            self.rate = max(MIN_RATE, DECREASE_FACTOR * min(self.rate, self._peak))
            self._cooled_down_at = now + COOLDOWN
        elif lag_share <= LAG_THRESHOLD and self._is_limited:
            self.rate += max(MIN_INCREASE, INCREASE_FACTOR * self.rate)
        self._adjusted_at, self._finished, self._is_limited = now, 0, False
