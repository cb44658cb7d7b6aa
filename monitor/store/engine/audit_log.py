"""Pages of the journal for people who read it: the newest first, of some agencies, of one incident, by who did what.

What is asked for costs what is listed, and not what there is: each way to ask goes by an index from the newest entry down.
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
from monitor.store.schema.tables import incident, journal, notice_incident

#: Of an agency so many incidents are looked into for a page, the newest that had opened by then.
INCIDENTS: Final = 100
#: Among so many entries of one actor the next of an event is looked for.
LOOKED_THROUGH: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogFilter:
    """Which entries. What is empty is not asked."""

    #: About incidents of these agencies, by code, and about nothing else; `None`: about anything, and about nothing.
    agencies: AbstractSet[str] | None = None
    #: About this incident and its notices, by its number.
    number: str = ""
    #: Exactly as the journal has them.
    actor: str = ""
    event: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogRow:
    """An entry, and what it is about."""

    number: int
    #: `None`: somebody has written into the store, and it cannot be read.
    entry: ChainedEntry | None
    #: The number of the incident that it is about; "": it is about none.
    incident: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogPage:
    """A part of the journal."""

    #: Newest first.
    rows: Sequence[AuditLogRow]
    #: The next page is of entries before this number; `None`: there are none.
    before: int | None = None
    #: From when on incidents were looked into: of an agency that has had more there may be entries about older ones.
    since: datetime | None = None


class AuditLogPages:
    """Reads the journal. Raises `StoreUnavailable` when the store is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: AuditLogFilter, *, most: int, before: int = NEWEST) -> AuditLogPage:
        """Return the newest *most* entries that fit, of those before number *before*."""
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
    # By the number itself where nothing else is asked, else by an index that ends in the number.
    both = bool(wanted.actor and wanted.event)
    query = _narrowed(select(journal.c.id), AuditLogFilter(actor=wanted.actor) if both else wanted)
    query = query.where(journal.c.id < before).order_by(journal.c.id.desc())
    if not both:
        return _cut((await connection.execute(query.limit(most + 1))).scalars().all(), most)
    # Somebody's entries, of which few may be this: so many are looked through, and then there is a next page.
    theirs = query.add_columns(journal.c.event).limit(LOOKED_THROUGH)
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
    telling = select(notice_incident.c.notice_id).where(notice_incident.c.incident_id == incident_id)
    found: set[int] = set()
    for about in (journal.c.incident_id == incident_id, journal.c.notice_id.in_(telling)):
        query = _narrowed(select(journal.c.id).where(about), wanted)
        found.update((await connection.execute(query)).scalars())
    return _cut(sorted((each for each in found if each < before), reverse=True), most)


async def _of_agencies(
    connection: AsyncConnection, wanted: AuditLogFilter, most: int, before: int
) -> tuple[Sequence[int], int | None, datetime | None]:
    theirs = select(incident.c.id, incident.c.opened_at).where(incident.c.dedup_key.in_(wanted.agencies or ()))
    last = select(journal.c.at).where(journal.c.id < before).order_by(journal.c.id.desc()).limit(1)
    if (at := (await connection.execute(last)).scalar_one_or_none()) is None:
        return [], None, None
    # Without an order in the question: their index is gone by, and what there is of them is sorted here.
    known = sorted((await connection.execute(theirs.where(incident.c.opened_at <= at))).all(), reverse=True)
    looked_into = known[:INCIDENTS]
    about = journal.c.incident_id.in_([row.id for row in looked_into])
    query = _narrowed(select(journal.c.id).where(about), wanted).where(journal.c.id < before)
    found = sorted((await connection.execute(query)).scalars(), reverse=True)
    ids, further = _cut(found, most)
    return ids, further, looked_into[-1].opened_at if len(known) > INCIDENTS else None


def _narrowed(query: Select[Any], wanted: AuditLogFilter) -> Select[Any]:
    if wanted.actor:
        query = query.where(journal.c.actor == wanted.actor)
    if wanted.event:
        query = query.where(journal.c.event == wanted.event)
    return query


def _cut(found: Sequence[int], most: int) -> tuple[Sequence[int], int | None]:
    return found[:most], found[most - 1] if len(found) > most else None


async def _rows(connection: AsyncConnection, ids: Sequence[int]) -> Sequence[tuple[int, ChainedEntry | None]]:
    found: dict[int, ChainedEntry | None] = dict.fromkeys(ids)
    query = select(journal).where(journal.c.id.in_(ids))
    try:
        found |= {row.id: audit.to_sealed(row) for row in await connection.execute(query)}
    except (ValueError, TypeError):
        # One of them holds what no entry does: the others are shown all the same.
        for each in ids:
            found[each] = await _readable(connection, each)
    return [*found.items()]


async def _readable(connection: AsyncConnection, number: int) -> ChainedEntry | None:
    read = await audit.entry_of(connection, number)
    return read if isinstance(read, ChainedEntry) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Abouts:
    """What some entries are about."""

    #: By the id of the incident.
    numbers: dict[int, str]
    agencies: dict[int, str]
    #: By the id of the notice: the incidents that it tells of.
    told: dict[int, set[int]]

    def number_of(self, entry: ChainedEntry | None) -> str:
        """Return the number of the incident that an entry is about; "": of none."""
        return self.numbers.get(entry.incident_id or 0, "") if entry is not None else ""

    def agencies_of(self, entry: ChainedEntry | None) -> AbstractSet[str]:
        """Return the agencies that an entry tells of; one of ours is ""."""
        if entry is None:
            return {""}
        about = {entry.incident_id} | self.told.get(entry.notice_id or 0, set())
        return {self.agencies.get(each or 0, "") for each in about}


async def _about(connection: AsyncConnection, rows: Sequence[tuple[int, ChainedEntry | None]]) -> _Abouts:
    entries = [entry for _, entry in rows if entry is not None]
    notices = {entry.notice_id for entry in entries if entry.notice_id is not None}
    told: dict[int, set[int]] = {}
    parts = select(notice_incident.c.notice_id, notice_incident.c.incident_id)
    for row in await connection.execute(parts.where(notice_incident.c.notice_id.in_(notices))):
        told.setdefault(row.notice_id, set()).add(row.incident_id)
    ids = {entry.incident_id for entry in entries if entry.incident_id is not None}.union(*told.values())
    query = select(incident.c.id, incident.c.number, incident.c.agency).where(incident.c.id.in_(ids))
    found = (await connection.execute(query)).all()
    return _Abouts(
        numbers={row.id: row.number for row in found}, agencies={row.id: row.agency for row in found}, told=told
    )
