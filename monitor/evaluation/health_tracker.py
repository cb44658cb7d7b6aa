"""Recent runs and health of one tracked object. No clock, no I/O.

A tracked object is a route, or a *fault source*: a part of the monitoring that may be at fault, such as our network. A
run is *pending* until evidence shows whether our own side caused its failure, and *inconclusive* (without a grade) if
our own side did (a monitoring fault). A *streak* is a sequence of runs with similar grades, which changes the health.
"""

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


#: Grades of runs that agree with a health. Degraded health may have alternating good and bad runs.
_AGREEING_GRADES = {
    Health.UP: (Grade.GOOD, Grade.SLOW),
    Health.DEGRADED: (Grade.GOOD, Grade.SLOW, Grade.BAD),
    Health.DOWN: (Grade.BAD,),
}

#: Grades of runs that confirm a stale health. A good run agrees with degraded health, but does not confirm it.
_CONFIRMING_GRADES = _AGREEING_GRADES | {Health.DEGRADED: (Grade.SLOW, Grade.BAD)}


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRun:
    """A run in memory, with its grade."""

    #: Id of the probe message's token, which identifies the run.
    token_id: str
    started_at: datetime
    outcome: Outcome
    grade: Grade
    #: Whole result of the run; `None`: the run was good, or is from before a restart. Results of good runs are dropped,
    #: because five for each of thousands of routes would need most of the service's memory.
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
        """Return the grade. For a pending run, it is the grade that the run gets if our own side is proven to work."""
        if self.grade is not Grade.PENDING:
            return self.grade
        return Grade.SLOW if self.outcome in ARRIVED else Grade.BAD


#: Token id, start and verdict of a run (`None`: pending). Creating a plain tuple for each run costs less than a class.
LatestRun = tuple[str, datetime, RunVerdict | None]


@dataclass(slots=True)
class HealthTracker:
    """Latest runs of a tracked object, and its health."""

    policy: HealthPolicy
    health: Health = Health.UNKNOWN
    #: When the health last changed; `None`: never.
    changed_at: datetime | None = None
    #: Start of the current streak of bad runs, of slow runs, and of good or slow runs; `None`: no such streak.
    failing_since: datetime | None = None
    slow_since: datetime | None = None
    working_since: datetime | None = None
    #: Graded and pending runs, oldest first. A deque for each of thousands of routes would need much more memory.
    recent: list[GradedRun] = field(default_factory=list)
    #: Start of the first run since the last arrival that a greylisting server deferred (SMTP 4xx); `None`: none.
    deferred_since: datetime | None = None
    #: Start of the last run with a final grade, and the number of inconclusive runs since.
    last_counted_at: datetime | None = None
    inconclusive_runs: int = 0
    #: The health is stale until a run that started later confirms it; `None`: it is current.
    stale_since: datetime | None = None
    latest_run: LatestRun | None = None

    @property
    def is_inconclusive(self) -> bool:
        """Whether so many runs were inconclusive that the health is out of date."""
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
        """The health; unknown while it is unhealthy and stale."""
        return Health.UNKNOWN if self.health in UNHEALTHY and self.is_stale else self.health

    def grades(self) -> list[Grade]:
        """Return the grades of the latest runs, oldest first."""
        return [run.grade for run in self.recent]

    def needs_another_run(self) -> bool:
        """Whether to run again soon. False if the last run is pending after inconclusive runs, as the next would be."""
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

    def record(self, result: ProbeResult, attribution: Attribution) -> None:
        """Record a finished run with its attribution."""
        _, latest_start, _ = self.latest_run or ("", _NEVER, None)
        if latest_start <= result.started_at:
            self.latest_run = result.token_id, result.started_at, attribution.verdict
        if attribution.grade is Grade.NONE:
            # A run without a fault domain was only deferred, and is not inconclusive.
            self.inconclusive_runs += attribution.domain is not FaultDomain.NOBODY
            return
        self._append(GradedRun.from_result(result, attribution.grade))

    def _append(self, run: GradedRun) -> None:
        self.recent.append(run)
        if run.grade is not Grade.PENDING:
            self.inconclusive_runs = 0
            self.last_counted_at = max(self.last_counted_at or _NEVER, run.started_at)
        self._drop_old_runs()

    def _drop_old_runs(self) -> None:
        # A pending run is kept, because it may become the start of an outage.
        while len(self.recent) > self.policy.undecided_limit and self.recent[0].grade is not Grade.PENDING:
            self.recent.pop(0)

    def attribute_pending(
        self, attribute: Callable[[ProbeResult], Attribution]
    ) -> Iterable[tuple[ProbeResult, Attribution]]:
        """Attribute pending runs again with *attribute*. Return the runs that are final now, with their attribution."""
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
        """Replace the run *before* by *after*, because its message arrived late."""
        if self.latest_run is not None:
            token_id, started_at, _ = self.latest_run
            if token_id == before.token_id:
                self.latest_run = token_id, started_at, RunVerdict.SLOW
        self.recent[self.recent.index(before)] = after

    def rewind(self, now: datetime, step: timedelta) -> None:
        """Move times after *now* back by *step*, because the clock was set back: no outage may begin in the future."""

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
            token_id, started_at, verdict = self.latest_run
            self.latest_run = token_id, min(started_at, now), verdict

    def evaluate(self, now: datetime) -> bool:
        """Update the streaks and the health by the latest runs, and return whether the health changed."""
        for run in self.recent:
            if run.grade is Grade.BAD:
                began_at = min(run.started_at, self.deferred_since or run.started_at)
                self.failing_since, self.working_since = self.failing_since or began_at, None
            elif run.grade in {Grade.GOOD, Grade.SLOW}:
                self.working_since, self.failing_since = self.working_since or run.started_at, None
                is_slow = run.grade is Grade.SLOW
                self.slow_since = (self.slow_since or run.started_at) if is_slow else None
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

        Pending runs are omitted, because their evidence is lost in a restart.
        """
        final = [run for run in self.recent if run.grade is not Grade.PENDING]
        if not final or not contradicts(final[-1].grade, self.health):
            return ()
        return tuple(final)

    def restore(self, streak: Iterable[GradedRun]) -> None:
        """Restore the runs of `contradicting_streak` from before a restart."""
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
        """Return the earlier of `trouble_since` and the last change of health: a streak may begin after the change."""
        return min((at for at in (self.trouble_since(), self.changed_at) if at is not None), default=None)

    def state_since(self) -> datetime | None:
        """Return since when the object has its current health; while it is down, the start of the first failed run."""
        return (self.failing_since or self.changed_at) if self.health is Health.DOWN else self.changed_at


class Streaks:
    """Latest runs of the few objects whose last run contradicts their health. The caller stores them for a restart."""

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
        """Return the streaks that changed since the last call, by name. An empty streak has ended."""
        names, self._changed = self._changed, set()
        return {name: self._streaks.get(name, ()) for name in names}


def deciding_trackers(trackers: Sequence[HealthTracker]) -> Sequence[HealthTracker]:
    """Return those *trackers*, of the routes of one direction, that decide the health of the direction.

    A route with inconclusive runs is ignored if the health of another route began after its last conclusive run.
    Otherwise a reference mailbox (of ours, at the other end of routes) that does not work would hide an outage, or keep
    an incident open.
    """
    changes = [at for tracker in trackers if not tracker.is_inconclusive and (at := tracker.state_since())]
    if not changes:
        return trackers
    return [tracker for tracker in trackers if not tracker.is_inconclusive or tracker.last_result_at() >= max(changes)]
