"""Current status for pages and the API: agencies from memory, incidents and notifications from the database.

A *route* is mail from one mailbox to another; its *direction* (inbound, outbound, internal) is seen from the agency. A
*run* is one probe message on a route. Several *sites* (installations) may probe the same agencies. A *hub* reads their
statuses, and notifies people of an outage if a *quorum* of the sites agrees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.decide.silence import Silence
from alerts.engine.gateway_pool import GatewayPool
from alerts.model.delivery import Notification, NotificationState
from alerts.model.incident import Incident, IncidentState
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.evaluation.incident_type import TYPE_DIRECTIONS
from monitor.metrics import NO_AGENCY
from monitor.model.day import day_of, time_of
from monitor.model.health import Health
from monitor.model.route import Direction, MonitoredRoute
from monitor.model.site_sums import SiteSums
from monitor.model.window import WindowOccurrence
from monitor.planning.check_run import CheckRun
from monitor.runtime.cooperative import yielding
from monitor.service.days.availability import AvailabilityCache
from monitor.service.errors import NotFoundError, find_agency_code, notification_not_found
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.engine.incidents import OpenIncidentSummary
from monitor.store.engine.listing import NEWEST, IncidentFilter, NotificationFilter
from monitor.store.engine.unit_of_work import SqlStore, SqlUnitOfWork
from monitor.store.probing.days import DayRecords
from monitor.store.probing.history import History
from monitor.store.probing.site_runs import SiteRecords
from monitor.views.days import SPANS, AgencyDays, Availability, view_days
from monitor.views.overview import (
    AgencyView,
    CheckView,
    IncidentView,
    ListPage,
    NotificationDetail,
    NotificationView,
    RouteView,
    view_checks,
    view_detail,
    view_incident,
    view_notification,
    view_route,
)
from monitor.views.self_health import (
    ComponentView,
    ControlRoute,
    GatewayStatus,
    ReferenceView,
    SelfHealthInputs,
    self_health,
    view_reference,
)
from monitor.views.site_report import SiteIncidentData, SiteIncidentSummary, SiteReport, view_site_incident, view_sites
from probes.model.result import ProbeResult

#: Maximum number of incidents, and of notifications, in a list.
_MAX_LISTED = 200
#: Maximum number of the newest incidents, and of the newest notifications, on the status page.
_MAX_INCIDENTS, _MAX_NOTIFICATIONS = 20, 40
#: Maximum number of open incidents in the list of the status page. All appear on the cards of their agencies anyway.
_MAX_OPEN = 50
#: Maximum number of failed and uncertain notifications on the status page. Newer ones that succeeded do not hide them.
_MAX_ATTENTION = 20
#: The database is read again when the audit log has a new entry, or after this time: some changes have no entry.
_REFRESH_INTERVAL = timedelta(seconds=15)
#: A page about an incident shows the runs of sites from this time before the incident until this time after it.
_MARGIN = timedelta(minutes=15)
#: Maximum number of runs of each site that are shown about an incident. The latest runs are shown.
_MAX_SITE_RUNS = 200
#: Placeholder for the number of the last audit entry until the database is read; no entry has this number.
_NEVER_READ = -1
#: Lifetime in memory of an agency's days (its history by day), which change once a minute.
_HISTORY_LIFETIME = timedelta(minutes=1)
#: Maximum number of agencies whose days are in memory, some 60 kB for each agency.
_MAX_HISTORIES = 32
#: Time-out of a read, in seconds. An unresponsive database must not delay the page that reports it.
_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOverview:
    """Status of everything on the status page."""

    #: Components of Pantau itself.
    own: Sequence[ComponentView]
    #: All agencies, by code.
    agencies: Sequence[AgencyView]
    #: Check results of the reference mailboxes, which Pantau has outside the agencies.
    own_checks: Sequence[CheckView]
    #: The most urgent open incidents: those without an assignee before the others, then outages first, then the oldest.
    open: Sequence[IncidentView]
    #: Number of all open incidents.
    open_count: int
    #: The newest incidents, newest first.
    incidents: Sequence[IncidentView]
    #: The newest notifications, newest first.
    notices: Sequence[NotificationView]
    #: The newest notifications that failed or whose delivery is unknown: they require the attention of a person.
    attention: Sequence[NotificationView]
    #: When the database was last read, if it is unavailable now; `None`: incidents and notifications are current.
    recorded_at: datetime | None = None
    #: Whether the database was read since the start; otherwise incidents and notifications are unknown.
    was_read: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _DatabaseStatus:
    """Part of the status that comes from the database."""

    #: When the database was read.
    at: datetime
    #: Number of the last audit entry at that time.
    audit_number: int = _NEVER_READ
    #: Summaries of the open incidents, by dedup key.
    open: Mapping[str, OpenIncidentSummary] = field(default_factory=dict)
    #: Current silences, by target (an agency or a route).
    silences: Mapping[str, Silence] = field(default_factory=dict)
    #: The following fields are those of `StatusOverview`; `open_first` is its `open`.
    open_first: Sequence[IncidentView] = ()
    incidents: Sequence[IncidentView] = ()
    notices: Sequence[NotificationView] = ()
    attention: Sequence[NotificationView] = ()


class StatusReader:
    """Reader of the status. A view that has not changed since the last read is the same object."""

    def __init__(
        self,
        *,
        store: SqlStore,
        history: History,
        days: DayRecords,
        gateway_pool: GatewayPool,
        clock: Clock,
        runtime: Callable[[], ProbingRuntime],
        self_health_inputs: Callable[[], SelfHealthInputs],
        site_records: SiteRecords | None = None,
    ) -> None:
        """Take the current configuration, and the objects built from it, from *runtime*.

        *self_health_inputs* returns the state of the service itself. *site_records*: runs that other sites have
        published; `None`: this site is not a hub.
        """
        self._store = store
        self._history = history
        self._days = days
        self._availability_cache = AvailabilityCache(days, clock)
        self._gateway_pool = gateway_pool
        self._clock = clock
        self._runtime = runtime
        self._self_health_inputs = self_health_inputs
        self._site_records = site_records
        self._database_status: _DatabaseStatus | None = None
        #: By agency code: when the agency's days were read, and the days.
        self._histories: dict[str, tuple[datetime, AgencyDays]] = {}
        #: When the database last failed to return days. For `_REFRESH_INTERVAL` after that, no days are read, because
        #: each request would wait for the time-out again.
        self._days_failed_at: datetime | None = None
        #: When the runs of other processes' agencies were last read.
        self._peers_read_at = datetime.min.replace(tzinfo=UTC)
        #: By agency code: all inputs of the agency's view, and the view.
        self._agency_views: dict[str, tuple[Any, AgencyView]] = {}
        #: By route name: health, last run and verdict, and the view that was made of them.
        self._route_views: dict[str, tuple[Any, RouteView]] = {}

    async def overview(self) -> StatusOverview:
        """Return the status of everything. While the database is unavailable, use what was last read from it."""
        status, is_current = await self._read_with_timeout()
        return StatusOverview(
            own=self.own(),
            agencies=await self._all_agency_views(status),
            own_checks=self.own_checks(),
            open=status.open_first,
            open_count=len(status.open),
            incidents=status.incidents,
            notices=status.notices,
            attention=status.attention,
            recorded_at=None if is_current else status.at,
            was_read=status.audit_number != _NEVER_READ,
        )

    async def site_incident_data(self, incident: Incident, limit: int) -> Sequence[SiteIncidentData]:
        """Return each site's status of an incident's agency, and the site's latest failed runs during the incident.

        *limit*: maximum number of runs of each site. This site comes first. Empty without other sites, and for an
        incident that is not about an agency.
        """
        code = incident.policy.agency
        if self._site_records is None or not code:
            return ()
        now, since = self._clock.now(), incident.began_at - _MARGIN
        until = (incident.resolved_at or now) + _MARGIN
        if not (site_failures := await self._site_records.failed(code, since, until, limit)):
            return ()
        runtime = self._runtime()
        settings = runtime.configuration.settings
        reports = {
            each.site: each for each in view_sites(runtime.reporter.site_statuses(code) if incident.is_open else {})
        }
        local_results = await self._history.failed(code, since, until, limit)
        this_site = SiteIncidentData(site=settings.site, report=reports.get(settings.site), failed_runs=local_results)
        other_sites = (
            SiteIncidentData(
                site=each.site,
                report=reports.get(each.site),
                failed_runs=each.results,
                implausible_count=each.invalid,
            )
            for each in site_failures
        )
        return [this_site, *other_sites]

    async def site_evidence(self, incident: Incident) -> Sequence[SiteIncidentSummary]:
        """Return `site_incident_data` for display."""
        return [view_site_incident(each) for each in await self.site_incident_data(incident, _MAX_SITE_RUNS)]

    async def site_sums(self, code: str, days: int) -> Sequence[SiteSums]:
        """Return the sums of each site's runs in the last *days*, this site first; empty without other sites."""
        agency = self.find_agency_code(code)
        if self._site_records is None:
            return ()
        now = self._clock.now()
        return await self._site_records.sums(agency, time_of(day_of(now) - timedelta(days=days - 1), 0))

    def own(self) -> Sequence[ComponentView]:
        """Return the status of the components of Pantau itself."""
        runtime, latest = self._runtime(), self._history.known()
        return self_health(
            self._self_health_inputs(),
            controls=[
                ControlRoute(route=r.name, health=runtime.evaluator.route_health(r.name), last=latest.get(r.name))
                for r in runtime.configuration.registry.routes_for(NO_AGENCY)
            ],
            routes=len(runtime.routes),
            faults=runtime.evaluator.source_troubles(self._clock.now()),
            gateways=self.gateways(),
        )

    def gateways(self) -> Sequence[GatewayStatus]:
        """Return the status of the gateways by channel, in the configured order of preference."""
        return [
            GatewayStatus(
                channel=configured.channel,
                gateway=configured.name,
                up=self._gateway_pool.is_up(configured.name),
                receipts_overdue_since=self._gateway_pool.receipts_overdue_since(configured.name),
            )
            for configured in self._gateway_pool
        ]

    def references(self) -> Sequence[ReferenceView]:
        """Return the status of the reference mailboxes, judged by the control routes between them."""
        runtime, latest = self._runtime(), self._history.known()
        configuration, troubles = runtime.configuration, runtime.evaluator.source_troubles(self._clock.now())
        controls = configuration.registry.routes_for(NO_AGENCY)
        return [
            view_reference(
                name,
                [
                    self._route_view(runtime, each, latest.get(each.name))
                    for each in controls
                    if name in {each.route.sender.name, each.route.recipient.name}
                ],
                troubles,
            )
            for name in configuration.settings.references
        ]

    async def agencies(self) -> Sequence[AgencyView]:
        """Return all agencies, by code, with their open incidents and silences. Raise `StoreUnavailable`."""
        async with self._store.reading() as uow:
            status = await self._read_incidents_and_silences(uow)
        # Until the stored runs have been read once after the start, read them now.
        await self._history.latest()
        await self._refresh_peer_runs()
        return await self._all_agency_views(status)

    async def _refresh_peer_runs(self) -> None:
        """Read the latest runs of agencies that other processes probe, at most once in `_REFRESH_INTERVAL`."""
        runtime, now = self._runtime(), self._clock.now()
        peer_agencies = runtime.configuration.registry.agencies.keys() - runtime.owned
        if peer_agencies and not timedelta(0) <= now - self._peers_read_at < _REFRESH_INTERVAL:
            self._peers_read_at = now
            await self._history.refresh_latest(peer_agencies)

    async def agency(self, name: str) -> AgencyView:
        """Return an agency by its code in any case. Raise `NotFoundError` and `StoreUnavailable`."""
        self.find_agency_code(name)  # Reject an unknown name before the reads.
        async with self._store.reading() as uow:
            status = await self._read_incidents_and_silences(uow)
        await self._history.latest()
        if (code := self.find_agency_code(name)) not in self._runtime().owned:
            await self._history.refresh_latest([code])
        # A reload may have removed the agency meanwhile.
        code, runtime = self.find_agency_code(name), self._runtime()
        return self._agency_view(
            runtime, code, runtime.configuration.registry.routes_for(code), status, self._clock.now()
        )

    async def days(self, name: str, count: int) -> AgencyDays:
        """Return the latest *count* days of an agency. Raise `NotFoundError` and `StoreUnavailable`."""
        code, now = self.find_agency_code(name), self._clock.now()
        # `SPANS` are the numbers of days over which availability is shown.
        first = day_of(now) - timedelta(days=max(count, *SPANS) - 1)
        return view_days(code, await self._days.since(code, first), now, count)

    async def availabilities(self) -> Mapping[str, Sequence[Availability]]:
        """Return the availability of the mail of all agencies, by code, at most a minute old.

        Raise `StoreUnavailable`.
        """
        return await self._availability_cache.availability(sorted(self._runtime().configuration.registry.agencies))

    async def histories(self, codes: Iterable[str]) -> Mapping[str, AgencyDays]:
        """Return the latest days of a few agencies, at most a minute old.

        While the database is unavailable, return the days that were last read, and leave out agencies whose days were
        never read. The days of an agency are the same object until the next read.
        """
        now, histories_by_agency = self._clock.now(), dict[str, AgencyDays]()
        is_unresponsive = (
            self._days_failed_at is not None and timedelta(0) <= now - self._days_failed_at < _REFRESH_INTERVAL
        )
        is_unavailable = is_unresponsive or self._self_health_inputs().store_outage is not None
        for code in codes:
            cached = self._histories.pop(code, None)
            is_expired = cached is None or not timedelta(0) <= now - cached[0] < _HISTORY_LIFETIME
            if is_expired and not is_unavailable:
                try:
                    async with asyncio.timeout(_TIMEOUT):
                        cached = now, await self.days(code, max(SPANS))
                except NotFoundError:
                    continue  # A reload has removed the agency meanwhile.
                except (StoreUnavailable, TimeoutError):
                    # Do not read the remaining agencies: each would wait for the time-out.
                    is_unavailable, self._days_failed_at = True, now
            if cached is not None:
                self._histories[code] = cached
                histories_by_agency[code] = cached[1]
        while len(self._histories) > _MAX_HISTORIES:
            del self._histories[next(iter(self._histories))]
        return histories_by_agency

    def find_agency_code(self, name: str) -> str:
        """Return the code of an agency by a code in any case. Raise `NotFoundError`."""
        return find_agency_code(name, self._runtime().configuration.registry.agencies)

    def own_checks(self) -> Sequence[CheckView]:
        """Return the check results of the reference mailboxes."""
        return view_checks(self._runtime().check_runner.latest(NO_AGENCY))

    async def incidents(self) -> Sequence[IncidentView]:
        """Return the first page of incidents: open incidents, and then the newest resolved ones."""
        return (await self.incident_page(IncidentFilter())).rows

    async def incident_page(
        self, filters: IncidentFilter, *, limit: int = _MAX_LISTED, after: int | None = None
    ) -> ListPage[IncidentView]:
        """Return at most *limit* matching incidents: first the open ones, then the resolved ones, each newest first.

        *after*: `ListPage.after` of the previous page, the id of its last row, negative if that incident was open. An
        incident that is resolved between the requests for two pages may appear on both; none is left out.
        """
        includes_open = after is None or after < 0
        before = NEWEST if after is None else abs(after)
        async with self._store.reading() as uow:
            ids = list(await uow.listing.open_incidents(filters, before=before))[: limit + 1] if includes_open else []
            open_count = len(ids)
            if open_count <= limit and not filters.open_only:
                resolved = replace(filters, states={IncidentState.RESOLVED})
                before = NEWEST if includes_open else before
                ids += await uow.listing.incidents(resolved, most=limit + 1 - open_count, before=before)
            incidents = await uow.incidents(ids[:limit])
        rows = [view_incident(incidents[each]) async for each in yielding(ids[:limit])]
        next_after = ids[limit - 1] * (-1 if open_count >= limit else 1) if len(ids) > limit else None
        return ListPage(rows=rows, after=next_after)

    async def latest_notifications(self) -> Sequence[NotificationView]:
        """Return the newest notifications, newest first."""
        return (await self.notification_page(NotificationFilter())).rows

    async def notification_page(
        self, filters: NotificationFilter, *, limit: int = _MAX_LISTED, after: int | None = None
    ) -> ListPage[NotificationView]:
        """Return at most *limit* matching notifications, newest first.

        *after*: `ListPage.after` of the previous page, the id of its last row; `None`: the first page.
        """
        async with self._store.reading() as uow:
            ids = await uow.listing.notifications(filters, most=limit + 1, before=after or NEWEST)
            rows = await _notification_views(uow, await uow.list_notifications(ids[:limit], filters.incident_id))
        return ListPage(rows=rows, after=ids[limit - 1] if len(ids) > limit else None)

    async def notification(self, notification_id: int) -> NotificationDetail:
        """Return the details of a notification. Raise `NotFoundError`."""
        async with self._store.reading() as uow:
            try:
                notification = await uow.notification(notification_id)
            except LookupError:
                raise notification_not_found(notification_id) from None
            incident = await uow.incident(notification.incident_id)
            numbers = await uow.listing.numbers(notification.incident_ids)
        if incident is None:
            raise notification_not_found(notification_id)
        return view_detail(notification, incident, numbers)

    # -- content of the database ---------------------------------------------------------------------------------

    async def _read_with_timeout(self) -> tuple[_DatabaseStatus, bool]:
        """Return the part of the status from the database, and whether it is current."""
        previous = self._database_status or _DatabaseStatus(at=self._clock.now())
        if self._self_health_inputs().store_outage is not None:
            return previous, False
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self._history.latest()
                self._database_status = await self._read(previous)
        except (StoreUnavailable, TimeoutError):
            return previous, False
        return self._database_status, True

    async def _read(self, previous: _DatabaseStatus) -> _DatabaseStatus:
        """Return *previous* if nothing has changed, and else the status as read now. Raise `StoreUnavailable`."""
        now = self._clock.now()
        async with self._store.reading() as uow:
            audit_number = await uow.last_audit_number()
            if audit_number == previous.audit_number and timedelta(0) <= now - previous.at < _REFRESH_INTERVAL:
                return previous
            current = await self._read_incidents_and_silences(uow)
            open_first = await uow.most_urgent_incidents(_MAX_OPEN)
            incidents = await uow.recent_incidents(_MAX_INCIDENTS)
            notifications = await uow.recent_notifications(_MAX_NOTIFICATIONS)
            attention_states = (NotificationState.UNKNOWN, NotificationState.FAILED)
            # Those among the newest `_MAX_LISTED` notifications that are in one of the states.
            attention = await uow.recent_notifications(_MAX_LISTED, states=attention_states, most=_MAX_ATTENTION)
            return _DatabaseStatus(
                at=now,
                audit_number=audit_number,
                open=current.open,
                silences=current.silences,
                open_first=[view_incident(i) for i in open_first],
                incidents=[view_incident(i) for i in incidents],
                notices=await _notification_views(uow, notifications),
                attention=await _notification_views(uow, attention),
            )

    async def _read_incidents_and_silences(self, uow: SqlUnitOfWork) -> _DatabaseStatus:
        now = self._clock.now()
        return _DatabaseStatus(
            at=now, open=await uow.open_incidents_by_key(), silences={s.target: s for s in await uow.silences(now)}
        )

    # -- content of memory ---------------------------------------------------------------------------------------

    async def _all_agency_views(self, status: _DatabaseStatus) -> Sequence[AgencyView]:
        runtime, now = self._runtime(), self._clock.now()
        registry = runtime.configuration.registry
        views = {
            code: self._agency_view(runtime, code, registry.routes_for(code), status, now)
            async for code in yielding(sorted(registry.agencies))
        }
        for removed in self._agency_views.keys() - views.keys():
            del self._agency_views[removed]
        for removed in self._route_views.keys() - runtime.routes.keys() - runtime.peer_evaluator.routes.keys():
            del self._route_views[removed]
        return list(views.values())

    def _agency_view(
        self,
        runtime: ProbingRuntime,
        code: str,
        routes: Sequence[MonitoredRoute],
        status: _DatabaseStatus,
        now: datetime,
    ) -> AgencyView:
        agency, silences = runtime.configuration.registry.agencies[code], status.silences
        latest = self._history.known()
        route_views = [self._route_view(runtime, route, latest.get(route.name)) for route in routes]
        check_runs: dict[str, CheckRun | None] = runtime.check_runner.latest(code)
        maintenance: WindowOccurrence | None = next((r.probing.hours.maintenance_at(now) for r in routes), None)
        silence = next((silences[key] for key in (code, *(r.name for r in routes)) if key in silences), None)
        mail = runtime.evaluator_of(code).mail(code)
        incident, health = status.open.get(code), dict(mail.directions())
        closed_manually = None if incident else runtime.reporter.manually_closed.get(code)
        # `closed_manually`: the incident that a person closed although the probes still detect its problem. For an open
        # incident show the stored start, which notifications state.
        is_unhealthy = Health.DOWN in health.values() or Health.DEGRADED in health.values()
        since = incident.began_at if incident else mail.trouble_since() if is_unhealthy else None
        # Unobserved directions have no results, because of a fault of Pantau itself or refused accounts.
        unobserved, sites = mail.unobserved_directions(), view_sites(runtime.reporter.site_statuses(code))
        quorum_type, disputed = self._quorum(runtime, code, sites, incident, health)
        probed_by = runtime.probed_by(code)
        sign_in_refused = incident is not None and incident.detected is IncidentType.SIGN_IN
        # Comparing these tuples is fast: nearly all objects are identical to those of the previous call.
        circumstances = (maintenance, silence, incident, closed_manually)
        evaluation = (unobserved, sign_in_refused, sites, quorum_type, disputed, probed_by)
        inputs = (agency.name, agency.domains[0], health, route_views, check_runs, circumstances, since, evaluation)
        cached = self._agency_views.get(code)
        if cached is not None and cached[0] == inputs:
            return cached[1]
        view = AgencyView(
            agency=code,
            name=agency.name,
            domain=agency.domains[0],
            health=health,
            routes=route_views,
            checks=view_checks(check_runs),
            maintenance=maintenance,
            silence=silence,
            incident=incident.number if incident else None,
            declared=incident.declared if incident else None,
            declared_by=incident.declared_by if incident else "",
            closed_manually=view_incident(closed_manually) if closed_manually else None,
            since=since,
            unobserved=unobserved,
            sign_in_refused=sign_in_refused,
            sites=sites,
            quorum_type=quorum_type,
            disputed=disputed,
            probed_by=probed_by,
        )
        self._agency_views[code] = inputs, view
        return view

    def _quorum(
        self,
        runtime: ProbingRuntime,
        code: str,
        sites: Sequence[SiteReport],
        incident: OpenIncidentSummary | None,
        health: Mapping[Direction, Health],
    ) -> tuple[IncidentType | None, Sequence[Direction]]:
        """Return an agency's problem by the quorum of sites, and the disputed directions.

        A direction is disputed if some sites, but too few for the quorum, report it as down. Without another site that
        probes, there is no problem by quorum, and no direction is disputed.
        """
        if self._site_records is None or not self._site_records.others:
            return None, ()
        # Without a joint status, the sites neither confirm nor resolve the incident: return its detected type.
        quorum_type = incident.detected if incident else None
        down = [direction for direction, found in health.items() if found is Health.DOWN]
        reported_types = [each.type for each in sites if each.type is not None]
        # Return early: there are thousands of agencies, and nearly all are up at every site.
        if not down and not reported_types:
            return quorum_type, ()
        for incident_type in reported_types:
            down += [each for each in TYPE_DIRECTIONS.get(incident_type, ()) if each not in down]
        joint_status = runtime.reporter.joint_status(code)
        if joint_status is None:
            return quorum_type, ()
        if quorum_type is None and joint_status.trouble is not None:
            quorum_type = joint_status.trouble.type
        quorum_directions = () if quorum_type is None else TYPE_DIRECTIONS.get(quorum_type, ())
        return quorum_type, [
            each
            for each in down
            if each not in quorum_directions and joint_status.directions.get(each) is not Health.DOWN
        ]

    def _route_view(self, runtime: ProbingRuntime, route: MonitoredRoute, last: ProbeResult | None) -> RouteView:
        evaluator, cached = runtime.evaluator_of(route.agency), self._route_views.get(route.name)
        health = evaluator.route_health(route.name)
        verdict = None if last is None else evaluator.run_verdict(route.name, last.token_id)
        if cached is not None:
            (old_health, old_last, old_verdict), cached_view = cached
            if old_health is health and old_last is last and old_verdict is verdict:
                return cached_view
        view = view_route(route.name, route.direction, health, last, verdict)
        self._route_views[route.name] = (health, last, verdict), view
        return view


async def _notification_views(uow: SqlUnitOfWork, notifications: Sequence[Notification]) -> Sequence[NotificationView]:
    incidents: Mapping[int, Incident] = await uow.incidents({notice.incident_id for notice in notifications})
    visible = yielding(each for each in notifications if each.incident_id in incidents)
    return [view_notification(each, incidents[each.incident_id]) async for each in visible]
