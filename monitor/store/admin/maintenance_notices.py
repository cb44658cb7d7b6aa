"""Notices of planned maintenance for an agency's recipients. Each has an entry in the audit log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.documents.maintenance_notice import MaintenanceNotice
from alerts.persistence.store import AuditEntry
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import attributes_of, from_row
from monitor.store.schema.tables import maintenance_notice

#: Name of the audit event. Stored names never change.
NOTICE_CREATED: Final = "advance notice made"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentMaintenanceNotices:
    """Notices to an agency's recipients about maintenance work that has not ended."""

    #: In the order of their creation.
    notices: Sequence[MaintenanceNotice]
    #: Numbers of the notices that a later notice, which changes or cancels the work, replaces.
    replaced_numbers: AbstractSet[str]


class MaintenanceNoticeRecords:
    """Reads and writes maintenance notices. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, agency: str, now: datetime) -> CurrentMaintenanceNotices:
        """Return the notices to an agency's recipients about work that ends after *now*."""
        async with self._database.read() as connection:
            return await _current_notices(connection, agency, now)

    async def find(self, agency: str, number: str) -> MaintenanceNotice | None:
        """Return the agency's notice with this number, also if its work has ended."""
        if "\0" in number:  # PostgreSQL rejects a NUL in a text.
            return None
        has_number = (maintenance_notice.c.number == number) & (maintenance_notice.c.agency == agency)
        async with self._database.read() as connection:
            rows = (await connection.execute(select(maintenance_notice).where(has_number))).all()
            notices = await _notices(connection, rows)
        return notices[0] if notices else None

    async def taken(self, numbers: Collection[str]) -> AbstractSet[str]:
        """Return those *numbers* that are in use."""
        async with self._database.read() as connection:
            return await _numbers_in_use(connection, numbers)

    async def add(self, agency: str, notice: MaintenanceNotice, known: CurrentMaintenanceNotices) -> bool:
        """Store a notice with its audit entry, and return `True`.

        Return `False`, and store nothing, if the agency's notices differ from *known* (those that the author saw), or
        the number is in use. So two clicks or two services cannot announce the same work twice.
        """
        async with self._database.exclusive() as connection:
            if await _current_notices(connection, agency, notice.made_at) != known or await _numbers_in_use(
                connection, [notice.number]
            ):
                return False
            replaced_number = notice.before.number if notice.before else None
            values = attributes_of(notice, ("number", "kind", "starts_at", "ends_at", "reason", "made_by", "made_at"))
            values |= {"agency": agency, "replaces": replaced_number}
            entry = AuditEntry(
                at=notice.made_at,
                actor=notice.made_by,
                event=NOTICE_CREATED,
                detail=_detail(agency, notice, replaced_number or ""),
            )
            (sealed,) = await audit.append(connection, [entry])
            await connection.execute(insert(maintenance_notice).values(entry=sealed.number, **values))
        return True


def _detail(agency: str, notice: MaintenanceNotice, replaced_number: str) -> Mapping[str, str]:
    # Keys of audit entries never change: "news" is the kind of notice, "before" the number of the replaced one.
    return {
        "agency": agency,
        "number": notice.number,
        "news": str(notice.kind),
        "from": notice.starts_at.isoformat(),
        "until": notice.ends_at.isoformat(),
        "why": notice.reason,
        "before": replaced_number,
    }


async def _current_notices(connection: AsyncConnection, agency: str, now: datetime) -> CurrentMaintenanceNotices:
    current = (maintenance_notice.c.agency == agency) & (maintenance_notice.c.ends_at > now)
    rows = sorted((await connection.execute(select(maintenance_notice).where(current))).all(), key=lambda row: row.id)
    # Search all notices for replacements: work that a notice has moved to an earlier time may have ended already.
    numbers = select(maintenance_notice.c.replaces).where(
        maintenance_notice.c.replaces.in_([row.number for row in rows])
    )
    replaced_numbers = frozenset((await connection.execute(numbers)).scalars()) if rows else frozenset()
    return CurrentMaintenanceNotices(notices=await _notices(connection, rows), replaced_numbers=replaced_numbers)


async def _notices(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> Sequence[MaintenanceNotice]:
    replaced_numbers = {row.replaces for row in rows if row.replaces}
    query = select(maintenance_notice).where(maintenance_notice.c.number.in_(replaced_numbers))
    replaced = {row.number: _notice(row, None) for row in await connection.execute(query)} if replaced_numbers else {}
    return [_notice(row, replaced.get(row.replaces)) for row in rows]


async def _numbers_in_use(connection: AsyncConnection, numbers: Collection[str]) -> AbstractSet[str]:
    query = select(maintenance_notice.c.number).where(maintenance_notice.c.number.in_(numbers))
    return frozenset((await connection.execute(query)).scalars())


def _notice(row: Row[Any], replaced: MaintenanceNotice | None) -> MaintenanceNotice:
    return from_row(MaintenanceNotice, row, before=replaced)
