"""Incidents in the database, and assignment of their numbers (as in "JCM-07").

An incident is *active* (not `at_rest`) while it is open or an action is due for it. Its *policy* is the escalation
policy that was frozen when it opened. Its type is *detected* by probes, or *declared* by a person, whatever the probes
find. Limits of "some two hundred" keep a statement below the maximum number of parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update

from alerts.model.event import Declare, Trigger
from alerts.model.incident import OUTAGES, Incident, open_incident
from alerts.model.notification import IncidentType
from alerts.model.number import candidate_numbers, incident_number, matches_number
from monitor.store.backend.repository import Repository
from monitor.store.engine.sql_statements import (
    ACTIVE,
    ADD_INCIDENT,
    INCIDENT,
    NEWEST_INCIDENT,
    NEXT_NUMBER,
    UPDATE_INCIDENT,
)
from monitor.store.schema.rows import POLICY, batched, from_row, incident_values, sort_by_id, to_incident
from monitor.store.schema.tables import counter, incident

#: Maximum number of incidents per query. Each has 5 kB of JSON (its policy), whose validation blocks the event loop for
#: 0.1 ms.
_READ_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncidentSummary:
    """Summary of an open incident: its number, its detected type, and its declaration."""

    number: str
    #: Start of the current problem.
    began_at: datetime
    #: Type that the probes detect now; `None`: they detect no problem.
    detected: IncidentType | None = None
    #: Type of the declared outage, and the person who declared it; `None` and "": nobody declared one, or a person has
    #: ended it.
    declared: IncidentType | None = None
    declared_by: str = ""
    #: Start of the declared outage. If the declaration opened the incident, it is the start that the person stated;
    #: otherwise it is the time of the declaration.
    declared_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarm:
    """Incident that a person marked as a false alarm, and the period in which it reported a problem."""

    id: int
    agency: str
    began_at: datetime
    ended_at: datetime


def _to_summary(row: Row[Any]) -> OpenIncidentSummary:
    detected = row.detected and IncidentType(row.detected)
    summary = OpenIncidentSummary(
        number=row.number, began_at=row.current_type_began_at or row.began_at, detected=detected
    )
    if row.declared_type is None or row.declared_ended_at is not None:
        return summary
    return replace(
        summary,
        declared=IncidentType(row.declared_type),
        declared_by=row.declared_by,
        declared_since=row.began_at if row.declared_at <= row.opened_at else row.declared_at,
    )


class SqlIncidents(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for incidents, and further queries."""

    async def active_incidents(self) -> Sequence[int]:
        """Return the ids of the incidents that are open or have actions due, oldest first."""
        return (await self._connection.execute(ACTIVE)).scalars().all()

    async def incident(self, incident_id: int) -> Incident | None:
        """Return an incident; `None`: it does not exist."""
        return await self._one_incident(INCIDENT, incident_id=incident_id)

    async def last_incident(self, dedup_key: str) -> Incident | None:
        """Return the newest incident with *dedup_key*, open or resolved."""
        return await self._one_incident(NEWEST_INCIDENT, dedup_key=dedup_key)

    async def last_incidents(self, dedup_keys: Collection[str]) -> Mapping[str, Incident]:
        """Return the newest incident of each of up to some two hundred dedup keys."""
        if not dedup_keys:
            return {}
        newest = select(func.max(incident.c.id)).where(incident.c.dedup_key.in_(dedup_keys))
        ids = (await self._connection.execute(newest.group_by(incident.c.dedup_key))).scalars().all()
        return {each.dedup_key: each for each in (await self.incidents(ids)).values()}

    async def incident_by_number(self, quoted: str) -> Incident | None:
        """Return the incident with a number as a person quotes it: "jcontoh-1" is JCONT-01 of the agency JCONTOH."""
        query = select(incident).where(incident.c.number.in_(candidate_numbers(quoted)))
        found = [to_incident(row) for row in await self._connection.execute(query)]
        # The NOC (network operations centre) may have the same short name as an agency. The agency's incident is first.
        found.sort(key=lambda each: not each.policy.agency)
        for each in found:
            if matches_number(quoted, each.number, each.policy.agency or each.policy.office.short):
                return each
        return None

    async def _one_incident(self, query: Select[Any], **values: int | str) -> Incident | None:
        row = (await self._connection.execute(query, values)).one_or_none()
        return None if row is None else to_incident(row)

    async def open_incidents(self) -> Sequence[Incident]:
        """Return all open incidents, oldest first."""
        query = select(incident.c.id).where(incident.c.resolved_at.is_(None))
        return sort_by_id((await self.incidents((await self._connection.execute(query)).scalars().all())).values())

    async def detected_keys(self) -> Collection[str]:
        """Return the dedup keys of the open incidents whose problem is detected, not only declared."""
        query = select(incident.c.dedup_key).where(incident.c.resolved_at.is_(None), incident.c.detected.is_not(None))
        return (await self._connection.execute(query)).scalars().all()

    async def open_incidents_by_key(self) -> Mapping[str, OpenIncidentSummary]:
        """Return summaries of the open incidents by dedup key, oldest first."""
        query: Select[Any] = select(
            *(incident.c.id, incident.c.dedup_key, incident.c.number),
            *(incident.c.declared_type, incident.c.declared_at, incident.c.declared_by, incident.c.declared_ended_at),
            *(incident.c.began_at, incident.c.current_type_began_at, incident.c.opened_at, incident.c.detected),
        ).where(incident.c.resolved_at.is_(None))
        return {row.dedup_key: _to_summary(row) for row in sort_by_id(await self._connection.execute(query))}

    async def false_alarms(self, since: datetime) -> Sequence[FalseAlarm]:
        """Return the incidents that were resolved since *since* and marked as false alarms."""
        columns = (incident.c.id, incident.c.agency, incident.c.began_at, incident.c.ended_at, incident.c.resolved_at)
        query = select(*columns).where(incident.c.resolved_at >= since, incident.c.false_alarm_at.is_not(None))
        return [
            from_row(FalseAlarm, row, ended_at=max(filter(None, (row.ended_at, row.resolved_at))))
            for row in await self._connection.execute(query)
        ]

    async def incidents(self, ids: Collection[int]) -> Mapping[int, Incident]:
        """Return incidents by id. They are read in batches, so that the event loop is not blocked for long."""
        found = dict[int, Incident]()
        for batch in batched(sorted(ids), _READ_AT_ONCE):
            query = select(incident).where(incident.c.id.in_(batch))
            found |= {row.id: to_incident(row) for row in await self._connection.execute(query)}
        return found

    async def unreleased_incidents(self, agencies: Collection[str]) -> Sequence[Incident]:
        """Return the open incidents of these agencies that nobody has released, oldest first.

        A release permits notifications to the agency's recipients.
        """
        is_unreleased = incident.c.resolved_at.is_(None) & incident.c.released_at.is_(None)
        query = select(incident.c.id).where(is_unreleased, incident.c.agency.in_(agencies))
        return sort_by_id((await self.incidents((await self._connection.execute(query)).scalars().all())).values())

    async def opened_since(self, since: datetime) -> Sequence[tuple[str, datetime]]:
        """Return dedup key and opening time of each detected incident that opened since *since*, oldest first."""
        # Closing an incident by hand clears `detected`. A closed incident that nobody declared had been detected.
        was_detected = incident.c.detected.is_not(None) | (
            incident.c.closed_at.is_not(None) & incident.c.declared_at.is_(None)
        )
        query = select(incident.c.dedup_key, incident.c.opened_at).where(incident.c.opened_at > since, was_detected)
        query = query.order_by(incident.c.opened_at, incident.c.id)
        return [(row.dedup_key, row.opened_at) for row in await self._connection.execute(query)]

    async def most_urgent_incidents(self, limit: int = 5) -> Sequence[Incident]:
        """Return the *limit* most urgent open incidents.

        They are sorted by three criteria: unacknowledged first, then outages first, then oldest first.
        """
        is_acknowledged = incident.c.acknowledged_at.is_not(None)
        is_no_outage = func.coalesce(incident.c.current_type, incident.c.type).not_in(OUTAGES)
        query = select(incident).where(incident.c.resolved_at.is_(None))
        query = query.order_by(is_acknowledged, is_no_outage, incident.c.began_at, incident.c.id).limit(limit)
        return [to_incident(row) for row in await self._connection.execute(query)]

    async def recent_incidents(self, limit: int = 200) -> Sequence[Incident]:
        """Return the newest *limit* incidents, newest first."""
        query = select(incident).order_by(incident.c.id.desc()).limit(limit)
        return [to_incident(row) for row in await self._connection.execute(query)]

    async def add_incidents(self, events: Sequence[Trigger | Declare]) -> Sequence[Incident]:
        """Open an incident for each of up to some two hundred *events*; return them in the same order.

        Each incident gets the next number of its agency (of its policy's prefix).

        Call it in a transaction of `Database.exclusive`. Otherwise two processes could assign the same number, and the
        unique key of `incident.number` would reject the second incident.
        """
        if not events:
            return ()
        counts = Counter(event.policy.prefix for event in events)
        numbers = {prefix: await self._next_numbers(prefix, times) for prefix, times in counts.items()}
        opened = [open_incident(each, incident_id=0, number=next(numbers[each.policy.prefix])) for each in events]
        rows = [
            incident_values(each)
            | {"dedup_key": each.dedup_key, "agency": each.policy.agency, "number": each.number}
            | {"policy": POLICY.dump_json(each.policy).decode(), "at_rest": False}
            for each in opened
        ]
        await self._connection.execute(ADD_INCIDENT, rows)
        # The ids are queried. INSERT … RETURNING with ten thousand values would block the event loop for 0.1 s.
        query = select(incident.c.number, incident.c.id).where(incident.c.number.in_([each.number for each in opened]))
        ids = {row.number: row.id for row in await self._connection.execute(query)}
        return [replace(each, id=ids[each.number]) for each in opened]

    async def _next_numbers(self, prefix: str, times: int) -> Iterator[str]:
        """Assign and yield the next *times* incident numbers with *prefix*."""
        values = {"prefix": prefix, "times": times}
        next_number = (await self._connection.execute(NEXT_NUMBER, values)).scalar_one_or_none()
        if next_number is None:
            next_number = 1 + times
            await self._connection.execute(insert(counter).values(name=prefix, next=next_number))
        return (incident_number(prefix, count) for count in range(next_number - times, next_number))

    async def save_incident(self, changed: Incident) -> None:
        """Write the state of an incident."""
        await self.save_incidents([changed])

    async def save_incidents(self, changed: Sequence[Incident]) -> None:
        """Write the states of up to some two hundred incidents."""
        if changed:
            rows = [{"incident_id": each.id, **incident_values(each)} for each in changed]
            await self._connection.execute(UPDATE_INCIDENT, rows)

    async def save_policy(self, changed: Incident) -> None:
        """Write the changed policy of an incident, which `save_incident` does not write."""
        text = POLICY.dump_json(changed.policy).decode()
        await self._connection.execute(update(incident).where(incident.c.id == changed.id).values(policy=text))

    async def deactivate_incident(self, incident_id: int) -> None:
        """Remove an incident from `active_incidents`, because no action is due."""
        await self._connection.execute(update(incident).where(incident.c.id == incident_id).values(at_rest=True))

    async def activate_incident(self, incident_id: int) -> None:
        """Add an incident to `active_incidents` again, because an action may be due."""
        await self._connection.execute(update(incident).where(incident.c.id == incident_id).values(at_rest=False))
