"""Incidents, notices and attempts in the database: the implementation of `alerts.store`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.channel import Channel
from alerts.contact import Address
from alerts.delivery import RANK, Attempt, AttemptState, Delivery, Draft, Notice, NoticeState
from alerts.event import Trigger
from alerts.incident import Incident, open_incident
from alerts.store import Entry
from monitor.store.database import Database
from monitor.store.rows import (
    ADDRESSEE,
    ADDRESSES,
    BRIEF,
    FACTS,
    incident_values,
    new_id,
    to_attempt,
    to_incident,
    to_notice,
)
from monitor.store.tables import attempt, counter, delivery, heard, incident, journal, notice, notice_incident


class SqlStore:
    """`alerts.store.Store` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlLedger]:
        """Begin a writing transaction."""
        async with self._database.write() as connection:
            yield SqlLedger(connection)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlLedger]:
        """Give a consistent view, for those who only look."""
        async with self._database.read() as connection:
            yield SqlLedger(connection)


class SqlLedger:
    """`alerts.store.Ledger` inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    # -- incidents -----------------------------------------------------------------------------------------------

    async def active_incidents(self) -> Sequence[int]:
        """Ids of the incidents that are open or still owe somebody something, oldest first."""
        query = select(incident.c.id).where(incident.c.at_rest.is_(False)).order_by(incident.c.id)
        return (await self._connection.execute(query)).scalars().all()

    async def incident(self, incident_id: int) -> Incident | None:
        """Return an incident."""
        return await self._one_incident(incident.c.id == incident_id)

    async def open_incident(self, dedup_key: str) -> Incident | None:
        """Return the open incident about *dedup_key*."""
        return await self._one_incident((incident.c.dedup_key == dedup_key) & incident.c.resolved_at.is_(None))

    async def incident_numbered(self, number: str) -> Incident | None:
        """Return the incident that people quote as *number*, whatever the case."""
        return await self._one_incident(incident.c.number == number.upper())

    async def _one_incident(self, condition: Any) -> Incident | None:
        row = (await self._connection.execute(select(incident).where(condition))).one_or_none()
        return None if row is None else to_incident(row)

    async def open_incidents(self) -> Sequence[Incident]:
        """Return all that are open."""
        query = select(incident).where(incident.c.resolved_at.is_(None)).order_by(incident.c.id)
        return [to_incident(row) for row in await self._connection.execute(query)]

    async def recent_incidents(self, limit: int = 200) -> Sequence[Incident]:
        """Return the newest incidents, newest first."""
        query = select(incident).order_by(incident.c.id.desc()).limit(limit)
        return [to_incident(row) for row in await self._connection.execute(query)]

    async def add_incident(self, event: Trigger) -> Incident:
        """Open an incident and give it the agency's next number."""
        number = await self._next_number(event.brief.prefix)
        opened = open_incident(event, incident_id=0, number=number)
        values = incident_values(opened) | {"dedup_key": event.dedup_key, "agency": event.brief.agency}
        values |= {"number": number, "brief": BRIEF.dump_json(event.brief).decode(), "at_rest": False}
        result = await self._connection.execute(insert(incident).values(**values))
        return open_incident(event, incident_id=new_id(result), number=number)

    async def _next_number(self, prefix: str) -> str:
        query = select(counter.c.next).where(counter.c.name == prefix)
        number = (await self._connection.execute(query)).scalar_one_or_none()
        if number is None:
            number = 1
            await self._connection.execute(insert(counter).values(name=prefix, next=2))
        else:
            await self._connection.execute(update(counter).where(counter.c.name == prefix).values(next=number + 1))
        return f"{prefix.upper()}-{number:02d}"

    async def save_incident(self, changed: Incident) -> None:
        """Write an incident's state."""
        await self._connection.execute(
            update(incident).where(incident.c.id == changed.id).values(**incident_values(changed))
        )

    async def put_to_rest(self, incident_id: int) -> None:
        """Leave it out of `active_incidents`."""
        await self._connection.execute(update(incident).where(incident.c.id == incident_id).values(at_rest=True))

    # -- notices -------------------------------------------------------------------------------------------------

    async def notices(self, incident_id: int) -> Sequence[Notice]:
        """All notices of an incident with their deliveries and attempts, oldest first."""
        return await self._notices(notice_incident.c.incident_id == incident_id)

    async def notice(self, notice_id: int) -> Notice:
        """Return a notice. Raise `LookupError` if there is none."""
        found = await self._notices(notice.c.id == notice_id)
        if not found:
            raise LookupError(f"no notice {notice_id}")
        return found[0]

    async def recent_notices(self, limit: int = 500) -> Sequence[Notice]:
        """Return the newest notices, newest first."""
        newest = select(notice.c.id).order_by(notice.c.id.desc()).limit(limit)
        return list(reversed(await self._notices(notice.c.id.in_(newest))))

    async def _notices(self, condition: Any) -> list[Notice]:
        query = (
            select(notice, notice_incident.c.incident_id)
            .join(notice_incident, notice_incident.c.notice_id == notice.c.id)
            .where(condition)
            .order_by(notice.c.id)
        )
        rows = (await self._connection.execute(query)).all()
        deliveries = await self._deliveries([row.id for row in rows])
        return [to_notice(row, tuple(deliveries.get(row.id, ()))) for row in rows]

    async def _deliveries(self, notice_ids: Sequence[int]) -> dict[int, list[Delivery]]:
        if not notice_ids:
            return {}
        query = (
            select(attempt)
            .join(delivery, delivery.c.id == attempt.c.delivery_id)
            .where(delivery.c.notice_id.in_(notice_ids))
            .order_by(attempt.c.n)
        )
        attempts: dict[int, list[Attempt]] = {}
        for row in await self._connection.execute(query):
            attempts.setdefault(row.delivery_id, []).append(to_attempt(row))
        query = select(delivery).where(delivery.c.notice_id.in_(notice_ids)).order_by(delivery.c.id)
        deliveries: dict[int, list[Delivery]] = {}
        for row in await self._connection.execute(query):
            address = Address(channel=Channel(row.channel), number=row.number, extension=row.extension)
            made = Delivery(id=row.id, address=address, attempts=tuple(attempts.get(row.id, ())))
            deliveries.setdefault(row.notice_id, []).append(made)
        return deliveries

    async def add_notice(self, of: Incident, draft: Draft, now: datetime) -> bool:
        """Write a notice; return whether it is new (`False`: its key was there)."""
        known = select(notice.c.id).where(notice.c.key == draft.key)
        if (await self._connection.execute(known)).first() is not None:
            return False
        result = await self._connection.execute(
            insert(notice).values(
                key=draft.key,
                plan=draft.plan,
                purpose=draft.purpose,
                person=draft.person,
                language=draft.language,
                facts=FACTS.dump_json(draft.facts).decode(),
                addresses=ADDRESSES.dump_json(draft.addresses).decode(),
                addressee=ADDRESSEE.dump_json(draft.addressee).decode(),
                wave=draft.wave,
                round=draft.round,
                step=draft.step,
                state=NoticeState.PENDING,
                created_at=now,
                expires_at=draft.expires_at,
            )
        )
        notice_id = new_id(result)
        await self._connection.execute(insert(notice_incident).values(notice_id=notice_id, incident_id=of.id))
        return True

    async def settle(self, notice_id: int, state: NoticeState) -> None:
        """Write how a notice stands."""
        await self._connection.execute(update(notice).where(notice.c.id == notice_id).values(state=state))

    # -- deliveries and attempts ---------------------------------------------------------------------------------

    async def add_delivery(self, notice_id: int, address: Address) -> None:
        """Begin a delivery to one more address."""
        await self._connection.execute(
            insert(delivery).values(
                notice_id=notice_id, channel=address.channel, number=address.number, extension=address.extension
            )
        )

    async def add_attempt(self, of: Delivery, gateway: str, now: datetime, look_at: datetime) -> Attempt:
        """Record an attempt as CALLING, before the gateway is called."""
        n = len(of.attempts) + 1
        # Unique across installations too: a restored backup must not find another's submissions at the provider.
        reference = f"p{of.id}-{n}-{now.timestamp():.0f}"
        result = await self._connection.execute(
            insert(attempt).values(
                delivery_id=of.id,
                n=n,
                reference=reference,
                gateway=gateway,
                state=AttemptState.CALLING,
                rank=RANK[AttemptState.CALLING],
                started_at=now,
                look_at=look_at,
                asked=0,
                code="",
                detail="",
            )
        )
        return Attempt(
            id=new_id(result),
            n=n,
            reference=reference,
            gateway=gateway,
            state=AttemptState.CALLING,
            started_at=now,
            look_at=look_at,
        )

    async def save_attempt(self, changed: Attempt) -> bool:
        """Write an attempt; return `False` and write nothing if the stored state ranks higher."""
        rank = RANK[changed.state]
        may_follow = attempt.c.rank <= rank
        if changed.state is AttemptState.FAILED:
            # Of the same rank, and providers' reports overtake each other: what arrived has arrived.
            may_follow &= attempt.c.state != AttemptState.DELIVERED
        result = await self._connection.execute(
            update(attempt)
            .where(attempt.c.id == changed.id, may_follow)
            .values(
                state=changed.state,
                rank=rank,
                look_at=changed.look_at,
                asked=changed.asked,
                provider_id=changed.provider_id,
                error=changed.error,
                code=changed.code,
                detail=changed.detail,
                ended_at=changed.ended_at,
            )
        )
        return bool(result.rowcount)

    async def attempt(self, reference: str) -> tuple[Notice, Attempt] | None:
        """Return an attempt by the reference that its gateway knows, with its notice."""
        query = (
            select(delivery.c.notice_id)
            .join(attempt, attempt.c.delivery_id == delivery.c.id)
            .where(attempt.c.reference == reference)
        )
        notice_id = (await self._connection.execute(query)).scalar_one_or_none()
        if notice_id is None:
            return None
        found = await self.notice(notice_id)
        return next((found, a) for d in found.deliveries for a in d.attempts if a.reference == reference)

    async def first_heard(self, gateway: str, event_id: str, now: datetime) -> bool:
        """Return whether this callback is heard for the first time."""
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(insert(heard).values(gateway=gateway, event_id=event_id, at=now))
        except IntegrityError:
            return False
        return True

    async def orphan_calls(self, now: datetime) -> int:
        """Make every call that a dead process left behind due for a question now."""
        result = await self._connection.execute(
            update(attempt).where(attempt.c.state == AttemptState.CALLING).values(look_at=now)
        )
        return result.rowcount

    async def journal(self, entry: Entry) -> None:
        """Add a line to the journal."""
        detail = {key: str(value) for key, value in entry.detail.items()}
        await self._connection.execute(
            insert(journal).values(
                at=entry.at,
                actor=entry.actor,
                event=entry.event,
                incident_id=entry.incident_id,
                notice_id=entry.notice_id,
                detail=detail,
            )
        )
