"""Current status for people: agencies from memory, incidents and notifications from the database while it is available."""

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
from monitor.evaluation.incident_type import WAYS
from monitor.metrics import NO_AGENCY
from monitor.model.day import day_of, moment_of
from monitor.model.health import Health
from monitor.model.route import Direction, MonitoredRoute
from monitor.model.site_sums import SiteSums
from monitor.model.window import WindowOccurrence
from monitor.planning.check_run import CheckRun
from monitor.runtime.cooperative import yielding
from monitor.service.days.availability import AvailabilityCache
from monitor.service.errors import NotFoundError, agency_called, no_notice
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.engine.incidents import OpenNumber
from monitor.store.engine.ledger import SqlStore, SqlUnitOfWork
from monitor.store.engine.listing import NEWEST, IncidentFilter, NotificationFilter
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
    view_notice,
    view_route,
)
from monitor.views.self_health import (
    Control,
    GatewayStatus,
    PartView,
    ReferenceView,
    SelfHealthInputs,
    own_health,
    view_reference,
)
from monitor.views.site_report import SiteIncidentData, SiteIncidentSummary, SiteReport, view_evidence, view_sites
from probes.model.result import ProbeResult

#: Maximum of listed incidents and notifications, for programs and on the page.
_LISTED = 200
_INCIDENTS, _NOTICES = 20, 40
#: Maximum of open incidents on the page, most of them folded: first those without an assignee, outages before slow
#: mail. Each also appears on its agency's card or tile.
_OPEN = 50
#: Failed and uncertain notifications stay on the page longer than successful ones.
_ATTENTION = 20
#: The audit log triggers a new read; changes that it misses appear after this time.
_READ_AGAIN = timedelta(seconds=15)
#: Runs of other sites are shown within this time around an incident; the last so many of each site.
_AROUND = timedelta(minutes=15)
_SITE_RUNS = 200
#: No audit entry has this number.
_NEVER_READ = -1
#: Days change once a minute.
_HISTORY_FOR = timedelta(minutes=1)
#: Number of agencies whose days are in memory, some 60 kB each.
_HISTORIES = 32
#: In seconds. An unresponsive database must not delay the page that reports it.
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOverview:
    """Status of everything, as the page shows it."""

    own: Sequence[PartView]
    #: All, by code.
    agencies: Sequence[AgencyView]
    #: Check results of our own reference mailboxes.
    own_checks: Sequence[CheckView]
    #: The open incidents: first those without an assignee, outages and then the oldest first, then the others; and
    #: their total number.
    open: Sequence[IncidentView]
    open_count: int
    #: The newest first.
    incidents: Sequence[IncidentView]
    notices: Sequence[NotificationView]
    #: Notifications that require a person.
    attention: Sequence[NotificationView]
    #: When the database was last read, if it is unavailable now; `None`: incidents and notifications are current.
    recorded_at: datetime | None = None
    #: `False`: the database was not read since the start, so incidents and notifications are unknown.
    was_read: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """The part of the page that comes from the database."""

    at: datetime
    #: The last audit entry at that time.
    journal: int = _NEVER_READ
    #: Numbers of open incidents, by dedup key.
    open: Mapping[str, OpenNumber] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    open_first: Sequence[IncidentView] = ()
    incidents: Sequence[IncidentView] = ()
    notices: Sequence[NotificationView] = ()
    attention: Sequence[NotificationView] = ()


