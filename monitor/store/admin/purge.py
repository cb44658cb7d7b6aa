"""Permanent deletion of incidents, their notifications and the content of audit entries.

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
from monitor.store.schema.rows import portions
from monitor.store.schema.tables import (
    audit_log,
    incident,
    maintenance_notice,
    metadata,
    notification,
    notification_incident,
)

#: Maximum number of incidents, or of entries about no incident, per transaction, so that other writers do not wait
#: long.
AT_ONCE = 200
#: Maximum number of incidents or notifications that are examined without yielding to the event loop.
_LOOKED_AT_ONCE = 100

#: Entries that are never purged: the chain cannot be verified without them.
_KEPT = (PURGED, CHECKPOINT, "journal chained")
#: Earlier than every stored time.
_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeSet:
    """Records that a purge deletes, in the order of the store."""

    #: Id and number of each incident.
    incidents: Sequence[tuple[int, str]]
    notices: Sequence[int]
    #: Numbers of audit entries. Their contents are not read: a hundred thousand would exceed the statement timeout.
    entries: Sequence[int]

    @property
    def counts(self) -> str:
        """Confirmation that a person repeats: incidents/notifications/entries."""
        return f"{len(self.incidents)}/{len(self.notices)}/{len(self.entries)}"


class Search:
    """Search for purgeable records, one part per call. No call repeats the work of earlier calls.

    An incident is purgeable if it was resolved before a given time, has nothing pending, and all incidents that share a
    notification with it are purgeable, too. An audit entry is purged with its incident, or, if it is about no incident,
    when it is older than the given time.
    """

    def __init__(self, before: datetime) -> None:
        self._before = before
        #: Position among the incidents, and among the entries about no incident; `None`: at the end.
        self._incidents: tuple[datetime, int] | None = (_BEGINNING, 0)
        self._entries: tuple[datetime, int] | None = (_BEGINNING, 0)
        #: Later incidents that were examined together with an earlier one.
        self._seen: set[int] = set()

    @property
    def is_over(self) -> bool:
        """Whether the search is complete."""
        return self._incidents is None and self._entries is None

    async def further(self, connection: AsyncConnection, limit: int = _LOOKED_AT_ONCE) -> PurgeSet:
        """Return the next part; nothing is changed. *limit*: incidents or entries to examine.

        The part has more incidents if notifications link them to further ones, and fewer if some must not be purged.
        """
        result = PurgeSet(incidents=(), notices=(), entries=())
        if self._incidents is not None:
            result = await self._further_incidents(connection, self._incidents, limit)
        if self._incidents is not None or self._entries is None:
            return result
        entries = await self._further_entries(connection, self._entries, limit)
        return replace(result, entries=sorted([*result.entries, *entries]))

    async def _further_incidents(
        self, connection: AsyncConnection, place: tuple[datetime, int], limit: int
    ) -> PurgeSet:
        query = (
            select(incident.c.id, incident.c.resolved_at)
            .where(_beyond(place, incident.c.resolved_at, incident.c.id))
            .where(incident.c.resolved_at < self._before, incident.c.at_rest.is_(True))
            .order_by(incident.c.resolved_at, incident.c.id)
            .limit(limit)
        )
        rows = (await connection.execute(query)).all()
        self._incidents = (rows[-1].resolved_at, rows[-1].id) if len(rows) == limit else None
        new = [row.id for row in rows if row.id not in self._seen]
        self._seen -= {row.id for row in rows}
        by_notification = await _joined(connection, new)
        numbers = await self._over(
            connection, {i for incident_ids in by_notification.values() for i in incident_ids}.union(new)
        )
        purgeable = set(numbers) - _staying(by_notification.values(), numbers)
        # Remember incidents that were examined early, because a notification links them to an earlier incident.
        self._seen |= set(numbers).difference(new)
        notices = sorted(n for n, incident_ids in by_notification.items() if incident_ids <= purgeable)
        return PurgeSet(
            incidents=[(i, numbers[i]) for i in sorted(purgeable)],
            notices=notices,
            entries=await _entries_about(connection, sorted(purgeable), notices),
        )

    async def _over(self, connection: AsyncConnection, ids: Collection[int]) -> dict[int, str]:
        """Return the numbers of the purgeable incidents, by id."""
        is_purgeable = incident.c.at_rest.is_(True) & (incident.c.resolved_at < self._before)
        numbers: dict[int, str] = {}
        for batch in portions(sorted(ids)):
            query = select(incident.c.id, incident.c.number).where(incident.c.id.in_(batch), is_purgeable)
            numbers |= {row.id: row.number for row in await connection.execute(query)}
        return numbers

    async def _further_entries(
        self, connection: AsyncConnection, place: tuple[datetime, int], limit: int
    ) -> Sequence[int]:
        about_none = (
            audit_log.c.incident_id.is_(None) & audit_log.c.notification_id.is_(None) & audit_log.c.purged_by.is_(None)
        )
        query = (
            select(audit_log.c.id, audit_log.c.at, audit_log.c.event)
            .where(about_none, _beyond(place, audit_log.c.at, audit_log.c.id), audit_log.c.at < self._before)
            .order_by(audit_log.c.at, audit_log.c.id)
            .limit(limit)
        )
        rows = (await connection.execute(query)).all()
        self._entries = (rows[-1].at, rows[-1].id) if len(rows) == limit else None
        return sorted(row.id for row in rows if row.event not in _KEPT)


def _beyond(place: tuple[datetime, int], at: Column[datetime], number: Column[int]) -> ColumnElement[bool]:
    """Return the condition that a row comes after *place* in the order of time and number."""
    # No row comparison: SQLite would scan all rows instead of using the index.
    return (at >= place[0]) & ((at > place[0]) | (number > place[1]))


async def carry_out(connection: AsyncConnection, purge_set: PurgeSet, entry: AuditEntry) -> None:
    """Delete the records, and append *entry*, which states who purged and on whose authority, to the audit log."""
    sealed = await _sealed(connection, purge_set.entries)
    detail = {
        **entry.detail,
        "incidents": " ".join(number for _, number in purge_set.incidents),
        "notices": str(len(purge_set.notices)),
        "entries": str(len(purge_set.entries)),
        "tombstones": tombstones_digest(sealed),
    }
    (purge,) = await audit.append(connection, [AuditEntry(at=entry.at, actor=entry.actor, event=PURGED, detail=detail)])
    if connection.dialect.name == "sqlite":
        # Overwrite deleted data, so that it cannot be recovered from the file.
        await connection.exec_driver_sql("PRAGMA secure_delete = ON")
    cleared: dict[str, Any] = {"actor": "", "event": "", "incident_id": None, "notification_id": None, "detail": {}}
    cleared["purged_by"] = purge.number
    for numbers in portions(purge_set.entries):
        await connection.execute(update(audit_log).where(audit_log.c.id.in_(numbers)).values(**cleared))
        # The notice repeats the content of its entry.
        await connection.execute(delete(maintenance_notice).where(maintenance_notice.c.entry.in_(numbers)))
    for ids in portions(purge_set.notices):
        await _delete(connection, {notification: notification.c.id.in_(ids)})
    for ids in portions([id_ for id_, _ in purge_set.incidents]):
        await _delete(connection, {incident: incident.c.id.in_(ids)})


async def _joined(connection: AsyncConnection, ids: Collection[int]) -> dict[int, set[int]]:
    """Return the incidents of each notification, for all notifications that link incidents to *ids*.

    Links are followed repeatedly: a linked incident may have notifications about further incidents.
    """
    by_notification: dict[int, set[int]] = {}
    queried: set[int] = set()
    asking = set(ids)
    while asking:
        queried |= asking
        notices: set[int] = set()
        for batch in portions(sorted(asking)):
            query = select(notification_incident.c.notification_id).where(
                notification_incident.c.incident_id.in_(batch)
            )
            notices |= set((await connection.execute(query)).scalars())
        for batch in portions(sorted(notices - by_notification.keys())):
            columns = (notification_incident.c.notification_id, notification_incident.c.incident_id)
            for row in await connection.execute(select(*columns).where(columns[0].in_(batch))):
                by_notification.setdefault(row.notification_id, set()).add(row.incident_id)
        asking = set().union(*(by_notification[n] for n in notices)) - queried
    return by_notification


def _staying(told: Iterable[Collection[int]], purgeable: Collection[int]) -> set[int]:
    """Return the incidents that notifications link, directly or indirectly, to an incident that is not purgeable."""
    group_of: dict[int, set[int]] = {}
    for incident_ids in told:
        joined = set().union(*(group_of.get(i, {i}) for i in incident_ids))
        for i in joined:
            group_of[i] = joined
    return {i for i, group in group_of.items() if not all(each in purgeable for each in group)}


async def _entries_about(
    connection: AsyncConnection, incidents: Sequence[int], notices: Sequence[int]
) -> Sequence[int]:
    content = audit_log.c.purged_by.is_(None) & audit_log.c.event.not_in(_KEPT)
    entry_ids: set[int] = set()
    for column, ids in ((audit_log.c.incident_id, incidents), (audit_log.c.notification_id, notices)):
        for batch in portions(ids):
            entry_ids |= set(
                (await connection.execute(select(audit_log.c.id).where(content, column.in_(batch)))).scalars()
            )
    return sorted(entry_ids)


async def _sealed(connection: AsyncConnection, numbers: Sequence[int]) -> Sequence[ChainedEntry]:
    entries: list[ChainedEntry] = []
    for batch in portions(numbers):
        query = select(audit_log).where(audit_log.c.id.in_(batch)).order_by(audit_log.c.id)
        entries += [audit.to_entry(row) for row in await connection.execute(query)]
    return entries


async def _delete(connection: AsyncConnection, purge_set: dict[Table, ColumnElement[bool]]) -> None:
    """Delete the rows of *purge_set* (conditions by table), after the rows of any table that refer to them."""
    for table in metadata.sorted_tables:
        refers = [
            key.parent.in_(select(key.column).where(purge_set[key.column.table]))
            for key in table.foreign_keys
            if key.column.table in purge_set and table not in purge_set
        ]
        if refers:
            purge_set[table] = or_(*refers)
    for table in reversed(metadata.sorted_tables):
        if table in purge_set:
            await connection.execute(delete(table).where(purge_set[table]))
