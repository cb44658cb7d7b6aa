"""Recent runs and health of one object: a route or an own part. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

from monitor.evaluation.attribution import Attribution, FaultDomain, RunVerdict
from monitor.evaluation.evidence import ARRIVED
from monitor.evaluation.health import assess, has_just_failed, is_news, is_steady, is_suspicious
from monitor.model.health import IN_TROUBLE, Grade, Health, HealthPolicy
from probes.model.result import Outcome, ProbeResult

_NEVER = datetime.min.replace(tzinfo=UTC)


#: Grades that agree with a health; alternating results agree with degraded.
_AGREES = {
    Health.UP: (Grade.GOOD, Grade.SLOW),
    Health.DEGRADED: (Grade.GOOD, Grade.SLOW, Grade.BAD),
    Health.DOWN: (Grade.BAD,),
}

#: Grades that confirm a stale health: a good run does not confirm degradation.
_CONFIRMS = _AGREES | {Health.DEGRADED: (Grade.SLOW, Grade.BAD)}


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRun:
    """A run in memory. Of good runs only this is kept, and survives a restart."""

    token_id: str
    started_at: datetime
    outcome: Outcome
    grade: Grade
    #: The whole result of a run that was not good, until a restart. Five good results of each of thousands of routes
    #: would be most of the service's memory.
    result: ProbeResult | None = field(default=None, compare=False)

    @classmethod
    def of(cls, result: ProbeResult, grade: Grade) -> GradedRun:
        """Return the record of *result*."""
        return cls(
            token_id=result.token_id,
            started_at=result.started_at,
            outcome=result.outcome,
            grade=grade,
            result=None if grade is Grade.GOOD else result,
        )

    def at(self, started_at: datetime) -> GradedRun:
        """Return a copy with another start."""
        result = None if self.result is None else replace(self.result, started_at=started_at)
        return replace(self, started_at=started_at, result=result)

    def presumed(self) -> Grade:
        """Return the grade; for a pending run the grade that it gets with evidence."""
        if self.grade is not Grade.PENDING:
            return self.grade
        return Grade.SLOW if self.outcome in ARRIVED else Grade.BAD


@dataclass(slots=True)
class HealthTracker:
    """Latest runs of an object and its health."""

    policy: HealthPolicy
    health: Health = Health.UNKNOWN
    changed_at: datetime | None = None
    #: Start of the run that began the current streak of failures, slowness, successes.
    failing_since: datetime | None = None
    slow_since: datetime | None = None
    working_since: datetime | None = None
    #: Oldest first. A list: a deque for each of thousands of routes would need more memory than all else.
    recent: list[GradedRun] = field(default_factory=list)
    #: Since when nothing has arrived because of deferrals.
    deferred_since: datetime | None = None
    #: Start of the last run that counted, and the number of inconclusive runs since.
    spoke_at: datetime | None = None
    silent: int = 0
    #: The health is stale until a run after this confirms it; `None`: current.
    stale_since: datetime | None = None
    #: Token, start and verdict of the latest run.
    latest: tuple[str, datetime, RunVerdict | None] | None = None

    @property
    def is_mute(self) -> bool:
        """Whether a streak of runs was inconclusive because of our own fault."""
        return self.silent >= self.policy.failure_threshold

    def begin_anew(self, policy: HealthPolicy) -> None:
        """Drop the runs of a replaced object; the health stays until new runs decide."""
        now = HealthTracker(policy=policy, health=self.health, changed_at=self.changed_at, stale_since=self.stale_since)
        for each in fields(self):
            setattr(self, each.name, getattr(now, each.name))

    @property
    def is_stale(self) -> bool:
        """Whether the health is from before a start or a pause and not confirmed since."""
        if self.stale_since is None or self.health is Health.UNKNOWN:
            return False
        confirming = _CONFIRMS[self.health]
        return not any(run.grade in confirming and run.started_at >= self.stale_since for run in self.recent)

    @property
    def current_health(self) -> Health:
        """The health; unknown if it is unhealthy and stale."""
        return Health.UNKNOWN if self.health in IN_TROUBLE and self.is_stale else self.health

    def grades(self) -> list[Grade]:
        """Return the grades of the latest runs, oldest first."""
        return [run.grade for run in self.recent]

    def is_suspicious(self) -> bool:
        """Whether another run soon would tell more. Not while it is mute, because none does."""
        if self.is_mute and self.recent and self.recent[-1].grade is Grade.PENDING:
            return False
        return is_suspicious(self._presumed(), self.health, self.policy)

    def has_just_failed(self) -> bool:
        """Whether the latest run is the first failed one. False while it is mute."""
        return not self.is_mute and has_just_failed(self._presumed(), self.health)

    def is_steady(self) -> bool:
        """Whether the latest runs were all good."""
        return is_steady(self._presumed())

    def _presumed(self) -> list[Grade]:
        return [run.presumed() for run in self.recent]

    def note(self, result: ProbeResult, verdict: Attribution) -> None:
        """Record a finished run."""
        if self.latest is None or self.latest[1] <= result.started_at:
            self.latest = result.token_id, result.started_at, verdict.verdict
        if verdict.grade is Grade.NONE:
            self.silent += verdict.blame is not FaultDomain.NOBODY
            return
        self._remember(GradedRun.of(result, verdict.grade))

    def _remember(self, run: GradedRun) -> None:
        self.recent.append(run)
        if run.grade is not Grade.PENDING:
            self.silent = 0
            self.spoke_at = max(self.spoke_at or _NEVER, run.started_at)
        self._forget()

    def _forget(self) -> None:
        # Keep pending runs, or the start of an outage would be lost.
        while len(self.recent) > self.policy.patience and self.recent[0].grade is not Grade.PENDING:
            self.recent.pop(0)

    def weigh_again(self, weigh: Callable[[ProbeResult], Attribution]) -> Iterable[tuple[ProbeResult, Attribution]]:
        """Attribute pending runs again; yield those that are final now."""
        before = list(self.recent)
        self.recent.clear()
        settled = []
        for run in before:
            if run.grade is not Grade.PENDING or run.result is None:
                self.recent.append(run)
                continue
            self.note(run.result, again := weigh(run.result))
            if again.grade is not Grade.PENDING:
                settled.append((run.result, again))
        return settled

    def replace(self, before: GradedRun, after: GradedRun) -> None:
        """Replace a run whose message arrived late."""
        if self.latest is not None and self.latest[0] == before.token_id:
            self.latest = *self.latest[:2], RunVerdict.SLOW
        self.recent[self.recent.index(before)] = after

    def rewind(self, now: datetime, back: timedelta) -> None:
        """Move times after *now* by *back*: the clock was set back, and outages would begin in the future."""

        def moved(at: datetime | None) -> datetime | None:
            return at if at is None or at <= now else min(at - back, now)

        for name in (
            "changed_at",
            "failing_since",
            "slow_since",
            "working_since",
            "deferred_since",
            "spoke_at",
            "stale_since",
        ):
            setattr(self, name, moved(getattr(self, name)))
        self.recent = [run if run.started_at <= now else run.at(min(run.started_at - back, now)) for run in self.recent]
        if self.latest is not None:
            token_id, at, verdict = self.latest
            self.latest = token_id, min(at, now), verdict

    def settle(self, now: datetime) -> bool:
        """Evaluate again; return whether the health changed."""
        for run in self.recent:
            if run.grade is Grade.BAD:
                began = min(run.started_at, self.deferred_since or run.started_at)
                self.failing_since, self.working_since = self.failing_since or began, None
            elif run.grade in {Grade.GOOD, Grade.SLOW}:
                self.working_since, self.failing_since = self.working_since or run.started_at, None
                slow = run.grade is Grade.SLOW
                self.slow_since = (self.slow_since or run.started_at) if slow else None
        self._forget()
        health = assess(self.grades(), self.health, self.policy)
        has_changed = health is not self.health
        if has_changed:
            self.health, self.changed_at = health, now
        if not self.is_stale:
            self.stale_since = None
        return has_changed

    def streak(self) -> tuple[GradedRun, ...]:
        """Return the latest runs, oldest first, if the last one contradicts the health; otherwise nothing.

        Pending runs are left out, because their evidence is lost in a restart.
        """
        said = [run for run in self.recent if run.grade is not Grade.PENDING]
        if not said or not is_news(said[-1].grade, self.health):
            return ()
        return tuple(said)

    def restore(self, streak: Iterable[GradedRun]) -> None:
        """Restore the streak from before a restart."""
        for run in streak:
            self._remember(run)

    def last_word(self) -> datetime:
        """Return the start of the last run that counted or, after a restart, the time of evaluation."""
        return self.spoke_at or self.changed_at or _NEVER

    def said_at(self) -> datetime | None:
        """Return the start of the last run that agrees with the health; `None` if there is none in this process."""
        agrees = _AGREES.get(self.health, ())
        return next((run.started_at for run in reversed(self.recent) if run.grade in agrees), None)

    def trouble_since(self) -> datetime | None:
        """Return since when it is unhealthy, as far as known."""
        return self.failing_since or self.slow_since or self.changed_at

    def fell_at(self) -> datetime | None:
        """Return the start of its trouble, without regard to single good runs."""
        return min((at for at in (self.trouble_since(), self.changed_at) if at is not None), default=None)

    def turned_at(self) -> datetime | None:
        """Return since when it has its current state: for an outage, the first failed run."""
        return (self.failing_since or self.changed_at) if self.health is Health.DOWN else self.changed_at


class Streaks:
    """Streaks that a restart restores: of the few objects whose latest runs contradict their health."""

    def __init__(self) -> None:
        self._streaks: dict[str, tuple[GradedRun, ...]] = {}
        #: Names with a changed streak since the last call.
        self._others: set[str] = set()

    def note(self, name: str, subject: HealthTracker) -> None:
        """Record the current streak of *subject*."""
        streak, before = subject.streak(), self._streaks.pop(name, ())
        if streak:
            self._streaks[name] = streak
        if streak != before:
            self._others.add(name)

    def forget(self, name: str) -> None:
        """Remove an object."""
        self._streaks.pop(name, None)
        self._others.discard(name)

    def others(self) -> dict[str, tuple[GradedRun, ...]]:
        """Return the changed streaks since the last call, by name; an empty one is over."""
        names, self._others = self._others, set()
        return {name: self._streaks.get(name, ()) for name in names}


def with_a_say(subjects: Sequence[HealthTracker]) -> Sequence[HealthTracker]:
    """Return the routes that decide the health of a direction.

    A mute route is ignored once another route of the direction has newer results. Otherwise a dead reference would hide
    an outage, or hold one open.
    """
    turned = [at for s in subjects if not s.is_mute and (at := s.turned_at())]
    if not turned:
        return subjects
    return [s for s in subjects if not s.is_mute or s.last_word() >= max(turned)]
