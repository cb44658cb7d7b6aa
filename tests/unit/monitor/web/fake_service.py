"""Fake of the running service, as the web interface uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import httpx

from alerts.decide.announcement import Announce, announce
from alerts.decide.paper import PENDING_STEPS, LetterStep
from alerts.decide.silence import Silence
from alerts.engine.manual_status import ManualStatus
from alerts.model.channel import Channel
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import NotificationDraft, NotificationState
from alerts.model.event import AddNote, Close, Event, MarkFalseAlarm, Release
from alerts.model.gateway import CallbackRequest, CallbackResponse, Content, PageContent, SmsContent
from alerts.model.incident import Incident, IncidentState, apply
from alerts.model.notification import Addressee, IncidentType, Purpose
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.config.files.problem import Problem
from monitor.model.day import DayTimeline
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.model.site_sums import SiteSums
from monitor.model.window import WindowOccurrence
from monitor.planning.check_run import CheckRun
from monitor.service.declarations import DeclaredOutage
from monitor.service.errors import OperationRejectedError, find_agency_code, incident_not_found, notification_not_found
from monitor.service.facade import ServiceFacade
from monitor.service.operation_check import format_recipients
from monitor.service.paper.letters import LetterRecord, Letters, LetterView
from monitor.service.portal.worklist import IncidentPage, PendingTasks, PlannedNotification, ReleasePreview, Worklist
from monitor.service.status_reader import StatusOverview, StatusReader
from monitor.store.engine.listing import HistoryEntry, IncidentFilter, NotificationFilter
from monitor.views.days import AgencyDays, Availability, view_days
from monitor.views.overview import (
    AgencyView,
    CheckView,
    IncidentView,
    ListPage,
    NotificationDetail,
    NotificationView,
    view_checks,
    view_incident,
    view_notification,
    view_route,
)
from monitor.views.self_health import Component, ComponentView, GatewayStatus, ReferenceView
from monitor.views.site_report import SiteIncidentSummary
from probes.model.check import CheckScope, Finding, Verdict
from probes.model.result import Outcome, Phase
from tests.unit.alerts.people import T0, incident, written
from tests.unit.monitor.world import agency_routes, failed

TOKEN = "token-olok-olok-konsol-noc"
BASE = "https://pantau.contoh.gov.my/callbacks/sms-contoh"


@dataclass
class Service(ServiceFacade, StatusReader, Letters):
    """Returns what the test sets."""

    incident: Incident = field(default_factory=incident)
    problems: Sequence[Problem] = ()
    not_ready: str | None = None
    monitor_only: bool = False
    #: By component: what differs from a component that is up.
    problems_by_component: Mapping[Component, Any] = field(default_factory=dict)
    recorded_at: datetime | None = None
    was_read: bool = True
    #: Calls of `overview`.
    overview_calls: int = 0
    moment: datetime = T0
    content: Content = field(default_factory=lambda: SmsContent(text="RM0 JCM ICT: AMARAN."))
    #: Response to a callback, or the error it raises.
    answer: CallbackResponse | Exception | None = None
    received_callbacks: list[CallbackRequest] = field(default_factory=list)
    rejection: str | None = None
    #: The contradiction of every command.
    contradiction: Contradiction | None = None
    tray_letters: Sequence[LetterView] = ()
    #: PDFs in the tray, by notification.
    tray_pdfs: Mapping[int, bytes] = field(default_factory=dict)
    commands: list[tuple[str, str]] = field(default_factory=list)
    codes: Sequence[str] = ("JCM",)
    #: Timelines of every agency.
    timelines: Mapping[date, DayTimeline] = field(default_factory=dict)
    #: Queries of lists: filter, limit, row before the page.
    list_queries: list[tuple[IncidentFilter | NotificationFilter, int, int | None]] = field(default_factory=list)
    #: Row before the next page.
    next_after: int | None = None
    name: str = "Jabatan Contoh Malaysia"
    why: str = "554 spam"
    maintenance: WindowOccurrence | None = None
    silence: Silence | None = None
    #: Findings of the checks, by kind; `None`: not run yet.
    findings: Mapping[str, Sequence[Finding] | None] = field(default_factory=dict)
    own_findings: Mapping[str, Sequence[Finding] | None] = field(default_factory=dict)
    #: Reports of sites about an incident, and totals of their runs.
    site_summaries: Sequence[SiteIncidentSummary] = ()
    site_totals: Sequence[SiteSums] = ()

    def __getattr__(self, name: str) -> Any:
        if name == "status_reader":
            return self
        raise AttributeError(name)

    async def site_evidence(self, incident: Incident) -> Sequence[SiteIncidentSummary]:
        return self.site_summaries if incident.number == self.incident.number else ()

    async def site_sums(self, code: str, days: int) -> Sequence[SiteSums]:
        return self.site_totals if self.find_agency_code(code) == "JCM" and days else ()

    async def overview(self) -> StatusOverview:
        self.overview_calls += 1
        notices, incidents = await self.latest_notifications(), await self.incidents()
        return StatusOverview(
            own=self.own(),
            agencies=await self.agencies(),
            own_checks=self.own_checks(),
            open=[each for each in incidents if each.resolved_at is None][:50],
            open_count=sum(each.resolved_at is None for each in incidents),
            incidents=incidents,
            notices=notices,
            attention=notices,
            recorded_at=self.recorded_at,
            was_read=self.was_read,
        )

    def own(self) -> Sequence[ComponentView]:
        return [
            replace(ComponentView(component=part, health=Health.UP), **self.problems_by_component.get(part, {}))
            for part in Component
        ]

    def gateways(self) -> Sequence[GatewayStatus]:
        return [GatewayStatus(channel=Channel.SMS, gateway="sms-contoh")]

    def references(self) -> Sequence[ReferenceView]:
        control = view_route("control/a/b", Direction.CONTROL, Health.UP, None)
        return [ReferenceView(name="a", health=Health.UP, controls=[control])]

    async def agencies(self) -> Sequence[AgencyView]:
        internal = agency_routes("JCM")[0]
        last = failed(internal, T0, Outcome.REJECTED, Phase.SUBMIT)
        assert last.failure is not None
        last = replace(last, failure=replace(last.failure, detail=self.why))
        shown = view_route(internal.name, Direction.INTERNAL, Health.DOWN, last)
        health = {Direction.INTERNAL: Health.DOWN, Direction.OUTBOUND: Health.UNKNOWN}
        return [
            AgencyView(
                agency="JCM",
                name=self.name,
                domain="jabatan-contoh.gov.my",
                health=health,
                routes=[shown],
                checks=checks(self.findings),
                maintenance=self.maintenance,
                silence=self.silence,
                incident="JCM-01",
            )
        ]

    async def agency(self, quoted: str) -> AgencyView:
        code = self.find_agency_code(quoted)
        return next(view for view in await self.agencies() if view.agency == code)

    async def days(self, quoted: str, count: int) -> AgencyDays:
        return view_days(self.find_agency_code(quoted), self.timelines, self.moment, count)

    async def availabilities(self) -> Mapping[str, Sequence[Availability]]:
        codes = [each.agency for each in await self.agencies()]
        return {code: view_days(code, self.timelines, self.moment, 1).availability for code in codes}

    async def histories(self, codes: Iterable[str]) -> Mapping[str, AgencyDays]:
        return {code: view_days(code, self.timelines, self.moment, 90) for code in codes if self.timelines}

    def find_agency_code(self, quoted: str) -> str:
        return find_agency_code(quoted, self.codes)

    def own_checks(self) -> Sequence[CheckView]:
        return checks(self.own_findings)

    async def incidents(self) -> Sequence[IncidentView]:
        return [view_incident(self.incident)]

    async def latest_notifications(self) -> Sequence[NotificationView]:
        drafts = announce_all(self.incident)
        notice = written(drafts, state=NotificationState.FAILED)
        addressee = Addressee(title=self.name, organisation="Kementerian Contoh")
        return [view_notification(replace(notice, addressee=addressee), self.incident)]

    async def incident_page(
        self, filters: IncidentFilter, *, limit: int = 200, after: int | None = None
    ) -> ListPage[IncidentView]:
        self.list_queries.append((filters, limit, after))
        rows = [each for each in await self.incidents() if not filters.agencies or each.agency in filters.agencies]
        return ListPage(rows=rows[:limit], after=self.next_after)

    async def notification_page(
        self, filters: NotificationFilter, *, limit: int = 200, after: int | None = None
    ) -> ListPage[NotificationView]:
        self.list_queries.append((filters, limit, after))
        rows = [
            each
            for each in await self.latest_notifications()
            if not filters.agencies or each.agency in filters.agencies
        ]
        return ListPage(rows=rows[:limit], after=self.next_after)

    async def notification(self, notification_id: int) -> NotificationDetail:
        if notification_id != 1:
            raise notification_not_found(notification_id)
        [notice] = await self.latest_notifications()
        return NotificationDetail(notification=notice, incidents=["JCM-01"], attempts=())

    async def composed_notification(self, notification_id: int) -> tuple[NotificationView, Content] | None:
        [notice] = await self.latest_notifications()
        return (notice, self.content) if notification_id == 1 else None

    def metrics(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        return iter((b"pantau_mail_up 1\n", b"pantau_mail_degraded 0\n", *([b"# EOF\n"] if open_metrics else ())))

    def is_monitor_only(self) -> bool:
        return self.monitor_only

    def not_ready_reason(self) -> str | None:
        return self.not_ready

    async def reload(self, by: str) -> Sequence[Problem]:
        self.commands.append(("reload", by))
        return self.problems

    async def handle_callback(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        self.received_callbacks.append(incoming)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def callback_base(self, gateway: str) -> str | None:
        return BASE if gateway == "sms-contoh" else None

    async def releases(self) -> Sequence[IncidentView]:
        waits = self.incident.released_at is None and self.incident.is_open
        return [view_incident(self.incident)] if waits else []

    async def find_incident(self, number: str) -> Incident:
        if number != self.incident.number:
            raise incident_not_found(number)
        return self.incident

    async def _submit(self, number: str, event: Callable[..., Event]) -> Incident:
        order = event(incident_id=1, at=T0)
        if isinstance(order, Release | MarkFalseAlarm | Close) and self.contradiction not in {None, order.despite}:
            wrong = OperationRejectedError(f"{number} contradicts what is measured")
            wrong.despite = self.contradiction or ""
            raise wrong
        self.incident = apply(await self.find_incident(number), order)
        return self.incident

    async def add_note(self, number: str, by: str, text: str) -> Incident:
        self.commands.append((by, text))
        return await self._submit(number, partial(AddNote, by=by, text=text))

    async def letters(self) -> Sequence[LetterView]:
        return self.tray_letters

    def today(self) -> date:
        return self.moment.date()

    async def unchanged_pdfs(self, notice_ids: Collection[int]) -> Mapping[int, bytes]:
        return {each: pdf for each, pdf in self.tray_pdfs.items() if each in notice_ids}

    async def posted_on(self, day: date) -> Sequence[LetterView]:
        return [each for each in self.tray_letters if each.posted_on == day]

    async def record_step(
        self,
        notification_id: int,
        step: LetterStep,
        by: str,
        *,
        already_posted: bool = False,
        unprinted: bool = False,
        day: date | None = None,
    ) -> LetterRecord:
        if self.rejection is not None:
            raise OperationRejectedError(self.rejection)
        how = " already" if already_posted else " unprinted" if unprinted else ""
        step_text = f"{step}{how} {notification_id}{f' on {day}' if day else ''}"
        before = next((each for number, each in self.commands if number == step_text), None)
        if before is None:
            self.commands.append((step_text, by))
        return LetterRecord(by=before or by, at=self.moment, anew=before is None)

    async def undo_posting(self, notification_id: int, by: str) -> None:
        if self.rejection is not None:
            raise OperationRejectedError(self.rejection)
        self.commands.append((f"not posted {notification_id}", by))

    async def set_notification_status(self, notification_id: int, ruling: ManualStatus, by: str, why: str) -> None:
        self.commands.append((str(notification_id), f"{ruling} by {by}: {why}"))
        if self.rejection is not None:
            raise OperationRejectedError(self.rejection)

    def now(self) -> datetime:
        return self.moment


@dataclass
class FakeWorklist(Worklist):
    """Fake worklist, silences and declarations; it rejects commands as the real services do."""

    service: Service
    #: Silences, the oldest first.
    silences: list[Silence] = field(default_factory=list)
    #: History of the incident, the newest first.
    entries: Sequence[HistoryEntry] = ()
    #: Reason why every command is rejected.
    rejection: str | None = None
    #: Differs from the incident's policy snapshot.
    planned: Sequence[PlannedNotification] = (
        PlannedNotification(
            position=1, to="Ketua Setiausaha, Kementerian Contoh", channel=Channel.FAX, not_before=None, lines=()
        ),
    )
    unknown_notifications: Sequence[NotificationView] = ()
    #: Whether each list has another page.
    has_more: bool = False

    async def pending_tasks(self, principal: Principal) -> PendingTasks:
        found = self.service.incident
        seen = [found] if found.policy.agency in principal.scope(Permission.ACKNOWLEDGE) and found.is_open else []
        unacknowledged = [each for each in seen if each.acknowledged_by is None]
        releases = [each for each in seen if each.released_at is None]
        return PendingTasks(
            unassigned=unacknowledged,
            unassigned_count=len(unacknowledged),
            own=[each for each in seen if each.acknowledged_by == principal.by],
            releases=releases,
            has_more_own=self.has_more,
            has_more_releases=self.has_more,
            unknown_notifications=self.unknown_notifications,
            has_more_unknown=self.has_more,
        )

    async def incident_page(self, number: str) -> IncidentPage:
        return IncidentPage(
            incident=await self.service.find_incident(number),
            history=self.entries,
            silence=None,
            recovery_recipients=format_recipients(self.service.incident, ()),
            correction_recipients=format_recipients(self.service.incident, ()),
        )

    async def preview_release(self, number: str) -> ReleasePreview:
        found = await self.service.find_incident(number)
        planned = self.planned if found.is_open and found.released_at is None else ()
        return ReleasePreview(
            incident=found, type=found.type, notifications=planned, is_offered=True, is_paper_paused=False, silence=None
        )

    async def preview_page(self, number: str, place: int) -> PageContent:
        return PageContent(pdf=b"%PDF-1.7", title=f"{number} {place}", pages=1)

    async def declare(
        self, agency: str, incident_type: IncidentType, *, since: str, reason: str, by: str
    ) -> DeclaredOutage:
        self._record(f"declare {agency} {incident_type} {since}: {reason}", by)
        return DeclaredOutage(incident=self.service.incident)

    async def close(
        self,
        number: str,
        *,
        reason: str,
        by: str,
        recovered: bool | None = None,
        despite: Contradiction | None = None,
    ) -> Incident:
        self._record(f"close {number} {recovered}: {reason}{f' despite {despite}' if despite else ''}", by)
        event = partial(Close, by=by, reason=reason, recovered=recovered, despite=despite)
        return await self.service._submit(number, event)

    def find_target(self, about: str) -> str:
        return find_agency_code(about, self.service.codes)

    def agency_of(self, about: str) -> str:
        return about if about in self.service.codes else ""

    async def add(self, about: str, lasts: timedelta, why: str, by: str) -> Silence:
        self._record(f"silence {about} {lasts}: {why}", by)
        begins = self.service.moment
        added = Silence(
            id=len(self.silences) + 1, target=about, starts_at=begins, ends_at=begins + lasts, reason=why, by=by
        )
        self.silences.append(added)
        return added

    async def current(self) -> Sequence[Silence]:
        return self.silences

    async def remove(self, number: int, by: str) -> Silence:
        self._record(f"end silence {number}", by)
        ended = next(each for each in self.silences if each.id == number)
        self.silences.remove(ended)
        return ended

    def _record(self, order: str, by: str) -> None:
        if self.rejection is not None:
            raise OperationRejectedError(self.rejection)
        self.service.commands.append((order, by))


def checks(found: Mapping[str, Sequence[Finding] | None]) -> Sequence[CheckView]:
    nowhere = CheckScope(agency="JCM", mailboxes=(), domains=())
    return view_checks(
        {
            kind: None if findings is None else CheckRun(findings=tuple(findings), at=T0, check_scope=nowhere)
            for kind, findings in found.items()
        }
    )


def finding(subject: str, verdict: Verdict, detail: str = "", aspect: str = "spf") -> Finding:
    return Finding(aspect=aspect, subject=subject, verdict=verdict, detail=detail)


def announce_all(of: Incident) -> NotificationDraft:
    # A resolved incident was announced while it was open.
    opened = replace(of, state=IncidentState.TRIGGERED)
    decision = announce(apply(opened, Release(incident_id=1, at=T0, by="Siti Contoh")), (), T0)
    assert isinstance(decision, Announce)
    return decision.drafts[0]


@asynccontextmanager
async def client(app: Any, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as web:
        yield web


def letter(notification_id: int, step: LetterStep, **more: Any) -> LetterView:
    """Return a letter queued at T0, to be posted by the end of the next day."""
    return LetterView(
        id=notification_id,
        incident="JCM-01",
        agency="JCM",
        purpose=Purpose.OUTAGE,
        to="Ketua Setiausaha, Kementerian Contoh",
        step=step,
        queued_at=T0,
        post_by=datetime(2026, 11, 25, 9, 0, tzinfo=UTC),
        overdue=step in PENDING_STEPS,
        **more,
    )


_PRINTED = {"printed_at": T0, "printed_by": "Kerani Contoh"}
#: One letter of each kind.
LETTERS = (
    letter(7, LetterStep.QUEUED),
    letter(8, LetterStep.PRINTED, **_PRINTED),
    letter(9, LetterStep.POSTED, **_PRINTED, posted_at=T0, posted_by="Kerani Contoh", posted_on=T0.date()),
    letter(10, LetterStep.TAKEN_BACK, **_PRINTED, taken_back_at=T0),
    letter(11, LetterStep.TAKEN_BACK, taken_back_at=T0),
)
