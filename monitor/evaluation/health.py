"""Health of a route from the grades of its latest runs, and of a direction from its routes. Pure: no clock, no I/O.

Only a *streak* of runs with similar grades changes the health (hysteresis). A single failure may be chance, and a false
alarm to an office costs more than a minute of delay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monitor.model.health import Grade, Health, HealthPolicy

#: Number of latest runs that must be good, so that the next failure counts as the first failure.
_STEADY_RUNS = 2


def assess(grades: Sequence[Grade], current: Health, policy: HealthPolicy) -> Health:
    """Return the new health by *grades* of the latest runs, oldest first, given the *current* health."""
    counted = [g for g in grades if g in {Grade.GOOD, Grade.SLOW, Grade.BAD}]
    if _ends_with(counted, {Grade.BAD}, policy.failure_threshold):
        return Health.DOWN
    if current is Health.DOWN or current is Health.UNKNOWN:
        has_arrived = _ends_with(counted, {Grade.GOOD, Grade.SLOW}, policy.success_threshold)
        if has_arrived:
            return Health.UP if counted[-1] is Grade.GOOD else Health.DEGRADED
        # Alternating results, without a streak, show that mail works only partly.
        is_undecided = current is Health.UNKNOWN and len(counted) >= policy.undecided_limit
        return Health.DEGRADED if is_undecided else current
    if _ends_with(counted, {Grade.SLOW}, policy.failure_threshold):
        return Health.DEGRADED
    if _ends_with(counted, {Grade.SLOW, Grade.BAD}, policy.undecided_limit):
        return Health.DEGRADED
    if _ends_with(counted, {Grade.GOOD}, policy.success_threshold):
        return Health.UP
    return current


def needs_another_run(grades: Sequence[Grade], health: Health, policy: HealthPolicy) -> bool:
    """Whether the latest runs contradict *health*, so that another run is needed soon.

    *grades* contains the presumed grade of each pending run, for which evidence is missing
    (`GradedRun.presumed_grade`). If the grades make a streak, another run does not help.
    """
    counted = [g for g in grades if g is not Grade.NONE]
    if not counted:
        return False
    match assess(counted, health, policy):
        case Health.UNKNOWN:
            return True
        case Health.UP:
            return counted[-1] is not Grade.GOOD
        case Health.DEGRADED:
            # Good and bad runs may alternate for a long time. Only two equal runs in a row, or one after a slow run,
            # may be the start of a streak.
            before = counted[-2] if len(counted) > 1 else Grade.SLOW
            return counted[-1] is not Grade.SLOW and before in {Grade.SLOW, counted[-1]}
        case Health.DOWN:
            # A recovery is confirmed early too, because people wait for it.
            return counted[-1] is not Grade.BAD


def has_just_failed(grades: Sequence[Grade], health: Health) -> bool:
    """Whether the latest run is the first that is not good, after good runs and while *health* is up."""
    counted = [g for g in grades if g is not Grade.NONE]
    return health is Health.UP and bool(counted) and counted[-1] is not Grade.GOOD and is_steady(counted[:-1])


def is_steady(grades: Sequence[Grade]) -> bool:
    """Whether the latest runs (`_STEADY_RUNS`) were all good."""
    return all(g in {Grade.GOOD, Grade.NONE} for g in grades[-_STEADY_RUNS:])


def contradicts(grade: Grade, health: Health) -> bool:
    """Whether a run of *grade* contradicts *health*. Any grade contradicts unknown health."""
    return grade is not {Health.UP: Grade.GOOD, Health.DEGRADED: Grade.SLOW, Health.DOWN: Grade.BAD}.get(health)


def combine(healths: Iterable[Health]) -> Health:
    """Return the health of a direction from the *healths* of its routes.

    The result is unknown if all are unknown, and degraded if the known ones differ.
    """
    known = {*healths} - {Health.UNKNOWN}
    if not known:
        return Health.UNKNOWN
    return known.pop() if len(known) == 1 else Health.DEGRADED


def _ends_with(grades: Sequence[Grade], allowed: set[Grade], count: int) -> bool:
    tail = grades[-count:]
    return len(tail) == count and all(grade in allowed for grade in tail)
