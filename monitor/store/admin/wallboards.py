"""Wallboard links in the database. A link opens a status page for a wall screen without a sign-in.

Creation, use and revocation have audit entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, delete, insert, select

from alerts.persistence.store import AuditEntry
from monitor.access.role import AgencyScope
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import attributes_of, from_row, inserted_id
from monitor.store.schema.tables import wallboard_link


@dataclass(frozen=True, slots=True, kw_only=True)
class WallboardLink:
    """Link of one wallboard, or of several at one place. The secret key in its URL is stored as a digest only."""

    #: 0: not stored yet.
    id: int = 0
    #: Name of the place where the screen hangs.
    name: str
    #: The agencies that the wallboard shows.
    scope: AgencyScope
    made_by: str
    made_at: datetime
    ends_at: datetime


class WallboardLinks:
    """Reads and writes wallboard links. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_valid(self, now: datetime) -> Sequence[WallboardLink]:
        """Return the links that are not expired, the newest first."""
        query = select(wallboard_link).where(wallboard_link.c.ends_at > now)
        links = map(_link, await self._database.rows(query))
        return sorted(links, key=lambda each: each.id, reverse=True)

    async def find(self, digest: str) -> WallboardLink | None:
        """Return the link whose key has this digest, expired or not."""
        row = await self._database.row(select(wallboard_link).where(wallboard_link.c.digest == digest))
        return None if row is None else _link(row)

    async def add(self, link: WallboardLink, digest: str, entry: AuditEntry) -> int:
        """Store a link, and delete expired ones. Return the link's id."""
        # NULL in the table: all agencies.
        agencies = None if link.scope.is_unrestricted else sorted(link.scope.agencies)
        values = {
            "digest": digest,
            "agencies": agencies,
            **attributes_of(link, ("name", "made_by", "made_at", "ends_at")),
        }
        async with audit.audited_write(self._database, entry) as connection:
            await connection.execute(delete(wallboard_link).where(wallboard_link.c.ends_at <= link.made_at))
            return inserted_id(await connection.execute(insert(wallboard_link).values(**values)))

    async def open(self, entry: AuditEntry) -> None:
        """Record that a browser was admitted by a link."""
        async with self._database.write() as connection:
            await audit.append(connection, [entry])

    async def revoke(self, link_id: int, entry: AuditEntry) -> bool:
        """Delete a link. Return whether there was one."""
        async with self._database.write() as connection:
            deleted = (
                await connection.execute(delete(wallboard_link).where(wallboard_link.c.id == link_id))
            ).rowcount > 0
            if deleted:
                await audit.append(connection, [entry])
        return deleted


def _link(row: Row[tuple[object, ...]]) -> WallboardLink:
    codes = row.agencies
    scope = AgencyScope(is_unrestricted=codes is None, agencies=frozenset(codes or ()))
    return from_row(WallboardLink, row, scope=scope)
