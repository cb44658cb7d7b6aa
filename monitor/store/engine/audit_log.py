"""Pages of the audit log: the newest first, by agencies, incident, actor and event.

A query costs as much as it lists, not as much as exists: each filter uses an index from the newest entry down.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.audit import ChainedEntry
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.listing import NEWEST
from monitor.store.schema.tables import audit_log, incident, notification_incident

#: Number of an agency's incidents examined for a page, the newest at that time.
INCIDENTS: Final = 100
#: Number of an actor's entries among which the next of an event is searched.
LOOKED_THROUGH: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogFilter:
    """Filter of entries. Empty fields do not filter."""

    #: Only entries about incidents of these agencies, by code; `None`: all entries.
    agencies: AbstractSet[str] | None = None
    #: Only entries about the incident with this number, and its notifications.
    number: str = ""
    #: Exact values.
    actor: str = ""
    event: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogRow:
    """An entry with its incident."""

    number: int
    #: `None`: unreadable, because the store was edited by hand.
    entry: ChainedEntry | None
    #: Number of the incident; "" without one.
    incident: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogPage:
    """A page of the audit log."""

    #: Newest first.
    rows: Sequence[AuditLogRow]
    #: The next page has entries before this number; `None`: the last page.
    before: int | None = None
    #: Opening of the oldest examined incident: older ones of the agency may have further entries.
    since: datetime | None = None


class AuditLogPages:
    """Reader of the audit log. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: AuditLogFilter, *, most: int, before: int = NEWEST) -> AuditLogPage:
        """Return the newest *most* matching entries before number *before*."""
        async with self._database.read() as connection:
            if wanted.number:
                ids, further, since = *await _of_incident(connection, wanted, most, before), None
            elif wanted.agencies is not None:
                ids, further, since = await _of_agencies(connection, wanted, most, before)
            else:
                ids, further, since = *await _of_all(connection, wanted, most, before), None
            rows = await _rows(connection, ids)
            abouts = await _about(connection, rows)
        shown = [
            AuditLogRow(number=number, entry=entry, incident=abouts.number_of(entry))
            for number, entry in rows
            if wanted.agencies is None or abouts.agencies_of(entry) <= wanted.agencies
        ]
        return AuditLogPage(rows=shown, before=further, since=since)


async def _of_all(
    connection: AsyncConnection, wanted: AuditLogFilter, most: int, before: int
) -> tuple[Sequence[int], int | None]:
    # By number without a filter, otherwise by an index that ends with the number.
    both = bool(wanted.actor and wanted.event)
    query = _narrowed(select(audit_log.c.id), AuditLogFilter(actor=wanted.actor) if both else wanted)
    query = query.where(audit_log.c.id < before).order_by(audit_log.c.id.desc())
    if not both:
        return _cut((await connection.execute(query.limit(most + 1))).scalars().all(), most)
    # An actor's entries, of which few may match: so many are examined, and then a next page follows.
    theirs = query.add_columns(audit_log.c.event).limit(LOOKED_THROUGH)
    rows = (await connection.execute(theirs)).all()
    found = [row.id for row in rows if row.event == wanted.event]
    if len(found) > most:
        return found[:most], found[most - 1]
    return found, rows[-1].id if len(rows) == LOOKED_THROUGH else None


async def _of_incident(
    connection: AsyncConnection, wanted: AuditLogFilter, most: int, before: int
) -> tuple[Sequence[int], int | None]:
    named = select(incident.c.id).where(incident.c.number == wanted.number)
    incident_id = (await connection.execute(named)).scalar_one_or_none()
    if incident_id is None:
        return [], None
    telling = select(notification_incident.c.notification_id).where(notification_incident.c.incident_id == incident_id)
    found: set[int] = set()
    for about in (audit_log.c.incident_id == incident_id, audit_log.c.notification_id.in_(telling)):
        query = _narrowed(select(audit_log.c.id).where(about), wanted)
        found.update((await connection.execute(query)).scalars())
    return _cut(sorted((each for each in found if each < before), reverse=True), most)


