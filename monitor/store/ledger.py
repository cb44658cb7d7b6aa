"""Incidents, notices and attempts in the database: the implementation of `alerts.store`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.bundle import Gathered
from alerts.channel import Channel
from alerts.contact import Address
from alerts.delivery import LEFT, RANK, Attempt, AttemptState, Delivery, Draft, Notice, NoticeState
from alerts.event import Trigger
from alerts.incident import Incident, open_incident
from alerts.oncall import Override
from alerts.silence import Silence
from alerts.store import Entry
from alerts.urgency import Urgency
from monitor.store import audit, claims
from monitor.store.database import Database
from monitor.store.duty import SqlDuty
from monitor.store.responses import SqlResponses
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
    to_silence,
)
from monitor.store.statements import (
    BEGUN,
    DECIDED,
    DELIVERIES,
    GATHERED,
    INCIDENT,
    LOCK_NOTICE,
    NOTICE,
    NOTICES,
    NOTICES_OF,
    SETTLE,
)
from monitor.store.tables import attempt, clean, counter, delivery, heard, incident, notice, notice_incident, silence


class SqlStore:
    """`alerts.store.Store` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlLedger]:
        """Begin a writing transaction; they come one after the other, also those of other engines."""
        async with self._database.exclusive() as connection:
            ledger = SqlLedger(connection)
            yield ledger
            await ledger.seal_journal()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlLedger]:
        """Give a consistent view, for those who only look."""
        async with self._database.read() as connection:
            yield SqlLedger(connection)


