"""Query plans of every statement: none scans a table that grows with history.

The tests call every public operation of the store, record its statements, and ask the database for their plans.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.schema import SchemaItem

from alerts.decide.drill import DrillNotification, DrillState, DrillTarget
from alerts.decide.escalation import build_facts
from alerts.decide.paper import Handling, LetterStep
from alerts.documents.maintenance_notice import MaintenanceNotice, MaintenanceNoticeKind
from alerts.model.alert import KnownAlert
from alerts.model.delivery import AttemptState, Notification, NotificationState
from alerts.model.event import Resolve
from alerts.model.incident import Incident, IncidentState, apply
from alerts.model.notification import Plan, Purpose
from alerts.persistence.restoration import DetectionMethod
from alerts.persistence.store import AuditEntry, PinAttempt, SmsNumber
from monitor.evaluation.joint.freshness import SiteHeartbeat
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.model.day import DayTimeline, day_of
from monitor.model.desired_document import DesiredDocument
from monitor.model.document import EditSource, WrittenDocument
from monitor.model.health import Health
from monitor.store.admin import purge
from monitor.store.admin.desired_documents import DesiredDocuments
from monitor.store.admin.documents import Documents
from monitor.store.admin.maintenance_notices import MaintenanceNoticeRecords
from monitor.store.admin.traces import AgencyTraces
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.engine.audit_log_pages import AuditLogFilter, AuditLogPages
from monitor.store.engine.drills import Drills
from monitor.store.engine.listing import IncidentFilter, NotificationFilter, SqlListing
from monitor.store.engine.oncall import SqlOnCall
from monitor.store.engine.paper.restorations import SqlRestorations
from monitor.store.engine.responses import SqlResponses
from monitor.store.engine.unit_of_work import SqlStore, SqlUnitOfWork
from monitor.store.probing.days import DayRecords
from monitor.store.probing.history import History
from monitor.store.probing.probe_requests import ProbeRequests
from monitor.store.probing.processes import Processes
from monitor.store.probing.records import ConfigurationRecords
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.probing.site_runs import SiteRecords, SiteRunWriter
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema.tables import metadata
from probes.model.result import Outcome
from tests.contracts.test_store import draft
from tests.unit.alerts.people import MINUTE, OFFICE, RAVI, SITI, SMS_SITI, T0, VOICE_SITI, incident, trigger
from tests.unit.monitor.store.probing.test_history import ended

DAY = timedelta(days=1)

#: Tables that do not grow with time: one row for each configured or running thing.
BOUNDED = frozenset(
    {
        *(
            "alembic_version",
            "site_heartbeat",
            "counter",
            "health",
            "audit_head",
            "probe_request",
            "process",
            "record",
            "restoration",
            "sms_number",
        ),
        *("desired_document", "site_status", "streak"),
    }
)
GROWING = {name: table for name, table in metadata.tables.items() if name not in BOUNDED}
#: Partial indexes of nearly all rows.
MOST = frozenset({"ix_token_came", "ix_audit_log_incident_id", "ix_audit_log_notification_id"})
#: Partial indexes of few rows, such as active incidents and tokens without arrival.
FEW = {
    str(index.name)
    for table in metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
} - MOST
#: The first or last rows of a table by id, without a filter.
FIRST = re.compile(r"FROM (\w+) ORDER BY \1\.id(?: DESC)?\s+LIMIT ")


@dataclass(frozen=True, slots=True)
class ExecutedStatement:
    """A statement, and values that it was executed with."""

    statement: str
    values: Any


@contextmanager
def record_statements() -> Iterator[dict[str, ExecutedStatement]]:
    executed: dict[str, ExecutedStatement] = {}

    def hear(_c: Connection, _k: object, statement: str, values: Any, _x: object, many: bool) -> None:  # noqa: FBT001
        executed.setdefault(statement, ExecutedStatement(statement, values[0] if many else values))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield executed
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


class RecordingProxy:
    """Proxy that records the names of the attributes read."""

    def __init__(self, inner: object, called: set[str]) -> None:
        self._inner, self._asked = inner, called

    def __getattr__(self, name: str) -> Any:
        owner = self._inner.__name__ if isinstance(self._inner, ModuleType) else type(self._inner).__name__
        self._asked.add(f"{owner}.{name}")
        return getattr(self._inner, name)


PARTS: tuple[type | ModuleType, ...] = (
    SqlUnitOfWork,
    SqlOnCall,
    SqlListing,
    SqlResponses,
    SqlRestorations,
    History,
    DayRecords,
    Drills,
    Processes,
    ProbeRequests,
    SiteStatuses,
    SiteRunWriter,
    SiteRecords,
    ConfigurationRecords,
    AuditLogPages,
    MaintenanceNoticeRecords,
    AgencyTraces,
    Documents,
    DesiredDocuments,
    audit,
    purge,
    purge.Search,
)


def operations(of: type | ModuleType) -> set[str]:
    """Return the names of the operations of a part of the store."""
    return {
        f"{of.__name__}.{name}"
        for name, member in inspect.getmembers(of, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }


# -- calls of every operation ----------------------------------------------------------------------------------------


async def call_everything(database: Database, called: set[str]) -> None:
    """Call every operation of the store."""
    incidents, notices = await call_alerting(SqlStore(database), called)
    await call_probing(database, called)
    await call_drills(RecordingProxy(Drills(database), called))
    processes, records = (
        RecordingProxy(Processes(database, "utama"), called),
        RecordingProxy(ConfigurationRecords(database), called),
    )
    await processes.beat(T0, T0)
    await processes.refresh_heartbeat(T0)
    await processes.others()
    await processes.record_documents_revision(3)
    await processes.record_agencies(["JCM"])
    await processes.agencies_by_digest(["utama"])
    await processes.last_heartbeat()
    await processes.continuity()
    await processes.stop(T0)
    calls = RecordingProxy(ProbeRequests(database), called)
    await calls.add("JCM", T0)
    await calls.list_current(T0)
    standings = RecordingProxy(SiteStatuses(database, "utama"), called)
    await standings.write_heartbeat(SiteHeartbeat(at=T0, monotonic=timedelta(0), incarnation="a"))
    _, mark = await standings.changed(None)
    await standings.changed(mark)
    await standings.heartbeats()
    await standings.subjects()
    await standings.reset_to_unknown()
    await standings.subjects_by_site()
    await standings.delete(["JCM"])
    writer = RecordingProxy(SiteRunWriter(database, "johor"), called)
    await writer.has_hub()
    await writer.is_read_by_hub()
    await writer.latest_run_id()
    await writer.run_id_before(T0)
    await writer.publish_failed(0, 9, T0)
    await writer.first_hour(T0 - timedelta(days=7), T0)
    await writer.publish_hour(T0, T0)
    site_records = RecordingProxy(SiteRecords(database, "utama", ["johor"]), called)
    await site_records.failed("JCM", T0, T0 + MINUTE, 10)
    await site_records.sums("JCM", T0)
    for document in ("old", "new"):
        await records.apply("agency", {"JCM": (document, "jcm.yaml")}, T0)
    await records.apply("agency", {}, T0)
    await call_maintenance_notices(RecordingProxy(MaintenanceNoticeRecords(database), called))
    await call_documents(RecordingProxy(Documents(database), called))
    await call_offers(RecordingProxy(DesiredDocuments(database), called))
    await RecordingProxy(AgencyTraces(database), called).of("JCM")
    await call_audit_log(database, called, incidents[0].id)
    assert notices


async def call_alerting(store: SqlStore, called: set[str]) -> tuple[list[Incident], list[Notification]]:
    async with store.transaction() as own:
        uow: Any = RecordingProxy(own, called)
        incidents = [(await uow.add_incidents([replace(trigger(), dedup_key="a")]))[0]]
        incidents += await uow.add_incidents([replace(trigger(), dedup_key=key) for key in ("b", "c")])
        first, second, third = incidents
        notice = await uow.add_notification(first, draft(first, "a"), T0, bundle_key="g", not_before=T0 + MINUTE)
        assert await uow.join_notification(notice.id, second, draft(second, "b"))
        delivery = await uow.add_delivery(notice.id, SMS_SITI)
        attempt = await uow.add_attempt(delivery, "sms", T0, query_at=T0 + MINUTE, response="1")
        await uow.save_attempt(replace(attempt, state=AttemptState.ACCEPTED, provider_id="x"))
        _ = await uow.attempt(attempt.reference), await uow.attempt_state(attempt.id)
        await uow.record_letter_step(attempt.id, LetterStep.PRINTED, Handling(by="x", at=T0))
        _ = (
            await uow.letters(["sms"], T0 - DAY),
            await uow.queued_letters([notice.id]),
            await uow.letter_steps(attempt.id),
        )
        _ = await uow.undo_posting(attempt), await uow.undo_withdrawal(notice, attempt)
        await uow.reopen_notification(notice.id, T0 + MINUTE)
        await uow.add_notification(third, draft(third, "c"), T0)
        for each in incidents:
            await uow.incident(each.id)
            await uow.save_policy(each)
            await uow.activate_incident(each.id)
        await uow.is_notification_decided("a")
        await uow.lock_notification(notice.id)
        await uow.bundle_candidates("g", T0 - MINUTE, first.id)
        await uow.throttle(notice.id, T0)
        await uow.add_callback("sms", "1", T0)
        for narrowed in ({}, {"address": SMS_SITI}, {"gateway": "sms"}):
            await uow.accepted_attempt_times(T0, **narrowed)
        await uow.latest_receipts(["sms", "modem"], 20)
        await uow.missing_receipts("sms", T0 - DAY, T0, 20)
        _ = await uow.last_incident("a"), await uow.last_incidents(["a", "b"]), await uow.sending_incident(notice.id)
        await uow.incident_by_number("JCM-01")
        for asking in (
            *(
                "active_incidents",
                "open_incidents",
                "detected_keys",
                "open_incidents_by_key",
                "most_urgent_incidents",
                "recent_incidents",
                "recent_notifications",
            ),
            "last_audit_number",
        ):
            await getattr(uow, asking)()
        await uow.recent_notifications(states=[NotificationState.PENDING], most=5)
        await call_lists(RecordingProxy(own.listing, called), first.id)
        await uow.list_notifications([notice.id], first.id)
        await uow.incidents([first.id, second.id])
        await uow.unreleased_incidents({"JCM", "MDC"})
        await uow.opened_since(T0)
        await uow.notifications(first.id)
        whole = await uow.notification(notice.id)
        await call_silences(uow)
        await call_leases_and_alerts(uow, first.id)
        await call_restorations(RecordingProxy(uow.restorations, called))
        await call_responses_and_oncall(uow, whole, called)
        await uow.leave_notification(notice.id, second.id, T0)
        await uow.set_notification_state(notice.id, NotificationState.DELIVERED)
        for each in incidents:
            await uow.save_incident(apply(each, Resolve(dedup_key=each.dedup_key, at=T0, ended_at=T0)))
            await uow.deactivate_incident(each.id)
        await uow.save_incidents([apply(each, Resolve(dedup_key="x", at=T0, ended_at=T0)) for each in incidents])
        await uow.add_audit_entry(
            AuditEntry(at=T0, actor="x", event="x", incident_id=first.id, notification_id=notice.id)
        )
        await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="x"))
        called.add("SqlUnitOfWork.seal_audit_log")
    return incidents, [whole]


async def call_calls(uow: Any, attempt_id: int) -> None:
    for telephone in (None, VOICE_SITI):
        await uow.telephone_calls_under_way(T0, telephone)
    await uow.end_telephone_call(attempt_id, T0)
    await uow.incidents_waiting_for(VOICE_SITI)


async def call_silences(uow: Any) -> None:
    silence = await uow.add_silence("a", T0, T0 + DAY, "x", "Siti Contoh")
    await uow.silences(T0)
    await uow.end_silence(silence.id, T0)


async def call_lists(listing: Any, incident_id: int) -> None:
    codes, since, until = {"a", "b"}, T0 - DAY, T0 + DAY
    for wanted in (
        IncidentFilter(),
        IncidentFilter(agencies=codes),
        IncidentFilter(until=until),
        IncidentFilter(since=since, until=until),
        IncidentFilter(agencies=codes, since=since, states={IncidentState.RESOLVED}),
        *(IncidentFilter(states={state}) for state in IncidentState),
    ):
        await listing.incidents(wanted, most=2)
        await listing.open_incidents(wanted)
    bad = {NotificationState.FAILED, NotificationState.UNKNOWN}
    for site_records in (
        NotificationFilter(),
        NotificationFilter(agencies=codes),
        NotificationFilter(incident_id=incident_id),
        NotificationFilter(states=bad),
        NotificationFilter(since=since, until=until),
        NotificationFilter(agencies=codes, incident_id=incident_id, states=bad),
    ):
        await listing.notifications(site_records, most=2)
    for wanted in (IncidentFilter(), IncidentFilter(agencies=codes)):
        await listing.unacknowledged(wanted, most=2)
        await listing.acknowledged_by({"Siti"}, wanted, most=2)
        await listing.unreleased_outages(wanted, most=2)
    await listing.incident_history(incident_id, {"remark"}, most=2)
    await listing.numbers([incident_id])
    await listing.open_during("JCM", T0, T0 + DAY)


async def call_leases_and_alerts(uow: Any, incident_id: int) -> None:
    for owner, at in (("one", T0), ("two", T0), ("two", T0 + DAY)):
        await uow.claim_incident(incident_id, owner, at, MINUTE)
        await uow.claimable_incidents(owner, at)
        await uow.renew_leases(owner, at, MINUTE)
        await uow.end_leases(["two", "three"], owner, at)
    await uow.renew_leases("three", T0 + 2 * DAY, MINUTE)
    await uow.release_leases("two", T0)
    await uow.requery_orphaned_attempts(T0)
    # First no times are in the future, then all are.
    for now in (T0 + 2 * DAY, T0 - DAY):
        await uow.move_times_back(now)
    await uow.is_paper_paused()
    await uow.false_alarms(T0)
    await uow.save_alerts([KnownAlert(fingerprint="0" * 16, starts_at=T0, ended_at=None, received_at=T0)])
    await uow.known_alerts(["0" * 16])
    await uow.open_dedup_keys(["a", "b"])
    await uow.count_firing_alerts(["a", "b"])
    await uow.count_open_alert_incidents()


async def call_restorations(restorations: Any) -> None:
    await restorations.position([1, 2])
    await restorations.is_alive(T0)
    await restorations.begin(DetectionMethod.OLDER, T0, T0, numbers={"JCM": 3})
    waiting = await restorations.pending()
    await restorations.skip_numbers(waiting, {"JCM": (2, 3)}, ())
    await restorations.set_method(waiting, DetectionMethod.OLDER)
    await restorations.begin_reported(T0, T0, by="x", numbers={"JCM": 3}, pages={})
    await restorations.begin_reported(T0, T0, by="x", numbers={"JCM": 3}, pages={})
    waiting = await restorations.pending()
    await restorations.await_new_runs(T0)
    await restorations.unskip_numbers(waiting)
    await restorations.confirm(waiting, T0, "x", "x")
    await restorations.all()


async def call_responses_and_oncall(uow: Any, notice: Notification, called: set[str]) -> None:
    await call_calls(uow, notice.attempts[0].id)
    responses, oncall = RecordingProxy(uow.responses, called), RecordingProxy(uow.oncall, called)
    for _ in range(2):
        await responses.assign_response_code(SMS_SITI.number, notice, T0)
        await responses.save_sms_number(SMS_SITI.number, SmsNumber(unrecognised=1))
    await responses.coded_notifications(SMS_SITI.number)
    await responses.has_sms_to(SMS_SITI.number)
    await responses.sms_number(SMS_SITI.number)
    await responses.add_pin_attempt(PinAttempt(reference="p1", agency="JCM", person="siti", at=T0, accepted=True))
    await responses.pin_attempts({"JCM"}, "siti", T0)
    override = await oncall.add(rota="JCM/duti", contact=SITI, starts_at=T0, ends_at=T0 + DAY, by="x", now=T0)
    await uow.overrides(["JCM/duti"], T0)
    await oncall.list_overrides(T0)
    await oncall.last_confirmations()
    await oncall.update_contact(override.id, RAVI)
    await oncall.remove(override.id, "x", T0)


async def call_probing(database: Database, called: set[str]) -> None:
    history: Any = RecordingProxy(History(database, SiteStatuses(database, "utama")), called)
    for number, outcome in enumerate((Outcome.DELIVERED, Outcome.LOST, Outcome.DEFERRED)):
        await history.record_sent_token(f"{number:016x}", "JCM/internal", T0, T0 + MINUTE)
        await history.record_run(
            ended(number, outcome), "JCM", {"JCM/internal": (Health.UP, T0)}, statuses={"JCM": SiteStatus()}
        )
    await history.record_late_arrival(f"{1:016x}", T0)
    for routes in (None, {"JCM/internal", "JCM/outbound"}):
        await history.tokens(T0, routes)
        await history.healths(routes)
        await history.streaks(routes)
    await history.refresh_latest(["JCM"])
    await history.delete_statuses(lambda subject: subject == "MDC")
    await history.deferrals(T0)
    await history.latest()
    await history.transits("JCM", T0)
    await history.between("JCM", T0, T0 + DAY)
    await history.failed("JCM", T0, T0 + DAY, 9)
    await history.catch_up()
    await history.drain(MINUTE)
    called.add("History.keep_writing")  # Writes what other operations could not.
    days: Any = RecordingProxy(DayRecords(database), called)
    for _ in range(2):
        await days.add({("JCM", day_of(T0)): DayTimeline("w5"), ("MDC", day_of(T0)): DayTimeline("w5")})
    await days.since("JCM", day_of(T0))
    await days.on([day_of(T0), day_of(T0 - DAY)])
    await days.joined_days(["JCM", "MDC"], day_of(T0 - 89 * DAY))
    keep = RetentionPolicy(delivered=DAY, failed=DAY, hourly=DAY, daily=DAY)
    await RecordingProxy(Retention(database), called).delete_expired(keep, T0 + 30 * DAY)


async def call_drills(drills: Any) -> None:
    target = DrillTarget(agency="JCM", contact=SITI, office=OFFICE)
    begun = await drills.begin("k", contact="all", requested_by="x", starts_at=T0, ends_at=T0 + DAY)
    drill_notification = DrillNotification(target=target, address=SMS_SITI, gateway="sms")
    site_records = build_facts(incident(), Plan.ESCALATION, Purpose.OUTAGE, T0)
    record = await drills.write(begun, drill_notification, site_records, DrillState.CALLING, T0)
    await drills.change(record.reference, DrillState.CONFIRMED, T0)
    await drills.find(record.reference)
    for asking in ("under_way", "last_ended", "confirmed", "delivered", "open_incidents"):
        await getattr(drills, asking)()
    await drills.is_notification_pending(T0)
    await drills.notifications(begun.id)
    await drills.latest(2)
    await drills.latest_requested("JCM", T0)
    await drills.during("JCM", T0, T0 + DAY)
    await drills.end(begun, T0 + DAY)


async def call_maintenance_notices(records: Any) -> None:
    planned = MaintenanceNotice(
        kind=MaintenanceNoticeKind.PLANNED,
        number="JCM-P261124-1415",
        starts_at=T0 + DAY,
        ends_at=T0 + 2 * DAY,
        reason="x",
        made_at=T0,
        made_by="x",
    )
    changed = replace(planned, kind=MaintenanceNoticeKind.CHANGED, number="JCM-P261124-1416", before=planned)
    for each in (planned, changed):
        assert await records.add("JCM", each, await records.of("JCM", T0))
    await records.find("JCM", changed.number)
    await records.taken([planned.number])


async def call_documents(documents: Any) -> None:
    first, second = (WrittenDocument(agency="JCM", name="jcm.yaml", text=text) for text in ("first", "second"))
    for wanted, gone in (([first], []), ([second], []), ([], ["JCM"])):
        await documents.write(await documents.latest(), wanted, gone, edit_source=EditSource.API, by="x", now=T0)
    await documents.store_files([first], by="x", now=T0)
    await documents.revision_sum([first])
    await documents.text("JCM", first.digest)
    await documents.versions("JCM", before_number=2)
    await documents.list_latest(at_most=2)
    await documents.list_latest(search="J", agencies=["JCM", "MDC"], after="A", at_most=2)


async def call_offers(offers: Any) -> None:
    await offers.due(T0)
    await offers.record_results([DesiredDocument(agency="JCM", name="jcm.yaml", text=None, by="noc", at=T0)], {}, T0)


async def call_audit_log(database: Database, called: set[str], incident_id: int) -> None:
    audit_log: Any = RecordingProxy(audit, called)
    purging: Any = RecordingProxy(purge, called)
    async with database.read() as connection:
        await audit_log.head(connection)
        await audit_log.entries(connection)
        await audit_log.entries_of_incident(connection, incident_id)
        await audit_log.read_chain_links(connection, [1, 2])
        await audit_log.links(connection, 1, 2)
        await audit_log.hash_of(connection, 1)
        await audit_log.read_entry(connection, 1)
        search: Any = RecordingProxy(purge.Search(T0 + DAY), called)
        purge_set = await search.search_next(connection)
        while not search.is_over:
            assert not (await search.search_next(connection)).incidents
    await call_audit_log_pages(RecordingProxy(AuditLogPages(database), called))
    verifier = await audit_log.verify(database.read)
    async with database.write() as connection:
        await audit_log.add_checkpoint(connection, verifier, T0, "x")
        await audit_log.last_checkpoint(connection)
    executed = AuditEntry(at=T0, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"})
    async with database.write() as connection:
        await purging.delete_records(connection, purge_set, executed)
    async with database.write() as connection:
        await audit_log.append(connection, [executed])


async def call_audit_log_pages(pages: Any) -> None:
    for wanted in (
        AuditLogFilter(),
        AuditLogFilter(actor="x"),
        AuditLogFilter(event="x"),
        AuditLogFilter(actor="x", event="x"),
        AuditLogFilter(incident_number="JCM-01"),
        AuditLogFilter(incident_number="JCM-01", actor="x", event="x"),
        AuditLogFilter(agencies={"a", "b"}),
        AuditLogFilter(agencies={"a"}, actor="x", event="x"),
    ):
        await pages.page(wanted, most=2)


# -- plans -----------------------------------------------------------------------------------------------------------


def scanned_by_sqlite(connection: Connection, executed: ExecutedStatement) -> list[str]:
    plan = [
        row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {executed.statement}", executed.values)
    ]
    tables = dict(re.findall(r"(\w+) AS (\w+)", executed.statement))
    names = {alias: table for table, alias in tables.items()}
    found = Counter(
        names.get(match[1], match[1])
        for step in plan
        if (match := re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)) and match[2] not in FEW
    )
    found -= Counter(FIRST.findall(executed.statement))
    return [name for name in found if name in GROWING]


def scanned_by_postgresql(connection: Connection, executed: ExecutedStatement) -> list[str]:
    # On a nearly empty table every plan is cheap: disable what an index can avoid.
    for method in ("seqscan", "mergejoin", "hashjoin"):
        connection.exec_driver_sql(f"SET enable_{method} = off")
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {executed.statement}", executed.values).one()
    return [name for name in scans(plan[0]["Plan"], limited=False) if name in GROWING]


def scans(node: Mapping[str, Any], *, limited: bool) -> Iterator[str]:
    kind, index = node["Node Type"], node.get("Index Name")
    by_index = index is None or "Index Cond" in node or index in FEW or limited
    if kind == "Seq Scan" or ("Index" in kind and not by_index):
        yield node.get("Relation Name", index)
    # A sort or an aggregate reads all rows, whatever the limit above it.
    limited = kind == "Limit" or (limited and kind not in ("Sort", "Aggregate", "Hash", "HashAggregate"))
    for inner in node.get("Plans", ()):
        yield from scans(inner, limited=limited)


@pytest.mark.blind
async def test_statements_do_not_scan_growing_tables(
    database: Database, server: PostgresServer | None, tmp_path: Path
) -> None:
    """Defect: Twenty statements read a table from end to end, some every five seconds.

    Pantau: Each uses an index on both stores; the test asks the database for every plan.
    """
    called: set[str] = set()
    with record_statements() as executed:
        await call_everything(database, called)

    scanned_by = scanned_by_sqlite if server is None else scanned_by_postgresql
    engine = create_engine(f"sqlite:///{tmp_path / 'pantau.sqlite'}" if server is None else server.url())
    with engine.connect() as connection:
        found = {
            " ".join(each.statement.split()): tables
            for each in executed.values()
            if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", each.statement)
            if (tables := scanned_by(connection, each))
        }
    engine.dispose()
    assert found == {}
    # A new operation must be called here.
    assert set().union(*map(operations, PARTS)) - called == set()


async def test_purge_search_uses_index_of_entries_without_subject(
    database: Database, server: PostgresServer | None, tmp_path: Path
) -> None:
    async with database.write() as connection:
        # Nearly every audit entry is about something.
        for about in (*[1] * 20, None):
            entry = AuditEntry(at=T0, actor="x", event="x", incident_id=about, notification_id=about)
            await audit.append(connection, [entry] * 20)
    with record_statements() as executed:
        async with database.read() as connection:
            assert len((await purge.Search(T0 + DAY).search_next(connection)).entry_ids) == 20

    (called,) = (each for each in executed.values() if "FROM audit_log" in each.statement)
    explain = "EXPLAIN QUERY PLAN" if server is None else "EXPLAIN"
    engine = create_engine(f"sqlite:///{tmp_path / 'pantau.sqlite'}" if server is None else server.url())
    with engine.connect() as connection:
        if server is not None:
            connection.exec_driver_sql("SET enable_seqscan = off")  # The table is small.
        plan = str(connection.exec_driver_sql(f"{explain} {called.statement}", called.values).all())
    engine.dispose()
    assert re.findall(r"ix_\w+", plan) == ["ix_audit_log_about_none"]


@pytest.mark.blind
def test_foreign_keys_to_deletable_rows_have_indexes() -> None:
    """Defect: Deleting a notification scans all response codes.

    Pantau: An index finds whatever refers to a deletable row.
    """
    # The database searches references at each deletion without showing a plan.
    without = [
        f"{table.name}.{key.parent.name}"
        for table in metadata.sorted_tables
        for key in table.foreign_keys
        if not any(begins_with(key.parent, one) for one in (*table.constraints, *table.indexes))
    ]
    assert without == []


def begins_with(column: Column[Any], what: SchemaItem) -> bool:
    return isinstance(what, PrimaryKeyConstraint | UniqueConstraint | Index) and list(what.columns)[:1] == [column]
