"""Links by which a wall is read without signing in, in the database. Each that is made or revoked is in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, delete, insert, select

from alerts.persistence.store import AuditEntry
from monitor.access.role import AgencyScope
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import from_row, named, new_id
from monitor.store.schema.tables import wall


@dataclass(frozen=True, slots=True, kw_only=True)
class WallboardLink:
    """A link for one wall, or some that hang together. Its key is kept nowhere."""

    #: 0: it is not kept yet.
    id: int = 0
    #: Where it hangs.
    name: str
    #: What it shows.
    scope: AgencyScope
    made_by: str
    made_at: datetime
    ends_at: datetime


class WallboardLinks:
    """Reads and writes them. Raises `StoreUnavailable` when the store is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def at(self, now: datetime) -> Sequence[WallboardLink]:
        """Return those that are good, the newest first."""
        query = select(wall).where(wall.c.ends_at > now)
        found = map(_link, await self._database.rows(query))
        return sorted(found, key=lambda each: each.id, reverse=True)

    async def find(self, digest: str) -> WallboardLink | None:
        """Return the link whose key has this digest, whether its time is over or not."""
        row = await self._database.row(select(wall).where(wall.c.digest == digest))
        return None if row is None else _link(row)

    async def add(self, link: WallboardLink, digest: str, entry: AuditEntry) -> int:
        """Keep a link and return its id; forget those whose time is over by then."""
        agencies = None if link.scope.everything else sorted(link.scope.agencies)
        values = {"digest": digest, "agencies": agencies, **named(link, ("name", "made_by", "made_at", "ends_at"))}
        async with audit.journalled(self._database, entry) as connection:
            await connection.execute(delete(wall).where(wall.c.ends_at <= link.made_at))
            return new_id(await connection.execute(insert(wall).values(**values)))

    async def open(self, entry: AuditEntry) -> None:
        """Write down that a browser has been let in by a link."""
        async with self._database.write() as connection:
            await audit.append(connection, [entry])

    async def revoke(self, link_id: int, entry: AuditEntry) -> bool:
        """Forget a link. Return whether there was one."""
        async with self._database.write() as connection:
            gone = (await connection.execute(delete(wall).where(wall.c.id == link_id))).rowcount > 0
            if gone:
                await audit.append(connection, [entry])
        return gone


def _link(row: Row[tuple[object, ...]]) -> WallboardLink:
    codes = row.agencies
    scope = AgencyScope(everything=codes is None, agencies=frozenset(codes or ()))
    return from_row(WallboardLink, row, scope=scope)
