"""Health of an agency's mail by its routes: each direction, and what is wrong. No clock, no I/O."""

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

#: Grades of runs that explain an unhealthy route.
_SAY_WHY = {Health.DOWN: (Grade.BAD,), Health.DEGRADED: (Grade.BAD, Grade.SLOW)}

#: The party that must act, by direction. A run across sides counts only after the reference is proven.
_MUST_ACT = {Direction.OUTBOUND: Party.SENDER, Direction.INBOUND: Party.RECIPIENT}


@dataclass(frozen=True, slots=True)
class PresentCause:
    """Outcome of the current runs in a direction, and the party that must act."""

    outcome: Outcome
    party: Party


class AgencyMail:
    """Combines an agency's routes into directions, and these into an incident type."""

    def __init__(
        self, flapping: FlappingPolicy, is_refused: Callable[[MonitoredRoute], bool] = lambda _: False
    ) -> None:
        """*is_refused*: whether an account of a route is refused at sign-in."""
        self._routes: dict[str, tuple[MonitoredRoute, HealthTracker]] = {}
        self._flapping = Flapping(flapping)
        self._is_refused = is_refused

    @property
    def routes(self) -> Collection[tuple[MonitoredRoute, HealthTracker]]:
        """The agency's routes with their health trackers."""
        return self._routes.values()

    def judge_by(self, route: MonitoredRoute, subject: HealthTracker) -> None:
        """Add or replace a route."""
        self._routes[route.name] = route, subject

    def release(self, route: str) -> None:
        """Remove a route."""
        del self._routes[route]

    def govern(self, flapping: FlappingPolicy) -> None:
        """Replace the flapping policy; the recorded falls stay."""
        self._flapping.policy = flapping

    def restore_falls(self, times: Iterable[datetime], *, is_down: bool, is_unsteady: bool) -> None:
        """Restore falls from before a restart, oldest first, and whether an incident is open, and held open by flapping."""
        self._flapping.restore(times, is_down=is_down, is_unsteady=is_unsteady)

    def directions(self) -> Mapping[Direction, Health]:
        """Return the health of each direction that is probed."""
        return {
            direction: combine(s.health for s in with_a_say(subjects))
            for direction, subjects in self._by_direction().items()
        }

    def current_directions(self) -> Mapping[Direction, Health]:
        """Return the health of each direction without routes whose trouble is stale."""
        return {
            direction: combine(s.current_health for s in with_a_say(subjects))
            for direction, subjects in self._by_direction().items()
        }

    @property
    def is_current(self) -> bool:
        """Whether no health that counts is stale, except routes that are mute beside others that are not."""
        saying = [with_a_say(subjects) for subjects in self._by_direction().values()]
        return not any(
            any(s.is_stale and not s.is_mute for s in subjects) or all(s.is_stale for s in subjects)
            for subjects in saying
        )

    def cause(self, direction: Direction) -> PresentCause | None:
        """Return why a direction is down or degraded: the most frequent cause of its unhealthy routes' latest runs.

        `None` if it is neither, or no run has explained it: a restart restores the health only.
        """
        subjects = with_a_say([s for r, s in self.routes if r.direction is direction])
        # If the direction is down, only routes that are down explain it, not the slow ones.
        worst = next((health for health in _SAY_WHY if any(s.health is health for s in subjects)), None)
        runs = [run for s in subjects if s.health is worst and (run := _says_why(s)) is not None]
        # The latest among the most frequent.
        runs.sort(key=lambda run: run.started_at, reverse=True)
        causes = Counter(PresentCause(run.outcome, _must_act(run, direction)) for run in runs)
        return max(causes, key=causes.__getitem__, default=None)

    def troubled(self) -> Sequence[str]:
        """Return the names of unhealthy routes."""
        return [route.name for route, subject in self.routes if subject.health in IN_TROUBLE]

    def troubled_since(self) -> datetime | None:
        """Return since when the oldest trouble lasts; `None` without any."""
        troubled = [s for s in self._with_a_say() if s.health in IN_TROUBLE]
        return min((at for s in troubled if (at := s.trouble_since())), default=None)

    def unseen(self) -> Sequence[Direction]:
        """Return the directions without visible routes: because of our own fault, or a refused account."""
        # Called for every agency on every page, and nearly always empty.
        routes = self._routes.values()
        seen = [r.direction for r, s in routes if not s.is_mute and not self._is_refused(r)]
        if len(seen) == len(routes):
            return ()
        return tuple(direction for direction in self._by_direction() if direction not in seen)

    def is_refused(self) -> bool:
        """Whether the accounts of all routes in some direction are refused."""
        accepted = {r.direction for r, _ in self.routes if not self._is_refused(r)}
        return any(r.direction not in accepted for r, _ in self.routes)

    def spreading_until(self, now: datetime) -> datetime | None:
        """Return until when to wait for a failing but undecided route beside one that is down.

        Only then the type is clear (slow, sending, receiving, both). The wait is two confirmations long, so that staff
        are not notified twice within a minute. `None`: nothing to wait for. A route with a stale outage counts as
        undecided.
        """
        if all(s.health is not Health.DOWN for s in self._with_a_say()):
            return None
        down = [s for _, s in self.routes if s.health is Health.DOWN]
        # Wait for each route from the first outage that is known without it.
        since = [s.stale_since for s in down if s.stale_since and s.is_stale and not s.is_mute]
        if any(_is_undecided(s) for _, s in self.routes):
            since.append(min((s.changed_at for s in down if s.changed_at), default=now))
        if not since:
            return None
        patience: timedelta = max(2 * (r.probing.retry_interval + r.probing.patience.whole) for r, _ in self.routes)
        until = max(since) + patience
        # A later time was recorded before the clock was set back.
        return until if is_recent(max(since), now, patience) else None

    def sight(self) -> Observation:
        """Return the current observation and the last proven health."""
        return sight_of(self._by_direction(), self.up_since())

    def seen_within(self) -> timedelta:
        """Return the longest gap between two runs that prove the time between them.

        An inconclusive run leaves a gap.
        """
        return max(2 * route.probing.interval + route.probing.patience.whole for route, _ in self.routes)

    def trouble(self, now: datetime, refused_since: datetime | None = None) -> ActiveProblem | None:
        """Return what is wrong by current health, and record the fall; `None` if nothing is wrong.

        *refused_since*: since when sign-ins are refused, unless only our accounts are proven to be at fault.
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
            type=matter,
            since=began or min(at for s in troubled if (at := s.trouble_since())),
            latest=max([*refused, *(at for s in troubled if (at := s.fell_at()))]),
            flapping=self._flapping.is_unsteady,
        )

    def up_since(self) -> datetime | None:
        """Return since when every direction works; `None` if not all do.

        A direction that was never evaluated, and cannot be because its reference mailboxes are down, is ignored.
        """
        by_direction = self._by_direction()
        for subjects in by_direction.values():
            health = combine(s.health for s in with_a_say(subjects))
            if health is not Health.UP and not (health is Health.UNKNOWN and all(s.is_mute for s in subjects)):
                return None
        well = [s for subjects in by_direction.values() for s in subjects if s.health is Health.UP]
        return max((at for s in well if (at := s.working_since or s.changed_at)), default=None)

    def rose(self, now: datetime) -> datetime | None:
        """Record the recovery. Return until when it is doubted because of flapping; `None` if it is not."""
        # Use the time of evaluation, which survives a restart, not of the runs: a single failed run is no fall.
        evaluated = (s.changed_at for _, s in self.routes if s.health is Health.UP and s.changed_at)
        return self._flapping.rose(max(evaluated, default=now), now)

    def _with_a_say(self) -> Sequence[HealthTracker]:
        return [s for subjects in self._by_direction().values() for s in with_a_say(subjects)]

    def _by_direction(self) -> Mapping[Direction, Sequence[HealthTracker]]:
        found: dict[Direction, list[HealthTracker]] = {}
        for route, subject in self.routes:
            found.setdefault(route.direction, []).append(subject)
        return found


def _is_undecided(subject: HealthTracker) -> bool:
    """Whether a route is failing and not yet down."""
    if subject.health is Health.DOWN:
        return False
    fails = bool(subject.recent) and subject.recent[-1].grade in {Grade.BAD, Grade.PENDING}
    return fails or 0 < subject.silent < subject.policy.failure_threshold


def _says_why(subject: HealthTracker) -> GradedRun | None:
    """Return the latest run of a route that explains its health."""
    grades = _SAY_WHY[subject.health]
    return max((run for run in subject.recent if run.grade in grades), key=lambda run: run.started_at, default=None)


def _must_act(run: GradedRun, direction: Direction) -> Party:
    """Return the party that must act: within an agency where the run failed; for late mail the recipient."""
    failure = run.result.failure if run.result is not None else None
    return _MUST_ACT.get(direction) or (Party.RECIPIENT if failure is None else failure.party)
