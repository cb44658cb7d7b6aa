"""Pages of the audit log on both stores: order, filters and permissions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from alerts.model.incident import Incident
from alerts.persistence.store import AuditEntry
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine import audit_log_pages as pages
from monitor.store.engine.audit_log_pages import AuditLogFilter, AuditLogPages
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import audit_log
from tests.contracts.test_store import draft
from tests.unit.alerts.people import T0, trigger

MINUTE = timedelta(minutes=1)


async def add_entries(database: Database, *entries: AuditEntry) -> None:
    async with SqlStore(database).transaction() as uow:
        for each in entries:
            await uow.add_audit_entry(each)


def entry_about(event: str, actor: str = "engine", about: int | None = None, notice: int | None = None) -> AuditEntry:
    return AuditEntry(at=T0 + MINUTE, actor=actor, event=event, incident_id=about, notification_id=notice)


async def open_incidents(database: Database, *agencies: str) -> list[Incident]:
    async with SqlStore(database).transaction() as uow:
        found = []
        for each in agencies:
            begun = trigger()
            snapshot = replace(begun.policy, agency=each)
            found.append((await uow.add_incidents([replace(begun, dedup_key=each, policy=snapshot)]))[0])
        return found


async def events(database: Database, wanted: AuditLogFilter = AuditLogFilter(), most: int = 50) -> list[str]:  # noqa: B008
    """Read all pages, and return the events."""
    found: list[str] = []
    before: int | None = 2**31 - 1
    while before is not None:
        page = await AuditLogPages(database).page(wanted, most=most, before=before)
        found += [each.entry.event for each in page.rows if each.entry]
        before = page.before
    return found


async def test_audit_pages_are_newest_first_and_contiguous(database: Database) -> None:
    assert await events(database) == []
    await add_entries(database, *(entry_about(f"event {number}") for number in range(5)))
    everything = [f"event {number}" for number in (4, 3, 2, 1, 0)]
    for most in (1, 2, 5, 50):
        assert await events(database, most=most) == everything


async def test_audit_filter_by_actor_and_event(database: Database) -> None:
    await add_entries(database, *(entry_about(f"event {number % 2}", f"actor {number % 3}") for number in range(12)))
    assert await events(database, AuditLogFilter(actor="actor 1"), most=3) == ["event 0", "event 1"] * 2
    assert await events(database, AuditLogFilter(event="event 1"), most=2) == ["event 1"] * 6
    assert await events(database, AuditLogFilter(actor="actor 1", event="event 1"), most=1) == ["event 1"] * 2
    assert await events(database, AuditLogFilter(actor="nobody")) == []


async def test_audit_filter_examines_entries_in_pieces(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await add_entries(database, entry_about("rare", "busy"), *(entry_about("often", "busy") for _ in range(7)))
    monkeypatch.setattr(pages, "MAX_EXAMINED", 3)
    first = await AuditLogPages(database).page(AuditLogFilter(actor="busy", event="rare"), most=5)
    assert (first.rows, first.before) == ([], 6)
    assert await events(database, AuditLogFilter(actor="busy", event="rare")) == ["rare"]


async def test_audit_entry_of_bundle_belongs_to_each_incident(database: Database) -> None:
    one, other = await open_incidents(database, "JCM", "MDC")
    async with SqlStore(database).transaction() as uow:
        notice = await uow.add_notification(one, draft(one, "a"), T0, bundle_key="g", not_before=T0 + MINUTE)
        assert notice is not None
        assert await uow.join_notification(notice.id, other, draft(other, "b"))
    await add_entries(
        database,
        entry_about("of both", about=one.id, notice=notice.id),
        entry_about("of one", about=one.id),
        entry_about("of none"),
    )
    assert await events(database, AuditLogFilter(incident_number=one.number), most=1) == ["of one", "of both"]
    assert await events(database, AuditLogFilter(incident_number=other.number)) == ["of both"]
    assert await events(database, AuditLogFilter(incident_number="JCM-99")) == []
    page = await AuditLogPages(database).page(AuditLogFilter(), most=3)
    assert [each.incident for each in page.rows] == ["", one.number, one.number]
    # With access to one agency, entries about a bundle of two agencies are not shown.
    for agency, number in (("JCM", one.number), ("MDC", other.number)):
        assert "of both" not in await events(database, AuditLogFilter(agencies={agency}))
        assert "of both" not in await events(database, AuditLogFilter(agencies={agency}, incident_number=number))
    assert await events(database, AuditLogFilter(agencies={"JCM", "MDC"})) == ["of one", "of both"]


async def test_audit_filter_agencies_returns_their_incidents_only(database: Database) -> None:
    first, second = await open_incidents(database, "JCM", "MDC")
    (noc,) = await open_incidents(database, "")
    await add_entries(
        database,
        entry_about("of JCM", "siti", first.id),
        entry_about("of MDC", "siti", second.id),
        entry_about("of ours", "siti", noc.id),
        entry_about("of none", "siti"),
        entry_about("again of JCM", "ravi", first.id),
    )
    assert await events(database, AuditLogFilter(agencies={"JCM"}), most=1) == ["again of JCM", "of JCM"]
    assert await events(database, AuditLogFilter(agencies={"JCM"}, actor="siti")) == ["of JCM"]
    assert await events(database, AuditLogFilter(agencies={"JCM"}, event="of MDC")) == []
    assert await events(database, AuditLogFilter(agencies=set())) == []
    assert await events(database, AuditLogFilter(agencies={"JCM"}, incident_number=second.number)) == []


async def test_audit_filter_many_incidents_states_how_far_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await open_incidents(database, "JCM", "MDC")
    await add_entries(database, entry_about("old", about=first.id), entry_about("new", about=second.id))
    both = AuditLogFilter(agencies={"JCM", "MDC"})
    assert (await AuditLogPages(database).page(both, most=5)).since is None
    monkeypatch.setattr(pages, "MAX_INCIDENTS", 1)
    page = await AuditLogPages(database).page(both, most=5)
    assert [each.entry.event for each in page.rows if each.entry] == ["new"]
    assert page.since is not None


async def test_audit_page_invalid_entry_does_not_hide_others(tmp_path: Path) -> None:
    # SQLite only: PostgreSQL refuses an invalid timestamp.
    async with Database.open(tmp_path) as database:
        await add_entries(database, entry_about("one"), entry_about("two"))
        async with database.write() as connection:
            (whole, _) = await audit.entries(connection)
            assert not isinstance(whole, int)
            values = audit.entry_values(replace(whole, number=3, previous="x"))
            await connection.execute(insert(audit_log), [values])
            await connection.exec_driver_sql("DROP TRIGGER audit_log_is_not_changed")
            await connection.exec_driver_sql("UPDATE audit_log SET at = 'semalam' WHERE id = 2")
        page = await AuditLogPages(database).page(AuditLogFilter(), most=5)
        assert [(each.number, each.entry is None) for each in page.rows] == [(3, False), (2, True), (1, False)]
        # With access to some agencies, unreadable entries are not shown.
        assert await events(database, AuditLogFilter(agencies={"JCM"})) == []
