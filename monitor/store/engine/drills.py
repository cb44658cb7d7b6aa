"""Drills (test messages to contacts by all gateways) in the database, with audit entries of their changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Row, Table, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.decide.drill import DrillNotification, DrillState, may_replace
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.notification import Facts, Language
from alerts.model.number import DRILL_PREFIX
from alerts.persistence.store import AuditEntry
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.schema.rows import FACTS, attributes_of, from_row, sort_by_id
from monitor.store.schema.skip_scan import select_distinct
from monitor.store.schema.tables import (
    attempt,
    delivery,
    drill,
    drill_notification,
    incident,
    notification,
    notification_incident,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One drill of contacts and gateways."""

    id: int
    #: Number such as "LATIH-07" (`drill_number_of`), with which the numbers in its notifications begin.
    number: str
    #: Name of the person who started it, or "schedule".
    requested_by: str
    #: Key of the tested contact, or "all"; with the prefix "JCONTOH/", only contacts of that agency are tested.
    contact: str
    starts_at: datetime
    #: After this time no more messages are sent.
    ends_at: datetime


def drill_number_of(drill_id: int) -> str:
    """Return the number of a drill, such as "LATIH-07"."""
    return f"{DRILL_PREFIX}-{drill_id:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillNotificationRecord:
    """A drill notification to one address by one gateway, and its state."""

    id: int
    #: Key of the notification within its drill.
    key: str
    drill_id: int
    #: Code of the agency, and key and name of the contact.
    agency: str
    contact: str
    name: str
    channel: Channel
    #: Telephone number or address, not logged; the extension is "" without one.
    number: str = field(repr=False)
    extension: str = field(repr=False)
    gateway: str
    language: Language
    #: Values for the text of the message.
    facts: Facts
    #: Our identifier of the submission at the provider.
    reference: str
    state: DrillState
    #: Why the notification was skipped or failed; "": no reason.
    reason: str
    #: The provider's identifier of the submission; `None`: the provider has not accepted it.
    provider_id: str | None
    #: When the notification was sent or skipped.
    started_at: datetime
    #: Time of the next status query to the provider; `None`: no query is due.
    query_at: datetime | None
    #: When the contact confirmed it by pressing a key in the call; `None`: not confirmed.
    confirmed_at: datetime | None


