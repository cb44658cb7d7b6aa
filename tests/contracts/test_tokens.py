"""API tokens on both stores."""

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


async def add_token(records: TokenRecords, digest: str, *roles: str) -> int:
    return await records.add("konsol", digest, {parse_assignment(each) for each in roles}, T0 + DAY, entry("made"))


async def test_token_is_valid_until_end_or_revocation(database: Database) -> None:
    records = TokenRecords(database)
    first = await add_token(records, "a" * 64, "viewer:JCM", "duty:MDC")
    second = await add_token(records, "b" * 64, "noc")
    valid = await records.list_valid(T0)
    assert {digest: sorted(map(str, each.assignments)) for digest, each in valid.items()} == {
        "a" * 64: ["duty:MDC", "viewer:JCM"],
        "b" * 64: ["noc"],
    }
    await records.revoke(first, entry("taken back"))
    assert [each.id for each in (await records.list_valid(T0)).values()] == [second]
    assert not await records.list_valid(T0 + DAY)
    # Revoked tokens stay, because the audit log refers to their numbers.
    assert [(each.id, each.revoked_at) for each in await records.all()] == [(second, None), (first, T0)]
    async with database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert list(events)[-3:] == ["made", "made", "taken back"]


async def test_token_last_use_is_stored(database: Database) -> None:
    records = TokenRecords(database)
    number = await add_token(records, "a" * 64, "viewer")
    await records.use(number, T0 + timedelta(minutes=5))
    found = await records.find(number)
    assert found is not None
    assert (found.used_at, found.made_by) == (T0 + timedelta(minutes=5), "Pentadbir Contoh")
    assert await records.find(number + 1) is None