class SqlLedger:
    """`alerts.store.Ledger` inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        #: What the journal is told when everything else of the transaction is written.
        self._told: list[Entry] = []

    @property
    def duty(self) -> SqlDuty:
        """Return the overrides of duties, in this transaction."""
        return SqlDuty(self._connection)

    @property
    def responses(self) -> SqlResponses:
        """What people answered."""
        return SqlResponses(self._connection)

    # -- incidents -----------------------------------------------------------------------------------------------

    async def active_incidents(self) -> Sequence[int]:
        """Ids of the incidents that are open or still owe somebody something, oldest first."""
        query = select(incident.c.id).where(incident.c.at_rest.is_(False)).order_by(incident.c.id)
        return (await self._connection.execute(query)).scalars().all()

    async def incident(self, incident_id: int) -> Incident | None:
        """Return an incident."""
        row = (await self._connection.execute(INCIDENT, {"incident_id": incident_id})).one_or_none()
        return None if row is None else to_incident(row)

    async def open_incident(self, dedup_key: str) -> Incident | None:
        """Return the open incident about *dedup_key*."""
        return await self._one_incident((incident.c.dedup_key == dedup_key) & incident.c.resolved_at.is_(None))

    async def last_incident(self, dedup_key: str) -> Incident | None:
        """Return the newest incident about *dedup_key*, open or over."""
        newest = select(func.max(incident.c.id)).where(incident.c.dedup_key == dedup_key).scalar_subquery()
        return await self._one_incident(incident.c.id == newest)

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

    async def opened_since(self, since: datetime) -> Sequence[tuple[str, datetime]]:
        """Return the dedup key and the opening of each incident that was opened since then, oldest first."""
        query = select(incident.c.dedup_key, incident.c.opened_at).where(incident.c.opened_at > since)
        return [(row.dedup_key, row.opened_at) for row in await self._connection.execute(query.order_by(incident.c.id))]

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

    async def save_brief(self, changed: Incident) -> None:
        """Write an incident's brief."""
        text = BRIEF.dump_json(changed.brief).decode()
        await self._connection.execute(update(incident).where(incident.c.id == changed.id).values(brief=text))

    async def put_to_rest(self, incident_id: int) -> None:
        """Leave it out of `active_incidents`."""
        await self._connection.execute(update(incident).where(incident.c.id == incident_id).values(at_rest=True))

    async def rouse(self, incident_id: int) -> None:
        """Put it back among the active ones."""
        await self._connection.execute(update(incident).where(incident.c.id == incident_id).values(at_rest=False))

    # -- notices -------------------------------------------------------------------------------------------------

    async def notices(self, incident_id: int) -> Sequence[Notice]:
        """All notices of an incident with their deliveries and attempts, oldest first.

        Of a bundle only what it tells of this incident: a thousand incidents may share one, and each is looked at.
        """
        return await self._notices(NOTICES_OF, {"incident_id": incident_id}, whole=False)

    async def notice(self, notice_id: int) -> Notice:
        """Return a notice. Raise `LookupError` if there is none."""
        found = await self._notices(NOTICE, {"notice_id": notice_id})
        if not found:
            raise LookupError(f"no notice {notice_id}")
        return found[0]

    async def recent_notices(self, limit: int = 500) -> Sequence[Notice]:
        """Return the newest notices, newest first."""
        newest = select(notice.c.id).order_by(notice.c.id.desc()).limit(limit)
        return list(reversed(await self._notices(NOTICES.where(notice.c.id.in_(newest)))))

    async def _notices(
        self, query: Select[Any], values: Mapping[str, int] | None = None, *, whole: bool = True
    ) -> list[Notice]:
        """Return notices, oldest first; *whole*: with all parts, or else only with the one that *query* names."""
        rows: dict[int, list[Any]] = {}
        for row in await self._connection.execute(query, values or {}):
            rows.setdefault(row.id, []).append(row)
        deliveries = await self._deliveries(list(rows))
        return [
            to_notice(parts if whole else parts[:1], tuple(deliveries.get(notice_id, ())))
            for notice_id, parts in rows.items()
        ]

    async def _deliveries(self, notice_ids: Sequence[int]) -> dict[int, list[Delivery]]:
        if not notice_ids:
            return {}
        rows: dict[int, list[Any]] = {}
        for row in await self._connection.execute(DELIVERIES, {"notice_ids": notice_ids}):
            rows.setdefault(row.delivery, []).append(row)
        deliveries: dict[int, list[Delivery]] = {}
        for delivery_id, theirs in rows.items():
            first = theirs[0]
            address = Address(channel=Channel(first.channel), number=first.number, extension=first.extension)
            attempts = tuple(to_attempt(row) for row in theirs if row.id is not None)
            made = Delivery(id=delivery_id, address=address, attempts=attempts)
            deliveries.setdefault(first.notice_id, []).append(made)
        return deliveries

    async def is_decided(self, key: str) -> bool:
        """Whether the notice with this key was decided on before, by itself or in a bundle."""
        return (await self._connection.execute(DECIDED, {"part_key": key})).first() is not None

    async def add_notice(
        self,
        of: Incident,
        draft: Draft,
        now: datetime,
        *,
        urgency: Urgency = Urgency.FIRST,
        gathering: str | None = None,
        not_before: datetime | None = None,
    ) -> bool:
        """Write a notice; return whether it is new (`False`: its key was there)."""
        if await self.is_decided(draft.key):
            return False
        facts = FACTS.dump_json(draft.facts).decode()
        result = await self._connection.execute(
            insert(notice).values(
                key=draft.key,
                plan=draft.plan,
                purpose=draft.purpose,
                person=draft.person,
                language=draft.language,
                facts=facts,
                addresses=ADDRESSES.dump_json(draft.addresses).decode(),
                addressee=ADDRESSEE.dump_json(draft.addressee).decode(),
                wave=draft.wave,
                round=draft.round,
                step=draft.step,
                state=NoticeState.PENDING,
                urgency=urgency,
                gathering=gathering,
                not_before=not_before,
                created_at=now,
                expires_at=draft.expires_at,
            )
        )
        await self._add_part(new_id(result), of, draft, facts)
        return True

    async def _add_part(self, notice_id: int, of: Incident, draft: Draft, facts: str) -> None:
        await self._connection.execute(
            insert(notice_incident).values(
                notice_id=notice_id,
                incident_id=of.id,
                key=draft.key,
                facts=facts,
                wave=draft.wave,
                round=draft.round,
                step=draft.step,
            )
        )

    async def join_notice(self, notice_id: int, of: Incident, draft: Draft) -> bool:
        """Let a notice tell of one more incident, unless a gateway is being called meanwhile; return whether it does."""
        await self.lock_notice(notice_id)
        if (await self._connection.execute(BEGUN, {"notice_id": notice_id})).first() is not None:
            return False
        await self._add_part(notice_id, of, draft, FACTS.dump_json(draft.facts).decode())
        return True

    async def lock_notice(self, notice_id: int) -> None:
        """Keep a notice as it is until the end of the transaction: nobody joins it, and nobody sends it."""
        if self._connection.dialect.name != "sqlite":  # There nobody else writes meanwhile.
            await self._connection.execute(LOCK_NOTICE, {"notice_id": notice_id})

    async def leave_notice(self, notice_id: int, incident_id: int, now: datetime) -> None:
        """Let a notice tell no more of an incident."""
        this = (notice_incident.c.notice_id == notice_id) & (notice_incident.c.incident_id == incident_id)
        await self._connection.execute(update(notice_incident).where(this).values(left_at=now))

    async def gathered(self, gathering: str, since: datetime, incident_id: int) -> Sequence[Gathered]:
        """Return the notices that were gathered under a key since then, oldest first, for a decision on an incident."""
        values = {"key": gathering, "since": since, "incident_id": incident_id}
        return [
            Gathered(
                notice_id=row.id,
                due_at=max(row.created_at, row.not_before or row.created_at),
                state=NoticeState(row.state),
                begun=row.begun,
                of_this=row.of_this,
            )
            for row in await self._connection.execute(GATHERED, values)
        ]

    async def hold(self, notice_id: int, until: datetime) -> None:
        """Let no attempt of a notice begin before then."""
        await self._connection.execute(update(notice).where(notice.c.id == notice_id).values(not_before=until))

    async def settle(self, notice_id: int, state: NoticeState) -> None:
        """Write how a notice stands."""
        await self._connection.execute(SETTLE, {"notice_id": notice_id, "new_state": state})

    # -- deliveries and attempts ---------------------------------------------------------------------------------

    async def add_delivery(self, notice_id: int, address: Address) -> Delivery:
        """Begin a delivery to one more address."""
        result = await self._connection.execute(
            insert(delivery).values(
                notice_id=notice_id, channel=address.channel, number=address.number, extension=address.extension
            )
        )
        return Delivery(id=new_id(result), address=address)

    async def add_attempt(
        self, of: Delivery, gateway: str, now: datetime, look_at: datetime, *, response: str = ""
    ) -> Attempt:
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
                response=response,
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
            response=response,
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
                provider_id=None if changed.provider_id is None else clean(changed.provider_id, 200),
                error=changed.error,
                code=clean(changed.code, 64),
                detail=clean(changed.detail),
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

    async def taken_since(
        self, since: datetime, *, address: Address | None = None, gateway: str | None = None
    ) -> Sequence[datetime]:
        """Return when a gateway was called, oldest first, of what it took and of what it is being handed now.

        *address*: to it alone, by whatever gateway; *gateway*: by it alone. What a gateway refused counts for nothing.
        """
        taken = attempt.c.state.in_([*LEFT, AttemptState.CALLING]) | (
            (attempt.c.state == AttemptState.FAILED) & attempt.c.provider_id.is_not(None)
        )
        query = select(attempt.c.started_at).where(attempt.c.started_at > since, taken).order_by(attempt.c.started_at)
        if gateway is not None:
            query = query.where(attempt.c.gateway == gateway)
        if address is not None:
            query = query.join(delivery, delivery.c.id == attempt.c.delivery_id).where(
                delivery.c.channel == address.channel, delivery.c.number == address.number
            )
        return (await self._connection.execute(query)).scalars().all()

    # -- silences ------------------------------------------------------------------------------------------------

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Return the silences that have not ended, oldest first."""
        query = select(silence).where(silence.c.ends > now).order_by(silence.c.id)
        return [to_silence(row) for row in await self._connection.execute(query)]

    async def add_silence(self, about: str, begins: datetime, ends: datetime, why: str, by: str) -> Silence:
        """Let nobody be told about something for a while."""
        values = {"about": about, "begins": begins, "ends": ends, "why": why, "by": by}
        result = await self._connection.execute(insert(silence).values(**values))
        return Silence(id=new_id(result), about=about, begins=begins, ends=ends, why=why, by=by)

    async def end_silence(self, silence_id: int, now: datetime) -> Silence | None:
        """End a silence; return it, or `None` when there is none that goes on."""
        found = next((s for s in await self.silences(now) if s.id == silence_id), None)
        if found is not None:
            await self._connection.execute(update(silence).where(silence.c.id == silence_id).values(ends=now))
        return found

    # -- callbacks -----------------------------------------------------------------------------------------------

    async def first_heard(self, gateway: str, event_id: str, now: datetime) -> bool:
        """Return whether this callback is heard for the first time."""
        # As long as it is, and with whatever in it: two must not become one.
        fits = len(event_id) <= 200 and "\0" not in event_id
        known = event_id if fits else sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(insert(heard).values(gateway=gateway, event_id=known, at=now))
        except IntegrityError:
            return False
        return True

    async def orphan_calls(self, now: datetime) -> int:
        """Make every call that a dead process left behind due for a question now."""
        return await claims.orphan_calls(self._connection, now)

    async def claimable(self, owner: str, now: datetime) -> Sequence[int]:
        """Those of `active_incidents` that are not another engine's."""
        return await claims.claimable(self._connection, owner, now)

    async def claim(self, incident_id: int, owner: str, now: datetime, lease: timedelta) -> bool:
        """Make an incident *owner*'s, if no other engine has it."""
        return await claims.claim(self._connection, incident_id, owner, now, lease)

    async def keep_claims(self, owner: str, now: datetime, lease: timedelta) -> Sequence[int]:
        """Renew what *owner* has, and take over what others have left."""
        return await claims.keep(self._connection, owner, now, lease)

    async def hand_over(self, owner: str, now: datetime) -> None:
        """Let go of all that *owner* has claimed."""
        await claims.hand_over(self._connection, owner, now)

    async def overrides(self, rotas: Collection[str], now: datetime) -> Sequence[Override]:
        """Return the overrides of these rotas that are not over at *now*, in the order they were made."""
        return await self.duty.standing(now, rotas)

    async def journal(self, entry: Entry) -> None:
        """Add a line to the journal, at the end of the transaction."""
        # Before it is sealed: what is hashed is what is kept.
        kept = {key: clean(str(value)) for key, value in entry.detail.items()}
        self._told.append(replace(entry, actor=clean(entry.actor, 200), event=clean(entry.event, 200), detail=kept))

    async def seal_journal(self) -> None:
        """Write the lines of this transaction to the end of the chain: the last thing before the commit."""
        told, self._told = self._told, []
        await audit.append(self._connection, told)