class Drills:
    """Records of drills."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self, key: str, *, contact: str, requested_by: str, starts_at: datetime, ends_at: datetime
    ) -> Drill | None:
        """Write the start of a drill and return it; `None`: a drill with this *key* was written before.

        *key*: "scheduled/" and the start, or "asked/" and what identifies the request, so that a repeated request
        starts no second drill. *contact*: as in `Drill.contact`.
        """
        values: dict[str, Any] = {
            "contact": contact,
            "requested_by": requested_by,
            "starts_at": starts_at,
            "ends_at": ends_at,
        }
        if await self._exists(drill, key):
            return None
        async with self._database.write() as connection:
            drill_id = await self._add(connection, drill, {"key": key, "number": "", **values})
            if drill_id is None:
                return None
            number = drill_number_of(drill_id)
            await connection.execute(update(drill).where(drill.c.id == drill_id).values(number=number))
            detail = {"number": number, "contact": contact, "until": ends_at.isoformat()}
            entry = AuditEntry(at=starts_at, actor=requested_by, event="drill begun", detail=detail)
            await audit.append(connection, [entry])
        return Drill(id=drill_id, number=number, **values)

    async def under_way(self) -> Sequence[Drill]:
        """Return the drills in progress, the oldest first."""
        query = select(drill).where(drill.c.ended_at.is_(None))
        return sort_by_id(from_row(Drill, row) for row in await self._database.rows(query))

    async def latest_requested(self, agency: str, since: datetime) -> tuple[int, int]:
        """Return the id of the latest drill of only this agency's contacts, and how many such drills there were.

        Only drills that started since *since* count. Without such a drill, the id is 0.
        """
        # The condition on `ended_at` is redundant, but lets the database use the index on that column.
        is_recent = (drill.c.starts_at >= since) & (drill.c.ended_at.is_(None) | (drill.c.ended_at >= since))
        is_of_agency = drill.c.contact.startswith(f"{agency}/")
        query = select(func.coalesce(func.max(drill.c.id), 0), func.count()).where(is_recent & is_of_agency)
        [(latest, count)] = await self._database.rows(query)
        return latest, count

    async def end(self, ended: Drill, now: datetime) -> None:
        """Write the end of a drill, with an audit entry that counts its notifications by state."""
        states = (
            select(drill_notification.c.state, func.count())
            .where(drill_notification.c.drill_id == ended.id)
            .group_by(drill_notification.c.state)
        )
        async with self._database.write() as connection:
            counts = {str(state): str(number) for state, number in await connection.execute(states)}
            is_running = (drill.c.id == ended.id) & drill.c.ended_at.is_(None)
            if (await connection.execute(update(drill).where(is_running).values(ended_at=now))).rowcount:
                detail = {"number": ended.number, **counts}
                await audit.append(connection, [AuditEntry(at=now, actor="drill", event="drill ended", detail=detail)])

    async def write(
        self,
        parent: Drill,
        planned: DrillNotification,
        facts: Facts,
        state: DrillState,
        now: datetime,
        *,
        why: str = "",
    ) -> DrillNotificationRecord | None:
        """Write a notification of the drill *parent* as started or skipped, before the request to its gateway.

        Return its record, or `None` if it was written before. *facts*: values for its text; *why*: the reason for
        skipping it.
        """
        key = f"{parent.id}/{planned.key}"
        agency, contact, address = planned.target.agency, planned.target.contact, planned.address
        if await self._exists(drill_notification, key):
            return None
        values = {
            "key": key,
            "drill_id": parent.id,
            "agency": agency,
            "contact": contact.key,
            **attributes_of(contact, ("name", "language")),
            **attributes_of(address, ("channel", "number", "extension")),
            "gateway": planned.gateway,
            "facts": FACTS.dump_json(facts).decode(),
            "reference": uuid4().hex,  # Replaced below: the final reference contains the id.
            "state": state,
            "reason": why,
            "started_at": now,
        }
        async with self._database.write() as connection:
            notification_id = await self._add(connection, drill_notification, values)
            if notification_id is None:
                return None
            # The time makes the reference unique at the provider, where a restored or another installation may have
            # used the same id. References of notifications about incidents begin with another letter.
            reference = f"d{notification_id}-1-{now.timestamp():.0f}"
            await connection.execute(
                update(drill_notification).where(drill_notification.c.id == notification_id).values(reference=reference)
            )
            # Stored texts never change: an "exercise" is a drill notification.
            event = "exercise left out" if state is DrillState.SKIPPED else "exercise begun"
            detail = {
                "number": parent.number,
                "contact": contact.key,
                "channel": str(address.channel),
                "gateway": planned.gateway,
                "why": why,
            }
            await audit.append(connection, [AuditEntry(at=now, actor="drill", event=event, detail=detail)])
        return await self._find_one(drill_notification.c.id == notification_id)

    async def change(
        self,
        reference: str,
        state: DrillState,
        now: datetime,
        *,
        why: str = "",
        provider_id: str | None = None,
        query_at: datetime | None = None,
    ) -> DrillNotificationRecord | None:
        """Write the state of a drill notification and return it; `None`: no notification has our *reference*.

        A state never replaces a more advanced one (`may_replace`). *why*: reason of the state. Without *why* or
        *provider_id* the stored values stay. *query_at*: time of the next status query to the provider; `None`: no
        query is due.
        """
        query = select(drill_notification).where(drill_notification.c.reference == reference).with_for_update()
        async with self._database.write() as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return None
            values: dict[str, Any] = {"query_at": query_at, "provider_id": provider_id or row.provider_id}
            if may_replace(DrillState(row.state), state):
                values |= {"state": state, "reason": why or row.reason}
                if state in {DrillState.DELIVERED, DrillState.CONFIRMED}:
                    values["delivered_at"] = row.delivered_at or now
                if state is DrillState.CONFIRMED:
                    values["confirmed_at"] = now
                detail = {"contact": row.contact, "channel": row.channel, "gateway": row.gateway}
                detail |= {"reference": reference, "why": values["reason"]}
                actor = row.contact if state is DrillState.CONFIRMED else row.gateway
                await audit.append(
                    connection, [AuditEntry(at=now, actor=actor, event=f"exercise {state}", detail=detail)]
                )
            await connection.execute(
                update(drill_notification).where(drill_notification.c.id == row.id).values(**values)
            )
        return await self._find_one(drill_notification.c.reference == reference)

    async def notifications(self, drill_id: int) -> Sequence[DrillNotificationRecord]:
        """Return the notifications of a drill, started or skipped, the oldest first."""
        return await self._find_all(drill_notification.c.drill_id == drill_id)

    async def during(self, agency: str, begin: datetime, end: datetime) -> Sequence[DrillNotificationRecord]:
        """Return the notifications to an agency's contacts from *begin* until before *end*, the oldest first."""
        started_at = drill_notification.c.started_at
        is_during = (started_at >= begin) & (started_at < end)
        return await self._find_all((drill_notification.c.agency == agency) & is_during)

    async def find(self, reference: str) -> DrillNotificationRecord | None:
        """Return a drill notification by our reference; `None`: no notification has this reference."""
        return await self._find_one(drill_notification.c.reference == reference)

    async def latest(self, drills: int) -> Sequence[tuple[Drill, DrillNotificationRecord]]:
        """Return the notifications of the newest drills, as many as *drills*, the newest drill first."""
        newest = select(drill).order_by(drill.c.id.desc()).limit(drills)
        newest_drills = [from_row(Drill, row) for row in await self._database.rows(newest)]
        return [(each, record) for each in newest_drills for record in await self.notifications(each.id)]

    async def last_ended(self) -> datetime | None:
        """Return when a drill of all contacts last ended."""
        query = select(func.max(drill.c.ended_at)).where(drill.c.contact == "all")
        return await self._database.value(query)

    async def confirmed(self) -> Mapping[tuple[str, str], datetime]:
        """Return when each contact last confirmed a drill by pressing a key in the call, by agency and contact key."""
        return await self._last_times(drill_notification.c.confirmed_at, drill_notification.c.confirmed_at.is_not(None))

    async def delivered(self) -> Mapping[tuple[str, str], datetime]:
        """Return when the last delivered SMS of a drill to each contact was sent, by agency and contact key."""
        arrived = (drill_notification.c.channel == Channel.SMS) & (drill_notification.c.state == DrillState.DELIVERED)
        return await self._last_times(drill_notification.c.started_at, arrived)

    async def is_notification_pending(self, now: datetime) -> bool:
        """Whether a notification about an incident can be sent now and waits only for a gateway.

        Drills give way to such a notification, but not to one that waits for a rate limit or a later retry.
        """
        may_send = notification.c.not_before.is_(None) | (notification.c.not_before <= now)
        is_of_notification = (attempt.c.delivery_id == delivery.c.id) & (
            delivery.c.notification_id == notification.c.id
        )
        retries_later = exists().where(is_of_notification & (attempt.c.query_at > now))
        query = (
            select(notification.c.id)
            .where((notification.c.state == NotificationState.PENDING) & may_send & ~retries_later)
            .limit(1)
        )
        return await self._database.row(query) is not None

    async def open_incidents(self) -> tuple[Sequence[int], frozenset[str]]:
        """Return the ids of the open incidents, and the keys of all contacts who were notified of these incidents."""
        ids = select(incident.c.id).where(incident.c.resolved_at.is_(None)).order_by(incident.c.id)
        people_query = (
            select(notification_incident.c.person).where(notification_incident.c.incident_id.in_(ids)).distinct()
        )
        async with self._database.read() as connection:
            ids_found = (await connection.execute(ids)).scalars().all()
            people = frozenset((await connection.execute(people_query)).scalars()) if ids_found else frozenset()
        return ids_found, people

    async def _exists(self, table: Table, key: str) -> bool:
        return await self._database.row(select(table.c.id).where(table.c.key == key)) is not None

    async def _add(self, connection: AsyncConnection, table: Table, values: Mapping[str, Any]) -> int | None:
        """Write a row and return its id; `None`: another process has just written one with the same key."""
        once = self._database.upsert(table).on_conflict_do_nothing(index_elements=["key"])
        added: int | None = (await connection.execute(once.values(**values).returning(table.c.id))).scalar_one_or_none()
        return added

    async def _last_times(self, time_column: Any, where: Any) -> Mapping[tuple[str, str], datetime]:
        """Return the latest *time_column* of the rows that meet *where*, by agency and contact key."""
        contacts = select_distinct(drill_notification.c.agency, drill_notification.c.contact)
        is_of_contact = (drill_notification.c.agency == contacts.c.agency) & (
            drill_notification.c.contact == contacts.c.contact
        )
        last = (
            select(func.max(time_column)).where(is_of_contact, where).correlate(contacts).scalar_subquery().label("at")
        )
        found = await self._database.rows(select(contacts, last))
        return {(row.agency, row.contact): row.at for row in found if row.at is not None}

    async def _find_one(self, where: Any) -> DrillNotificationRecord | None:
        return next(iter(await self._find_all(where)), None)

    async def _find_all(self, where: Any) -> Sequence[DrillNotificationRecord]:
        rows = await self._database.rows(select(drill_notification).where(where).order_by(drill_notification.c.id))
        return [_to_record(row) for row in rows]


def _to_record(row: Row[Any]) -> DrillNotificationRecord:
    return from_row(DrillNotificationRecord, row, key=row.key.partition("/")[2], facts=FACTS.validate_json(row.facts))
