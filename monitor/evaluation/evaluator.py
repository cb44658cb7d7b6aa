"""Evaluation of finished runs: health of routes and agencies, and of fault sources. No clock, no I/O.

A *run* is one probe message on a route (from one mailbox to another). A *fault source* is a part of the monitoring
itself that can make runs fail: our network, a *reference mailbox* (ours, outside of the agencies) or the account of a
probed mailbox. *Control runs*, between two reference mailboxes, show which of these mailboxes work.

Each run is attributed to a fault domain (the agency, or a part of the monitoring) when it ends
(`attribution.attribute`). *Evidence* proves that our network or a reference mailbox works. A run whose attribution
needs evidence is *pending*, and is attributed again when the evidence arrives (`pending.PendingRuns`). A final verdict
does not change. There are thousands of routes and pending runs, so the cost of the methods that are called after each
run (`take_changed_…`, `routes_to_run_soon`) depends only on the number of changes.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from types import MappingProxyType

from alerts.hours.elapsed import TOLERANCE
from monitor.evaluation.agency import AgencyMail
from monitor.evaluation.attribution import Attribution, RunVerdict, attribute, required_evidence
from monitor.evaluation.evidence import ARRIVED, NETWORK, EvidenceCollector, evidence_of, is_prompt
from monitor.evaluation.flapping import Flapping, FlappingPolicy
from monitor.evaluation.health import contradicts
from monitor.evaluation.health_tracker import GradedRun, HealthTracker, Streaks
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem, FaultSource, MonitoringFaultDetector
from monitor.evaluation.pending import PendingRun, PendingRuns
from monitor.model.difference import changes_path, replaced_mailboxes
from monitor.model.health import UNHEALTHY, Grade, Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Phase, ProbeResult, RefusalCause

#: Maximum delay of a control run that a pending run needs. Until then, the failure of the pending run does not count.
_CONTROL_RUN_DELAY = timedelta(seconds=5)

#: Maximum number of routes whose pending runs are attributed in one step. When a reference mailbox recovers, thousands
#: of runs get their evidence at once; attributing all of them would block the event loop for half a second.
ATTRIBUTIONS_PER_STEP = 50

#: Prefix of the names of fault sources in stored states and dedup keys, to distinguish them from routes and agencies.
_SOURCE_PREFIX = "ours/"

#: Agency ("" for a control run), direction and verdict of a run.
VerdictKey = tuple[str, Direction, RunVerdict]


class HealthEvaluator:
    """Processes finished runs and evaluates health."""

    def __init__(
        self, routes: Iterable[MonitoredRoute], policy: HealthPolicy, flapping: FlappingPolicy | None = None
    ) -> None:
        """Take the *policy* for fault sources (each route has its own), and the *flapping* policy for all incidents."""
        self._routes: dict[str, MonitoredRoute] = {}
        self._trackers: dict[str, HealthTracker] = {}
        self._flapping = flapping or FlappingPolicy()
        #: Mail of each agency with a route, by code. The control routes have the key "".
        self._agencies: dict[str, AgencyMail] = {}
        self._evidence = EvidenceCollector()
        self._fault_detector = MonitoringFaultDetector(self._evidence.evidence(), policy)
        #: Flap detection of each fault source that was ever down.
        self._source_flapping: dict[FaultSource, Flapping] = {}
        #: Fault sources that work again, but still count as flapping.
        self._flapping_sources: set[FaultSource] = set()
        #: Latest result of each control route.
        self._control_results: dict[str, ProbeResult | None] = {}
        self._pending = PendingRuns()
        #: Routes with pending runs that may have evidence now. The dict is an ordered set.
        self._to_attribute: dict[str, None] = {}
        #: Routes with a pending run that was attributed, for the next `routes_to_run_soon`. The dict is an ordered set.
        self._newly_attributed: dict[str, None] = {}
        #: Heap of (time, agency): the status of the agency may change at that time without a run.
        self._timed_agencies: list[tuple[datetime, str]] = []
        #: The latest time passed in.
        self._latest_time: datetime | None = None
        #: Agencies and routes for the next `take_changed_agencies` and `take_changed_healths`.
        self._changed_agencies: set[str] = set()
        self._changed_healths: set[str] = set()
        self._streaks = Streaks()
        #: Final verdicts since the last `take_verdict_counts`.
        self._verdict_counts: Counter[VerdictKey] = Counter()
        self.add_routes(routes)

    @property
    def routes(self) -> Mapping[str, MonitoredRoute]:
        """The evaluated routes by name: a live view."""
        return MappingProxyType(self._routes)

    # -- routes and agencies -------------------------------------------------------------------------------------

    def add_routes(self, routes: Iterable[MonitoredRoute]) -> None:
        """Add *routes* with unknown health. The `restore` methods set their earlier state."""
        for route in routes:
            self._routes[route.name] = route
            tracker = self._trackers[route.name] = HealthTracker(policy=route.probing.health)
            mail = self._agencies.setdefault(route.agency, AgencyMail(self._flapping, self._fault_detector.is_refused))
            mail.set_route(route, tracker)
            self._changed_agencies.add(route.agency)
        self._update_detectors()

    def remove_routes(self, routes: Iterable[MonitoredRoute]) -> None:
        """Remove *routes* and their state, with each agency that has no route left."""
        for route in routes:
            del self._routes[route.name], self._trackers[route.name]
            self._drop_pending(route.name)
            self._changed_healths.discard(route.name)
            self._streaks.remove(route.name)
            self._changed_agencies.add(route.agency)
            mail = self._agencies[route.agency]
            mail.remove_route(route.name)
            if not mail.routes:
                del self._agencies[route.agency]
        self._update_detectors()

    def replace_routes(self, routes: Iterable[MonitoredRoute]) -> None:
        """Replace *routes* by their new definitions.

        A route between the same mailboxes keeps its runs. If a mailbox changed, the earlier runs are dropped, and the
        health stays until new runs change it.
        """
        replaced: set[str] = set()
        for route in routes:
            before, tracker = self._routes[route.name], self._trackers[route.name]
            if changes_path(before, route):
                tracker.reset(route.probing.health)
                self._drop_pending(route.name)
                self._streaks.record(route.name, tracker)
                replaced |= replaced_mailboxes(before, route)
            else:
                # The deadlines of pending runs depend on the route's policy.
                self._pending.set_runs(route.name, _pending_runs(route, tracker))
            tracker.policy = route.probing.health
            self._routes[route.name] = route
            self._agencies[route.agency].set_route(route, tracker)
            self._changed_agencies.add(route.agency)
        self._update_detectors(replaced)

    def _drop_pending(self, route_name: str) -> None:
        """Remove a route from the indexes of pending runs."""
        self._pending.set_runs(route_name, ())
        self._to_attribute.pop(route_name, None)
        self._newly_attributed.pop(route_name, None)

    def set_policies(self, policy: HealthPolicy, flapping: FlappingPolicy) -> None:
        """Replace the policies for fault sources and for flapping."""
        self._flapping = flapping
        self._fault_detector.set_policy(policy)
        for mail in self._agencies.values():
            mail.set_flapping_policy(flapping)
        for source_flapping in self._source_flapping.values():
            source_flapping.policy = flapping

    def _update_detectors(self, replaced: AbstractSet[str] = frozenset()) -> None:
        """Pass changed routes to the detectors. *replaced*: mailbox names that now belong to another mailbox."""
        controls = {r.name: r for r, _ in self._agencies[""].routes} if "" in self._agencies else {}
        accounts = {m.name for r in self._routes.values() for m in (r.route.sender, r.route.recipient)}
        self._evidence.replace_routes(controls.values(), replaced, accounts)
        controls_with_trackers = {name: (route, self._trackers[name]) for name, route in controls.items()}
        self._fault_detector.replace_routes(controls_with_trackers, accounts, replaced, routes=self._routes.values())
        self._control_results = {
            name: None if {r.route.sender.name, r.route.recipient.name} & replaced else self._control_results.get(name)
            for name, r in controls.items()
        }

    # -- state of an earlier process -----------------------------------------------------------------------------

    def restore(self, healths: Mapping[str, tuple[Health, datetime]]) -> None:
        """Restore the health of routes and fault sources from before a restart, by name."""
        for name, (health, since) in healths.items():
            if name in self._trackers:
                self._trackers[name].health = health
                self._trackers[name].changed_at = since
            elif name.startswith(_SOURCE_PREFIX):
                self._fault_detector.restore(name.removeprefix(_SOURCE_PREFIX), health, since)

    def restore_deferrals(self, deferrals: Mapping[str, datetime]) -> None:
        """Restore since when a server defers messages (SMTP 4xx), by route, so that the deferral time-out continues."""
        for name, since in deferrals.items():
            if name in self._trackers:
                self._trackers[name].deferred_since = since

    def restore_arrivals(self, arrivals: Mapping[str, datetime]) -> None:
        """Restore the start of the last delivered run of each route, by route. Both accounts were accepted then."""
        for name, at in arrivals.items():
            if name in self._routes:
                self._fault_detector.restore_arrival(self._routes[name], at)

    def restore_streaks(self, streaks: Mapping[str, Sequence[GradedRun]], now: datetime) -> None:
        """Restore the streaks (latest runs) of routes and fault sources from before a restart, by name.

        Call `restore` first. A streak is ignored if its last run is so old that another run should have followed.
        """
        for name, streak in streaks.items():
            if not streak:
                continue
            age, route = now - streak[-1].started_at, self._routes.get(name)
            if route is not None and age <= _evidence_timeout(route):
                self._trackers[name].restore(streak)
                self._evaluate(name, now)
            elif (source := self._find_streak_source(name)) is not None and age <= self._streak_lifetime(source):
                self._fault_detector.restore_streak(name.removeprefix(_SOURCE_PREFIX), streak, now)

    def _find_streak_source(self, name: str) -> FaultSource | None:
        """Return the fault source of a stored streak; `None` if *name* is no configured fault source.

        A name may end with a part of the source: "ours/credentials/JCM/probe#sender".
        """
        if not name.startswith(_SOURCE_PREFIX):
            return None
        return self._fault_detector.find_source(name.removeprefix(_SOURCE_PREFIX).partition("#")[0])

    def _streak_lifetime(self, source: FaultSource) -> timedelta:
        """Return the shortest time in which one of the source's routes runs again.

        A source without a mailbox name (our network, this process) is tested by all control routes.
        """
        all_routes = self._routes.values()
        if source.name:
            routes = [r for r in all_routes if source.name in {r.route.sender.name, r.route.recipient.name}]
        else:
            routes = [r for r in all_routes if r.direction is Direction.CONTROL]
        return min(map(_evidence_timeout, routes), default=timedelta(0))

    def restore_falls(
        self, falls: Mapping[str, Sequence[datetime]], down: AbstractSet[str], flapping: AbstractSet[str] = frozenset()
    ) -> None:
        """Restore when agencies and fault sources went down before a restart (*falls*), by dedup key, oldest first.

        *down*: keys with an open incident; *flapping*: keys whose incident stays open because of flapping. A fault
        source that went down after the restart keeps its newer state.
        """
        for key, times in falls.items():
            state = {"is_down": key in down, "is_flapping": key in flapping}
            source = None
            if key.startswith(_SOURCE_PREFIX):
                source = self._fault_detector.find_source(key.removeprefix(_SOURCE_PREFIX))
            if key in self._agencies:
                self._agencies[key].restore_falls(times, **state)
            elif source is not None and source not in self._source_flapping:
                self._source_flapping[source] = Flapping(self._flapping)
                self._source_flapping[source].restore(times, **state)

    def restore_continuity(self, routes: Iterable[str], since: datetime | None, now: datetime) -> None:
        """Mark the health of *routes* as stale if this site (place from which mail is probed) was interrupted.

        *since*: end of the interruption; `None` if there was none. A route that has had time to run since then is not
        marked.
        """
        if since is not None:
            self.mark_stale([name for name in routes if now - since <= _evidence_timeout(self._routes[name])], now)

    def mark_stale(self, routes: Iterable[str], at: datetime) -> None:
        """Treat the health of *routes*, good or bad, as stale until a run that starts after *at* confirms it."""
        for name in routes:
            self._trackers[name].stale_since = at
            self._fault_detector.mark_stale(self._routes[name])
            self._changed_agencies.add(self._routes[name].agency)

    def needs_confirmation(self, route_name: str) -> bool:
        """Whether the health of the route is stale, and so is that of an unhealthy route of its agency.

        Health is stale if no run has confirmed it since an interruption.
        """
        if not self._trackers[route_name].is_stale:
            return False
        agency_routes = self._agencies[self._routes[route_name].agency].routes
        return any(tracker.health in UNHEALTHY and tracker.is_stale for _, tracker in agency_routes)

    def healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return all health states for `restore`, each with the time of its last change, by name."""
        routes = {
            name: (tracker.health, tracker.changed_at)
            for name, tracker in self._trackers.items()
            if tracker.changed_at is not None
        }
        return routes | {
            f"{_SOURCE_PREFIX}{name}": evaluated for name, evaluated in self._fault_detector.healths().items()
        }

    def take_changed_healths(self) -> dict[str, tuple[Health, datetime]]:
        """Return the health states for `restore` that changed since the last call."""
        names, self._changed_healths = self._changed_healths, set()
        trackers = ((name, self._trackers[name]) for name in names)
        routes = {
            name: (tracker.health, tracker.changed_at) for name, tracker in trackers if tracker.changed_at is not None
        }
        sources = self._fault_detector.take_changed_healths()
        return routes | {f"{_SOURCE_PREFIX}{name}": state for name, state in sources.items()}

    def take_changed_streaks(self) -> dict[str, tuple[GradedRun, ...]]:
        """Return the streaks for `restore_streaks` that changed since the last call, by name."""
        sources = self._fault_detector.take_changed_streaks()
        return self._streaks.take_changed() | {f"{_SOURCE_PREFIX}{name}": runs for name, runs in sources.items()}

    def take_verdict_counts(self) -> Mapping[VerdictKey, int]:
        """Return the number of runs with each final verdict since the last call."""
        counts, self._verdict_counts = self._verdict_counts, Counter()
        return counts

    def take_changed_agencies(self) -> set[str]:
        """Return the agencies whose status may have changed since the last call. The first call returns all."""
        changed, self._changed_agencies = self._changed_agencies, set()
        return changed

    # -- evaluation ----------------------------------------------------------------------------------------------

    def record_run(self, result: ProbeResult, now: datetime) -> Attribution | None:
        """Record a finished run, and return its attribution; `None` for an unknown route.

        Pending runs for which this run gives evidence are attributed as well: some at once, the rest by
        `attribute_more`.
        """
        route = self._routes.get(result.route)
        if route is None:
            return None
        self._update_time(now)
        self._evidence.record_run(route, result)
        if route.direction is Direction.CONTROL:
            self._control_results[route.name] = result
        tracker = self._trackers[route.name]
        attribution = self._attribute_first(route, tracker, result)
        self._count_verdict(route, attribution)
        tracker.record(result, attribution)
        self._evaluate(route.name, now)
        refused_accounts = self._fault_detector.record_run(route, result, attribution, now)
        # The cause of the refusals (account or sign-in service) may have changed. An agency's account is "CODE/key".
        self._changed_agencies.update(account.partition("/")[0] for account in refused_accounts)
        self._attribute_pending(now)
        return attribution

    def _count_verdict(self, route: MonitoredRoute, attribution: Attribution) -> None:
        if attribution.verdict is not None:
            self._verdict_counts[route.agency, route.direction, attribution.verdict] += 1

    def record_late_arrival(self, route_name: str, token_id: str, transit: timedelta, now: datetime) -> None:
        """Record that the message of a failed run has arrived late, so that the run becomes slow."""
        tracker = self._trackers.get(route_name)
        if tracker is None:
            return
        for run in tuple(tracker.recent):
            if run.token_id == token_id and _may_arrive_late(run):
                tracker.replace(run, _as_arrived_late(run, transit))
        self._attribute_pending(now, route_name)

    def _update_time(self, now: datetime) -> None:
        """Set the current time, and detect that the clock was set back."""
        # `rewind` is needed at every call: a run that started before the clock was set back may end after it, with a
        # start in the future.
        self._evidence.rewind(now)
        if self._latest_time is not None and now < self._latest_time:
            self._changed_agencies.update(agency for _, agency in self._timed_agencies)
            self._timed_agencies.clear()
            if (step := self._latest_time - now) > TOLERANCE:
                self._rewind(now, step)
            for tracker in self._trackers.values():
                if tracker.stale_since is not None:
                    tracker.stale_since = min(tracker.stale_since, now)
        self._latest_time = now
        while self._timed_agencies and self._timed_agencies[0][0] <= now:
            self._changed_agencies.add(heapq.heappop(self._timed_agencies)[1])

    def _rewind(self, now: datetime, step: timedelta) -> None:
        """Move times after *now* back by *step*; otherwise they would stay in effect until the clock reaches them."""
        for name, tracker in self._trackers.items():
            tracker.rewind(now, step)
            pending = _pending_runs(self._routes[name], tracker)
            self._pending.set_runs(name, pending)
            if pending:
                # The moved times may have changed the order of runs and evidence.
                self._to_attribute[name] = None
        self._fault_detector.rewind(now, step)
        self._control_results = {
            name: result
            and replace(
                result, started_at=min(result.started_at - step, now) if result.started_at > now else result.started_at
            )
            for name, result in self._control_results.items()
        }
        self._changed_agencies.update(self._agencies)

    def _evaluate(self, route_name: str, now: datetime) -> None:
        """Evaluate the health of a route again, and update the indexes."""
        route, tracker = self._routes[route_name], self._trackers[route_name]
        self._changed_agencies.add(route.agency)
        if tracker.evaluate(now):
            self._changed_healths.add(route_name)
        self._pending.set_runs(route_name, _pending_runs(route, tracker))
        self._streaks.record(route_name, tracker)

    def _attribute_first(self, route: MonitoredRoute, tracker: HealthTracker, result: ProbeResult) -> Attribution:
        """Attribute a new run."""
        attribution = attribute(route, result, self._evidence.evidence())
        if result.outcome in ARRIVED:
            tracker.deferred_since = None
        # A greylisting server accepts the message at a later attempt. So a greylisted run does not count as a failure
        # before the deferral time-out. Other deferrals count at once.
        if not _is_greylisted(result) or attribution.grade is Grade.NONE:
            return attribution
        tracker.deferred_since = tracker.deferred_since or result.started_at
        if result.started_at - tracker.deferred_since < route.probing.deferral_timeout:
            return Attribution(grade=Grade.NONE)
        return attribution

    @property
    def is_caught_up(self) -> bool:
        """Whether all pending runs with new evidence are attributed; otherwise call `attribute_more`."""
        return not self._to_attribute

    def attribute_more(self, now: datetime) -> None:
        """Attribute some more of the pending runs with new evidence."""
        for name in _pop_some(self._to_attribute):
            self._attribute_again(name, now)

    def _attribute_pending(self, now: datetime, *additional: str) -> None:
        """Attribute pending runs with new evidence, those past their deadline, and those of the *additional* routes."""
        affected = self._pending.routes_affected_by(self._evidence.take_changes())
        self._to_attribute |= dict.fromkeys(sorted(affected | self._pending.take_expired_routes(now) | {*additional}))
        self.attribute_more(now)

    def _attribute_again(self, route_name: str, now: datetime) -> None:
        """Attribute the pending runs of a route, and evaluate its health again."""
        route, tracker = self._routes[route_name], self._trackers[route_name]
        final = tracker.attribute_pending(lambda result: self._attribute_or_expire(route, result, now))
        for result, attribution in final:
            self._fault_detector.record_run(route, result, attribution, now)
            self._count_verdict(route, attribution)
            self._newly_attributed[route_name] = None
        self._evaluate(route_name, now)

    def _attribute_or_expire(self, route: MonitoredRoute, result: ProbeResult, now: datetime) -> Attribution:
        attribution = attribute(route, result, self._evidence.evidence())
        if attribution.grade is Grade.PENDING and now - result.started_at > _evidence_timeout(route):
            # Control runs should have given evidence by now. Without evidence the run never counts.
            return replace(attribution, grade=Grade.NONE, is_expired=True)
        return attribution

    # -- repeated runs -------------------------------------------------------------------------------------------

    def routes_to_run_soon(self, route_name: str, now: datetime) -> Mapping[str, datetime]:
        """Return the start times of the routes that must run soon after a run of *route_name*, by route name."""
        start_times: dict[str, datetime] = {}
        for evaluated_route in (route_name, *_pop_some(self._newly_attributed)):
            for name in self.routes_to_repeat(evaluated_route):
                start_times[name] = now + self._routes[name].probing.retry_interval
        for name in self.control_routes_to_run():
            start_times[name] = self._next_control_run(name, now)
        return start_times

    def needs_another_run(self, route_name: str) -> bool:
        """Whether this route should run again soon, because its health, an account or the incident type is in doubt."""
        route, tracker = self._routes[route_name], self._trackers[route_name]
        if tracker.needs_another_run() or (
            self._latest_time is not None and self._fault_detector.needs_another_sign_in(route, self._latest_time)
        ):
            return True
        if route.direction is Direction.CONTROL:
            return self._fault_detector.needs_another_run()
        # While another route of the same direction is down, the incident type depends on this route, too. A few
        # inconclusive runs (without a grade, because of a monitoring fault) are repeated.
        if not 0 < tracker.inconclusive_runs < tracker.policy.failure_threshold:
            return False
        return any(
            other_tracker.health is Health.DOWN
            for other, other_tracker in self._agencies[route.agency].routes
            if other.direction is route.direction
        )

    def routes_to_repeat(self, route_name: str) -> Sequence[str]:
        """Return the routes to run again soon after a run of *route_name*.

        The route itself runs again while its health is in doubt. After the agency's first failure, all routes of the
        agency run again, so that the extent of the outage is known early.
        """
        if not self.needs_another_run(route_name):
            return ()
        route = self._routes[route_name]
        if not route.agency or not self._trackers[route_name].has_just_failed():
            return (route_name,)
        agency_routes = self._agencies[route.agency].routes
        is_first = all(tracker.is_steady() for other, tracker in agency_routes if other.name != route_name)
        return tuple(other.name for other, _ in agency_routes) if is_first else (route_name,)

    def control_routes_to_run(self) -> Sequence[str]:
        """Return the control routes to run soon, because a pending run needs evidence that only they can give.

        A pending run that contradicts its route's health causes a run of each control route that can give the evidence.
        Further control runs follow while the reference mailbox is *on probation*: after a failure, several control runs
        must succeed before it gives evidence. A control route whose last message did not arrive runs at its own
        interval, because it gives no evidence and must not be probed every few seconds.
        """
        return [
            name
            for name, last in self._control_results.items()
            if self._is_control_run_needed(self._routes[name], last)
        ]

    def _is_control_run_needed(self, control: MonitoredRoute, last: ProbeResult | None) -> bool:
        """Whether a control route must run soon. *last*: its latest result; `None`: none."""
        # For each need that this route can meet: start of the latest urgent run with this need.
        latest_starts = {
            need: at for need in evidence_of(control) if (at := self._pending.latest_urgent_start(need)) is not None
        }
        if last is None:
            return bool(latest_starts)
        if last.outcome not in ARRIVED:
            return False
        # A message that was late gives no evidence of promptness.
        was_prompt = is_prompt(control, last)
        return any(
            (was_prompt or not need.ability.is_prompt)
            and (last.started_at < at or self._evidence.is_on_probation(need))
            for need, at in latest_starts.items()
        )

    def _next_control_run(self, control: str, now: datetime) -> datetime:
        """Return when to run a control route: soon, but not before its retry interval is over."""
        retry_interval, last = self._routes[control].probing.retry_interval, self._control_results[control]
        earliest = now + min(retry_interval, _CONTROL_RUN_DELAY)
        return earliest if last is None else max(earliest, last.started_at + retry_interval)

    # -- status --------------------------------------------------------------------------------------------------

    def route_health(self, route_name: str) -> Health:
        """Return the health of a route; unknown if another process evaluates it."""
        tracker = self._trackers.get(route_name)
        return Health.UNKNOWN if tracker is None else tracker.health

    def has_agency(self, agency: str) -> bool:
        """Whether this process evaluates a route of the agency."""
        return agency in self._agencies

    def run_verdict(self, route_name: str, token_id: str) -> RunVerdict | None:
        """Return the verdict of the run with *token_id*; `None` if it is pending, or is not the route's latest run."""
        tracker = self._trackers.get(route_name)
        if tracker is None or tracker.latest_run is None:
            return None
        latest_token_id, _, verdict = tracker.latest_run
        return verdict if latest_token_id == token_id else None

    def mail(self, agency: str) -> AgencyMail:
        """Return the mail of an agency; it has no routes if another process evaluates the agency."""
        return self._agencies.get(agency) or AgencyMail(self._flapping)

    def agency_status(self, agency: str, now: datetime, *, has_open_incident: bool) -> SiteStatus:
        """Return an agency's status at this site, and record the state for flap detection.

        *has_open_incident*: whether to examine and record a recovery.
        """
        mail = self.mail(agency)
        trouble, unobserved = self.trouble(agency, now), mail.unobserved_directions()
        if trouble is None and not has_open_incident and not unobserved:
            return UNTROUBLED
        up_since = self.up_since(agency, now) if trouble is None and has_open_incident else None
        # During trouble, stale health must not be shown as current.
        healths = mail.directions() if trouble is None else mail.current_directions()
        directions = {**healths, **dict.fromkeys(unobserved, Health.UNKNOWN)}
        return SiteStatus(
            trouble=trouble,
            up_since=up_since,
            directions=directions,
            failing_routes=frozenset(mail.unhealthy_routes()),
        )

    def fault_source_status(self, source: FaultSource, now: datetime, *, has_open_incident: bool) -> SiteStatus:
        """Return the status of a fault source at this site. *has_open_incident*: whether to examine a recovery."""
        if (trouble := self.source_trouble(source, now)) is None and not has_open_incident:
            return UNTROUBLED
        return SiteStatus(trouble=trouble, up_since=self.source_up_since(source, now) if trouble is None else None)

    def trouble(self, agency: str, now: datetime) -> ActiveProblem | None:
        """Return the problem of an agency's mail, and record it for flap detection.

        Return `None` without a problem, and while the incident type is undecided.
        """
        mail = self.mail(agency)
        if (until := mail.undecided_until(now)) is not None:
            heapq.heappush(self._timed_agencies, (until, agency))
            return None
        return mail.trouble(now, self._fault_detector.refused_since((route for route, _ in mail.routes), now))

    def up_since(self, agency: str, now: datetime) -> datetime | None:
        """Return since when every direction of an agency works, and record the recovery.

        Return `None` if a direction does not work, while the agency flaps, while health is stale, and while all
        accounts of a direction are refused.
        """
        mail = self.mail(agency)
        if (since := mail.up_since()) is None or not mail.is_current or mail.is_refused():
            return None
        since = max([since, *self._fault_detector.accepted_since(route for route, _ in mail.routes)])
        if (until := mail.record_recovery(now)) is not None:
            heapq.heappush(self._timed_agencies, (until, agency))
            return None
        return since

    def find_fault_source(self, name: str) -> FaultSource | None:
        """Return the fault source with this name; `None` if the configuration has none."""
        return self._fault_detector.find_source(name)

    def source_troubles(self, now: datetime) -> Mapping[FaultSource, ActiveProblem]:
        """Return the current problems of all fault sources."""
        troubles = ((source, self.source_trouble(source, now)) for source in self._fault_detector.fault_sources())
        return {source: trouble for source, trouble in troubles if trouble is not None}

    def take_changed_fault_sources(self) -> set[FaultSource]:
        """Return the fault sources whose status may have changed since the last call, or may change with time."""
        return self._fault_detector.take_changed_sources() | self._flapping_sources

    def faulty_sources(self, now: datetime) -> AbstractSet[FaultSource]:
        """Return the fault sources in trouble."""
        return self._fault_detector.faults(now)

    def source_trouble(self, source: FaultSource, now: datetime) -> ActiveProblem | None:
        """Return the problem of a fault source, and record it for flap detection; `None` without a problem."""
        trouble = self._fault_detector.trouble(source, now)
        if trouble is None:
            return None
        flapping = self._source_flapping.setdefault(source, Flapping(self._flapping))
        flapping.record_fall(now)
        return replace(trouble, flapping=flapping.is_flapping)

    def source_up_since(self, source: FaultSource, now: datetime) -> datetime | None:
        """Return since when a fault source works, and record the recovery; `None` if it does not work, or flaps."""
        self._flapping_sources.discard(source)
        since, flapping = self._fault_detector.up_since(source, now), self._source_flapping.get(source)
        if since is not None and flapping is not None and flapping.record_recovery(now, now) is not None:
            self._flapping_sources.add(source)
            return None
        return since


