"""What every store promises about programs' tokens."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from alerts.persistence.store import AuditEntry
from monitor.access.role import parse_assignment
from monitor.store.admin.tokens import TokenRecords
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log
from tests.unit.alerts.people import T0

DAY = timedelta(days=1)


def entry(what: str = "said") -> AuditEntry:
    return AuditEntry(at=T0, actor="Pentadbir Contoh", event=what)


async def made(records: TokenRecords, digest: str, *roles: str) -> int:
    return await records.add("konsol", digest, {parse_assignment(each) for each in roles}, T0 + DAY, entry("made"))


async def test_a_token_stands_until_it_ends_or_is_taken_back(database: Database) -> None:
    records = TokenRecords(database)
    first = await made(records, "a" * 64, "viewer:JCM", "duty:MDC")
    second = await made(records, "b" * 64, "noc")
    standing = await records.standing(T0)
    assert {digest: sorted(map(str, each.assignments)) for digest, each in standing.items()} == {
        "a" * 64: ["duty:MDC", "viewer:JCM"],
        "b" * 64: ["noc"],
    }
    await records.revoke(first, entry("taken back"))
    assert [each.id for each in (await records.standing(T0)).values()] == [second]
    assert not await records.standing(T0 + DAY)
    # The journal names them by number, so they stay.
    assert [(each.id, each.revoked_at) for each in await records.all()] == [(second, None), (first, T0)]
    async with database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert list(events)[-3:] == ["made", "made", "taken back"]


async def test_when_one_was_used_is_kept(database: Database) -> None:
    records = TokenRecords(database)
    number = await made(records, "a" * 64, "viewer")
    await records.use(number, T0 + timedelta(minutes=5))
    found = await records.find(number)
    assert found is not None
    assert (found.used_at, found.made_by) == (T0 + timedelta(minutes=5), "Pentadbir Contoh")
    assert await records.find(number + 1) is None
