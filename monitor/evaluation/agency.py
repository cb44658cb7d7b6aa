"""Judge an agency's mail by its routes: how each direction is, and what is told to be wrong. No clock, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.hours.elapsed import is_recent
from alerts.model.notification import IncidentType
from monitor.evaluation.flapping import Flapping, FlappingPolicy
from monitor.evaluation.health import combine
from monitor.evaluation.health_tracker import GradedRun, HealthTracker, with_a_say
from monitor.evaluation.incident_type import began_at, matter_of, with_sign_in
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.evaluation.timeline_builder import Observation, sight_of
from monitor.model.health import IN_TROUBLE, Grade, Health
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Party

#: What runs of a route in trouble say of why it is.
_SAY_WHY = {Health.DOWN: (Grade.BAD,), Health.DEGRADED: (Grade.BAD, Grade.SLOW)}

#: Whose server is to be looked at. Across sides a reference has been proven, or nothing were held against the agency.
_MUST_ACT = {Direction.OUTBOUND: Party.SENDER, Direction.INBOUND: Party.RECIPIENT}


@dataclass(frozen=True, slots=True)
class PresentCause:
    """How runs in a direction end at present, and at which end of the route somebody must act."""

    outcome: Outcome
    party: Party


class AgencyMail:
    """Joins an agency's routes into directions, and these into what is wrong."""

    def __init__(
        self, flapping: FlappingPolicy, is_refused: Callable[[MonitoredRoute], bool] = lambda _: False
    ) -> None:
        """*is_refused*: whether an account that a route signs in with is judged to be refused now."""
        self._routes: dict[str, tuple[MonitoredRoute, HealthTracker]] = {}
        self._flapping = Flapping(flapping)
        self._is_refused = is_refused

    @property
    def routes(self) -> Collection[tuple[MonitoredRoute, HealthTracker]]:
        """Its routes, each with how it is judged itself."""
        return self._routes.values()

    def judge_by(self, route: MonitoredRoute, subject: HealthTracker) -> None:
        """Judge by *route* from now on, too, or as it is now."""
        self._routes[route.name] = route, subject

    def release(self, route: str) -> None:
        """Judge by a route no more."""
        del self._routes[route]

    def govern(self, flapping: FlappingPolicy) -> None:
        """Believe by *flapping* from now on; when it fell is not forgotten."""
        self._flapping.policy = flapping

    def restore_falls(self, times: Iterable[datetime], *, is_down: bool, is_unsteady: bool) -> None:
        """Take up when it fell before a restart, oldest first, and whether it has an incident still, that is held open."""
        self._flapping.restore(times, is_down=is_down, is_unsteady=is_unsteady)

    def directions(self) -> Mapping[Direction, Health]:
        """Return how it is judged in each direction that is probed."""
        return {
            direction: combine(s.health for s in with_a_say(subjects))
            for direction, subjects in self._by_direction().items()
        }

    def current_directions(self) -> Mapping[Direction, Health]:
        """Return how each direction is judged without routes that are in trouble by a stale judgement."""
        return {
            direction: combine(s.current_health for s in with_a_say(subjects))
            for direction, subjects in self._by_direction().items()
        }

    @property
    def is_current(self) -> bool:
        """Whether no judgement that has a say is stale, apart from routes that see nothing beside others that do."""
        saying = [with_a_say(subjects) for subjects in self._by_direction().values()]
        return not any(
            any(s.is_stale and not s.is_mute for s in subjects) or all(s.is_stale for s in subjects)
            for subjects in saying
        )

    def cause(self, direction: Direction) -> PresentCause | None:
        """Return why a direction is down or degraded: as most of its routes say that are, by the latest run of each.

        `None` if it is neither, or no run has said so yet: after a restart only the judgement is known.
        """
        subjects = with_a_say([s for r, s in self.routes if r.direction is direction])
        # Of one that is down the others may be slow: what makes it down is the news.
        worst = next((health for health in _SAY_WHY if any(s.health is health for s in subjects)), None)
        runs = [run for s in subjects if s.health is worst and (run := _says_why(s)) is not None]
        # Of those that are as frequent the latest.
        runs.sort(key=lambda run: run.started_at, reverse=True)
        causes = Counter(PresentCause(run.outcome, _must_act(run, direction)) for run in runs)
        return max(causes, key=causes.__getitem__, default=None)

    def troubled(self) -> Sequence[str]:
        """Return the routes that are judged to be in trouble, by name."""
        return [route.name for route, subject in self.routes if subject.health in IN_TROUBLE]

    def troubled_since(self) -> datetime | None:
        """Return since when the oldest of what is in trouble is; `None` if nothing is."""
        troubled = [s for s in self._with_a_say() if s.health in IN_TROUBLE]
        return min((at for s in troubled if (at := s.trouble_since())), default=None)

    def unseen(self) -> Sequence[Direction]:
        """Return the directions of which no route says anything now: for a fault of ours, or because its account is refused."""
        # Asked of every agency for every page, and nearly always none.
        routes = self._routes.values()
        seen = [r.direction for r, s in routes if not s.is_mute and not self._is_refused(r)]
        if len(seen) == len(routes):
            return ()
        return tuple(direction for direction in self._by_direction() if direction not in seen)

    def is_refused(self) -> bool:
        """Whether in some direction the accounts of all routes are refused."""
        accepted = {r.direction for r, _ in self.routes if not self._is_refused(r)}
        return any(r.direction not in accepted for r, _ in self.routes)

    def spreading_until(self, now: datetime) -> datetime | None:
        """Return until when it is waited for a route that is failing and not judged yet, beside one that is down.

        What to say (slow, cannot send, cannot receive, both) is clear only then; for two confirmations that is waited
        for, so that staff are not told twice within a minute. `None` when nothing is waited for. A route that is down by
        a stale judgement is waited for as one that is not judged yet.
        """
        if all(s.health is not Health.DOWN for s in self._with_a_say()):
            return None
        down = [s for _, s in self.routes if s.health is Health.DOWN]
        # Each is waited for since something was first known to be down without it.
        since = [s.stale_since for s in down if s.stale_since and s.is_stale and not s.is_mute]
        if any(_is_undecided(s) for _, s in self.routes):
            since.append(min((s.changed_at for s in down if s.changed_at), default=now))
        if not since:
            return None
        patience: timedelta = max(2 * (r.probing.confirmation + r.probing.patience.whole) for r, _ in self.routes)
        until = max(since) + patience
        # What lies ahead was before the clock was set back.
        return until if is_recent(max(since), now, patience) else None

    def sight(self) -> Observation:
        """Return what is to be seen of it now, and was proven last."""
        return sight_of(self._by_direction(), self.well_since())

    def seen_within(self) -> timedelta:
        """Return how far apart two runs may be that prove the time between them: where one came to nothing is a gap."""
        return max(2 * route.probing.interval + route.probing.patience.whole for route, _ in self.routes)

    def trouble(self, now: datetime, refused_since: datetime | None = None) -> ActiveProblem | None:
        """Return what is wrong by judgements that are current, and note that it fell; `None` if nothing is.

        *refused_since*: when sign-ins began to be refused of which it is not proven that only our accounts are.
        """
        internal = [s for r, s in self.routes if r.direction is Direction.INTERNAL]
        matter = with_sign_in(matter_of(self.current_directions(), internal), is_refused=refused_since is not None)
        if matter is None:
            return None
        troubled = [s for s in self._with_a_say() if s.current_health in IN_TROUBLE]
        refused = [refused_since] if refused_since is not None else []
        self._flapping.fell(now)
        heard = {direction: with_a_say(subjects) for direction, subjects in self._by_direction().items()}
        began = refused_since if matter is IncidentType.SIGN_IN else began_at(matter, heard, self.seen_within())
        return ActiveProblem(
            matter=matter,
            since=began or min(at for s in troubled if (at := s.trouble_since())),
            latest=max([*refused, *(at for s in troubled if (at := s.fell_at()))]),
            unsteady=self._flapping.is_unsteady,
        )

    def well_since(self) -> datetime | None:
        """Return since when every direction is proven to work; `None` if not all are.

        A direction that was never judged, and cannot be because our references there are dead, is not waited for.
        """
        by_direction = self._by_direction()
        for subjects in by_direction.values():
            health = combine(s.health for s in with_a_say(subjects))
            if health is not Health.UP and not (health is Health.UNKNOWN and all(s.is_mute for s in subjects)):
                return None
        well = [s for subjects in by_direction.values() for s in subjects if s.health is Health.UP]
        return max((at for s in well if (at := s.working_since or s.changed_at)), default=None)

    def rose(self, now: datetime) -> datetime | None:
        """Note that it is well; return until when that is not believed, because it went down and up too often lately."""
        # By when that was judged, which outlasts a restart, and not by the runs: a single one that fails is no fall.
        judged = (s.changed_at for _, s in self.routes if s.health is Health.UP and s.changed_at)
        return self._flapping.rose(max(judged, default=now), now)

    def _with_a_say(self) -> Sequence[HealthTracker]:
        return [s for subjects in self._by_direction().values() for s in with_a_say(subjects)]

    def _by_direction(self) -> Mapping[Direction, Sequence[HealthTracker]]:
        found: dict[Direction, list[HealthTracker]] = {}
        for route, subject in self.routes:
            found.setdefault(route.direction, []).append(subject)
        return found


def _is_undecided(subject: HealthTracker) -> bool:
    """Whether a route is failing and not judged to be down yet."""
    if subject.health is Health.DOWN:
        return False
    fails = bool(subject.recent) and subject.recent[-1].grade in {Grade.BAD, Grade.PENDING}
    return fails or 0 < subject.silent < subject.policy.failures_to_down


def _says_why(subject: HealthTracker) -> GradedRun | None:
    """Return the latest run of a route that says why it is judged as it is."""
    grades = _SAY_WHY[subject.health]
    return max((run for run in subject.recent if run.grade in grades), key=lambda run: run.started_at, default=None)


def _must_act(run: GradedRun, direction: Direction) -> Party:
    """Return at which end it is; inside an agency where it failed, and of what came late whom it came to."""
    failure = run.result.failure if run.result is not None else None
    return _MUST_ACT.get(direction) or (Party.RECIPIENT if failure is None else failure.party)
