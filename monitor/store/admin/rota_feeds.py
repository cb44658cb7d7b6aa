"""Calendars of rotas that may be read with a key, in the database. What is kept of a key is its digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from alerts.persistence.store import AuditEntry
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import from_row, new_id
from monitor.store.schema.tables import rota_feed


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaFeed:
    """A calendar of a rota that somebody may read with a key."""

    id: int
    rota: str
    #: Name of the user who had it made.
    user: str
    made_at: datetime


class RotaFeeds:
    """Reads and writes them. Raises `StoreUnavailable` when the store is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, rota: str) -> Sequence[RotaFeed]:
        """Return those of a rota that were not revoked, in the order in which they were made."""
        query = select(rota_feed).where(rota_feed.c.rota == rota, rota_feed.c.revoked_at.is_(None))
        return [from_row(RotaFeed, row) for row in await self._database.rows(query.order_by(rota_feed.c.id))]

    async def find(self, digest: str) -> RotaFeed | None:
        """Return the one whose key has this digest, unless it was revoked."""
        query = select(rota_feed).where(rota_feed.c.digest == digest, rota_feed.c.revoked_at.is_(None))
        row = await self._database.row(query)
        return None if row is None else from_row(RotaFeed, row)

    async def add(self, rota: str, user: str, digest: str, entry: AuditEntry) -> int:
        """Make one; return its id."""
        values = {"rota": rota, "user": user, "digest": digest, "made_at": entry.at}
        async with audit.journalled(self._database, entry) as connection:
            return new_id(await connection.execute(insert(rota_feed).values(**values)))

    async def revoke(self, feed_id: int, rota: str, entry: AuditEntry) -> bool:
        """Revoke one of a rota; return whether there was one to revoke."""
        this = (rota_feed.c.id == feed_id) & (rota_feed.c.rota == rota) & rota_feed.c.revoked_at.is_(None)
        values = {"revoked_by": entry.actor, "revoked_at": entry.at}
        async with self._database.write() as connection:
            if not (await connection.execute(update(rota_feed).where(this).values(**values))).rowcount:
                return False
            await audit.append(connection, [entry])
        return True
