"""Health states, grades of runs, and the numbers of equal grades in a row (streaks) that change a state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """Health of a route, of a direction of an agency's mail, or of a part of the monitoring itself."""

    #: Nothing is proven yet.
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

    #: The message arrived in time.
    GOOD = "good"
    #: The message arrived, but late or in the junk folder.
    SLOW = "slow"
    #: The run failed because of the tested service.
    BAD = "bad"
    #: The run failed, and a monitoring fault is not excluded yet. Until it is excluded, the run does not count.
    PENDING = "pending"
    #: The run shows nothing about the service: it neither extends nor ends a streak.
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """Lengths of streaks that change the health."""

    #: Failures in a row that change the health to down.
    failure_threshold: int = 3
    #: Successes in a row that change the health to up.
    success_threshold: int = 2

    @property
    def longest_streak(self) -> int:
        """The larger threshold: so many runs in a row always suffice to change the health."""
        return max(self.failure_threshold, self.success_threshold)

    @property
    def undecided_limit(self) -> int:
        """Number of graded runs after which alternating results, without a streak, decide the health."""
        return self.longest_streak + 2
