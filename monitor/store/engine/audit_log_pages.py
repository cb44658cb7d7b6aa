"""Pages of the audit log, the newest entry first, filtered by agencies, incident, actor and event.

The cost of a page does not depend on the length of the log, because each filter reads an index from the newest entry
down. The number of an entry (column `id`) is its position in the hash chain; higher numbers are newer.
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

#: Maximum number of incidents (the newest ones) whose entries are examined for a page that is filtered by agencies.
MAX_INCIDENTS: Final = 100
#: Maximum number of an actor's entries that are examined for a page that is filtered by actor and event.
MAX_EXAMINED: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogFilter:
    """Filter of entries. Empty fields do not filter."""

    #: Only entries about incidents of these agencies, by code; `None`: all entries.
    agencies: AbstractSet[str] | None = None
    #: Only entries about the incident with this number, and its notifications.
    incident_number: str = ""
    #: Exact actor (a person or component) and exact event name; "": any.
    actor: str = ""
    event: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogRow:
    """An entry of the audit log, and the number of its incident."""

    #: Number of the entry.
    number: int
    #: `None`: the entry is unreadable, because somebody edited the store by hand.
    entry: ChainedEntry | None
    #: Number of the incident, as in "JCM-07"; "": the entry is about no incident.
    incident: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogPage:
    """A page of the audit log."""

    #: Newest first.
    rows: Sequence[AuditLogRow]
    #: The next page has the entries with lower numbers than this; `None`: this is the last page.
    before: int | None = None
    #: When the oldest examined incident opened (`MAX_INCIDENTS`); entries about older incidents are not listed. `None`:
    #: entries about all incidents are listed.
    since: datetime | None = None


class AuditLogPages:
    """Reader of the audit log. Its methods raise `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, filters: AuditLogFilter, *, most: int, before: int = NEWEST) -> AuditLogPage:
        """Return the newest *most* matching entries with numbers below *before*.

        With `filters.agencies`, an entry is visible only if they include all agencies whose incidents it is about.
        """
        async with self._database.read() as connection:
            since = None
            if filters.incident_number:
                ids, next_before = await _incident_entry_ids(connection, filters, most, before)
            elif filters.agencies is not None:
                ids, next_before, since = await _agency_entry_ids(connection, filters, most, before)
            else:
                ids, next_before = await _all_ids(connection, filters, most, before)
            rows = await _read_rows(connection, ids)
            incidents = await _read_incidents(connection, rows)
        visible = [
            AuditLogRow(number=number, entry=entry, incident=incidents.number_of(entry))
            for number, entry in rows
            if filters.agencies is None or incidents.agencies_of(entry) <= filters.agencies
        ]
        return AuditLogPage(rows=visible, before=next_before, since=since)


async def _all_ids(
    connection: AsyncConnection, filters: AuditLogFilter, most: int, before: int
) -> tuple[Sequence[int], int | None]:
    """Return the entry numbers of a page for a filter without agencies and incident, and `AuditLogPage.before`."""
    # One index contains actor and entry number, another one event and entry number. No index contains actor and event.
    has_both_filters = bool(filters.actor and filters.event)
    query = _add_filters(select(audit_log.c.id), AuditLogFilter(actor=filters.actor) if has_both_filters else filters)
    query = query.where(audit_log.c.id < before).order_by(audit_log.c.id.desc())
    if not has_both_filters:
        return _split_page((await connection.execute(query.limit(most + 1))).scalars().all(), most)
    # Few of the actor's entries may have the event. So only `MAX_EXAMINED` entries are examined, and the next page
    # continues after them.
    query_of_actor = query.add_columns(audit_log.c.event).limit(MAX_EXAMINED)
    rows = (await connection.execute(query_of_actor)).all()
    ids = [row.id for row in rows if row.event == filters.event]
    if len(ids) > most:
        return ids[:most], ids[most - 1]
    return ids, rows[-1].id if len(rows) == MAX_EXAMINED else None


async def _incident_entry_ids(
    connection: AsyncConnection, filters: AuditLogFilter, most: int, before: int
) -> tuple[Sequence[int], int | None]:
    """Return the entry numbers of a page about one incident, and `AuditLogPage.before`."""
    incident_query = select(incident.c.id).where(incident.c.number == filters.incident_number)
    incident_id = (await connection.execute(incident_query)).scalar_one_or_none()
    if incident_id is None:
        return [], None
    notification_ids = select(notification_incident.c.notification_id).where(
        notification_incident.c.incident_id == incident_id
    )
    ids: set[int] = set()
    for condition in (audit_log.c.incident_id == incident_id, audit_log.c.notification_id.in_(notification_ids)):
        query = _add_filters(select(audit_log.c.id).where(condition), filters)
        ids.update((await connection.execute(query)).scalars())
    return _split_page(sorted((each for each in ids if each < before), reverse=True), most)


async def _agency_entry_ids(
    connection: AsyncConnection, filters: AuditLogFilter, most: int, before: int
) -> tuple[Sequence[int], int | None, datetime | None]:
    """Return the entry numbers of a page about some agencies, and `AuditLogPage.before` and `since`."""
    # The dedup key of an agency's incident is the agency's code.
    incident_query = select(incident.c.id, incident.c.opened_at).where(incident.c.dedup_key.in_(filters.agencies or ()))
    # Incidents that opened after the newest entry of the page have no entries on it. They must not use up
    # `MAX_INCIDENTS`.
    newest_query = select(audit_log.c.at).where(audit_log.c.id < before).order_by(audit_log.c.id.desc()).limit(1)
    if (newest_at := (await connection.execute(newest_query)).scalar_one_or_none()) is None:
        return [], None, None
    # The incidents are sorted here: with ORDER BY the database would not use the index on the dedup key.
    opened_before = incident_query.where(incident.c.opened_at <= newest_at)
    incidents = sorted((await connection.execute(opened_before)).all(), reverse=True)
    examined = incidents[:MAX_INCIDENTS]
    condition = audit_log.c.incident_id.in_([row.id for row in examined])
    query = _add_filters(select(audit_log.c.id).where(condition), filters).where(audit_log.c.id < before)
    matching = sorted((await connection.execute(query)).scalars(), reverse=True)
    ids, next_before = _split_page(matching, most)
    return ids, next_before, examined[-1].opened_at if len(incidents) > MAX_INCIDENTS else None


def _add_filters(query: Select[Any], filters: AuditLogFilter) -> Select[Any]:
    """Add the filters of actor and event."""
    if filters.actor:
        query = query.where(audit_log.c.actor == filters.actor)
    if filters.event:
        query = query.where(audit_log.c.event == filters.event)
    return query


def _split_page(found: Sequence[int], most: int) -> tuple[Sequence[int], int | None]:
    """Return the first *most* numbers, and the last of them if there are more."""
    return found[:most], found[most - 1] if len(found) > most else None


async def _read_rows(connection: AsyncConnection, ids: Sequence[int]) -> Sequence[tuple[int, ChainedEntry | None]]:
    entries: dict[int, ChainedEntry | None] = dict.fromkeys(ids)
    query = select(audit_log).where(audit_log.c.id.in_(ids))
    try:
        entries |= {row.id: audit.to_entry(row) for row in await connection.execute(query)}
    except (ValueError, TypeError):
        # One entry is unreadable. Read each entry by itself to get the others.
        for each in ids:
            entries[each] = await _read_entry_or_none(connection, each)
    return [*entries.items()]


async def _read_entry_or_none(connection: AsyncConnection, number: int) -> ChainedEntry | None:
    entry = await audit.read_entry(connection, number)
    return entry if isinstance(entry, ChainedEntry) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _EntryIncidents:
    """Incidents that the entries on a page are about."""

    #: Incident numbers, and agency codes ("" for a monitoring fault), by incident id.
    numbers: dict[int, str]
    agencies: dict[int, str]
    #: Ids of the incidents that a notification is about, by notification id.
    incident_ids: dict[int, set[int]]

    def number_of(self, entry: ChainedEntry | None) -> str:
        """Return the incident number of an entry; "" without one."""
        return self.numbers.get(entry.incident_id or 0, "") if entry is not None else ""

    def agencies_of(self, entry: ChainedEntry | None) -> AbstractSet[str]:
        """Return the agencies whose incidents an entry is about.

        "" stands for a monitoring fault (a fault on our own side), for no incident, and for an unreadable entry.
        """
        if entry is None:
            return {""}
        incident_ids = {entry.incident_id} | self.incident_ids.get(entry.notification_id or 0, set())
        return {self.agencies.get(each or 0, "") for each in incident_ids}


async def _read_incidents(
    connection: AsyncConnection, rows: Sequence[tuple[int, ChainedEntry | None]]
) -> _EntryIncidents:
    entries = [entry for _, entry in rows if entry is not None]
    notification_ids = {entry.notification_id for entry in entries if entry.notification_id is not None}
    incident_ids: dict[int, set[int]] = {}
    query_of_notifications = select(notification_incident.c.notification_id, notification_incident.c.incident_id)
    for row in await connection.execute(
        query_of_notifications.where(notification_incident.c.notification_id.in_(notification_ids))
    ):
        incident_ids.setdefault(row.notification_id, set()).add(row.incident_id)
    ids = {entry.incident_id for entry in entries if entry.incident_id is not None}.union(*incident_ids.values())
    query = select(incident.c.id, incident.c.number, incident.c.agency).where(incident.c.id.in_(ids))
    incidents = (await connection.execute(query)).all()
    return _EntryIncidents(
        numbers={row.id: row.number for row in incidents},
        agencies={row.id: row.agency for row in incidents},
        incident_ids=incident_ids,
    )
