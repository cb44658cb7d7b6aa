"""Deliveries, attempts and receipts in the database.

A *delivery* is a notification on its way to one address, an *attempt* one request to a gateway, and a *receipt* the
provider's later report on the message. A *call* is a telephone call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from alerts.decide.gateway.receipt import MissingReceipt, ReceivedReceipt
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.delivery import RANK, SUBMITTED, Attempt, AttemptState, Delivery, Notification, NotificationState
from alerts.model.urgency import priority
from monitor.store.engine.notifications import SqlNotifications
from monitor.store.engine.sql_statements import (
    ADD_ATTEMPT,
    ADD_DELIVERY,
    ATTEMPT_STATE,
    MISSING_RECEIPTS,
    UPDATE_ATTEMPT,
    build_latest_receipts,
)
from monitor.store.schema.rows import attributes_of, batched, from_row, inserted_id
from monitor.store.schema.tables import (
    attempt,
    callback_event,
    delivery,
    notification,
    notification_incident,
    to_storable,
)

#: Maximum number of gateways per statement: each adds three queries to a UNION, and SQLite accepts 500 in one.
_MAX_GATEWAYS = 50


class SqlAttempts(SqlNotifications):
    """The part of `alerts.persistence.store.UnitOfWork` for deliveries and attempts."""

    async def add_delivery(self, notification_id: int, address: Address) -> Delivery:
        """Add a delivery of a notification to an address."""
        values = {"channel": address.channel, "number": address.number, "extension": address.extension}
        result = await self._connection.execute(ADD_DELIVERY, {"notification_id": notification_id, **values})
        return Delivery(id=inserted_id(result), address=address)

    async def add_attempt(
        self, for_delivery: Delivery, gateway: str, now: datetime, query_at: datetime, *, response: str = ""
    ) -> Attempt:
        """Write an attempt as CALLING, before the request to the gateway.

        *query_at*: when the request must have ended; at that time the gateway is queried for its outcome. *response*:
        the code in the SMS with which its reader acknowledges ("1A").
        """
        attempt_number = len(for_delivery.attempts) + 1
        # Ids repeat after the restoration of a backup, and in other installations with the same provider account. The
        # time makes the reference unique, so that a status query never finds the submission of another attempt.
        reference = f"p{for_delivery.id}-{attempt_number}-{now.timestamp():.0f}"
        values: dict[str, Any] = {
            "n": attempt_number,
            "reference": reference,
            "gateway": gateway,
            "state": AttemptState.CALLING,
            "started_at": now,
            "query_at": query_at,
            "queries": 0,
            "code": "",
            "detail": "",
            "response": response,
        }
        rank = RANK[AttemptState.CALLING]
        result = await self._connection.execute(ADD_ATTEMPT, {"delivery_id": for_delivery.id, "rank": rank, **values})
        return Attempt(id=inserted_id(result), **values)

    async def attempt_state(self, attempt_id: int) -> AttemptState:
        """Return the stored state of an attempt."""
        return AttemptState((await self._connection.execute(ATTEMPT_STATE, {"attempt_id": attempt_id})).scalar_one())

    async def save_attempt(self, changed: Attempt) -> bool:
        """Write an attempt; return `False` and write nothing if its state must not replace the stored one.

        The rank of a state (`RANK`) is its position in the life of an attempt, so a late report changes nothing.
        """
        rank = RANK[changed.state]
        # DELIVERED and FAILED have the same rank, and their reports may arrive in any order. DELIVERED is final, so
        # FAILED must not replace it.
        protected_state = AttemptState.DELIVERED if changed.state is AttemptState.FAILED else None
        result = await self._connection.execute(
            UPDATE_ATTEMPT,
            {
                **attributes_of(changed, ("state", "query_at", "queries", "error", "ended_at")),
                "attempt_id": changed.id,
                "new_rank": rank,
                "protected_state": protected_state,
                "rank": rank,
                "provider_id": None if changed.provider_id is None else to_storable(changed.provider_id, 200),
                "code": to_storable(changed.code, 64),
                "detail": to_storable(changed.detail),
            },
        )
        return bool(result.rowcount)

    async def attempt(self, reference: str) -> tuple[Notification, Attempt] | None:
        """Return an attempt by our reference, with its notification; `None`: no attempt has this reference."""
        query = (
            select(delivery.c.notification_id)
            .join(attempt, attempt.c.delivery_id == delivery.c.id)
            .where(attempt.c.reference == reference)
        )
        notification_id = (await self._connection.execute(query)).scalar_one_or_none()
        if notification_id is None:
            return None
        found = await self.notification(notification_id)
        return next((found, a) for a in found.attempts if a.reference == reference)

    async def accepted_attempt_times(
        self, since: datetime, *, address: Address | None = None, gateway: str | None = None
    ) -> Sequence[datetime]:
        """Return the start times of attempts after *since* that a gateway accepted or that are under way, oldest first.

        *address*: only attempts to this address; *gateway*: only attempts by this gateway.
        """
        # A failed attempt with a provider id was accepted first, and failed later.
        is_accepted = attempt.c.state.in_([*SUBMITTED, AttemptState.CALLING]) | (
            (attempt.c.state == AttemptState.FAILED) & attempt.c.provider_id.is_not(None)
        )
        query = (
            select(attempt.c.started_at).where(attempt.c.started_at > since, is_accepted).order_by(attempt.c.started_at)
        )
        if gateway is not None:
            query = query.where(attempt.c.gateway == gateway)
        if address is not None:
            query = query.join(delivery, delivery.c.id == attempt.c.delivery_id).where(_is_delivery_to(address))
        return (await self._connection.execute(query)).scalars().all()

    async def telephone_calls_under_way(
        self, since: datetime, telephone: Address | None = None
    ) -> Sequence[tuple[Address, datetime]]:
        """Return number and start of the telephone calls that began after *since* and have no known end.

        *telephone*: only calls to this number.
        """
        query = (
            select(delivery.c.number, delivery.c.extension, attempt.c.started_at)
            .join(delivery, delivery.c.id == attempt.c.delivery_id)
            .where(attempt.c.started_at > since, attempt.c.ended_at.is_(None))
        )
        query = query.where(delivery.c.channel == Channel.VOICE if telephone is None else _is_delivery_to(telephone))
        return [
            (Address(channel=Channel.VOICE, number=row.number, extension=row.extension), row.started_at)
            for row in await self._connection.execute(query)
        ]

    async def end_telephone_call(self, attempt_id: int, now: datetime) -> None:
        """Write the end of a telephone call, unless its end is written already, together with its outcome."""
        is_running_call = (attempt.c.id == attempt_id) & attempt.c.ended_at.is_(None)
        await self._connection.execute(update(attempt).where(is_running_call).values(ended_at=now))

    async def incidents_waiting_for(self, telephone: Address) -> Sequence[int]:
        """Return the first incident of each pending notification to a telephone, the most urgent notification first.

        Processing the first incident of a notification sends it. Incidents that have left it do not count.
        """
        first_incident = func.min(notification_incident.c.incident_id).label("first_incident")
        query = (
            select(first_incident, notification.c.urgency, notification.c.created_at, notification.c.id)
            .join_from(notification, delivery, delivery.c.notification_id == notification.c.id)
            .join(notification_incident, notification_incident.c.notification_id == notification.c.id)
            .where(
                notification.c.state == NotificationState.PENDING,
                notification_incident.c.left_at.is_(None),
                _is_delivery_to(telephone),
            )
            .group_by(notification.c.id)
        )
        found = (await self._connection.execute(query)).all()
        return [
            row.first_incident for row in sorted(found, key=lambda row: priority(row.urgency, row.created_at, row.id))
        ]

    async def latest_receipts(self, gateways: Sequence[str], at_most: int) -> Mapping[str, Sequence[ReceivedReceipt]]:
        """Return the receipts of the latest *at_most* delivered messages of each gateway, oldest first.

        Messages of drills (tests of contacts and gateways) are included.
        """
        receipts: dict[str, list[ReceivedReceipt]] = {name: [] for name in gateways}
        for batch in batched(list(receipts), _MAX_GATEWAYS):
            names = {f"gateway_{n}": name for n, name in enumerate(batch)}
            for row in await self._connection.execute(build_latest_receipts(len(batch)), {**names, "at_most": at_most}):
                receipts[row.gateway].append(from_row(ReceivedReceipt, row))
        return {
            name: sorted(each_receipts, key=lambda each: each.accepted_at)[-at_most:]
            for name, each_receipts in receipts.items()
        }

    async def missing_receipts(
        self, gateway: str, after: datetime, until: datetime, at_most: int
    ) -> Sequence[MissingReceipt]:
        """Return the latest *at_most* messages of a gateway without a receipt, oldest first.

        The gateway accepted them after *after*, and at *until* at the latest. Messages of drills are included.
        """
        values = {"after": after, "until": until, "gateway": gateway, "at_most": at_most}
        rows = await self._connection.execute(MISSING_RECEIPTS, values)
        receipts = (from_row(MissingReceipt, row) for row in rows)
        return sorted(receipts, key=lambda receipt: receipt.accepted_at)[-at_most:]

    async def add_callback(self, gateway: str, event_id: str, now: datetime) -> bool:
        """Record a provider's callback by the provider's id of the event; return whether it is new."""
        # Ids may have any length and content. An id that does not fit the column is hashed, because two truncated ids
        # could become equal.
        is_storable = len(event_id) <= 200 and "\0" not in event_id
        stored_id = event_id if is_storable else sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(
                    insert(callback_event).values(gateway=gateway, event_id=stored_id, at=now)
                )
        except IntegrityError:
            return False
        return True


def _is_delivery_to(address: Address) -> ColumnElement[bool]:
    """Return the condition that a delivery goes to *address*."""
    return and_(
        delivery.c.channel == address.channel,
        delivery.c.number == address.number,
        # Extensions distinguish people behind one switchboard number.
        delivery.c.extension == address.extension,
    )
