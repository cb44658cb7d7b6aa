"""Processing of each probe run's result: evaluation, metrics, storage, and statuses for the incident reporter.

A site is a location that probes. A status is a site's conclusion about an agency, or about a monitoring fault (a fault
of Pantau itself that prevents an evaluation). It belongs to a dedup key: the agency's short code, or the fault's key.
A streak is the series of the latest runs that contradict a stored health.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

import structlog

from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from monitor.bridge.incident_policy import agency_of, find_cause, stored_key
from monitor.bridge.incident_reporter import HUB_FAULT_PREFIXES, MONITORING_FAULT_PREFIX, IncidentReporter, fault_of
from monitor.evaluation.evaluator import ATTRIBUTIONS_PER_STEP, HealthEvaluator
from monitor.evaluation.evidence import is_prompt, was_confirmed_in_time
from monitor.evaluation.health_tracker import GradedRun
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.metrics import AGENCY_DIRECTIONS, Metrics
from monitor.model.health import UNHEALTHY, Grade, Health
from monitor.model.route import Direction, MonitoredRoute
from monitor.store.probing.history import History
from probes.model.result import Outcome, ProbeResult

log = structlog.get_logger()


class ResultPipeline:
    """Processor of the results of probe runs, for the agencies of this process."""

    def __init__(
        self,
        *,
        evaluator: HealthEvaluator,
        routes: Mapping[str, MonitoredRoute],
        history: History,
        reporter: IncidentReporter,
        metrics: Metrics,
        clock: Clock,
        site: str,
        process: str = "",
        writes_all: bool = False,
    ) -> None:
        """*routes*: the routes of *evaluator*, which are updated in place. *site*, *process*: this site and process.

        *writes_all*: examine and store recoveries without an open incident, too, because a hub reads the statuses.
        """
        self._evaluator = evaluator
        self._routes = routes
        self._history = history
        self._reporter = reporter
        self._metrics = metrics
        self._clock = clock
        self._site = site
        self._process = process
        self._writes_all = writes_all
        #: Whether `_attribute_remaining` is running.
        self._is_attributing = False
        #: Outcome and reason of each route's last run.
        self._last_outcomes: dict[str, tuple[Outcome, str]] = {}
        #: Direction of each route and the reason of its last failure ("" if the last run succeeded), by agency and
        #: route.
        self._reasons: dict[str, dict[str, tuple[Direction, str]]] = {}
        #: Last determined status, by dedup key.
        self._statuses: dict[str, SiteStatus] = {}
        #: Keys whose status is not passed to the reporter yet, and not stored yet.
        self._unreported_keys: set[str] = set()
        self._unstored_keys: set[str] = set()
        #: Health and streaks (of routes and fault sources) that could not be stored yet.
        self._unstored_healths: dict[str, tuple[Health, datetime]] = {}
        self._unstored_streaks: dict[str, tuple[GradedRun, ...]] = {}
        #: Dedup keys whose status may have changed: at first all keys. These include reported monitoring faults whose
        #: source was removed from the configuration, which the evaluator does not have.
        fault_keys = (
            key
            for key in reporter.reported_types
            if key.startswith(MONITORING_FAULT_PREFIX) and not key.startswith(HUB_FAULT_PREFIXES)
        )
        self._changed_keys = {*reporter.agencies, *fault_keys}
        # Export all agencies now. Otherwise the first run would export thousands, and block the event loop.
        evaluator.take_changed_agencies()
        for agency in reporter.agencies:
            self._export_agency(agency)
        self._export_faults(clock.now())

    def apply_routes(self, gained: AbstractSet[str] = frozenset()) -> None:
        """Export the health after a change of routes. Changed statuses are reported with the next run.

        *gained*: agencies that this process reports from now on. Runs on their routes may have ended before this call.
        """
        self._changed_keys |= gained
        for agency in gained:
            self._export_agency(agency)
        self._export_changes(self._clock.now())
        # The reporter has dropped the statuses of gained agencies. They are removed here, too, so that the next run
        # reports them again.
        self._statuses = {
            key: status for key, status in self._statuses.items() if key not in gained and self._is_responsible_for(key)
        }
        self._unreported_keys &= self._statuses.keys()
        self._unstored_keys &= self._statuses.keys()
        self._last_outcomes = {name: outcome for name, outcome in self._last_outcomes.items() if name in self._routes}
        for agency, reasons in self._reasons.items():
            self._reasons[agency] = {name: reason for name, reason in reasons.items() if name in self._routes}

    def rewrite_statuses(self) -> None:
        """Write all statuses again with the next run, because another process may have changed them in the store."""
        self._history.rewrite_statuses()
        self._unstored_keys |= self._statuses.keys()

    def take_over_faults(self, open_incidents: Mapping[str, IncidentType]) -> None:
        """Take over the reported monitoring faults of dead processes."""
        self._changed_keys |= {
            key for key in self._reporter.take_over_faults(open_incidents) if not key.startswith(HUB_FAULT_PREFIXES)
        }

    # -- runs ----------------------------------------------------------------------------------------------------

    async def process(self, result: ProbeResult) -> None:
        """Process the result of a run.

        Health is evaluated and exported at once; `IncidentReporter.run` reports it later. If the run cannot be stored,
        raise the error after everything else is done.
        """
        route = self._routes.get(result.route)
        if route is None:
            return  # The route was removed during this run.
        now = self._clock.now()
        attribution = self._evaluator.record_run(result, now)
        self._metrics.record_run(
            result,
            agency=route.agency,
            direction=route.direction,
            site=self._site,
            is_prompt=is_prompt(route, result) and was_confirmed_in_time(route, result),
        )
        if result.path is not None:
            self._metrics.record_path(route.agency, route.direction, result.path)
        self._log(result)
        reason = result.failure.reason if result.failure else ""
        self._reasons.setdefault(route.agency, {})[result.route] = (route.direction, reason)
        self._export_changes(now)
        await self._update_statuses(now)
        try:
            await self._store(result, route, None if attribution is None else attribution.grade)
        finally:
            self._report()
            await self._attribute_remaining()

    async def _attribute_remaining(self) -> None:
        """Attribute the remaining failures (to the agency, or to a monitoring fault) by the new evidence, step by step.

        Other tasks run between the steps.
        """
        if self._is_attributing:
            return
        self._is_attributing, now = True, None
        try:
            while not self._evaluator.is_caught_up:
                await asyncio.sleep(0)
                now = self._clock.now()
                self._evaluator.attribute_more(now)
                self._export_changes(now)
        finally:
            self._is_attributing = False
        if now is not None:
            await self._update_statuses(now)
            self._report()

    def _export_changes(self, now: datetime) -> None:
        """Export changed health, and mark the statuses as changed."""
        for (agency, direction, verdict), runs in self._evaluator.take_verdict_counts().items():
            self._metrics.count_runs(agency, direction, verdict, runs)
        changed_agencies = self._evaluator.take_changed_agencies() & self._reporter.agencies
        self._changed_keys |= changed_agencies | {
            f"{MONITORING_FAULT_PREFIX}{fault_source}" for fault_source in self._evaluator.take_changed_fault_sources()
        }
        for agency in changed_agencies:
            self._export_agency(agency)
        self._export_faults(now)

    async def _update_statuses(self, now: datetime) -> None:
        """Determine the statuses that may have changed. Mark the changed ones for the reporter and the store."""
        for number, key in enumerate(sorted(self._changed_keys), 1):
            self._changed_keys.discard(key)
            if not self._is_responsible_for(key):
                continue
            status = self._status(key, now)
            if self._statuses.get(key) != status:
                self._statuses[key] = status
                self._unreported_keys.add(key)
                self._unstored_keys.add(key)
            if number % ATTRIBUTIONS_PER_STEP == 0:
                await asyncio.sleep(0)

    def _is_responsible_for(self, key: str) -> bool:
        """Whether this process determines the status of *key*: an own agency, or a fault that belongs to no agency.

        A reported fault of a removed probe account counts, too, so that its incident ends.
        """
        agency, reporter = agency_of(key), self._reporter
        return agency is None or agency in reporter.agencies or key in reporter.reported_types

    async def report_pending(self) -> None:
        """Report changed statuses without a run, because the reports of other sites depend on them."""
        await self._update_statuses(self._clock.now())
        self._pass_to_reporter()

    def _report(self) -> None:
        self._pass_to_reporter()
        self._reporter.wake()

    def _pass_to_reporter(self) -> None:
        """Pass the changed statuses to the reporter."""
        keys, self._unreported_keys = self._unreported_keys, set()
        for key in keys:
            self._reporter.record_status(self._site, key, self._statuses[key])

    def _status(self, key: str, now: datetime) -> SiteStatus:
        # `has_open_incident` makes the evaluator determine the start of a recovery, which takes long.
        has_open_incident = key in self._reporter.reported_types
        if not key.startswith(MONITORING_FAULT_PREFIX):
            status = self._evaluator.agency_status(key, now, has_open_incident=has_open_incident or self._writes_all)
            if status.trouble is None:
                return status
            cause = find_cause(status.trouble.type, self._reasons.get(key, {}).values())
            return replace(status, cause=cause)
        fault_source = self._evaluator.find_fault_source(key.removeprefix(MONITORING_FAULT_PREFIX))
        # The source, a reference mailbox or account, was removed: its fault has ended.
        return (
            SiteStatus(up_since=now)
            if fault_source is None
            else self._evaluator.fault_source_status(fault_source, now, has_open_incident=has_open_incident)
        )

    def _log(self, result: ProbeResult) -> None:
        """Log the outcome of a route's run if it differs from the last one."""
        reason = result.failure.reason if result.failure else ""
        before = self._last_outcomes.get(result.route, (Outcome.DELIVERED, ""))
        self._last_outcomes[result.route] = outcome = (result.outcome, reason)
        if outcome != before:
            event = "probe failed" if result.failure else "probe arrived"
            log.info(event, route=result.route, outcome=result.outcome, reason=reason)

    async def _store(self, result: ProbeResult, route: MonitoredRoute, grade: Grade | None) -> None:
        # Take the changes before writing them. Runs that end during the write then write their own changes, in order.
        healths, self._unstored_healths = self._unstored_healths | self._evaluator.take_changed_healths(), {}
        streaks, self._unstored_streaks = self._unstored_streaks | self._evaluator.take_changed_streaks(), {}
        statuses, self._unstored_keys = {key: self._statuses[key] for key in self._unstored_keys}, set()
        stored_statuses = {stored_key(key, self._process): status for key, status in statuses.items()}
        try:
            await self._history.record_run(
                result,
                route.agency,
                healths,
                streaks=streaks,
                grade=grade,
                interval=route.probing.interval,
                statuses=stored_statuses,
            )
        except asyncio.CancelledError:
            # The route was removed. The history still writes the healths and streaks, but perhaps not the statuses.
            self._retry_storing(statuses)
            raise
        except Exception:
            self._retry_storing(statuses)
            # The next run writes them again.
            self._unstored_healths = healths | self._unstored_healths
            self._unstored_streaks = streaks | self._unstored_streaks
            raise
        for name, (health, _) in healths.items():
            log.info("health changed", subject=name, health=health)

    def _retry_storing(self, statuses: Mapping[str, SiteStatus]) -> None:
        # Statuses of removed keys are not written again.
        self._unstored_keys |= statuses.keys() & self._statuses.keys()

    def _export_faults(self, now: datetime) -> None:
        # A reported fault counts until its recovery is proven, because after a start the evaluator has no failures yet.
        active_faults = {fault_of(source.domain, source.name) for source in self._evaluator.faulty_sources(now)}
        self._metrics.set_monitoring_faults(self._reporter.reported_faults() | active_faults)

    def _export_agency(self, agency: str) -> None:
        mail = self._evaluator.mail(agency)
        directions, unobserved = mail.directions(), mail.unobserved_directions()
        for direction in map(Direction, AGENCY_DIRECTIONS):
            # A direction that is not probed any more, or cannot be observed now, is unknown. But a direction that is
            # down stays down until a run proves that it works.
            health = directions.get(direction, Health.UNKNOWN)
            if direction in unobserved and health is not Health.DOWN:
                health = Health.UNKNOWN
            up = None if health is Health.UNKNOWN else health is not Health.DOWN
            self._metrics.set_mail_health(agency, direction, up=up, degraded=health is Health.DEGRADED)
            if health in UNHEALTHY and (cause := mail.cause(direction)) is not None:
                self._metrics.set_failure_cause(agency, direction, cause)