async def _of_agencies(
    connection: AsyncConnection, wanted: AuditLogFilter, most: int, before: int
) -> tuple[Sequence[int], int | None, datetime | None]:
    theirs = select(incident.c.id, incident.c.opened_at).where(incident.c.dedup_key.in_(wanted.agencies or ()))
    last = select(audit_log.c.at).where(audit_log.c.id < before).order_by(audit_log.c.id.desc()).limit(1)
    if (at := (await connection.execute(last)).scalar_one_or_none()) is None:
        return [], None, None
    # Without ORDER BY: the index of the agencies is used, and the result sorted here.
    known = sorted((await connection.execute(theirs.where(incident.c.opened_at <= at))).all(), reverse=True)
    looked_into = known[:INCIDENTS]
    about = audit_log.c.incident_id.in_([row.id for row in looked_into])
    query = _narrowed(select(audit_log.c.id).where(about), wanted).where(audit_log.c.id < before)
    found = sorted((await connection.execute(query)).scalars(), reverse=True)
    ids, further = _cut(found, most)
    return ids, further, looked_into[-1].opened_at if len(known) > INCIDENTS else None


def _narrowed(query: Select[Any], wanted: AuditLogFilter) -> Select[Any]:
    if wanted.actor:
        query = query.where(audit_log.c.actor == wanted.actor)
    if wanted.event:
        query = query.where(audit_log.c.event == wanted.event)
    return query


def _cut(found: Sequence[int], most: int) -> tuple[Sequence[int], int | None]:
    return found[:most], found[most - 1] if len(found) > most else None


async def _rows(connection: AsyncConnection, ids: Sequence[int]) -> Sequence[tuple[int, ChainedEntry | None]]:
    found: dict[int, ChainedEntry | None] = dict.fromkeys(ids)
    query = select(audit_log).where(audit_log.c.id.in_(ids))
    try:
        found |= {row.id: audit.to_sealed(row) for row in await connection.execute(query)}
    except (ValueError, TypeError):
        # One of them is unreadable: the others are shown nevertheless.
        for each in ids:
            found[each] = await _readable(connection, each)
    return [*found.items()]


async def _readable(connection: AsyncConnection, number: int) -> ChainedEntry | None:
    read = await audit.entry_of(connection, number)
    return read if isinstance(read, ChainedEntry) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Abouts:
    """Incidents of some entries."""

    #: By incident id.
    numbers: dict[int, str]
    agencies: dict[int, str]
    #: By notification id: its incidents.
    told: dict[int, set[int]]

    def number_of(self, entry: ChainedEntry | None) -> str:
        """Return the incident number of an entry; "" without one."""
        return self.numbers.get(entry.incident_id or 0, "") if entry is not None else ""

    def agencies_of(self, entry: ChainedEntry | None) -> AbstractSet[str]:
        """Return the agencies of an entry; "" for a monitoring fault."""
        if entry is None:
            return {""}
        about = {entry.incident_id} | self.told.get(entry.notification_id or 0, set())
        return {self.agencies.get(each or 0, "") for each in about}


async def _about(connection: AsyncConnection, rows: Sequence[tuple[int, ChainedEntry | None]]) -> _Abouts:
    entries = [entry for _, entry in rows if entry is not None]
    notices = {entry.notification_id for entry in entries if entry.notification_id is not None}
    told: dict[int, set[int]] = {}
    parts = select(notification_incident.c.notification_id, notification_incident.c.incident_id)
    for row in await connection.execute(parts.where(notification_incident.c.notification_id.in_(notices))):
        told.setdefault(row.notification_id, set()).add(row.incident_id)
    ids = {entry.incident_id for entry in entries if entry.incident_id is not None}.union(*told.values())
    query = select(incident.c.id, incident.c.number, incident.c.agency).where(incident.c.id.in_(ids))
    found = (await connection.execute(query)).all()
    return _Abouts(
        numbers={row.id: row.number for row in found}, agencies={row.id: row.agency for row in found}, told=told
    )
