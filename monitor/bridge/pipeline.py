"""Pipeline of results: evaluation, export, storage, and statuses for the incident reporter."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

import structlog

from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from monitor.bridge.incident_reporter import OF_HUB, OURS, IncidentReporter, fault_of
from monitor.bridge.noc_brief import agency_of, cause_of, subject_of
from monitor.evaluation.evaluator import AT_A_TIME, HealthEvaluator
from monitor.evaluation.evidence import is_prompt, was_taken_well
from monitor.evaluation.health_tracker import GradedRun
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.metrics import AGENCY_DIRECTIONS, Metrics
from monitor.model.health import IN_TROUBLE, Grade, Health
from monitor.model.route import Direction, MonitoredRoute
from monitor.store.probing.history import History
from probes.model.result import Outcome, ProbeResult

log = structlog.get_logger()


class ResultPipeline:
    """Processes the result of each run."""

    def __init__(
        self,
        *,
        evaluator: HealthEvaluator,
        routes: Mapping[str, MonitoredRoute],
        history: History,
        consensus: IncidentReporter,
        metrics: Metrics,
        clock: Clock,
        site: str,
        process: str = "",
        is_read: bool = False,
    ) -> None:
        """*routes*: the evaluator's, updated in place; *site*: where they are probed; *process*: by which process.

        *is_read*: other processes read the statuses, so all are written, including healthy ones.
        """
        self._evaluator = evaluator
        self._routes = routes
        self._history = history
        self._consensus = consensus
        self._metrics = metrics
        self._clock = clock
        self._site = site
        self._process = process
        self._is_read = is_read
        #: `_weigh_the_rest` is running.
        self._is_weighing = False
        #: Outcome and reason of each route's last run.
        self._endings: dict[str, tuple[Outcome, str]] = {}
        #: By agency and route: its direction, and why its last run failed ("" if it did not).
        self._reasons: dict[str, dict[str, tuple[Direction, str]]] = {}
        #: Last determined status by dedup key.
        self._standings: dict[str, SiteStatus] = {}
        #: Keys whose status is not reported yet, and not stored yet.
        self._unsaid: set[str] = set()
        self._unkept: set[str] = set()
        #: Health that could not be stored yet.
        self._unwritten: dict[str, tuple[Health, datetime]] = {}
        self._unwritten_streaks: dict[str, tuple[GradedRun, ...]] = {}
        #: Dedup keys whose status may differ from the report. Few: most runs change nothing, and there are thousands.
        #: Removed monitoring faults, unknown to the evaluator, are included.
        ours = (key for key in consensus.told if key.startswith(OURS) and not key.startswith(OF_HUB))
        self._moved = {*consensus.agencies, *ours}
        # All are exported here: thousands at the first run would block the loop.
        evaluator.moved()
        for agency in consensus.agencies:
            self._show(agency)
        self._show_faults(clock.now())

    def look_again(self, gained: AbstractSet[str] = frozenset()) -> None:
        """Export the statuses after a change of routes; news are reported with the next run.

        *gained*: agencies that are reported from now on; a run may have ended before.
        """
        self._moved |= gained
        for agency in gained:
            self._show(agency)
        self._show_moved(self._clock.now())
        # The reporter has dropped removed agencies and the statuses of gained ones: report them again.
        self._standings = {
            key: said for key, said in self._standings.items() if key not in gained and self._is_ours_to_say(key)
        }
        self._unsaid &= self._standings.keys()
        self._unkept &= self._standings.keys()
        self._endings = {name: ending for name, ending in self._endings.items() if name in self._routes}
        for agency, reasons in self._reasons.items():
            self._reasons[agency] = {name: reason for name, reason in reasons.items() if name in self._routes}

    def say_again(self) -> None:
        """Write all statuses of this process again with the next run: others may have changed them."""
        self._history.say_again()
        self._unkept |= self._standings.keys()

    def inherit(self, open_incidents: Mapping[str, IncidentType]) -> None:
        """Take over the reported monitoring faults of dead processes: their network, our references."""
        self._moved |= {key for key in self._consensus.inherit(open_incidents) if not key.startswith(OF_HUB)}

    # -- runs ----------------------------------------------------------------------------------------------------

    async def take(self, result: ProbeResult) -> None:
        """Process the result of a run.

        Health is evaluated and exported at once, and reported by `IncidentReporter.keep_telling`, which is not awaited.
        Raise the store's error if the run cannot be written because of a bug; everything else is done nevertheless.
        """
        route = self._routes.get(result.route)
        if route is None:
            return  # The route was removed during its last run.
        now = self._clock.now()
        verdict = self._evaluator.take_in(result, now)
        self._metrics.probe_finished(
            result,
            agency=route.agency,
            direction=route.direction,
            site=self._site,
            went_well=is_prompt(route, result) and was_taken_well(route, result),
        )
        if result.path is not None:
            self._metrics.path_known(route.agency, route.direction, result.path)
        self._log(result)
        reason = result.failure.reason if result.failure else ""
        self._reasons.setdefault(route.agency, {})[result.route] = (route.direction, reason)
        self._show_moved(now)
        await self._find_standings(now)
        try:
            await self._write_down(result, route, None if verdict is None else verdict.grade)
        finally:
            self._say()
            await self._weigh_the_rest()

    async def _weigh_the_rest(self) -> None:
        """Attribute the rest of the runs with new evidence, yielding in between."""
        if self._is_weighing:
            return
        self._is_weighing, now = True, None
        try:
            while not self._evaluator.is_done:
                await asyncio.sleep(0)
                now = self._clock.now()
                self._evaluator.weigh_more(now)
                self._show_moved(now)
        finally:
            self._is_weighing = False
        if now is not None:
            await self._find_standings(now)
            self._say()

    def _show_moved(self, now: datetime) -> None:
        """Export changed statuses, and mark them for a report."""
        for (agency, direction, verdict), runs in self._evaluator.counted().items():
            self._metrics.runs_judged(agency, direction, verdict, runs)
        moved = self._evaluator.moved() & self._consensus.agencies
        self._moved |= moved | {f"{OURS}{suspect}" for suspect in self._evaluator.own_moved()}
        for agency in moved:
            self._show(agency)
        self._show_faults(now)

    async def _find_standings(self, now: datetime) -> None:
        """Determine the statuses that may have changed."""
        for number, key in enumerate(sorted(self._moved), 1):
            self._moved.discard(key)
            if not self._is_ours_to_say(key):
                continue
            standing = self._standing(key, now)
            if self._standings.get(key) != standing:
                self._standings[key] = standing
                self._unsaid.add(key)
                self._unkept.add(key)
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0)

    def _is_ours_to_say(self, key: str) -> bool:
        """Whether this process determines the status: not of another process's agency or account.

        Of a removed account once more, if it was reported.
        """
        agency, consensus = agency_of(key), self._consensus
        return agency is None or agency in consensus.agencies or key in consensus.told

    async def speak(self) -> None:
        """Report pending statuses although no run has ended: other sites wait for them."""
        await self._find_standings(self._clock.now())
        self._let_hear()

    def _say(self) -> None:
        self._let_hear()
        self._consensus.poke()

    def _let_hear(self) -> None:
        """Pass the latest pending statuses to the reporter."""
        unsaid, self._unsaid = self._unsaid, set()
        for key in unsaid:
            self._consensus.hear(self._site, key, self._standings[key])

    def _standing(self, key: str, now: datetime) -> SiteStatus:
        # Since when an agency is well is expensive to determine, and needed only after a report.
        is_told = key in self._consensus.told
        if not key.startswith(OURS):
            standing = self._evaluator.standing(key, now, is_told=is_told or self._is_read)
            if standing.trouble is None:
                return standing
            why = cause_of(standing.trouble.type, self._reasons.get(key, {}).values())
            return replace(standing, cause=why)
        suspect = self._evaluator.suspect(key.removeprefix(OURS))
        # A removed reference or account cannot be at fault any more.
        return (
            SiteStatus(up_since=now) if suspect is None else self._evaluator.own_standing(suspect, now, is_told=is_told)
        )

    def _log(self, result: ProbeResult) -> None:
        """Log a changed outcome of a route, once."""
        reason = result.failure.reason if result.failure else ""
        before = self._endings.get(result.route, (Outcome.DELIVERED, ""))
        self._endings[result.route] = ending = (result.outcome, reason)
        if ending != before:
            event = "probe failed" if result.failure else "probe arrived"
            log.info(event, route=result.route, outcome=result.outcome, reason=reason)

    async def _write_down(self, result: ProbeResult, route: MonitoredRoute, grade: Grade | None) -> None:
        # Take the changes before writing: runs that end meanwhile write theirs afterwards, in order.
        changed, self._unwritten = self._unwritten | self._evaluator.rejudged(), {}
        streaks, self._unwritten_streaks = self._unwritten_streaks | self._evaluator.other_streaks(), {}
        kept, self._unkept = {key: self._standings[key] for key in self._unkept}, set()
        said = {subject_of(key, self._process): standing for key, standing in kept.items()}
        try:
            every = route.probing.interval
            await self._history.ended(
                result, route.agency, changed, streaks=streaks, grade=grade, every=every, standings=said
            )
        except asyncio.CancelledError:
            # The route was removed; its statuses of others may not be written.
            self._keep_again(kept)
            raise
        except Exception:
            self._keep_again(kept)
            # Retry with the next run.
            self._unwritten = changed | self._unwritten
            self._unwritten_streaks = streaks | self._unwritten_streaks
            raise
        for name, (health, _) in changed.items():
            log.info("health changed", subject=name, health=health)

    def _keep_again(self, kept: Mapping[str, SiteStatus]) -> None:
        # Some may have been removed meanwhile.
        self._unkept |= kept.keys() & self._standings.keys()

    def _show_faults(self, now: datetime) -> None:
        # A reported fault lasts until its recovery is proven: after a start no failure has been seen yet.
        seen = {fault_of(each.blame, each.name) for each in self._evaluator.own_faults(now)}
        self._metrics.own_faults(self._consensus.told_faults() | seen)

    def _show(self, agency: str) -> None:
        mail = self._evaluator.mail(agency)
        directions, unseen = mail.directions(), mail.unseen()
        for direction in map(Direction, AGENCY_DIRECTIONS):
            # A direction that is not probed any more is unknown. So is an invisible one, unless it is down, which lasts
            # until disproven.
            health = directions.get(direction, Health.UNKNOWN)
            if direction in unseen and health is not Health.DOWN:
                health = Health.UNKNOWN
            up = None if health is Health.UNKNOWN else health is not Health.DOWN
            self._metrics.mail_judged(agency, direction, up=up, degraded=health is Health.DEGRADED)
            if health in IN_TROUBLE and (cause := mail.cause(direction)) is not None:
                self._metrics.cause_known(agency, direction, cause)
