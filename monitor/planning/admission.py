"""Admission control: how many runs may start now. Pure.

With more routes than the machine can probe, every run would be slow, miss its deadlines and report good mail as lost.
So runs start at a limited rate. The rate grows slowly while it is used up. When the event loop lags, it is set below
the rate at which runs finish. A limit on concurrent runs would not work: runs that wait for a dead server cost nothing,
and would block all others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Seconds between two adjustments of the rate.
ADJUSTMENT_INTERVAL = 0.5
#: Seconds between two decreases. Runs that have already started still delay the loop; without the cooldown the rate
#: would decrease several times for one cause, and leave half of the machine idle.
COOLDOWN = 2.0
#: The loop lags if it is late for more than this share of its time, about 50 ms per measurement. A run needs about a
#: hundred turns of the loop, so it takes five seconds longer then. A single stop of half a second is below the
#: threshold.
LAG_THRESHOLD = 0.5
#: The rate decreases to this share of the finish rate, and increases by this many runs per second or by this share.
DECREASE_FACTOR = 0.9
MIN_INCREASE, INCREASE_FACTOR = 2.0, 0.1
#: Runs per second. Below this rate, a lag has another cause than our runs.
MIN_RATE = 5.0
#: Runs that may start at once, as seconds of the rate.
_BURST = 0.1
#: The finish rate is a mean over so many seconds. Its peak decays by this factor per adjustment. The peak is used
#: because no run finishes while the loop is blocked, although the machine can run more.
_MEAN_WINDOW = 2.0
_PEAK_DECAY = 0.95


@dataclass(slots=True)
class Admission:
    """Adaptive rate limit for runs. Times are those of the event loop, in seconds. Without a lag there is no limit."""

    #: Runs per second.
    rate: float = math.inf
    #: Number of runs that may start at once, and when the number was computed.
    _credit: float = 0.0
    _credited_at: float = -math.inf
    _adjusted_at: float = -math.inf
    #: Since the last adjustment: finished runs, and whether the limit delayed a run.
    _finished: int = 0
    _is_limited: bool = False
    #: Finished runs per second: the mean, and the recent peak.
    _mean: float = 0.0
    _peak: float = 0.0
    _cooled_down_at: float = -math.inf

    def capacity(self, now: float, late: float) -> int | None:
        """Return how many runs may start, or `None` without a limit.

        *late*: the share of its time by which the loop was late.
        """
        if now - self._adjusted_at >= ADJUSTMENT_INTERVAL:
            self._adjust(now, late)
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

    def _adjust(self, now: float, late: float) -> None:
        span = now - self._adjusted_at
        if span < math.inf:
            self._mean += (1 - math.exp(-span / _MEAN_WINDOW)) * (self._finished / span - self._mean)
        self._peak = max(self._mean, _PEAK_DECAY * self._peak)
        if late > LAG_THRESHOLD and now >= self._cooled_down_at:
            if self.rate == math.inf:
                self._credit, self._credited_at = 0.0, now
            # The current rate may be unused, and so higher than what the machine can run: hence the peak.
            self.rate = max(MIN_RATE, DECREASE_FACTOR * min(self.rate, self._peak))
            self._cooled_down_at = now + COOLDOWN
        elif late <= LAG_THRESHOLD and self._is_limited:
            self.rate += max(MIN_INCREASE, INCREASE_FACTOR * self.rate)
        self._adjusted_at, self._finished, self._is_limited = now, 0, False
