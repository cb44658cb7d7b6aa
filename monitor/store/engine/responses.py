"""Answers by SMS and PIN attempts in the database: implements `alerts.persistence.store.Responses`.

Writers take turns (`monitor.store.backend.database`), so what is read here is still true when something is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import exists, insert, select, update

from alerts.model.channel import Channel
from alerts.model.delivery import Notification
from alerts.model.incident import OUTAGES
from alerts.persistence.store import CodedNotification, PinAttempt, SmsNumber
from monitor.store.backend.repository import Repository
from monitor.store.engine.statements import SMS_NUMBER
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import (
    delivery,
    incident,
    notification_incident,
    pin_attempt,
    response_code,
    sms_number,
)

#: A code is not reassigned within this time: an answer to yesterday's SMS must not acknowledge another incident.
_REMEMBERED = timedelta(hours=24)


class SqlResponses(Repository):
    """Implements `alerts.persistence.store.Responses` inside one transaction."""

    async def code_for(self, number: str, notice: Notification, now: datetime) -> int:
        """Return the code of a notification on a phone: the same for the same trouble, otherwise the smallest free one."""
        about = _about(notice)
        this = (response_code.c.number == number) & (response_code.c.about == about)
        code = (await self._connection.execute(select(response_code.c.code).where(this))).scalar_one_or_none()
        if code is not None:
            again = update(response_code).where(this).values(notification_id=notice.id, given_at=now)
            await self._connection.execute(again)
            await self._answer_again(number)
            return int(code)
        taken = await self._taken(number, now)
        free = next(code for code in range(1, len(taken) + 2) if code not in taken)
        await self._connection.execute(
            insert(response_code).values(number=number, code=free, about=about, notification_id=notice.id, given_at=now)
        )
        await self._answer_again(number)
        return free

    async def _answer_again(self, number: str) -> None:
        """Reset the count of unrecognised answers of a number: it was asked a question."""
        await self._connection.execute(update(sms_number).where(sms_number.c.number == number).values(unrecognised=0))

    async def _taken(self, number: str, now: datetime) -> set[int]:
        awake = exists().where(
            notification_incident.c.notification_id == response_code.c.notification_id,
            incident.c.id == notification_incident.c.incident_id,
            incident.c.at_rest.is_(False),
        )
        query = select(response_code.c.code).where(
            response_code.c.number == number, awake | (response_code.c.given_at > now - _REMEMBERED)
        )
        return set((await self._connection.execute(query)).scalars())

    async def told(self, number: str) -> Sequence[CodedNotification]:
        """Return the notifications with a code that a phone has received, the newest first."""
        query = (
            select(response_code.c.code, response_code.c.notification_id, response_code.c.given_at)
            .where(response_code.c.number == number)
            .order_by(response_code.c.given_at.desc(), response_code.c.id.desc())
            .limit(50)
        )
        rows = (await self._connection.execute(query)).all()
        return [from_row(CodedNotification, row) for row in rows]

    async def knows(self, number: str) -> bool:
        """Whether an SMS to this number was ever decided."""
        query = select(delivery.c.id).where(delivery.c.channel == Channel.SMS, delivery.c.number == number).limit(1)
        return (await self._connection.execute(query)).first() is not None

    async def sms_number(self, number: str) -> SmsNumber:
        """Return the record of a number."""
        row = (await self._connection.execute(SMS_NUMBER, {"number": number})).one_or_none()
        return SmsNumber() if row is None else from_row(SmsNumber, row)

    async def save_sms_number(self, number: str, known: SmsNumber) -> None:
        """Write the record of a number."""
        of_it = update(sms_number).where(sms_number.c.number == number)
        written = await self._connection.execute(of_it.values(**asdict(known)))
        if not written.rowcount:
            await self._connection.execute(insert(sms_number).values(number=number, **asdict(known)))

    async def add_pin_entry(self, entry: PinAttempt) -> None:
        """Record a PIN attempt."""
        await self._connection.execute(insert(pin_attempt).values(**asdict(entry)))

    async def pin_entries(self, agencies: Collection[str], person: str, since: datetime) -> Sequence[PinAttempt]:
        """Return the PINs typed for a person of any of these agencies since then, oldest first."""
        theirs = pin_attempt.c.agency.in_(agencies) & (pin_attempt.c.person == person)
        query = select(pin_attempt).where(theirs, pin_attempt.c.at > since).order_by(pin_attempt.c.id)
        return [from_row(PinAttempt, row) for row in await self._connection.execute(query)]


def _about(notice: Notification) -> str:
    """Return what a notification is about: a repetition is the same, an outage differs from the slowness before it."""
    about = ",".join(
        f"{part.incident_id}.{'outage' if part.facts.type in OUTAGES else 'other'}" for part in notice.parts
    )
    return about if len(notice.parts) == 1 else f"bundle {hashlib.sha256(about.encode()).hexdigest()}"
