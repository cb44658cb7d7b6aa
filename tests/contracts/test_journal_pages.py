"""What every store promises about pages of the journal: which entries, in which order, and who may read them."""

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
from monitor.store.engine import audit_log as pages
from monitor.store.engine.audit_log import AuditLogFilter, AuditLogPages
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import audit_log
from tests.contracts.test_store import draft
from tests.unit.alerts.people import T0, trigger

MINUTE = timedelta(minutes=1)


async def told(database: Database, *entries: AuditEntry) -> None:
    async with SqlStore(database).transaction() as uow:
        for each in entries:
            await uow.add_audit_entry(each)


def said(event: str, actor: str = "engine", about: int | None = None, notice: int | None = None) -> AuditEntry:
    return AuditEntry(at=T0 + MINUTE, actor=actor, event=event, incident_id=about, notification_id=notice)


async def opened(database: Database, *agencies: str) -> list[Incident]:
    async with SqlStore(database).transaction() as uow:
        found = []
        for each in agencies:
            begun = trigger()
            brief = replace(begun.policy, agency=each)
            found.append((await uow.add_incidents([replace(begun, dedup_key=each, policy=brief)]))[0])
        return found


async def seen(database: Database, wanted: AuditLogFilter = AuditLogFilter(), most: int = 50) -> list[str]:  # noqa: B008
    """Read all pages, and return the events."""
    found: list[str] = []
    before: int | None = 2**31 - 1
    while before is not None:
        page = await AuditLogPages(database).page(wanted, most=most, before=before)
        found += [each.entry.event for each in page.rows if each.entry]
        before = page.before
    return found


async def test_the_newest_comes_first_and_pages_follow_each_other(database: Database) -> None:
    assert await seen(database) == []
    await told(database, *(said(f"event {number}") for number in range(5)))
    everything = [f"event {number}" for number in (4, 3, 2, 1, 0)]
    for most in (1, 2, 5, 50):
        assert await seen(database, most=most) == everything


async def test_what_somebody_did_and_where_something_happened(database: Database) -> None:
    await told(database, *(said(f"event {number % 2}", f"actor {number % 3}") for number in range(12)))
    assert await seen(database, AuditLogFilter(actor="actor 1"), most=3) == ["event 0", "event 1"] * 2
    assert await seen(database, AuditLogFilter(event="event 1"), most=2) == ["event 1"] * 6
    assert await seen(database, AuditLogFilter(actor="actor 1", event="event 1"), most=1) == ["event 1"] * 2
    assert await seen(database, AuditLogFilter(actor="nobody")) == []


async def test_somebodys_many_entries_are_looked_through_in_pieces(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told(database, said("rare", "busy"), *(said("often", "busy") for _ in range(7)))
    monkeypatch.setattr(pages, "MAX_EXAMINED", 3)
    first = await AuditLogPages(database).page(AuditLogFilter(actor="busy", event="rare"), most=5)
    assert (first.rows, first.before) == ([], 6)
    assert await seen(database, AuditLogFilter(actor="busy", event="rare")) == ["rare"]


async def test_of_an_incident_what_was_told_about_it_belongs_to_it(database: Database) -> None:
    one, other = await opened(database, "JCM", "MDC")
    async with SqlStore(database).transaction() as uow:
        notice = await uow.add_notification(one, draft(one, "a"), T0, bundle_key="g", not_before=T0 + MINUTE)
        assert notice is not None
        assert await uow.join_notification(notice.id, other, draft(other, "b"))
    await told(database, said("of both", about=one.id, notice=notice.id), said("of one", about=one.id), said("of none"))
    assert await seen(database, AuditLogFilter(number=one.number), most=1) == ["of one", "of both"]
    assert await seen(database, AuditLogFilter(number=other.number)) == ["of both"]
    assert await seen(database, AuditLogFilter(number="JCM-99")) == []
    page = await AuditLogPages(database).page(AuditLogFilter(), most=3)
    assert [each.incident for each in page.rows] == ["", one.number, one.number]
    # Who may read of one agency is not told what was told of two, under whichever number.
    for agency, number in (("JCM", one.number), ("MDC", other.number)):
        assert "of both" not in await seen(database, AuditLogFilter(agencies={agency}))
        assert "of both" not in await seen(database, AuditLogFilter(agencies={agency}, number=number))
    assert await seen(database, AuditLogFilter(agencies={"JCM", "MDC"})) == ["of one", "of both"]


async def test_who_may_read_of_some_agencies_reads_of_their_incidents_and_nothing_else(database: Database) -> None:
    first, second = await opened(database, "JCM", "MDC")
    (ours,) = await opened(database, "")
    await told(
        database,
        said("of JCM", "siti", first.id),
        said("of MDC", "siti", second.id),
        said("of ours", "siti", ours.id),
        said("of none", "siti"),
        said("again of JCM", "ravi", first.id),
    )
    assert await seen(database, AuditLogFilter(agencies={"JCM"}), most=1) == ["again of JCM", "of JCM"]
    assert await seen(database, AuditLogFilter(agencies={"JCM"}, actor="siti")) == ["of JCM"]
    assert await seen(database, AuditLogFilter(agencies={"JCM"}, event="of MDC")) == []
    assert await seen(database, AuditLogFilter(agencies=set())) == []
    assert await seen(database, AuditLogFilter(agencies={"JCM"}, number=second.number)) == []


async def test_of_an_agency_with_very_many_incidents_it_is_said_how_far_back_was_looked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await opened(database, "JCM", "MDC")
    await told(database, said("old", about=first.id), said("new", about=second.id))
    both = AuditLogFilter(agencies={"JCM", "MDC"})
    assert (await AuditLogPages(database).page(both, most=5)).since is None
    monkeypatch.setattr(pages, "MAX_INCIDENTS", 1)
    page = await AuditLogPages(database).page(both, most=5)
    assert [each.entry.event for each in page.rows if each.entry] == ["new"]
    assert page.since is not None


async def test_an_entry_that_somebody_has_spoilt_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    # In the file: a server keeps nothing but moments in a column of moments.
    async with Database.open(tmp_path) as database:
        await told(database, said("one"), said("two"))
        async with database.write() as connection:
            (whole, _) = await audit.entries(connection)
            assert not isinstance(whole, int)
            values = audit.entry_values(replace(whole, number=3, previous="x"))
            await connection.execute(insert(audit_log), [values])
            await connection.exec_driver_sql("DROP TRIGGER audit_log_is_not_changed")
            await connection.exec_driver_sql("UPDATE audit_log SET at = 'semalam' WHERE id = 2")
        page = await AuditLogPages(database).page(AuditLogFilter(), most=5)
        assert [(each.number, each.entry is None) for each in page.rows] == [(3, False), (2, True), (1, False)]
        # Whoever may read of some agencies is not shown what nobody knows what it is about.
        assert await seen(database, AuditLogFilter(agencies={"JCM"})) == []
