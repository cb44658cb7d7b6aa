"""Health of an agency's mail, from the health of its routes. No clock, no I/O.

A route is a pair of mailboxes, from one of which probe messages are sent to the other. The routes of a direction
(outbound, inbound, internal) decide the health of the direction, and the directions decide the incident type. A
*reference mailbox* is a mailbox of ours outside of the agencies. A run is *inconclusive* if a monitoring fault (a fault
of our own side) hides what it would show. Health is *stale* if no run has confirmed it since an interruption. A route's
*tracker* keeps its latest runs and its health. `deciding_trackers` omits routes whose inconclusive runs leave them with
an older health than other routes of the direction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.hours.elapsed import is_recent
from alerts.model.notification import IncidentType
from monitor.evaluation.flapping import Flapping, FlappingPolicy
from monitor.evaluation.health import combine
from monitor.evaluation.health_tracker import GradedRun, HealthTracker, deciding_trackers
from monitor.evaluation.incident_type import incident_type_of, outage_start, with_refused_sign_in
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.evaluation.timeline_builder import Observation, observe_agency
from monitor.model.health import UNHEALTHY, Grade, Health
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Party

#: Grades of runs that explain an unhealthy route, the worst health first.
_EXPLAINING_GRADES = {Health.DOWN: (Grade.BAD,), Health.DEGRADED: (Grade.BAD, Grade.SLOW)}

#: The agency's end of a route, whose operator must act. A failure counts only after the reference mailbox at the other
#: end is proven to work.
_RESPONSIBLE_PARTIES = {Direction.OUTBOUND: Party.SENDER, Direction.INBOUND: Party.RECIPIENT}


@dataclass(frozen=True, slots=True)
class CurrentCause:
    """Cause of the trouble in a direction: outcome of the runs, and the end of the route whose operator must act."""

    outcome: Outcome
    party: Party


class AgencyMail:
    """Routes of an agency, and the health of its mail."""

    def __init__(
        self, flapping: FlappingPolicy, is_refused: Callable[[MonitoredRoute], bool] = lambda _: False
    ) -> None:
        """Take *is_refused*, which returns whether a server refuses an account of a route at sign-in."""
        self._routes: dict[str, tuple[MonitoredRoute, HealthTracker]] = {}
        self._flapping = Flapping(flapping)
        self._is_refused = is_refused

    @property
    def routes(self) -> Collection[tuple[MonitoredRoute, HealthTracker]]:
        """The agency's routes with their health trackers."""
        return self._routes.values()

    def set_route(self, route: MonitoredRoute, tracker: HealthTracker) -> None:
        """Add or replace a route."""
        self._routes[route.name] = route, tracker

    def remove_route(self, route: str) -> None:
        """Remove a route."""
        del self._routes[route]

    def set_flapping_policy(self, flapping: FlappingPolicy) -> None:
        """Replace the flapping policy. The recorded falls (changes to down) stay."""
        self._flapping.policy = flapping

    def restore_falls(self, times: Iterable[datetime], *, is_down: bool, is_flapping: bool) -> None:
        """Restore the *times* at which the agency went down before a restart, oldest first, and the state."""
        self._flapping.restore(times, is_down=is_down, is_flapping=is_flapping)

    def directions(self) -> Mapping[Direction, Health]:
        """Return the last proven health of each direction that is probed, even if it is stale."""
        return {
            direction: combine(tracker.health for tracker in deciding_trackers(trackers))
            for direction, trackers in self._trackers_by_direction().items()
        }

    def current_directions(self) -> Mapping[Direction, Health]:
        """Return the health of each direction. An unhealthy route counts as unknown while its health is stale."""
        return {
            direction: combine(tracker.current_health for tracker in deciding_trackers(trackers))
            for direction, trackers in self._trackers_by_direction().items()
        }

    @property
    def is_current(self) -> bool:
        """Whether the health of every direction is current.

        A direction needs a route that is not stale, and no route with conclusive runs may be stale.
        """
        deciding = [deciding_trackers(trackers) for trackers in self._trackers_by_direction().values()]
        return not any(
            any(tracker.is_stale and not tracker.is_inconclusive for tracker in trackers)
            or all(tracker.is_stale for tracker in trackers)
            for trackers in deciding
        )

    def cause(self, direction: Direction) -> CurrentCause | None:
        """Return the most frequent cause of the latest runs on the unhealthy routes of a direction.

        `None` if the direction is healthy, or if no run since a restart explains its health. Causes are not restored
        after a restart.
        """
        trackers = deciding_trackers([tracker for r, tracker in self.routes if r.direction is direction])
        # If a route is down, only routes that are down explain the direction, not the degraded ones.
        worst_health = next(
            (health for health in _EXPLAINING_GRADES if any(tracker.health is health for tracker in trackers)), None
        )
        runs = [
            run
            for tracker in trackers
            if tracker.health is worst_health and (run := _explaining_run(tracker)) is not None
        ]
        # Latest first: on a tie, `max` takes the first.
        runs.sort(key=lambda run: run.started_at, reverse=True)
        causes = Counter(CurrentCause(run.outcome, _responsible_party(run, direction)) for run in runs)
        return max(causes, key=causes.__getitem__, default=None)

    def unhealthy_routes(self) -> Sequence[str]:
        """Return the names of unhealthy routes."""
        return [route.name for route, tracker in self.routes if tracker.health in UNHEALTHY]

    def trouble_since(self) -> datetime | None:
        """Return the earliest start of the bad or slow runs of an unhealthy route; `None`: no route is unhealthy."""
        unhealthy = [tracker for tracker in self._deciding_trackers() if tracker.health in UNHEALTHY]
        return min((at for tracker in unhealthy if (at := tracker.trouble_since())), default=None)

    def unobserved_directions(self) -> Sequence[Direction]:
        """Return the directions without any observation, because of a monitoring fault or refused accounts."""
        # This is called for every agency on every page. The result is nearly always empty, so that case must be fast.
        routes = self._routes.values()
        observed = [r.direction for r, tracker in routes if not tracker.is_inconclusive and not self._is_refused(r)]
        if len(observed) == len(routes):
            return ()
        return tuple(direction for direction in self._trackers_by_direction() if direction not in observed)

    def is_refused(self) -> bool:
        """Whether the accounts of all routes in some direction are refused."""
        accepted = {r.direction for r, _ in self.routes if not self._is_refused(r)}
        return any(r.direction not in accepted for r, _ in self.routes)

    def undecided_until(self, now: datetime) -> datetime | None:
        """Return until when the incident type is undecided while a route is down; `None` if it is decided.

        The type is undecided while another route fails and is not down yet, because the type may become sending,
        receiving, or both. It is also undecided while the health of a route that is down is stale. Without the wait,
        staff would be notified of two types within a minute. The wait is limited to the time of two repeated runs.
        """
        if all(tracker.health is not Health.DOWN for tracker in self._deciding_trackers()):
            return None
        down = [tracker for _, tracker in self.routes if tracker.health is Health.DOWN]
        # The wait begins when the health became stale, and when the first route went down; the later time counts.
        starts = [
            tracker.stale_since
            for tracker in down
            if tracker.stale_since and tracker.is_stale and not tracker.is_inconclusive
        ]
        if any(_is_undecided(tracker) for _, tracker in self.routes):
            starts.append(min((tracker.changed_at for tracker in down if tracker.changed_at), default=now))
        if not starts:
            return None
        max_wait: timedelta = max(2 * (r.probing.retry_interval + r.probing.timeouts.total) for r, _ in self.routes)
        deadline = max(starts) + max_wait
        # `is_recent` is false for a start in the future, which is from before the clock was set back.
        return deadline if is_recent(max(starts), now, max_wait) else None

    def observe(self) -> Observation:
        """Return the current observation for the timeline of minutes."""
        return observe_agency(self._trackers_by_direction(), self.up_since())

    def longest_proven_gap(self) -> timedelta:
        """Return how far two runs of a route may be apart to prove the state between them.

        One run between them may be missing.
        """
        return max(2 * route.probing.interval + route.probing.timeouts.total for route, _ in self.routes)

    def trouble(self, now: datetime, refused_since: datetime | None = None) -> ActiveProblem | None:
        """Return the problem by current health, and record it for flap detection; `None`: there is no problem.

        *refused_since*: since when the agency's server refuses sign-ins; `None`: it does not, or the accounts are at
        fault.
        """
        internal = [tracker for r, tracker in self.routes if r.direction is Direction.INTERNAL]
        incident_type = with_refused_sign_in(
            incident_type_of(self.current_directions(), internal), is_refused=refused_since is not None
        )
        if incident_type is None:
            return None
        unhealthy = [tracker for tracker in self._deciding_trackers() if tracker.current_health in UNHEALTHY]
        refused_times = [refused_since] if refused_since is not None else []
        self._flapping.record_fall(now)
        deciding = {
            direction: deciding_trackers(trackers) for direction, trackers in self._trackers_by_direction().items()
        }
        start = (
            refused_since
            if incident_type is IncidentType.SIGN_IN
            else outage_start(incident_type, deciding, self.longest_proven_gap())
        )
        return ActiveProblem(
            type=incident_type,
            since=start or min(at for tracker in unhealthy if (at := tracker.trouble_since())),
            latest=max([*refused_times, *(at for tracker in unhealthy if (at := tracker.unhealthy_since()))]),
            flapping=self._flapping.is_flapping,
        )

    def up_since(self) -> datetime | None:
        """Return since when every direction works; `None` if not all do.

        A direction with unknown health and only inconclusive runs is ignored: its reference mailboxes do not work.
        """
        by_direction = self._trackers_by_direction()
        for trackers in by_direction.values():
            health = combine(tracker.health for tracker in deciding_trackers(trackers))
            if health is not Health.UP and not (
                health is Health.UNKNOWN and all(tracker.is_inconclusive for tracker in trackers)
            ):
                return None
        up_trackers = [
            tracker for trackers in by_direction.values() for tracker in trackers if tracker.health is Health.UP
        ]
        return max((at for tracker in up_trackers if (at := tracker.working_since or tracker.changed_at)), default=None)

    def record_recovery(self, now: datetime) -> datetime | None:
        """Record a recovery. Return when flapping ends if the mail stays up; `None` if it does not flap."""
        # The last change of health is used, because it is restored after a restart, unlike the times of runs.
        changes = (
            tracker.changed_at for _, tracker in self.routes if tracker.health is Health.UP and tracker.changed_at
        )
        return self._flapping.record_recovery(max(changes, default=now), now)

    def _deciding_trackers(self) -> Sequence[HealthTracker]:
        return [
            tracker for trackers in self._trackers_by_direction().values() for tracker in deciding_trackers(trackers)
        ]

    def _trackers_by_direction(self) -> Mapping[Direction, Sequence[HealthTracker]]:
        trackers: dict[Direction, list[HealthTracker]] = {}
        for route, tracker in self.routes:
            trackers.setdefault(route.direction, []).append(tracker)
        return trackers


def _is_undecided(tracker: HealthTracker) -> bool:
    """Whether a route seems to fail, or its runs are inconclusive, and it is not down yet."""
    if tracker.health is Health.DOWN:
        return False
    is_failing = bool(tracker.recent) and tracker.recent[-1].grade in {Grade.BAD, Grade.PENDING}
    return is_failing or 0 < tracker.inconclusive_runs < tracker.policy.failure_threshold


def _explaining_run(tracker: HealthTracker) -> GradedRun | None:
    """Return the latest run of a route that explains its health."""
    grades = _EXPLAINING_GRADES[tracker.health]
    return max((run for run in tracker.recent if run.grade in grades), key=lambda run: run.started_at, default=None)


def _responsible_party(run: GradedRun, direction: Direction) -> Party:
    """Return the end of the route whose operator must act.

    On an internal route it is the end at which the run failed, or the recipient if the run did not fail.
    """
    failure = run.result.failure if run.result is not None else None
    return _RESPONSIBLE_PARTIES.get(direction) or (Party.RECIPIENT if failure is None else failure.party)
