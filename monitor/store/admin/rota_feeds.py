"""Calendar feeds (iCalendar) of rotas in the database. A calendar program reads a feed with a secret key in its URL.

Only the digest of a key is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from alerts.persistence.store import AuditEntry
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import from_row, inserted_id
from monitor.store.schema.tables import rota_feed


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaFeed:
    """Calendar feed of a rota."""

    id: int
    #: Name of the rota: "JCM/bertugas".
    rota: str
    #: Name of the user who created the feed.
    user: str
    made_at: datetime


class RotaFeeds:
    """Reads and writes calendar feeds. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, rota: str) -> Sequence[RotaFeed]:
        """Return the feeds of a rota that are not revoked, in the order of their creation."""
        query = select(rota_feed).where(rota_feed.c.rota == rota, rota_feed.c.revoked_at.is_(None))
        return [from_row(RotaFeed, row) for row in await self._database.rows(query.order_by(rota_feed.c.id))]

    async def find(self, digest: str) -> RotaFeed | None:
        """Return the feed whose key has this digest, unless it is revoked."""
        query = select(rota_feed).where(rota_feed.c.digest == digest, rota_feed.c.revoked_at.is_(None))
        row = await self._database.row(query)
        return None if row is None else from_row(RotaFeed, row)

    async def add(self, rota: str, user: str, digest: str, entry: AuditEntry) -> int:
        """Create a feed; return its id."""
        values = {"rota": rota, "user": user, "digest": digest, "made_at": entry.at}
        async with audit.audited_write(self._database, entry) as connection:
            return inserted_id(await connection.execute(insert(rota_feed).values(**values)))

    async def revoke(self, feed_id: int, rota: str, entry: AuditEntry) -> bool:
        """Revoke a feed of a rota; return whether there was one."""
        is_valid_feed = (rota_feed.c.id == feed_id) & (rota_feed.c.rota == rota) & rota_feed.c.revoked_at.is_(None)
        values = {"revoked_by": entry.actor, "revoked_at": entry.at}
        async with self._database.write() as connection:
            if not (await connection.execute(update(rota_feed).where(is_valid_feed).values(**values))).rowcount:
                return False
            await audit.append(connection, [entry])
        return True
