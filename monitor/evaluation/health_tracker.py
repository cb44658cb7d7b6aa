"""The recent past of one thing that is judged: a route, or something of ours. No clock, no I/O."""

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


#: What each run says that is no reason to judge otherwise: of what is now this and now that any.
_AGREES = {
    Health.UP: (Grade.GOOD, Grade.SLOW),
    Health.DEGRADED: (Grade.GOOD, Grade.SLOW, Grade.BAD),
    Health.DOWN: (Grade.BAD,),
}

#: What a run says that confirms a stale judgement: a good run does not confirm that something is slow.
_CONFIRMS = _AGREES | {Health.DEGRADED: (Grade.SLOW, Grade.BAD)}


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRun:
    """What is remembered of a run: of nearly all that were good this much, which outlives a restart."""

    token_id: str
    started_at: datetime
    outcome: Outcome
    grade: Grade
    #: All of it where it was not good, until a restart. Of five good runs of each of thousands of routes, it would be
    #: most of what the service holds, and most of what Python's collector looks at each time.
    result: ProbeResult | None = field(default=None, compare=False)

    @classmethod
    def of(cls, result: ProbeResult, grade: Grade) -> GradedRun:
        """Return what is remembered of *result*."""
        return cls(
            token_id=result.token_id,
            started_at=result.started_at,
            outcome=result.outcome,
            grade=grade,
            result=None if grade is Grade.GOOD else result,
        )

    def at(self, started_at: datetime) -> GradedRun:
        """Return it as one that began then."""
        result = None if self.result is None else replace(self.result, started_at=started_at)
        return replace(self, started_at=started_at, result=result)

    def presumed(self) -> Grade:
        """Return its grade or, while it is pending, the one that it gets if we are proven well."""
        if self.grade is not Grade.PENDING:
            return self.grade
        return Grade.SLOW if self.outcome in ARRIVED else Grade.BAD


