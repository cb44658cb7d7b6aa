"""Permanent deletion of incidents, their notifications and the content of audit entries, when their retention ends.

Each purged entry of the audit log leaves a tombstone (number, time and hashes), so the hash chain stays valid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.audit import CHECKPOINT, PURGED, ChainedEntry, tombstones_digest
from alerts.persistence.store import AuditEntry
from monitor.store.engine import audit
from monitor.store.schema.rows import batched
from monitor.store.schema.tables import (
    audit_log,
    incident,
    maintenance_notice,
    metadata,
    notification,
    notification_incident,
)

#: Maximum number of incidents, or of audit entries without an incident, per transaction. Other writers wait for it.
BATCH_SIZE = 200
#: Default number of incidents, or of audit entries without an incident, that one call of the search examines.
_SEARCH_BATCH_SIZE = 100

#: Events of audit entries that are never purged: the hash chain cannot be verified without these entries. "journal
#: chained" is the entry with which an early version started the chain.
_UNPURGEABLE_EVENTS = (PURGED, CHECKPOINT, "journal chained")
#: Earlier than every stored time.
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeSet:
    """Records that a purge deletes, in the order of their ids."""

    #: Id and number of each incident.
    incidents: Sequence[tuple[int, str]]
    notification_ids: Sequence[int]
    #: Ids of audit entries. Their contents are not read: for 100,000 entries that would exceed the statement timeout.
    entry_ids: Sequence[int]

    @property
    def counts(self) -> str:
        """Numbers that a person types to confirm the purge: incidents/notifications/entries."""
        return f"{len(self.incidents)}/{len(self.notification_ids)}/{len(self.entry_ids)}"


class Search:
    """Incremental search for purgeable records. Each call continues after the previous one.

    An incident is purgeable if it was resolved before a given time, has nothing pending (`at_rest`), and all incidents
    that share a notification with it are purgeable, too. An audit entry is purged with its incident. An entry without
    an incident is purged when it is older than the given time.
    """

    def __init__(self, before: datetime) -> None:
        self._before = before
        #: Time and id of the last examined incident, and of the last examined entry without an incident; `None`: all
        #: were examined.
        self._last_incident: tuple[datetime, int] | None = (_EARLIEST, 0)
        self._last_entry: tuple[datetime, int] | None = (_EARLIEST, 0)
        #: Ids of incidents that were examined early, because they share a notification with an earlier incident.
        self._seen: set[int] = set()

    @property
    def is_over(self) -> bool:
        """Whether the search is complete."""
        return self._last_incident is None and self._last_entry is None

    async def search_next(self, connection: AsyncConnection, limit: int = _SEARCH_BATCH_SIZE) -> PurgeSet:
        """Return the next purgeable records; nothing is changed. *limit*: number of incidents or entries to examine.

        The result may have more incidents than *limit*, because of shared notifications, or fewer, if some are not
        purgeable.
        """
        result = PurgeSet(incidents=(), notification_ids=(), entry_ids=())
        if self._last_incident is not None:
            result = await self._search_incidents(connection, self._last_incident, limit)
        if self._last_incident is not None or self._last_entry is None:
            return result
        entry_ids = await self._search_entries(connection, self._last_entry, limit)
        return replace(result, entry_ids=sorted([*result.entry_ids, *entry_ids]))

    async def _search_incidents(
        self, connection: AsyncConnection, last_examined: tuple[datetime, int], limit: int
    ) -> PurgeSet:
        query = (
            select(incident.c.id, incident.c.resolved_at)
            .where(_comes_after(last_examined, incident.c.resolved_at, incident.c.id))
            .where(incident.c.resolved_at < self._before, incident.c.at_rest.is_(True))
            .order_by(incident.c.resolved_at, incident.c.id)
            .limit(limit)
        )
        rows = (await connection.execute(query)).all()
        self._last_incident = (rows[-1].resolved_at, rows[-1].id) if len(rows) == limit else None
        new = [row.id for row in rows if row.id not in self._seen]
        self._seen -= {row.id for row in rows}
        by_notification = await _linked_incidents(connection, new)
        numbers = await self._purgeable_numbers(connection, set(new).union(*by_notification.values()))
        purgeable = set(numbers) - _not_purgeable(by_notification.values(), numbers)
        self._seen |= set(numbers).difference(new)
        notification_ids = sorted(n for n, incident_ids in by_notification.items() if incident_ids <= purgeable)
        return PurgeSet(
            incidents=[(i, numbers[i]) for i in sorted(purgeable)],
            notification_ids=notification_ids,
            entry_ids=await _entries_about(connection, sorted(purgeable), notification_ids),
        )

    async def _purgeable_numbers(self, connection: AsyncConnection, ids: Collection[int]) -> dict[int, str]:
        """Return the numbers of the purgeable incidents among *ids*, by id. Shared notifications are not considered."""
        is_purgeable = incident.c.at_rest.is_(True) & (incident.c.resolved_at < self._before)
        numbers: dict[int, str] = {}
        for batch in batched(sorted(ids)):
            query = select(incident.c.id, incident.c.number).where(incident.c.id.in_(batch), is_purgeable)
            numbers |= {row.id: row.number for row in await connection.execute(query)}
        return numbers

    async def _search_entries(
        self, connection: AsyncConnection, last_examined: tuple[datetime, int], limit: int
    ) -> Sequence[int]:
        is_without_incident = (
            audit_log.c.incident_id.is_(None) & audit_log.c.notification_id.is_(None) & audit_log.c.purged_by.is_(None)
        )
        query = (
            select(audit_log.c.id, audit_log.c.at, audit_log.c.event)
            .where(
                is_without_incident,
                _comes_after(last_examined, audit_log.c.at, audit_log.c.id),
                audit_log.c.at < self._before,
            )
            .order_by(audit_log.c.at, audit_log.c.id)
            .limit(limit)
        )
        rows = (await connection.execute(query)).all()
        self._last_entry = (rows[-1].at, rows[-1].id) if len(rows) == limit else None
        return sorted(row.id for row in rows if row.event not in _UNPURGEABLE_EVENTS)


def _comes_after(last_examined: tuple[datetime, int], at: Column[datetime], row_id: Column[int]) -> ColumnElement[bool]:
    """Return the condition that a row comes after *last_examined* in the order of time and id."""
    # With a row comparison, (at, id) > (…), SQLite would scan all rows instead of using the index.
    return (at >= last_examined[0]) & ((at > last_examined[0]) | (row_id > last_examined[1]))


async def delete_records(connection: AsyncConnection, purge_set: PurgeSet, entry: AuditEntry) -> None:
    """Delete the records, and append *entry*, which states who purged and on whose authority, to the audit log.

    The appended entry also has the numbers of deleted records, and a digest of the tombstones.
    """
    purged_entries = await _read_entries(connection, purge_set.entry_ids)
    # Keys of audit entries never change: "notices" is the number of notifications.
    detail = {
        **entry.detail,
        "incidents": " ".join(number for _, number in purge_set.incidents),
        "notices": str(len(purge_set.notification_ids)),
        "entries": str(len(purge_set.entry_ids)),
        "tombstones": tombstones_digest(purged_entries),
    }
    (purge,) = await audit.append(connection, [AuditEntry(at=entry.at, actor=entry.actor, event=PURGED, detail=detail)])
    if connection.dialect.name == "sqlite":
        # Overwrite deleted data, so that it cannot be recovered from the file.
        await connection.exec_driver_sql("PRAGMA secure_delete = ON")
    cleared: dict[str, Any] = {"actor": "", "event": "", "incident_id": None, "notification_id": None, "detail": {}}
    cleared["purged_by"] = purge.number
    for ids in batched(purge_set.entry_ids):
        await connection.execute(update(audit_log).where(audit_log.c.id.in_(ids)).values(**cleared))
        # A maintenance notice repeats the content of its audit entry.
        await connection.execute(delete(maintenance_notice).where(maintenance_notice.c.entry.in_(ids)))
    for ids in batched(purge_set.notification_ids):
        await _delete(connection, {notification: notification.c.id.in_(ids)})
    for ids in batched([id_ for id_, _ in purge_set.incidents]):
        await _delete(connection, {incident: incident.c.id.in_(ids)})


async def _linked_incidents(connection: AsyncConnection, ids: Collection[int]) -> dict[int, set[int]]:
    """Return each notification about the incidents *ids*, with the ids of all of its incidents, by notification id.

    Includes notifications about the other incidents of these notifications, and so on.
    """
    by_notification: dict[int, set[int]] = {}
    queried: set[int] = set()
    to_query = set(ids)
    while to_query:
        queried |= to_query
        notification_ids: set[int] = set()
        for batch in batched(sorted(to_query)):
            query = select(notification_incident.c.notification_id).where(
                notification_incident.c.incident_id.in_(batch)
            )
            notification_ids |= set((await connection.execute(query)).scalars())
        for batch in batched(sorted(notification_ids - by_notification.keys())):
            columns = (notification_incident.c.notification_id, notification_incident.c.incident_id)
            for row in await connection.execute(select(*columns).where(columns[0].in_(batch))):
                by_notification.setdefault(row.notification_id, set()).add(row.incident_id)
        to_query = set().union(*(by_notification[n] for n in notification_ids)) - queried
    return by_notification


def _not_purgeable(ids_by_notification: Iterable[Collection[int]], purgeable: Collection[int]) -> set[int]:
    """Return the incidents that notifications link, directly or indirectly, to an incident that is not purgeable.

    *ids_by_notification*: the incident ids of each notification.
    """
    group_of: dict[int, set[int]] = {}
    for incident_ids in ids_by_notification:
        merged = set().union(*(group_of.get(i, {i}) for i in incident_ids))
        for i in merged:
            group_of[i] = merged
    return {i for i, group in group_of.items() if not all(each in purgeable for each in group)}


async def _entries_about(
    connection: AsyncConnection, incidents: Sequence[int], notification_ids: Sequence[int]
) -> Sequence[int]:
    """Return the ids of the purgeable audit entries of these incidents and notifications."""
    is_purgeable = audit_log.c.purged_by.is_(None) & audit_log.c.event.not_in(_UNPURGEABLE_EVENTS)
    found_ids: set[int] = set()
    for column, ids in ((audit_log.c.incident_id, incidents), (audit_log.c.notification_id, notification_ids)):
        for batch in batched(ids):
            found_ids |= set(
                (await connection.execute(select(audit_log.c.id).where(is_purgeable, column.in_(batch)))).scalars()
            )
    return sorted(found_ids)


async def _read_entries(connection: AsyncConnection, entry_ids: Sequence[int]) -> Sequence[ChainedEntry]:
    entries: list[ChainedEntry] = []
    for batch in batched(entry_ids):
        query = select(audit_log).where(audit_log.c.id.in_(batch)).order_by(audit_log.c.id)
        entries += [audit.to_entry(row) for row in await connection.execute(query)]
    return entries


async def _delete(connection: AsyncConnection, conditions: dict[Table, ColumnElement[bool]]) -> None:
    """Delete the rows that fulfil *conditions* (by table), and before them all rows that refer to them."""
    for table in metadata.sorted_tables:
        references = [
            key.parent.in_(select(key.column).where(conditions[key.column.table]))
            for key in table.foreign_keys
            if key.column.table in conditions and table not in conditions
        ]
        if references:
            conditions[table] = or_(*references)
    for table in reversed(metadata.sorted_tables):
        if table in conditions:
            await connection.execute(delete(table).where(conditions[table]))
