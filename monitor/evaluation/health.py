"""Health of a route from its latest runs, and of a direction from its routes. Pure: no clock, no I/O.

Hysteresis: one failure is chance, a streak is a state. A false letter costs more than a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monitor.model.health import Grade, Health, HealthPolicy

#: Good runs in a row that are not chance.
_STEADY = 2


def assess(grades: Sequence[Grade], current: Health, policy: HealthPolicy) -> Health:
    """Return the health by *grades*, oldest first, given the current health."""
    said = [g for g in grades if g in {Grade.GOOD, Grade.SLOW, Grade.BAD}]
    if _ends_with(said, {Grade.BAD}, policy.failure_threshold):
        return Health.DOWN
    if current is Health.DOWN or current is Health.UNKNOWN:
        arrived = _ends_with(said, {Grade.GOOD, Grade.SLOW}, policy.success_threshold)
        if arrived:
            return Health.UP if said[-1] is Grade.GOOD else Health.DEGRADED
        undecided = current is Health.UNKNOWN and len(said) >= policy.patience
        return Health.DEGRADED if undecided else current
    if _ends_with(said, {Grade.SLOW}, policy.failure_threshold):
        return Health.DEGRADED
    if _ends_with(said, {Grade.SLOW, Grade.BAD}, policy.patience):
        return Health.DEGRADED
    if _ends_with(said, {Grade.GOOD}, policy.success_threshold):
        return Health.UP
    return current


def is_suspicious(grades: Sequence[Grade], health: Health, policy: HealthPolicy) -> bool:
    """Whether the latest runs contradict *health*, so that another run is wanted soon.

    Pending runs are passed with the grade that they will have with evidence (`presume`). If that is a streak already,
    evidence is missing and not another run.
    """
    said = [g for g in grades if g is not Grade.NONE]
    if not said:
        return False
    match assess(said, health, policy):
        case Health.UNKNOWN:
            return True
        case Health.UP:
            return said[-1] is not Grade.GOOD
        case Health.DEGRADED:
            # While results alternate, only two of a kind may be the start of a streak.
            before = said[-2] if len(said) > 1 else Grade.SLOW
            return said[-1] is not Grade.SLOW and before in {Grade.SLOW, said[-1]}
        case Health.DOWN:
            # A recovery is confirmed soon as well: people wait for it.
            return said[-1] is not Grade.BAD


def has_just_failed(grades: Sequence[Grade], health: Health) -> bool:
    """Whether the latest run is the first that contradicts *health*, which was up."""
    said = [g for g in grades if g is not Grade.NONE]
    return health is Health.UP and bool(said) and said[-1] is not Grade.GOOD and is_steady(said[:-1])


def is_steady(grades: Sequence[Grade]) -> bool:
    """Whether the latest runs were all good."""
    return all(g in {Grade.GOOD, Grade.NONE} for g in grades[-_STEADY:])


def is_news(grade: Grade, health: Health) -> bool:
    """Whether a run of *grade* contradicts *health*."""
    return grade is not {Health.UP: Grade.GOOD, Health.DEGRADED: Grade.SLOW, Health.DOWN: Grade.BAD}.get(health)


def combine(healths: Iterable[Health]) -> Health:
    """Return the health of a direction: unknown without any known route; degraded if some are down."""
    known = {*healths} - {Health.UNKNOWN}
    if not known:
        return Health.UNKNOWN
    return known.pop() if len(known) == 1 else Health.DEGRADED


def _ends_with(grades: Sequence[Grade], wanted: set[Grade], count: int) -> bool:
    tail = grades[-count:]
    return len(tail) == count and all(grade in wanted for grade in tail)
