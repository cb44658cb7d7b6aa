"""Notifications in the database, with their incidents, deliveries and attempts.

A *draft* is a decided notification that is not stored yet. A *delivery* is a notification on its way to one address;
an *attempt* is one request to a gateway to send it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, update

from alerts.decide.bundle import BundleCandidate
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.delivery import (
    Attempt,
    Delivery,
    Notification,
    NotificationDraft,
    NotificationIncident,
    NotificationState,
)
from alerts.model.incident import Incident
from alerts.model.urgency import Urgency
from monitor.store.backend.repository import Repository
from monitor.store.engine.sql_statements import (
    ADD_NOTIFICATION,
    ADD_NOTIFICATION_INCIDENT,
    ANY_ATTEMPT,
    BUNDLE_CANDIDATES,
    DECIDED_NOTIFICATION,
    DELIVERIES,
    LISTED_NOTIFICATIONS,
    LOCK_NOTIFICATION,
    NOTIFICATION,
    NOTIFICATIONS_OF_INCIDENT,
    SET_NOTIFICATION_STATE,
)
from monitor.store.schema.rows import (
    ADDRESSEE,
    ADDRESSES,
    FACTS,
    RECIPIENT_FIELDS,
    attributes_of,
    batched,
    from_row,
    inserted_id,
    to_notification,
)
from monitor.store.schema.tables import notification, notification_incident

#: Maximum number of notifications that are read at once. Their facts (the values for the texts) are JSON, whose
#: validation blocks the event loop.
_READ_AT_ONCE = 50


class SqlNotifications(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for notifications.

    A notification to one person may be about several incidents: then it is a *bundle*. It has a *part* for each
    incident. It is sent while the incident with the lowest id is processed.
    """

    async def notifications(self, incident_id: int) -> Sequence[Notification]:
        """Return all notifications of an incident with their deliveries and attempts, oldest first.

        Each bundle has only the part about this incident, because the bundle may have a thousand incidents, and
        is read for each of them.
        """
        return await self._read_notifications(
            NOTIFICATIONS_OF_INCIDENT, {"incident_id": incident_id}, with_all_incidents=False
        )

    async def notification(self, notification_id: int) -> Notification:
        """Return a notification. Raise `LookupError` if there is none."""
        found = await self._read_notifications(NOTIFICATION, {"notification_id": notification_id})
        if not found:
            raise LookupError(f"no notification {notification_id}")
        return found[0]

    async def recent_notifications(
        self, limit: int = 500, *, states: Collection[NotificationState] = (), most: int | None = None
    ) -> Sequence[Notification]:
        """Return the newest *limit* notifications, newest first, each only with its first part.

        *states*: of these *limit* notifications, return only those in one of the states. *most*: return at most so many.
        """
        newest = (
            select(notification.c.id, notification.c.state).order_by(notification.c.id.desc()).limit(limit).subquery()
        )
        ids_query = select(newest.c.id).order_by(newest.c.id.desc()).limit(most)
        if states:
            ids_query = ids_query.where(newest.c.state.in_(states))
        return await self.list_notifications((await self._connection.execute(ids_query)).scalars().all())

    async def list_notifications(self, ids: Sequence[int], incident_id: int | None = None) -> Sequence[Notification]:
        """Return notifications by ids, newest first, each only with the part about *incident_id* or its first part."""
        query, values = (
            (LISTED_NOTIFICATIONS, dict[str, int]())
            if incident_id is None
            else (NOTIFICATIONS_OF_INCIDENT, {"incident_id": incident_id})
        )
        found: list[Notification] = []
        for batch in batched(ids, _READ_AT_ONCE):
            found += reversed(
                await self._read_notifications(
                    query.where(notification.c.id.in_(batch)), values, with_all_incidents=False
                )
            )
        return found

    async def _read_notifications(
        self, query: Select[Any], values: Mapping[str, int] | None = None, *, with_all_incidents: bool = True
    ) -> list[Notification]:
        """Return the notifications of *query*, oldest first, with all selected parts or only with the first one."""
        rows: dict[int, list[Any]] = {}
        for row in await self._connection.execute(query, values or {}):
            rows.setdefault(row.id, []).append(row)
        deliveries = await self._deliveries(list(rows))
        return [
            to_notification(parts if with_all_incidents else parts[:1], tuple(deliveries.get(notification_id, ())))
            for notification_id, parts in rows.items()
        ]

    async def _deliveries(self, notification_ids: Sequence[int]) -> dict[int, list[Delivery]]:
        """Return the deliveries with their attempts, by notification id."""
        if not notification_ids:
            return {}
        rows: dict[int, list[Any]] = {}
        for row in await self._connection.execute(DELIVERIES, {"notification_ids": notification_ids}):
            rows.setdefault(row.delivery, []).append(row)
        deliveries: dict[int, list[Delivery]] = {}
        for delivery_id, attempt_rows in rows.items():
            first = attempt_rows[0]
            address = Address(channel=Channel(first.channel), number=first.number, extension=first.extension)
            attempts = tuple(from_row(Attempt, row) for row in attempt_rows if row.id is not None)
            deliveries.setdefault(first.notification_id, []).append(
                Delivery(id=delivery_id, address=address, attempts=attempts)
            )
        return deliveries

    async def is_notification_decided(self, key: str) -> bool:
        """Whether the decision with this key (`NotificationDraft.key`) has written a notification or a part of one."""
        return (await self._connection.execute(DECIDED_NOTIFICATION, {"part_key": key})).first() is not None

    async def add_notification(
        self,
        incident: Incident,
        draft: NotificationDraft,
        now: datetime,
        *,
        urgency: Urgency = Urgency.FIRST,
        bundle_key: str | None = None,
        not_before: datetime | None = None,
    ) -> Notification | None:
        """Write a notification about an incident, and return it; `None`: `draft.key` was written before.

        *bundle_key*: drafts about further incidents with an equal bundle key may join the notification; *not_before*:
        when it may be sent.
        """
        if await self.is_notification_decided(draft.key):
            return None
        facts = FACTS.dump_json(draft.facts).decode()
        # `RECIPIENT_FIELDS`: the person, and the position of the incident in its escalation.
        draft_columns = ("key", "plan", "purpose", "language", "expires_at", *RECIPIENT_FIELDS)
        values: dict[str, Any] = {
            "state": NotificationState.PENDING,
            "urgency": urgency,
            "not_before": not_before,
            "created_at": now,
        }
        json_columns = {
            "facts": facts,
            "addresses": ADDRESSES.dump_json(draft.addresses).decode(),
            "addressee": ADDRESSEE.dump_json(draft.addressee).decode(),
            "bundle_key": bundle_key,
        }
        notification_id = inserted_id(
            await self._connection.execute(
                ADD_NOTIFICATION, attributes_of(draft, draft_columns) | values | json_columns
            )
        )
        await self._add_part(notification_id, incident, draft, facts)
        # Build the result: reading it would take two queries, and a thousand agencies may fail at once.
        part = NotificationIncident(
            incident_id=incident.id, facts=draft.facts, **attributes_of(draft, RECIPIENT_FIELDS)
        )
        return Notification(
            id=notification_id,
            parts=(part,),
            **values,
            **attributes_of(draft, (*draft_columns, "facts", "addresses", "addressee")),
        )

    async def _add_part(self, notification_id: int, incident: Incident, draft: NotificationDraft, facts: str) -> None:
        values = {
            "notification_id": notification_id,
            "incident_id": incident.id,
            "facts": facts,
            **attributes_of(draft, ("key", *RECIPIENT_FIELDS)),
        }
        await self._connection.execute(ADD_NOTIFICATION_INCIDENT, values)

    async def join_notification(self, notification_id: int, incident: Incident, draft: NotificationDraft) -> bool:
        """Add an incident to a notification that has no attempt yet; return whether it was added."""
        await self.lock_notification(notification_id)
        if (await self._connection.execute(ANY_ATTEMPT, {"notification_id": notification_id})).first() is not None:
            return False
        await self._add_part(notification_id, incident, draft, FACTS.dump_json(draft.facts).decode())
        return True

    async def lock_notification(self, notification_id: int) -> None:
        """Lock a notification until the end of the transaction: no incident joins it, and no attempt begins."""
        if self._connection.dialect.name != "sqlite":  # SQLite has a single writer.
            await self._connection.execute(LOCK_NOTIFICATION, {"notification_id": notification_id})

    async def leave_notification(self, notification_id: int, incident_id: int, now: datetime) -> None:
        """Remove an incident from a notification, which then does not mention the incident."""
        is_part = (notification_incident.c.notification_id == notification_id) & (
            notification_incident.c.incident_id == incident_id
        )
        await self._connection.execute(update(notification_incident).where(is_part).values(left_at=now))

    async def sending_incident(self, notification_id: int) -> int | None:
        """Return the id of the incident whose processing sends a notification; `None`: all incidents have left it."""
        # Read only the id: a bundle may have a thousand incidents, each calls this, and reading the facts takes long.
        is_part = (notification_incident.c.notification_id == notification_id) & notification_incident.c.left_at.is_(
            None
        )
        query = select(func.min(notification_incident.c.incident_id)).where(is_part)
        incident_id: int | None = (await self._connection.execute(query)).scalar_one_or_none()
        return incident_id

    async def bundle_candidates(self, bundle_key: str, since: datetime, incident_id: int) -> Sequence[BundleCandidate]:
        """Return the notifications with *bundle_key* that were created after *since*, oldest first.

        A candidate states whether the incident *incident_id* belongs to it, or has left it.
        """
        values = {"key": bundle_key, "since": since, "incident_id": incident_id}
        return [
            from_row(
                BundleCandidate,
                row,
                notification_id=row.id,
                due_at=max(row.created_at, row.not_before or row.created_at),
            )
            for row in await self._connection.execute(BUNDLE_CANDIDATES, values)
        ]

    async def throttle(self, notification_id: int, until: datetime) -> None:
        """Delay the attempts of a notification until *until*."""
        await self._connection.execute(
            update(notification).where(notification.c.id == notification_id).values(not_before=until)
        )

    async def reopen_notification(self, notification_id: int, expires_at: datetime) -> None:
        """Make a final notification pending again, until *expires_at*."""
        values = {"state": NotificationState.PENDING, "expires_at": expires_at}
        await self._connection.execute(
            update(notification).where(notification.c.id == notification_id).values(**values)
        )

    async def set_notification_state(self, notification_id: int, state: NotificationState) -> None:
        """Write the state of a notification."""
        await self._connection.execute(SET_NOTIFICATION_STATE, {"notification_id": notification_id, "new_state": state})
