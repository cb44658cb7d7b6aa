"""Which incidents and notices are asked for: by filters, the newest first, from a place on.

What is asked for costs what is listed, and not what there is: of a filter that fits few the index is gone by, and of one that
fits many the rows themselves, from the newest down.
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
from monitor.store.schema.tables import incident, journal, notice, notice_incident

#: Greater than any number of a row.
NEWEST = 2**31 - 1

_OPENED = incident.c.opened_at
_PRESENT = func.coalesce(incident.c.present, incident.c.matter)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFilter:
    """Which incidents. What is empty is not asked."""

    #: Codes.
    agencies: AbstractSet[str] = frozenset()
    states: AbstractSet[IncidentState] = frozenset()
    #: Opened then or later, and before then.
    since: datetime | None = None
    until: datetime | None = None

    @property
    def open_only(self) -> bool:
        """Whether none that is over fits."""
        return bool(self.states) and IncidentState.RESOLVED not in self.states


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationFilter:
    """Which notices. What is empty is not asked."""

    #: Those that tell of an incident of one of these.
    agencies: AbstractSet[str] = frozenset()
    #: Those that tell of this incident.
    incident_id: int | None = None
    states: AbstractSet[NotificationState] = frozenset()
    #: Written then or later, and before then.
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneEntry:
    """What the journal has of something that was done about an incident."""

    at: datetime
    #: Who did it, as the journal has it: a person, or a part of ours.
    actor: str
    event: str
    #: In their words what they said, or why; "" where nothing was said.
    said: str


class SqlListing(Repository):
    """What is listed for those who look."""

    async def incidents(self, wanted: IncidentFilter, *, most: int, before: int = NEWEST) -> Sequence[int]:
        """Return the ids of the newest *most* that fit, of those before *before*, newest first."""
        if wanted.open_only:
            return (await self.open_incidents(wanted, before=before))[:most]
        query = _fitting(wanted).where(incident.c.id < before).order_by(incident.c.id.desc()).limit(most)
        if wanted.since is not None:
            query = query.where(incident.c.id >= await self._first_since(wanted.since))
        if wanted.until is not None:
            query = query.where(incident.c.id <= await self._last_before(wanted.until))
        return await self._ids(query)

    async def during(self, key: str, begin: datetime, end: datetime) -> Sequence[int]:
        """Return the ids of all about *key* that were open at some time from *begin* on and before *end*, oldest first."""
        was_open = (end > _OPENED) & (incident.c.resolved_at.is_(None) | (incident.c.resolved_at >= begin))
        query = select(incident.c.id).where(incident.c.dedup_key == key, was_open)
        return await self._ids(query.order_by(incident.c.id))

    async def open_incidents(self, wanted: IncidentFilter, *, before: int = NEWEST) -> Sequence[int]:
        """Return the ids of all that fit and are open, newest first. There is at most one of each thing that is watched."""
        # Without an order in the question: the index of the open ones is small, and the order of all rows is not.
        found = await self._ids(_fitting(wanted).where(incident.c.resolved_at.is_(None)))
        return sorted((each for each in found if each < before), reverse=True)

    async def untaken(self, wanted: IncidentFilter, *, most: int) -> tuple[Sequence[int], int]:
        """Return the ids of the first *most* open incidents that nobody has taken on, and how many there are.

        Outages first, then the oldest.
        """
        query = _fitting(wanted).where(incident.c.resolved_at.is_(None), incident.c.acknowledged_at.is_(None))
        count = (await self._connection.execute(select(func.count()).select_from(query.subquery()))).scalar_one()
        ordered = query.order_by(_PRESENT.not_in(OUTAGES), incident.c.began_at, incident.c.id).limit(most)
        return await self._ids(ordered), count

    async def taken_by(self, names: Collection[str], wanted: IncidentFilter, *, most: int) -> Sequence[int]:
        """Return the ids of the oldest *most* open incidents that somebody has, by whatever name."""
        query = _fitting(wanted).where(incident.c.resolved_at.is_(None), incident.c.acknowledged_by.in_(names))
        return await self._ids(query.order_by(incident.c.began_at, incident.c.id).limit(most))

    async def unreleased_outages(self, wanted: IncidentFilter, *, most: int) -> Sequence[int]:
        """Return the ids of the oldest *most* open outages of which nothing was released."""
        query = _fitting(wanted).where(incident.c.resolved_at.is_(None), incident.c.released_at.is_(None))
        query = query.where(incident.c.matter.in_(OUTAGES), _PRESENT.in_(OUTAGES))
        return await self._ids(query.order_by(incident.c.began_at, incident.c.id).limit(most))

    async def _first_since(self, since: datetime) -> int:
        # Numbers grow as time does, but for a clock that was set back.
        query = select(incident.c.id).where(since <= _OPENED).order_by(_OPENED, incident.c.id).limit(1)
        return (await self._connection.execute(query)).scalar() or NEWEST

    async def _last_before(self, until: datetime) -> int:
        query = select(incident.c.id).where(until > _OPENED).order_by(_OPENED.desc(), incident.c.id.desc()).limit(1)
        return (await self._connection.execute(query)).scalar() or 0

    async def notices(self, wanted: NotificationFilter, *, most: int, before: int = NEWEST) -> Sequence[int]:
        """Return the ids of the newest *most* that fit, of those before *before*, newest first."""
        query = select(notice.c.id).where(notice.c.id < before).order_by(notice.c.id.desc()).limit(most)
        if wanted.agencies or wanted.incident_id is not None:
            query = query.where(notice.c.id.in_(_telling(wanted)))
        if wanted.since is not None:
            query = query.where(notice.c.id >= await self._first_notice_since(wanted.since))
        if wanted.until is not None:
            query = query.where(notice.c.id < await self._first_notice_since(wanted.until))
        if not wanted.states:
            return await self._ids(query)
        # One state after the other: each has its place in an index, newest first, and several together have not.
        found: list[int] = []
        for state in wanted.states:
            found += await self._ids(query.where(notice.c.state == state))
        return sorted(found, reverse=True)[:most]

    async def _first_notice_since(self, at: datetime) -> int:
        """Return from which id on notices were written then or later.

        Times of notices have no index, and ids grow as time does: twenty looks find one among a million.
        """
        low, high = 1, (await self._connection.execute(select(func.max(notice.c.id)))).scalar() or 0
        while low <= high:
            middle = (low + high) // 2
            query = select(notice.c.id, notice.c.created_at).where(notice.c.id >= middle).order_by(notice.c.id).limit(1)
            row = (await self._connection.execute(query)).one()
            if row.created_at >= at:
                high = middle - 1
            else:
                low = row.id + 1
        return low

    async def done_about(self, incident_id: int, events: Collection[str], *, most: int) -> Sequence[DoneEntry]:
        """Return the newest *most* entries of the journal about an incident that tell of one of *events*, newest first."""
        columns = (journal.c.id, journal.c.at, journal.c.actor, journal.c.event, journal.c.detail)
        about = (journal.c.incident_id == incident_id, journal.c.event.in_(events))
        # Not ordered by the database: it would go through the whole journal for that, and an incident has few entries.
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
        # What an agency's incidents are about is the agency, and has an index.
        query = query.where(incident.c.dedup_key.in_(wanted.agencies))
    if wanted.states:
        query = query.where(incident.c.state.in_(wanted.states))
    if wanted.since is not None:
        query = query.where(wanted.since <= _OPENED)
    if wanted.until is not None:
        query = query.where(wanted.until > _OPENED)
    return query


def _telling(wanted: NotificationFilter) -> Select[Any]:
    query = select(notice_incident.c.notice_id).where(notice_incident.c.left_at.is_(None))
    if wanted.incident_id is not None:
        query = query.where(notice_incident.c.incident_id == wanted.incident_id)
    if wanted.agencies:
        query = query.join(incident, incident.c.id == notice_incident.c.incident_id)
        query = query.where(incident.c.dedup_key.in_(wanted.agencies))
    return query
