"""Wallboard links on both stores."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from alerts.persistence.store import AuditEntry
from monitor.access.role import AgencyScope
from monitor.store.admin.wallboards import WallboardLink, WallboardLinks
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log
from tests.unit.alerts.people import T0

DAY = timedelta(days=1)
LINK = WallboardLink(
    name="Dinding Contoh",
    scope=AgencyScope(agencies=frozenset({"JCM", "MDC"})),
    made_by="Siti Contoh (siti)",
    made_at=T0,
    ends_at=T0 + DAY,
)


def entry(what: str) -> AuditEntry:
    return AuditEntry(at=T0, actor="Siti Contoh (siti)", event=what)


async def events(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars())


async def test_wallboard_link_is_found_by_key_digest_until_revoked(database: Database) -> None:
    links = WallboardLinks(database)
    one = replace(LINK, id=await links.add(LINK, "a" * 64, entry("made")))
    of_all = replace(LINK, scope=AgencyScope(is_unrestricted=True))
    other = replace(of_all, id=await links.add(of_all, "b" * 64, entry("made another")))
    assert await links.find("a" * 64) == one
    assert await links.find("b" * 64) == other
    assert await links.find("c" * 64) is None
    assert await links.list_valid(T0) == [other, one]
    assert await links.revoke(one.id, entry("revoked"))
    assert not await links.revoke(one.id, entry("must not be there"))
    assert await links.find("a" * 64) is None
    assert await links.list_valid(T0) == [other]
    await links.open(entry("opened"))
    assert await events(database) == ["made", "made another", "revoked", "opened"]


async def test_wallboard_link_expired_is_not_listed_and_deleted_with_next(database: Database) -> None:
    links = WallboardLinks(database)
    await links.add(LINK, "a" * 64, entry("made"))
    assert await links.list_valid(T0 + DAY) == []
    assert await links.find("a" * 64) is not None
    later = replace(LINK, made_at=T0 + DAY, ends_at=T0 + 2 * DAY)
    await links.add(later, "b" * 64, entry("made"))
    assert await links.find("a" * 64) is None