def _pop_some(names: dict[str, None]) -> Sequence[str]:
    """Remove and return up to `ATTRIBUTIONS_PER_STEP` of *names*."""
    first = [*islice(names, ATTRIBUTIONS_PER_STEP)]
    for name in first:
        del names[name]
    return first


def _pending_runs(route: MonitoredRoute, tracker: HealthTracker) -> Sequence[PendingRun]:
    """Return the pending runs of a route.

    A run is urgent if it contradicts the route's health, provided that our own side is proven to work
    (`presumed_grade`). A control run is never urgent, because control routes run at their own interval.
    """
    return [
        PendingRun(
            started_at=run.started_at,
            needs=(NETWORK,) if route.direction is Direction.CONTROL else required_evidence(route, run.result),
            deadline=run.started_at + _evidence_timeout(route),
            is_urgent=route.direction is not Direction.CONTROL and contradicts(run.presumed_grade(), tracker.health),
        )
        for run in tracker.recent
        if run.grade is Grade.PENDING and run.result is not None
    ]


def _is_greylisted(result: ProbeResult) -> bool:
    failure = result.failure if result.outcome is Outcome.DEFERRED else None
    return failure is not None and failure.cause is RefusalCause.GREYLISTING


def _may_arrive_late(run: GradedRun) -> bool:
    """Whether the message of a failed run may still arrive.

    It may if it was lost, or if the server did not answer after the message was transmitted.
    """
    if run.outcome is Outcome.LOST:
        return True
    result = run.result
    return result is not None and result.uncertain and result.failure is not None and result.failure.phase is Phase.DATA


def _as_arrived_late(run: GradedRun, transit: timedelta) -> GradedRun:
    """Return *run* with the late arrival of its message. A run from before a restart has no `result`."""
    result = run.result
    if result is not None:
        phases = {**result.phases, Phase.TRANSIT: transit}
        result = replace(result, outcome=Outcome.DELIVERED, failure=None, phases=phases)
    # A run that counted as bad becomes slow; a pending run is attributed again.
    grade = Grade.SLOW if run.grade is Grade.BAD else run.grade
    return replace(run, outcome=Outcome.DELIVERED, grade=grade, result=result)


def _evidence_timeout(route: MonitoredRoute) -> timedelta:
    """Return how long a run may be pending: the time in which every control route runs once."""
    return route.probing.interval + 2 * route.probing.timeouts.total