class StatusReader:
    """Reads the status. Objects that have not changed since the last read are identical."""

    def __init__(
        self,
        *,
        store: SqlStore,
        history: History,
        days: DayRecords,
        pool: GatewayPool,
        clock: Clock,
        runtime: Callable[[], ProbingRuntime],
        signs: Callable[[], SelfHealthInputs],
        told: SiteRecords | None = None,
    ) -> None:
        """*runtime* returns the current runtime; *signs* the state of the service itself; *told* what other sites have published."""
        self._store = store
        self._history = history
        self._days = days
        self._book = AvailabilityCache(days, clock)
        self._pool = pool
        self._clock = clock
        self._runtime = runtime
        self._signs = signs
        self._told = told
        self._recorded: _Recorded | None = None
        #: By code: the days of an agency, and when they were read.
        self._histories: dict[str, tuple[datetime, AgencyDays]] = {}
        #: When the database last failed to return days: it is not queried for a while, or each reader would wait again.
        self._no_days_at: datetime | None = None
        self._looked_elsewhere_at = datetime.min.replace(tzinfo=UTC)
        #: By code: all inputs of an agency's view, and the view.
        self._made: dict[str, tuple[Any, AgencyView]] = {}
        #: By name: a route's health, its last run with its verdict, and its view.
        self._routes: dict[str, tuple[Any, RouteView]] = {}

    async def overview(self) -> StatusOverview:
        """Return the status of everything. While the database is unavailable its part is that of the last read.

        Unchanged objects are identical.
        """
        recorded, is_present = await self._read_in_time()
        return StatusOverview(
            own=self.own(),
            agencies=await self._agencies(recorded),
            own_checks=self.own_checks(),
            open=recorded.open_first,
            open_count=len(recorded.open),
            incidents=recorded.incidents,
            notices=recorded.notices,
            attention=recorded.attention,
            recorded_at=None if is_present else recorded.at,
            was_read=recorded.journal != _NEVER_READ,
        )

    async def testimonies(self, incident: Incident, most: int) -> Sequence[SiteIncidentData]:
        """Return each site's status of an incident's agency, and its failed runs during the incident: the last *most* of each.

        Our own site comes first. Empty if there is no other site.
        """
        code = incident.policy.agency
        if self._told is None or not code:
            return ()
        now, since = self._clock.now(), incident.began_at - _AROUND
        until = (incident.resolved_at or now) + _AROUND
        if not (told := await self._told.failed(code, since, until, most)):
            return ()
        runtime = self._runtime()
        settings = runtime.configuration.settings
        said = {each.site: each for each in view_sites(runtime.consensus.says(code) if incident.is_open else {})}
        ours = await self._history.failed(code, since, until, most)
        own = SiteIncidentData(site=settings.site, report=said.get(settings.site), results=ours)
        others = (
            SiteIncidentData(site=each.site, report=said.get(each.site), results=each.results, unclear=each.unclear)
            for each in told
        )
        return [own, *others]

    async def site_evidence(self, incident: Incident) -> Sequence[SiteIncidentSummary]:
        """Return the same for display."""
        return [view_evidence(each) for each in await self.testimonies(incident, _SITE_RUNS)]

    async def site_sums(self, code: str, days: int) -> Sequence[SiteSums]:
        """Return the results of each site's runs in the last days, our own first; empty if there is no other."""
        agency = self.called(code)
        if self._told is None:
            return ()
        now = self._clock.now()
        return await self._told.sums(agency, moment_of(day_of(now) - timedelta(days=days - 1), 0))

    def own(self) -> Sequence[PartView]:
        """Return the status of Pantau itself."""
        runtime, latest = self._runtime(), self._history.known()
        return own_health(
            self._signs(),
            controls=[
                Control(route=r.name, health=runtime.evaluator.route_health(r.name), last=latest.get(r.name))
                for r in runtime.configuration.registry.routes_of(NO_AGENCY)
            ],
            routes=len(runtime.routes),
            troubles=runtime.evaluator.own_troubles(self._clock.now()),
            gateways=self.gateways(),
        )

    def gateways(self) -> Sequence[GatewayStatus]:
        """Return the status of the gateways: by channel, in the order in which they are tried while all work."""
        return [
            GatewayStatus(
                channel=line.channel,
                gateway=line.name,
                up=self._pool.is_up(line.name),
                receipts_overdue_since=self._pool.doubted_since(line.name),
            )
            for line in self._pool
        ]

    def references(self) -> Sequence[ReferenceView]:
        """Return the status of our own mailboxes."""
        runtime, latest = self._runtime(), self._history.known()
        configuration, troubles = runtime.configuration, runtime.evaluator.own_troubles(self._clock.now())
        controls = configuration.registry.routes_of(NO_AGENCY)
        return [
            view_reference(
                name,
                [
                    self._route(runtime, each, latest.get(each.name))
                    for each in controls
                    if name in {each.route.sender.name, each.route.recipient.name}
                ],
                troubles,
            )
            for name in configuration.settings.references
        ]

    async def agencies(self) -> Sequence[AgencyView]:
        """Return all agencies, by code. Raise `StoreUnavailable` while it is unknown which have an incident."""
        async with self._store.reading() as ledger:
            recorded = await self._standing_orders(ledger)
        await self._history.latest()
        await self._look_elsewhere()
        return await self._agencies(recorded)

    async def _look_elsewhere(self) -> None:
        """Read the latest runs of other processes' routes, but not for every request."""
        runtime, now = self._runtime(), self._clock.now()
        others = runtime.configuration.registry.agencies.keys() - runtime.owned
        if others and not timedelta(0) <= now - self._looked_elsewhere_at < _READ_AGAIN:
            self._looked_elsewhere_at = now
            await self._history.look_up(others)

    async def agency(self, quoted: str) -> AgencyView:
        """Return an agency by its code in any case.

        Raise `NotFoundError`, and `StoreUnavailable` as `agencies` does.
        """
        self.called(quoted)
        async with self._store.reading() as ledger:
            recorded = await self._standing_orders(ledger)
        await self._history.latest()
        if (code := self.called(quoted)) not in self._runtime().owned:
            await self._history.look_up([code])
        # It may have left meanwhile.
        code, runtime = self.called(quoted), self._runtime()
        return self._agency(runtime, code, runtime.configuration.registry.routes_of(code), recorded, self._clock.now())

    async def days(self, quoted: str, count: int) -> AgencyDays:
        """Return the latest *count* days of an agency. Raise `NotFoundError` and `StoreUnavailable`."""
        code, now = self.called(quoted), self._clock.now()
        first = day_of(now) - timedelta(days=max(count, *SPANS) - 1)
        return view_days(code, await self._days.since(code, first), now, count)

    async def availabilities(self) -> Mapping[str, Sequence[Availability]]:
        """Return the availability of the mail of all agencies, by code, at most a minute old.

        Raise `StoreUnavailable`.
        """
        return await self._book.of(sorted(self._runtime().configuration.registry.agencies))

    async def histories(self, codes: Iterable[str]) -> Mapping[str, AgencyDays]:
        """Return the latest days of some agencies, at most a minute old; while the database is unavailable, as last read.

        Agencies that were never read are left out. For a page: a few agencies, each the same object until it is read
        again.
        """
        now, found = self._clock.now(), dict[str, AgencyDays]()
        hangs = self._no_days_at is not None and timedelta(0) <= now - self._no_days_at < _READ_AGAIN
        is_away = hangs or self._signs().away is not None
        for code in codes:
            known = self._histories.pop(code, None)
            is_old = known is None or not timedelta(0) <= now - known[0] < _HISTORY_FOR
            if is_old and not is_away:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        known = now, await self.days(code, max(SPANS))
                except NotFoundError:
                    continue  # It has left meanwhile.
                except (StoreUnavailable, TimeoutError):
                    is_away, self._no_days_at = True, now  # Further agencies are not read now.
            if known is not None:
                self._histories[code] = known
                found[code] = known[1]
        while len(self._histories) > _HISTORIES:
            del self._histories[next(iter(self._histories))]
        return found

    def called(self, quoted: str) -> str:
        """Return the code of an agency, whatever the case of the given one. Raise `NotFoundError`."""
        return agency_called(quoted, self._runtime().configuration.registry.agencies)

    def own_checks(self) -> Sequence[CheckView]:
        """Return the check results of our own reference mailboxes."""
        return view_checks(self._runtime().inspector.latest(NO_AGENCY))

    async def incidents(self) -> Sequence[IncidentView]:
        """Return the first page of incidents: open ones, and then the newest of the others."""
        return (await self.incident_page(IncidentFilter())).rows

    async def incident_page(
        self, wanted: IncidentFilter, *, most: int = _LISTED, after: int | None = None
    ) -> ListPage[IncidentView]:
        """Return at most so many matching incidents: all open ones, then resolved ones, each the newest first.

        New resolved incidents never displace open ones. *after*: the last row of the previous page: its id, negative if
        it was open. An incident that ends between two pages appears again, and none is left out.
        """
        among_open = after is None or after < 0
        before = NEWEST if after is None else abs(after)
        async with self._store.reading() as ledger:
            ids = list(await ledger.listing.open_incidents(wanted, before=before))[: most + 1] if among_open else []
            opened = len(ids)
            if opened <= most and not wanted.open_only:
                over = replace(wanted, states={IncidentState.RESOLVED})
                before = NEWEST if among_open else before
                ids += await ledger.listing.incidents(over, most=most + 1 - opened, before=before)
            found = await ledger.incidents(ids[:most])
        rows = [view_incident(found[each]) async for each in yielding(ids[:most])]
        following = ids[most - 1] * (-1 if opened >= most else 1) if len(ids) > most else None
        return ListPage(rows=rows, after=following)

    async def notices(self) -> Sequence[NotificationView]:
        """Return the newest notifications, newest first."""
        return (await self.notice_page(NotificationFilter())).rows

    async def notice_page(
        self, wanted: NotificationFilter, *, most: int = _LISTED, after: int | None = None
    ) -> ListPage[NotificationView]:
        """Return matching notifications, newest first, *after* an id."""
        async with self._store.reading() as ledger:
            ids = await ledger.listing.notices(wanted, most=most + 1, before=after or NEWEST)
            rows = await _viewed(ledger, await ledger.listed_notices(ids[:most], wanted.incident_id))
        return ListPage(rows=rows, after=ids[most - 1] if len(ids) > most else None)

    async def notice(self, notification_id: int) -> NotificationDetail:
        """Return the details of a notification. Raise `NotFoundError`."""
        async with self._store.reading() as ledger:
            try:
                notice = await ledger.notice(notification_id)
            except LookupError:
                raise no_notice(notification_id) from None
            incident = await ledger.incident(notice.incident_id)
            numbers = await ledger.listing.numbers(notice.incident_ids)
        if incident is None:
            raise no_notice(notification_id)
        return view_detail(notice, incident, numbers)

    # -- content of the database ---------------------------------------------------------------------------------

    async def _read_in_time(self) -> tuple[_Recorded, bool]:
        """Return the content of the database, and whether it is current."""
        known = self._recorded or _Recorded(at=self._clock.now())
        if self._signs().away is not None:
            return known, False
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._history.latest()
                self._recorded = await self._read(known)
        except (StoreUnavailable, TimeoutError):
            return known, False
        return self._recorded, True

    async def _read(self, known: _Recorded) -> _Recorded:
        now = self._clock.now()
        async with self._store.reading() as ledger:
            journal = await ledger.journal_number()
            if journal == known.journal and timedelta(0) <= now - known.at < _READ_AGAIN:
                return known
            orders = await self._standing_orders(ledger)
            open_first = await ledger.open_incidents_first(_OPEN)
            incidents = await ledger.recent_incidents(_INCIDENTS)
            notices = await ledger.recent_notices(_NOTICES)
            bad = (NotificationState.UNKNOWN, NotificationState.FAILED)
            attention = await ledger.recent_notices(_LISTED, states=bad, most=_ATTENTION)
            return _Recorded(
                at=now,
                journal=journal,
                open=orders.open,
                silences=orders.silences,
                open_first=[view_incident(i) for i in open_first],
                incidents=[view_incident(i) for i in incidents],
                notices=await _viewed(ledger, notices),
                attention=await _viewed(ledger, attention),
            )

    async def _standing_orders(self, ledger: SqlUnitOfWork) -> _Recorded:
        now = self._clock.now()
        return _Recorded(
            at=now, open=await ledger.open_numbers(), silences={s.target: s for s in await ledger.silences(now)}
        )

    # -- content of memory ---------------------------------------------------------------------------------------

    async def _agencies(self, recorded: _Recorded) -> Sequence[AgencyView]:
        runtime, now = self._runtime(), self._clock.now()
        registry = runtime.configuration.registry
        views = {
            code: self._agency(runtime, code, registry.routes_of(code), recorded, now)
            async for code in yielding(sorted(registry.agencies))
        }
        for gone in self._made.keys() - views.keys():
            del self._made[gone]
        for gone in self._routes.keys() - runtime.routes.keys() - runtime.elsewhere.routes.keys():
            del self._routes[gone]
        return list(views.values())

    def _agency(
        self, runtime: ProbingRuntime, code: str, routes: Sequence[MonitoredRoute], recorded: _Recorded, now: datetime
    ) -> AgencyView:
        agency, silences = runtime.configuration.registry.agencies[code], recorded.silences
        latest = self._history.known()
        shown = [self._route(runtime, route, latest.get(route.name)) for route in routes]
        inspections: dict[str, CheckRun | None] = runtime.inspector.latest(code)
        maintenance: WindowOccurrence | None = next((r.probing.hours.closed_by(now) for r in routes), None)
        silence = next((silences[key] for key in (code, *(r.name for r in routes)) if key in silences), None)
        mail = runtime.evaluator_of(code).mail(code)
        incident, health = recorded.open.get(code), dict(mail.directions())
        ended = None if incident else runtime.consensus.ended_by_hand.get(code)
        # As last notified, if it was.
        troubled = Health.DOWN in health.values() or Health.DEGRADED in health.values()
        since = incident.began_at if incident else mail.troubled_since() if troubled else None
        unseen, sites = mail.unseen(), view_sites(runtime.consensus.says(code))
        agreed, disputed = self._together(runtime, code, sites, incident, health)
        probed_by = runtime.probed_by(code)
        # Equality of identical objects is fast, and nearly all are identical to the last time.
        orders = (maintenance, silence, incident, ended)
        sign_in_refused = incident is not None and incident.detected is IncidentType.SIGN_IN
        said = (unseen, sign_in_refused, sites, agreed, disputed, probed_by)
        made_of = (agency.name, agency.domains[0], health, shown, inspections, orders, since, said)
        known = self._made.get(code)
        if known is not None and known[0] == made_of:
            return known[1]
        view = AgencyView(
            agency=code,
            name=agency.name,
            domain=agency.domains[0],
            health=health,
            routes=shown,
            checks=view_checks(inspections),
            maintenance=maintenance,
            silence=silence,
            incident=incident.number if incident else None,
            declared=incident.declared if incident else None,
            declared_by=incident.declared_by if incident else "",
            closed_manually=view_incident(ended) if ended else None,
            since=since,
            unobserved=unseen,
            sign_in_refused=sign_in_refused,
            sites=sites,
            quorum_type=agreed,
            disputed=disputed,
            probed_by=probed_by,
        )
        self._made[code] = made_of, view
        return view

    def _together(
        self,
        runtime: ProbingRuntime,
        code: str,
        sites: Sequence[SiteReport],
        incident: OpenNumber | None,
        health: Mapping[Direction, Health],
    ) -> tuple[IncidentType | None, Sequence[Direction]]:
        """Return an agency's trouble by the quorum of sites, and the directions that too few sites report as down.

        Empty if there is no other site: then our own measurement is all there is.
        """
        if self._told is None or not self._told.others:
            return None, ()
        # The sites neither confirm nor resolve it now: it stays as notified.
        agreed = incident.detected if incident else None
        down = [direction for direction, found in health.items() if found is Health.DOWN]
        wrong = [each.type for each in sites if each.type is not None]
        # Nearly all have no trouble anywhere, and there are thousands.
        if not down and not wrong:
            return agreed, ()
        down = list(dict.fromkeys([*down, *(way for matter in wrong for way in WAYS.get(matter, ()))]))
        together = runtime.consensus.together(code)
        if together is None:
            return agreed, ()
        if agreed is None and together.trouble is not None:
            agreed = together.trouble.type
        told = () if agreed is None else WAYS.get(agreed, ())
        return agreed, [each for each in down if each not in told and together.directions.get(each) is not Health.DOWN]

    def _route(self, runtime: ProbingRuntime, route: MonitoredRoute, last: ProbeResult | None) -> RouteView:
        evaluator, known = runtime.evaluator_of(route.agency), self._routes.get(route.name)
        health = evaluator.route_health(route.name)
        verdict = None if last is None else evaluator.counted_as(route.name, last.token_id)
        if known is not None and known[0][0] is health and known[0][1] is last and known[0][2] is verdict:
            return known[1]
        view = view_route(route.name, route.direction, health, last, verdict)
        self._routes[route.name] = (health, last, verdict), view
        return view


async def _viewed(ledger: SqlUnitOfWork, notices: Sequence[Notification]) -> Sequence[NotificationView]:
    incidents: Mapping[int, Incident] = await ledger.incidents({notice.incident_id for notice in notices})
    shown = yielding(each for each in notices if each.incident_id in incidents)
    return [view_notice(each, incidents[each.incident_id]) async for each in shown]
