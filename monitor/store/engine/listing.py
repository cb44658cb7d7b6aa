"""Lists of incidents and notifications: filtered, the newest first, paged.

A query costs as much as it lists, not as much as exists: a selective filter uses an index, others scan from the newest
row.
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

#: Greater than any id.
NEWEST = 2**31 - 1

_OPENED = incident.c.opened_at
_PRESENT = func.coalesce(incident.c.current_type, incident.c.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFilter:
    """Filter of incidents. Empty fields do not filter."""

    #: Codes.
    agencies: AbstractSet[str] = frozenset()
    states: AbstractSet[IncidentState] = frozenset()
    #: Opened since then, and before then.
    since: datetime | None = None
    until: datetime | None = None

    @property
    def open_only(self) -> bool:
        """Whether only open ones match."""
        return bool(self.states) and IncidentState.RESOLVED not in self.states


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationFilter:
    """Filter of notifications. Empty fields do not filter."""

    #: With an incident of one of these.
    agencies: AbstractSet[str] = frozenset()
    #: With this incident.
    incident_id: int | None = None
    states: AbstractSet[NotificationState] = frozenset()
    #: Written since then, and before then.
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneEntry:
    """An action about an incident, from the audit log."""

    at: datetime
    #: The actor in the audit log: a person, or a component.
    actor: str
    event: str
    #: In the person's words; "" without any.
    said: str


class SqlListing(Repository):
    """List queries."""

    async def incidents(self, wanted: IncidentFilter, *, most: int, before: int = NEWEST) -> Sequence[int]:
        """Return the ids of the newest *most* matches before *before*, newest first."""
        if wanted.open_only:
            return (await self.open_incidents(wanted, before=before))[:most]
        query = _fitting(wanted).where(incident.c.id < before).order_by(incident.c.id.desc()).limit(most)
        if wanted.since is not None:
            query = query.where(incident.c.id >= await self._first_since(wanted.since))
        if wanted.until is not None:
            query = query.where(incident.c.id <= await self._last_before(wanted.until))
        return await self._ids(query)

    async def during(self, key: str, begin: datetime, end: datetime) -> Sequence[int]:
        """Return the ids of all incidents with *key* that were open between *begin* and *end*, oldest first."""
        was_open = (end > _OPENED) & (incident.c.resolved_at.is_(None) | (incident.c.resolved_at >= begin))
        query = select(incident.c.id).where(incident.c.dedup_key == key, was_open)
        return await self._ids(query.order_by(incident.c.id))

    async def open_incidents(self, wanted: IncidentFilter, *, before: int = NEWEST) -> Sequence[int]:
        """Return the ids of all open matches, newest first. There is at most one per dedup key."""
        # Without ORDER BY: the index of open incidents is small, that of all rows is not.
        found = await self._ids(_fitting(wanted).where(incident.c.resolved_at.is_(None)))
        return sorted((each for each in found if each < before), reverse=True)

    async def untaken(self, wanted: IncidentFilter, *, most: int) -> tuple[Sequence[int], int]:
        """Return the ids of the first *most* unacknowledged open incidents, and their number.

        Outages first, then the oldest.
        """
        query = _fitting(wanted).where(incident.c.resolved_at.is_(None), incident.c.acknowledged_at.is_(None))
        count = (await self._connection.execute(select(func.count()).select_from(query.subquery()))).scalar_one()
        ordered = query.order_by(_PRESENT.not_in(OUTAGES), incident.c.began_at, incident.c.id).limit(most)
        return await self._ids(ordered), count

    async def taken_by(self, names: Collection[str], wanted: IncidentFilter, *, most: int) -> Sequence[int]:
        """Return the ids of the oldest *most* open incidents acknowledged under any of *names*."""
        query = _fitting(wanted).where(incident.c.resolved_at.is_(None), incident.c.acknowledged_by.in_(names))
        return await self._ids(query.order_by(incident.c.began_at, incident.c.id).limit(most))

    async def unreleased_outages(self, wanted: IncidentFilter, *, most: int) -> Sequence[int]:
        """Return the ids of the oldest *most* open outages without a release."""
        query = _fitting(wanted).where(incident.c.resolved_at.is_(None), incident.c.released_at.is_(None))
        query = query.where(incident.c.type.in_(OUTAGES), _PRESENT.in_(OUTAGES))
        return await self._ids(query.order_by(incident.c.began_at, incident.c.id).limit(most))

    async def _first_since(self, since: datetime) -> int:
        # Ids grow with time, except after the clock was set back.
        query = select(incident.c.id).where(since <= _OPENED).order_by(_OPENED, incident.c.id).limit(1)
        return (await self._connection.execute(query)).scalar() or NEWEST

    async def _last_before(self, until: datetime) -> int:
        query = select(incident.c.id).where(until > _OPENED).order_by(_OPENED.desc(), incident.c.id.desc()).limit(1)
        return (await self._connection.execute(query)).scalar() or 0

    async def notices(self, wanted: NotificationFilter, *, most: int, before: int = NEWEST) -> Sequence[int]:
        """Return the ids of the newest *most* matches before *before*, newest first."""
        query = (
            select(notification.c.id).where(notification.c.id < before).order_by(notification.c.id.desc()).limit(most)
        )
        if wanted.agencies or wanted.incident_id is not None:
            query = query.where(notification.c.id.in_(_telling(wanted)))
        if wanted.since is not None:
            query = query.where(notification.c.id >= await self._first_notice_since(wanted.since))
        if wanted.until is not None:
            query = query.where(notification.c.id < await self._first_notice_since(wanted.until))
        if not wanted.states:
            return await self._ids(query)
        # One state after the other: an index has each in order, newest first, but not several together.
        found: list[int] = []
        for state in wanted.states:
            found += await self._ids(query.where(notification.c.state == state))
        return sorted(found, reverse=True)[:most]

    async def _first_notice_since(self, at: datetime) -> int:
        """Return the first notification id written since then.

        The time has no index, and ids grow with it: a binary search takes twenty queries among a million.
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

    async def done_about(self, incident_id: int, events: Collection[str], *, most: int) -> Sequence[DoneEntry]:
        """Return the newest *most* audit entries about an incident with one of *events*, newest first."""
        columns = (audit_log.c.id, audit_log.c.at, audit_log.c.actor, audit_log.c.event, audit_log.c.detail)
        about = (audit_log.c.incident_id == incident_id, audit_log.c.event.in_(events))
        # Sorted here: the database would scan the whole audit log, and an incident has few entries.
        rows = sorted(await self._connection.execute(select(*columns).where(*about)), key=lambda row: -int(row.id))
        return [
            from_row(DoneEntry, row, said=row.detail.get("text") or row.detail.get("why") or "") for row in rows[:most]
        ]

    async def _ids(self, query: Select[Any]) -> Sequence[int]:
        found: Sequence[int] = (await self._connection.execute(query)).scalars().all()
        return found

    async def numbers(self, incident_ids: Collection[int]) -> Mapping[int, str]:
        """Return the numbers of incidents."""
        query = select(incident.c.id, incident.c.number).where(incident.c.id.in_(incident_ids))
        return {row.id: row.number for row in await self._connection.execute(query)}


def _fitting(wanted: IncidentFilter) -> Select[Any]:
    query: Select[Any] = select(incident.c.id)
    if wanted.agencies:
        # The dedup key of an agency's incidents is its code, which has an index.
        query = query.where(incident.c.dedup_key.in_(wanted.agencies))
    if wanted.states:
        query = query.where(incident.c.state.in_(wanted.states))
    if wanted.since is not None:
        query = query.where(wanted.since <= _OPENED)
    if wanted.until is not None:
        query = query.where(wanted.until > _OPENED)
    return query


def _telling(wanted: NotificationFilter) -> Select[Any]:
    query = select(notification_incident.c.notification_id).where(notification_incident.c.left_at.is_(None))
    if wanted.incident_id is not None:
        query = query.where(notification_incident.c.incident_id == wanted.incident_id)
    if wanted.agencies:
        query = query.join(incident, incident.c.id == notification_incident.c.incident_id)
        query = query.where(incident.c.dedup_key.in_(wanted.agencies))
    return query
