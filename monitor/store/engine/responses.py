"""Response codes, answers by SMS, and PIN attempts in the database.

A person sends a response code back by SMS to acknowledge, such as the 1 of "1A" (all codes have the same letter). A
person types a PIN in a call to release an announcement to the agency's recipients. Write transactions exclude each
other (`monitor.store.backend.database`). So rows that are read here do not change before the transaction writes.
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
from monitor.store.engine.sql_statements import SMS_NUMBER
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import (
    delivery,
    incident,
    notification_incident,
    pin_attempt,
    response_code,
    sms_number,
)

#: Time for which a code is not used again: an answer to yesterday's SMS must not acknowledge another incident.
_REUSE_DELAY = timedelta(hours=24)


class SqlResponses(Repository):
    """Implements `alerts.persistence.store.Responses` inside one transaction."""

    async def assign_response_code(self, number: str, notification: Notification, now: datetime) -> int:
        """Return the response code of a notification to a telephone number.

        It is the earlier code if the number has one for the same incidents, or else the smallest free code.
        """
        subject = _subject_of(notification)
        is_known_code = (response_code.c.number == number) & (response_code.c.about == subject)
        code = (await self._connection.execute(select(response_code.c.code).where(is_known_code))).scalar_one_or_none()
        if code is not None:
            update_code = (
                update(response_code).where(is_known_code).values(notification_id=notification.id, given_at=now)
            )
            await self._connection.execute(update_code)
            await self._reset_unrecognised(number)
            return int(code)
        used = await self._used_codes(number, now)
        free_code = next(code for code in range(1, len(used) + 2) if code not in used)
        await self._connection.execute(
            insert(response_code).values(
                number=number, code=free_code, about=subject, notification_id=notification.id, given_at=now
            )
        )
        await self._reset_unrecognised(number)
        return free_code

    async def _reset_unrecognised(self, number: str) -> None:
        """Reset the count of unrecognised answers from a number, because an SMS with a code is sent to it now."""
        await self._connection.execute(update(sms_number).where(sms_number.c.number == number).values(unrecognised=0))

    async def _used_codes(self, number: str, now: datetime) -> set[int]:
        """Return the codes of a number that belong to an active incident, or were sent within `_REUSE_DELAY`."""
        is_active = exists().where(
            notification_incident.c.notification_id == response_code.c.notification_id,
            incident.c.id == notification_incident.c.incident_id,
            incident.c.at_rest.is_(False),
        )
        query = select(response_code.c.code).where(
            response_code.c.number == number, is_active | (response_code.c.given_at > now - _REUSE_DELAY)
        )
        return set((await self._connection.execute(query)).scalars())

    async def coded_notifications(self, number: str) -> Sequence[CodedNotification]:
        """Return the latest 50 notifications with a code to a number, the newest first."""
        query = (
            select(response_code.c.code, response_code.c.notification_id, response_code.c.given_at)
            .where(response_code.c.number == number)
            .order_by(response_code.c.given_at.desc(), response_code.c.id.desc())
            .limit(50)
        )
        rows = (await self._connection.execute(query)).all()
        return [from_row(CodedNotification, row) for row in rows]

    async def has_sms_to(self, number: str) -> bool:
        """Whether a notification was ever sent to this number by SMS."""
        query = select(delivery.c.id).where(delivery.c.channel == Channel.SMS, delivery.c.number == number).limit(1)
        return (await self._connection.execute(query)).first() is not None

    async def sms_number(self, number: str) -> SmsNumber:
        """Return the state of a number that sent SMS; the initial state if none is stored."""
        row = (await self._connection.execute(SMS_NUMBER, {"number": number})).one_or_none()
        return SmsNumber() if row is None else from_row(SmsNumber, row)

    async def save_sms_number(self, number: str, record: SmsNumber) -> None:
        """Write the state of a number that sent SMS."""
        update_number = update(sms_number).where(sms_number.c.number == number)
        result = await self._connection.execute(update_number.values(**asdict(record)))
        if not result.rowcount:
            await self._connection.execute(insert(sms_number).values(number=number, **asdict(record)))

    async def add_pin_attempt(self, entry: PinAttempt) -> None:
        """Record that a person typed a PIN in a call."""
        await self._connection.execute(insert(pin_attempt).values(**asdict(entry)))

    async def pin_attempts(self, agencies: Collection[str], person: str, since: datetime) -> Sequence[PinAttempt]:
        """Return the PIN attempts after *since* by the contact with the key *person* in *agencies*, oldest first."""
        is_of_person = pin_attempt.c.agency.in_(agencies) & (pin_attempt.c.person == person)
        query = select(pin_attempt).where(is_of_person, pin_attempt.c.at > since).order_by(pin_attempt.c.id)
        return [from_row(PinAttempt, row) for row in await self._connection.execute(query)]


def _subject_of(notification: Notification) -> str:
    """Return a key for the incidents of a notification, and whether each is an outage.

    Repeated notifications have the same key. If slow mail becomes an outage, the key changes.
    """
    subject = ",".join(
        f"{part.incident_id}.{'outage' if part.facts.type in OUTAGES else 'other'}" for part in notification.parts
    )
    return subject if len(notification.parts) == 1 else f"bundle {hashlib.sha256(subject.encode()).hexdigest()}"
