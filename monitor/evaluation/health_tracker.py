"""Recent runs and health of one tracked object: a route, or a fault source of the monitoring. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

from monitor.evaluation.attribution import Attribution, FaultDomain, RunVerdict
from monitor.evaluation.evidence import ARRIVED
from monitor.evaluation.health import assess, contradicts, has_just_failed, is_steady, needs_another_run
from monitor.model.health import UNHEALTHY, Grade, Health, HealthPolicy
from probes.model.result import Outcome, ProbeResult

_NEVER = datetime.min.replace(tzinfo=UTC)


#: Grades that agree with a health. Alternating good and bad runs agree with degraded.
_AGREEING_GRADES = {
    Health.UP: (Grade.GOOD, Grade.SLOW),
    Health.DEGRADED: (Grade.GOOD, Grade.SLOW, Grade.BAD),
    Health.DOWN: (Grade.BAD,),
}

#: Grades that confirm a stale health. A good run agrees with degraded and does not confirm it.
_CONFIRMING_GRADES = _AGREEING_GRADES | {Health.DEGRADED: (Grade.SLOW, Grade.BAD)}


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRun:
    """A run in memory, with its grade."""

    token_id: str
    started_at: datetime
    outcome: Outcome
    grade: Grade
    #: The whole result of a run that was not good; not restored after a restart. Good results are left out, because
    #: five of each of thousands of routes would be most of the service's memory.
    result: ProbeResult | None = field(default=None, compare=False)

    @classmethod
    def from_result(cls, result: ProbeResult, grade: Grade) -> GradedRun:
        """Return the record of *result*."""
        return cls(
            token_id=result.token_id,
            started_at=result.started_at,
            outcome=result.outcome,
            grade=grade,
            result=None if grade is Grade.GOOD else result,
        )

    def with_start(self, started_at: datetime) -> GradedRun:
        """Return a copy with the start *started_at*."""
        result = None if self.result is None else replace(self.result, started_at=started_at)
        return replace(self, started_at=started_at, result=result)

    def presumed_grade(self) -> Grade:
        """Return the grade; for a pending run, the grade that it gets if our own side is proven to work."""
        if self.grade is not Grade.PENDING:
            return self.grade
        return Grade.SLOW if self.outcome in ARRIVED else Grade.BAD


@dataclass(slots=True)
class HealthTracker:
    """Latest runs of a tracked object, and its health."""

    policy: HealthPolicy
    health: Health = Health.UNKNOWN
    changed_at: datetime | None = None
    #: Start of the current streak of bad runs, of slow runs, and of runs that are good or slow; `None`: no such streak.
    failing_since: datetime | None = None
    slow_since: datetime | None = None
    working_since: datetime | None = None
    #: Graded runs, oldest first. A list, because a deque for each of thousands of routes takes much more memory.
    recent: list[GradedRun] = field(default_factory=list)
    #: Start of the first deferred run since the last arrival.
    deferred_since: datetime | None = None
    #: Start of the last run with a final grade, and the number of later runs that have no grade because of a monitoring
    #: fault (a fault of our own side).
    last_counted_at: datetime | None = None
    inconclusive_runs: int = 0
    #: The health is stale until a run that started later confirms it; `None`: it is current.
    stale_since: datetime | None = None
    #: Token, start and verdict of the latest run.
    latest_run: tuple[str, datetime, RunVerdict | None] | None = None

    @property
    def is_inconclusive(self) -> bool:
        """Whether so many runs were inconclusive, because of a monitoring fault, that the health is out of date."""
        return self.inconclusive_runs >= self.policy.failure_threshold

    def reset(self, policy: HealthPolicy) -> None:
        """Drop all runs, because the name now belongs to another object. The health stays until new runs change it."""
        fresh = HealthTracker(
            policy=policy, health=self.health, changed_at=self.changed_at, stale_since=self.stale_since
        )
        for attribute in fields(self):
            setattr(self, attribute.name, getattr(fresh, attribute.name))

    @property
    def is_stale(self) -> bool:
        """Whether the health is from before a restart or an interruption, and no run has confirmed it since."""
        if self.stale_since is None or self.health is Health.UNKNOWN:
            return False
        confirming = _CONFIRMING_GRADES[self.health]
        return not any(run.grade in confirming and run.started_at >= self.stale_since for run in self.recent)

    @property
    def current_health(self) -> Health:
        """The health; unknown if it is unhealthy and stale."""
        return Health.UNKNOWN if self.health in UNHEALTHY and self.is_stale else self.health

    def grades(self) -> list[Grade]:
        """Return the grades of the latest runs, oldest first."""
        return [run.grade for run in self.recent]

    def needs_another_run(self) -> bool:
        """Whether to run again soon. False while runs are inconclusive: another run would be inconclusive, too."""
        if self.is_inconclusive and self.recent and self.recent[-1].grade is Grade.PENDING:
            return False
        return needs_another_run(self._presumed_grades(), self.health, self.policy)

    def has_just_failed(self) -> bool:
        """Whether the latest run is the first that is not good. False while runs are inconclusive."""
        return not self.is_inconclusive and has_just_failed(self._presumed_grades(), self.health)

    def is_steady(self) -> bool:
        """Whether the latest runs were all good."""
        return is_steady(self._presumed_grades())

    def _presumed_grades(self) -> list[Grade]:
        return [run.presumed_grade() for run in self.recent]

    def record(self, result: ProbeResult, verdict: Attribution) -> None:
        """Record a finished run."""
        if self.latest_run is None or self.latest_run[1] <= result.started_at:
            self.latest_run = result.token_id, result.started_at, verdict.verdict
        if verdict.grade is Grade.NONE:
            self.inconclusive_runs += verdict.domain is not FaultDomain.NOBODY
            return
        self._append(GradedRun.from_result(result, verdict.grade))

    def _append(self, run: GradedRun) -> None:
        self.recent.append(run)
        if run.grade is not Grade.PENDING:
            self.inconclusive_runs = 0
            self.last_counted_at = max(self.last_counted_at or _NEVER, run.started_at)
        self._drop_old_runs()

    def _drop_old_runs(self) -> None:
        # Pending runs are kept, because one of them may become the start of an outage.
        while len(self.recent) > self.policy.patience and self.recent[0].grade is not Grade.PENDING:
            self.recent.pop(0)

    def attribute_pending(
        self, attribute: Callable[[ProbeResult], Attribution]
    ) -> Iterable[tuple[ProbeResult, Attribution]]:
        """Attribute pending runs again, and return those that are final now."""
        before = list(self.recent)
        self.recent.clear()
        final = []
        for run in before:
            if run.grade is not Grade.PENDING or run.result is None:
                self.recent.append(run)
                continue
            self.record(run.result, attribution := attribute(run.result))
            if attribution.grade is not Grade.PENDING:
                final.append((run.result, attribution))
        return final

    def replace(self, before: GradedRun, after: GradedRun) -> None:
        """Replace a run, because its message arrived late."""
        if self.latest_run is not None and self.latest_run[0] == before.token_id:
            self.latest_run = *self.latest_run[:2], RunVerdict.SLOW
        self.recent[self.recent.index(before)] = after

    def rewind(self, now: datetime, step: timedelta) -> None:
        """Move times after *now* back by *step*: the clock was set back, and outages would begin in the future."""

        def moved(at: datetime | None) -> datetime | None:
            return at if at is None or at <= now else min(at - step, now)

        for name in (
            "changed_at",
            "failing_since",
            "slow_since",
            "working_since",
            "deferred_since",
            "last_counted_at",
            "stale_since",
        ):
            setattr(self, name, moved(getattr(self, name)))
        self.recent = [
            run if run.started_at <= now else run.with_start(min(run.started_at - step, now)) for run in self.recent
        ]
        if self.latest_run is not None:
            token_id, at, verdict = self.latest_run
            self.latest_run = token_id, min(at, now), verdict

    def evaluate(self, now: datetime) -> bool:
        """Set the health by the latest runs, and return whether it changed."""
        for run in self.recent:
            if run.grade is Grade.BAD:
                began = min(run.started_at, self.deferred_since or run.started_at)
                self.failing_since, self.working_since = self.failing_since or began, None
            elif run.grade in {Grade.GOOD, Grade.SLOW}:
                self.working_since, self.failing_since = self.working_since or run.started_at, None
                slow = run.grade is Grade.SLOW
                self.slow_since = (self.slow_since or run.started_at) if slow else None
        self._drop_old_runs()
        health = assess(self.grades(), self.health, self.policy)
        has_changed = health is not self.health
        if has_changed:
            self.health, self.changed_at = health, now
        if not self.is_stale:
            self.stale_since = None
        return has_changed

    def contradicting_streak(self) -> tuple[GradedRun, ...]:
        """Return the latest runs, oldest first, if the last one contradicts the health; otherwise nothing.

        Pending runs are left out, because their evidence is lost in a restart.
        """
        final = [run for run in self.recent if run.grade is not Grade.PENDING]
        if not final or not contradicts(final[-1].grade, self.health):
            return ()
        return tuple(final)

    def restore(self, streak: Iterable[GradedRun]) -> None:
        """Restore the streak from before a restart."""
        for run in streak:
            self._append(run)

    def last_result_at(self) -> datetime:
        """Return the start of the last run with a final grade; after a restart, the last change of health."""
        return self.last_counted_at or self.changed_at or _NEVER

    def confirmed_at(self) -> datetime | None:
        """Return the start of the last run that agrees with the health; `None` if there is none in this process."""
        agreeing = _AGREEING_GRADES.get(self.health, ())
        return next((run.started_at for run in reversed(self.recent) if run.grade in agreeing), None)

    def trouble_since(self) -> datetime | None:
        """Return the start of the current streak of bad or slow runs, or else the last change of health."""
        return self.failing_since or self.slow_since or self.changed_at

    def unhealthy_since(self) -> datetime | None:
        """Return since when it is unhealthy: the earlier of the start of the trouble and the last change of health."""
        return min((at for at in (self.trouble_since(), self.changed_at) if at is not None), default=None)

    def state_since(self) -> datetime | None:
        """Return since when it has its current health; while down, the start of the first failed run."""
        return (self.failing_since or self.changed_at) if self.health is Health.DOWN else self.changed_at


class Streaks:
    """Latest runs of the few objects whose last run contradicts their health. They are stored for a restart."""

    def __init__(self) -> None:
        self._streaks: dict[str, tuple[GradedRun, ...]] = {}
        #: Names of objects whose streak changed since the last `take_changed`.
        self._changed: set[str] = set()

    def record(self, name: str, tracker: HealthTracker) -> None:
        """Record the current streak of *tracker*."""
        streak, before = tracker.contradicting_streak(), self._streaks.pop(name, ())
        if streak:
            self._streaks[name] = streak
        if streak != before:
            self._changed.add(name)

    def remove(self, name: str) -> None:
        """Remove the streak of an object."""
        self._streaks.pop(name, None)
        self._changed.discard(name)

    def take_changed(self) -> dict[str, tuple[GradedRun, ...]]:
        """Return the streaks that changed since the last call, by name; an empty one has ended."""
        names, self._changed = self._changed, set()
        return {name: self._streaks.get(name, ()) for name in names}


def deciding_trackers(trackers: Sequence[HealthTracker]) -> Sequence[HealthTracker]:
    """Return the trackers, of the routes of one direction, that decide the health of the direction.

    A route with inconclusive runs is ignored once another route has changed its health since. Otherwise a reference
    mailbox that does not work would hide an outage, or keep an incident open.
    """
    changes = [at for s in trackers if not s.is_inconclusive and (at := s.state_since())]
    if not changes:
        return trackers
    return [s for s in trackers if not s.is_inconclusive or s.last_result_at() >= max(changes)]
