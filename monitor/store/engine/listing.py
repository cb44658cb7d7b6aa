"""Filtered lists of the ids of incidents and notifications, in pages, the newest first.

The cost of a page does not depend on the number of rows. A filter that few rows meet uses an index; any other filter is
applied to the rows in descending order until the page is full.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from alerts.model.delivery import NotificationState
from alerts.model.incident import OUTAGES, IncidentState
from monitor.store.backend.repository import Repository
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import audit_log, incident, notification, notification_incident

#: Greater than any id: a list before this id begins with the newest row.
NEWEST = 2**31 - 1

_OPENED_AT = incident.c.opened_at
_CURRENT_TYPE = func.coalesce(incident.c.current_type, incident.c.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFilter:
    """Filter of incidents. Empty fields do not filter."""

    #: Codes of agencies.
    agencies: AbstractSet[str] = frozenset()
    states: AbstractSet[IncidentState] = frozenset()
    #: Opened at *since* or later, and before *until*; `None`: no limit.
    since: datetime | None = None
    until: datetime | None = None

    @property
    def open_only(self) -> bool:
        """Whether only open incidents match."""
        return bool(self.states) and IncidentState.RESOLVED not in self.states


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationFilter:
    """Filter of notifications. Empty fields do not filter."""

    #: Only notifications about an incident of one of these agencies.
    agencies: AbstractSet[str] = frozenset()
    #: Only notifications about this incident.
    incident_id: int | None = None
    states: AbstractSet[NotificationState] = frozenset()
    #: Created at *since* or later, and before *until*; `None`: no limit.
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """An action about an incident, from the audit log."""

    at: datetime
    #: The actor in the audit log: a person, or a component.
    actor: str
    event: str
    #: Note or reason by the actor; "": none.
    text: str


class SqlListing(Repository):
    """List queries."""

    async def incidents(self, filters: IncidentFilter, *, most: int, before: int = NEWEST) -> Sequence[int]:
        """Return the ids of the newest *most* matches with ids below *before*, newest first."""
        if filters.open_only:
            return (await self.open_incidents(filters, before=before))[:most]
        query = _select_incidents(filters).where(incident.c.id < before).order_by(incident.c.id.desc()).limit(most)
        if filters.since is not None:
            query = query.where(incident.c.id >= await self._first_id_since(filters.since))
        if filters.until is not None:
            query = query.where(incident.c.id <= await self._last_id_before(filters.until))
        return await self._ids(query)

    async def open_during(self, key: str, begin: datetime, end: datetime) -> Sequence[int]:
        """Return the ids of all incidents with the dedup key *key* that were open between two times, oldest first."""
        was_open = (end > _OPENED_AT) & (incident.c.resolved_at.is_(None) | (incident.c.resolved_at >= begin))
        query = select(incident.c.id).where(incident.c.dedup_key == key, was_open)
        return await self._ids(query.order_by(incident.c.id))

    async def open_incidents(self, filters: IncidentFilter, *, before: int = NEWEST) -> Sequence[int]:
        """Return the ids below *before* of all open matches, newest first. There is at most one per dedup key."""
        # The ids are sorted here: with ORDER BY the database would not use the small index of open incidents.
        ids = await self._ids(_select_incidents(filters).where(incident.c.resolved_at.is_(None)))
        return sorted((each for each in ids if each < before), reverse=True)

    async def unacknowledged(self, filters: IncidentFilter, *, most: int) -> tuple[Sequence[int], int]:
        """Return the ids of the first *most* unacknowledged open matches, and the number of all such matches.

        Outages precede other incidents; otherwise older incidents precede newer ones.
        """
        query = _select_incidents(filters).where(incident.c.resolved_at.is_(None), incident.c.acknowledged_at.is_(None))
        count = (await self._connection.execute(select(func.count()).select_from(query.subquery()))).scalar_one()
        ordered = query.order_by(_CURRENT_TYPE.not_in(OUTAGES), incident.c.began_at, incident.c.id).limit(most)
        return await self._ids(ordered), count

    async def acknowledged_by(self, names: Collection[str], filters: IncidentFilter, *, most: int) -> Sequence[int]:
        """Return the ids of the oldest *most* open matches that a person with one of *names* has acknowledged."""
        query = _select_incidents(filters).where(
            incident.c.resolved_at.is_(None), incident.c.acknowledged_by.in_(names)
        )
        return await self._ids(query.order_by(incident.c.began_at, incident.c.id).limit(most))

    async def unreleased_outages(self, filters: IncidentFilter, *, most: int) -> Sequence[int]:
        """Return the ids of the oldest *most* open outages whose announcement to the recipients nobody has released."""
        query = _select_incidents(filters).where(incident.c.resolved_at.is_(None), incident.c.released_at.is_(None))
        # `type` is the worst type so far. An incident with a milder current type is no longer an outage.
        query = query.where(incident.c.type.in_(OUTAGES), _CURRENT_TYPE.in_(OUTAGES))
        return await self._ids(query.order_by(incident.c.began_at, incident.c.id).limit(most))

    async def _first_id_since(self, since: datetime) -> int:
        # With a limit for ids, the database uses the index on ids. Ids grow with time, unless the clock was set back.
        query = select(incident.c.id).where(since <= _OPENED_AT).order_by(_OPENED_AT, incident.c.id).limit(1)
        return (await self._connection.execute(query)).scalar() or NEWEST

    async def _last_id_before(self, until: datetime) -> int:
        query = (
            select(incident.c.id).where(until > _OPENED_AT).order_by(_OPENED_AT.desc(), incident.c.id.desc()).limit(1)
        )
        return (await self._connection.execute(query)).scalar() or 0

    async def notifications(self, filters: NotificationFilter, *, most: int, before: int = NEWEST) -> Sequence[int]:
        """Return the ids of the newest *most* matches with ids below *before*, newest first."""
        query = (
            select(notification.c.id).where(notification.c.id < before).order_by(notification.c.id.desc()).limit(most)
        )
        if filters.agencies or filters.incident_id is not None:
            query = query.where(notification.c.id.in_(_select_notification_ids(filters)))
        if filters.since is not None:
            query = query.where(notification.c.id >= await self._first_notification_id_since(filters.since))
        if filters.until is not None:
            query = query.where(notification.c.id < await self._first_notification_id_since(filters.until))
        if not filters.states:
            return await self._ids(query)
        # Each state has its own query, because the index contains the notifications of one state in order of their ids.
        ids: list[int] = []
        for state in filters.states:
            ids += await self._ids(query.where(notification.c.state == state))
        return sorted(ids, reverse=True)[:most]

    async def _first_notification_id_since(self, at: datetime) -> int:
        """Return the first id of a notification that was created at *at* or later.

        The creation time has no index. Ids grow with it, so a binary search finds the id, with twenty queries for a
        million rows.
        """
        low, high = 1, (await self._connection.execute(select(func.max(notification.c.id)))).scalar() or 0
        while low <= high:
            middle = (low + high) // 2
            query = (
                select(notification.c.id, notification.c.created_at)
                .where(notification.c.id >= middle)
                .order_by(notification.c.id)
                .limit(1)
            )
            row = (await self._connection.execute(query)).one()
            if row.created_at >= at:
                high = middle - 1
            else:
                low = row.id + 1
        return low

    async def incident_history(self, incident_id: int, events: Collection[str], *, most: int) -> Sequence[HistoryEntry]:
        """Return the newest *most* audit entries about an incident that have one of *events*, newest first."""
        columns = (audit_log.c.id, audit_log.c.at, audit_log.c.actor, audit_log.c.event, audit_log.c.detail)
        filters = (audit_log.c.incident_id == incident_id, audit_log.c.event.in_(events))
        # The rows are sorted here. With ORDER BY the database would scan the whole audit log, but an incident has few
        # entries.
        rows = sorted(await self._connection.execute(select(*columns).where(*filters)), key=lambda row: -int(row.id))
        return [
            from_row(HistoryEntry, row, text=row.detail.get("text") or row.detail.get("why") or "")
            for row in rows[:most]
        ]

    async def _ids(self, query: Select[Any]) -> Sequence[int]:
        ids: Sequence[int] = (await self._connection.execute(query)).scalars().all()
        return ids

    async def numbers(self, incident_ids: Collection[int]) -> Mapping[int, str]:
        """Return the numbers of incidents (as in "JCM-07"), by id."""
        query = select(incident.c.id, incident.c.number).where(incident.c.id.in_(incident_ids))
        return {row.id: row.number for row in await self._connection.execute(query)}


def _select_incidents(filters: IncidentFilter) -> Select[Any]:
    query: Select[Any] = select(incident.c.id)
    if filters.agencies:
        # The dedup key of an agency's incident is the agency's code. It has an index; the column `agency` has none.
        query = query.where(incident.c.dedup_key.in_(filters.agencies))
    if filters.states:
        query = query.where(incident.c.state.in_(filters.states))
    if filters.since is not None:
        query = query.where(filters.since <= _OPENED_AT)
    if filters.until is not None:
        query = query.where(filters.until > _OPENED_AT)
    return query


def _select_notification_ids(filters: NotificationFilter) -> Select[Any]:
    query = select(notification_incident.c.notification_id).where(notification_incident.c.left_at.is_(None))
    if filters.incident_id is not None:
        query = query.where(notification_incident.c.incident_id == filters.incident_id)
    if filters.agencies:
        query = query.join(incident, incident.c.id == notification_incident.c.incident_id)
        query = query.where(incident.c.dedup_key.in_(filters.agencies))
    return query