@dataclass(slots=True)
class HealthTracker:
    """What the latest runs showed of it, and how it is judged."""

    policy: HealthPolicy
    health: Health = Health.UNKNOWN
    changed_at: datetime | None = None
    #: Start of the run that began the present streak of failures; of slowness; of successes.
    failing_since: datetime | None = None
    slow_since: datetime | None = None
    working_since: datetime | None = None
    #: The oldest first. Few: a deque of its own for each of thousands of routes would take more than all else of it.
    recent: list[GradedRun] = field(default_factory=list)
    #: Since when nothing has arrived because the server asks to come again.
    deferred_since: datetime | None = None
    #: Start of the last run that counted, and how many have come to nothing since.
    spoke_at: datetime | None = None
    silent: int = 0
    #: What was judged before is stale until a run that has begun since then agrees with it; `None`: it is current.
    stale_since: datetime | None = None
    #: Token of the latest run that ended here, when that began, and what it is counted as.
    latest: tuple[str, datetime, RunVerdict | None] | None = None

    @property
    def is_mute(self) -> bool:
        """Whether a streak of runs said nothing, for a fault of ours."""
        return self.silent >= self.policy.failures_to_down

    def begin_anew(self, policy: HealthPolicy) -> None:
        """Forget what runs have shown, because it is another thing now; how it was judged stands until that is known."""
        now = HealthTracker(policy=policy, health=self.health, changed_at=self.changed_at, stale_since=self.stale_since)
        for each in fields(self):
            setattr(self, each.name, getattr(now, each.name))

    @property
    def is_stale(self) -> bool:
        """Whether its health was judged before a start or a pause, and no run has confirmed it since."""
        if self.stale_since is None or self.health is Health.UNKNOWN:
            return False
        confirming = _CONFIRMS[self.health]
        return not any(run.grade in confirming and run.started_at >= self.stale_since for run in self.recent)

    @property
    def current_health(self) -> Health:
        """Its health; unknown while it is in trouble by a judgement that is stale."""
        return Health.UNKNOWN if self.health in IN_TROUBLE and self.is_stale else self.health

    def grades(self) -> list[Grade]:
        """Return what the latest runs said, oldest first."""
        return [run.grade for run in self.recent]

    def is_suspicious(self) -> bool:
        """Whether another run soon would tell more. Not while it cannot see: none of its runs comes to anything then."""
        if self.is_mute and self.recent and self.recent[-1].grade is Grade.PENDING:
            return False
        return is_suspicious(self._presumed(), self.health, self.policy)

    def has_just_failed(self) -> bool:
        """Whether its latest run is the first that failed. While it cannot see, each would be."""
        return not self.is_mute and has_just_failed(self._presumed(), self.health)

    def is_steady(self) -> bool:
        """Whether its latest runs were all good."""
        return is_steady(self._presumed())

    def _presumed(self) -> list[Grade]:
        return [run.presumed() for run in self.recent]

    def note(self, result: ProbeResult, verdict: Attribution) -> None:
        """Remember the end of a run."""
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
        # What is pending is kept until it is clear, or the beginning of an outage would be forgotten.
        while len(self.recent) > self.policy.patience and self.recent[0].grade is not Grade.PENDING:
            self.recent.pop(0)

    def weigh_again(self, weigh: Callable[[ProbeResult], Attribution]) -> Iterable[tuple[ProbeResult, Attribution]]:
        """Weigh what is pending; return what is not any more."""
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
        """Remember a run otherwise: it has come late."""
        if self.latest is not None and self.latest[0] == before.token_id:
            self.latest = *self.latest[:2], RunVerdict.SLOW
        self.recent[self.recent.index(before)] = after

    def rewind(self, now: datetime, back: timedelta) -> None:
        """Move by *back* what lies ahead of *now*: the clock was set back, and outages would have begun in the future."""

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
        """Judge again; return whether the health changed."""
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
        """Return the latest runs, oldest first, where the last of them contradicts how it is judged; otherwise nothing.

        What waits for a proof is left out: after a restart nobody knows what has been proven since it began.
        """
        said = [run for run in self.recent if run.grade is not Grade.PENDING]
        if not said or not is_news(said[-1].grade, self.health):
            return ()
        return tuple(said)

    def restore(self, streak: Iterable[GradedRun]) -> None:
        """Take up the streak of before a restart."""
        for run in streak:
            self._remember(run)

    def last_word(self) -> datetime:
        """Return when it last said anything: the start of that run or, after a restart, when it was judged."""
        return self.spoke_at or self.changed_at or _NEVER

    def said_at(self) -> datetime | None:
        """Return the start of the last run that says what it is judged to be; `None`: none has, in this process."""
        agrees = _AGREES.get(self.health, ())
        return next((run.started_at for run in reversed(self.recent) if run.grade in agrees), None)

    def trouble_since(self) -> datetime | None:
        """Return when what is wrong with it began, as far as is known."""
        return self.failing_since or self.slow_since or self.changed_at

    def fell_at(self) -> datetime | None:
        """Return when its trouble began, however often it has worked for a moment since: it was not judged well."""
        return min((at for at in (self.trouble_since(), self.changed_at) if at is not None), default=None)

    def turned_at(self) -> datetime | None:
        """Return when it became what it is now: of an outage, its first failing run."""
        return (self.failing_since or self.changed_at) if self.health is Health.DOWN else self.changed_at


class Streaks:
    """What a restart should take up: the streaks of the few whose latest runs contradict how they are judged."""

    def __init__(self) -> None:
        self._streaks: dict[str, tuple[GradedRun, ...]] = {}
        #: Whose streak is another than when this was last asked.
        self._others: set[str] = set()

    def note(self, name: str, subject: HealthTracker) -> None:
        """Note how the latest runs of *subject* are now."""
        streak, before = subject.streak(), self._streaks.pop(name, ())
        if streak:
            self._streaks[name] = streak
        if streak != before:
            self._others.add(name)

    def forget(self, name: str) -> None:
        """Forget what is judged no more."""
        self._streaks.pop(name, None)
        self._others.discard(name)

    def others(self) -> dict[str, tuple[GradedRun, ...]]:
        """Return those that have changed since this was last asked, by name; an empty one is over."""
        names, self._others = self._others, set()
        return {name: self._streaks.get(name, ()) for name in names}


def with_a_say(subjects: Sequence[HealthTracker]) -> Sequence[HealthTracker]:
    """Return the routes of a direction that decide how it is judged.

    While a reference of ours is dead, its route cannot see: what it last said is out of date once another route of the
    same direction has been judged anew. Otherwise a dead reference would hide an outage for as long as it is dead, and
    keep one open that is over.
    """
    turned = [at for s in subjects if not s.is_mute and (at := s.turned_at())]
    if not turned:
        return subjects
    return [s for s in subjects if not s.is_mute or s.last_word() >= max(turned)]
