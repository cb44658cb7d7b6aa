"""Health states, grades of runs, and the numbers of equal grades in a row (streaks) that change a state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """Health of a route, of a direction of an agency's mail, or of a part of the monitoring itself."""

    #: Nothing is proven yet. Not the same as up.
    UNKNOWN = "unknown"
    #: Mail works.
    UP = "up"
    #: Mail arrives, but slowly, in the junk folder, or not on every route.
    DEGRADED = "degraded"
    #: Mail does not work.
    DOWN = "down"


#: Health states that are reported as a problem.
UNHEALTHY = frozenset({Health.DEGRADED, Health.DOWN})


class Grade(StrEnum):
    """Grade of one run: what it shows about the tested service."""

    GOOD = "good"
    #: It arrived, but late or in junk.
    SLOW = "slow"
    BAD = "bad"
    #: It failed, and a monitoring fault is not excluded yet. Until then it does not count.
    PENDING = "pending"
    #: Neutral: it neither extends nor ends a streak.
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """Lengths of streaks that change the health."""

    failure_threshold: int = 3
    success_threshold: int = 2

    @property
    def memory(self) -> int:
        """Number of graded runs that decide."""
        return max(self.failure_threshold, self.success_threshold)

    @property
    def patience(self) -> int:
        """Number of graded runs without a streak after which alternating results decide the health themselves."""
        return self.memory + 2
