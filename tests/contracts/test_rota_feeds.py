"""Calendar feeds of rotas on both stores."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from alerts.persistence.store import AuditEntry
from monitor.model.renaming import RenamedKind, Renaming
from monitor.store.admin.renames import Renames
from monitor.store.admin.rota_feeds import RotaFeed, RotaFeeds
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, rota_feed
from tests.unit.alerts.people import T0

HOUR = timedelta(hours=1)


def entry(what: str = "calendar made") -> AuditEntry:
    return AuditEntry(at=T0, actor="Siti Contoh (siti)", event=what)


async def test_rota_feed_is_found_by_key_digest_until_revoked(database: Database) -> None:
    feeds = RotaFeeds(database)
    made = [await feeds.add("JCM/bertugas", "siti", sign * 64, entry()) for sign in "ab"]
    first, second = (RotaFeed(id=number, rota="JCM/bertugas", user="siti", made_at=T0) for number in made)
    assert await feeds.of("JCM/bertugas") == [first, second]
    assert await feeds.of("MDC/bertugas") == []
    assert await feeds.find("b" * 64) == second
    assert await feeds.find("c" * 64) is None

    # The id belongs to another rota.
    assert not await feeds.revoke(first.id, "MDC/bertugas", entry("must not be there"))
    assert await feeds.revoke(first.id, "JCM/bertugas", entry("calendar revoked"))
    assert not await feeds.revoke(first.id, "JCM/bertugas", entry("must not be there"))
    assert await feeds.find("a" * 64) is None
    assert await feeds.of("JCM/bertugas") == [second]
    async with database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars().all()
        kept = (await connection.execute(select(rota_feed).where(rota_feed.c.id == first.id))).one()
    assert events[-3:] == ["calendar made", "calendar made", "calendar revoked"]
    assert (kept.revoked_by, kept.revoked_at) == ("Siti Contoh (siti)", T0)


async def test_rename_agency_renames_rota_feeds(database: Database) -> None:
    feeds = RotaFeeds(database)
    made = [await feeds.add(rota, "siti", sign * 64, entry()) for rota, sign in (("JCM/a", "a"), ("MDC/a", "b"))]
    renaming = Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM")
    await Renames(database).rename(renaming, by="Siti Contoh", now=T0 + HOUR, is_second_pass=False)
    assert [(each.id, each.rota) for rota in ("JCM/a", "JKM/a", "MDC/a") for each in await feeds.of(rota)] == [
        (made[0], "JKM/a"),
        (made[1], "MDC/a"),
    ]
    found = await feeds.find("a" * 64)
    assert found is not None
    assert found.rota == "JKM/a"
