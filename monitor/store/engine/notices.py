"""Notifications in the database, with their incidents, deliveries and attempts."""

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
from monitor.store.engine.statements import (
    ADD_NOTICE,
    ADD_PART,
    BEGUN,
    DECIDED,
    DELIVERIES,
    GATHERED,
    LED,
    LOCK_NOTICE,
    NOTICE,
    NOTICES_OF,
    SETTLE,
)
from monitor.store.schema.rows import (
    ADDRESSEE,
    ADDRESSES,
    FACTS,
    PART,
    from_row,
    named,
    new_id,
    portions,
    to_notice,
)
from monitor.store.schema.tables import notification, notification_incident

#: Limited because the facts of each are JSON that is validated when read.
_READ_AT_ONCE = 50


class SqlNotifications(Repository):
    """Implements the notifications of `alerts.persistence.store.UnitOfWork`."""

    async def notices(self, incident_id: int) -> Sequence[Notification]:
        """All notifications of an incident with their deliveries and attempts, oldest first.

        A bundle has only the part about this incident: a thousand incidents may share one, and each reads it.
        """
        return await self._notices(NOTICES_OF, {"incident_id": incident_id}, whole=False)

    async def notice(self, notification_id: int) -> Notification:
        """Return a notification. Raise `LookupError` if there is none."""
        found = await self._notices(NOTICE, {"notification_id": notification_id})
        if not found:
            raise LookupError(f"no notice {notification_id}")
        return found[0]

    async def recent_notices(
        self, limit: int = 500, *, states: Collection[NotificationState] = (), most: int | None = None
    ) -> Sequence[Notification]:
        """Return the newest notifications, newest first; a bundle has only the first of its incidents.

        *states*: only those in one of these states among the newest *limit*, at most *most*.
        """
        newest = (
            select(notification.c.id, notification.c.state).order_by(notification.c.id.desc()).limit(limit).subquery()
        )
        these = select(newest.c.id).order_by(newest.c.id.desc()).limit(most)
        if states:
            these = these.where(newest.c.state.in_(states))
        return await self.listed_notices((await self._connection.execute(these)).scalars().all())

    async def listed_notices(self, ids: Sequence[int], of: int | None = None) -> Sequence[Notification]:
        """Return all of these, newest first; a bundle has only the incident *of*, or else its first."""
        query, values = (LED, dict[str, int]()) if of is None else (NOTICES_OF, {"incident_id": of})
        found: list[Notification] = []
        for some in portions(ids, _READ_AT_ONCE):
            found += reversed(await self._notices(query.where(notification.c.id.in_(some)), values, whole=False))
        return found

    async def _notices(
        self, query: Select[Any], values: Mapping[str, int] | None = None, *, whole: bool = True
    ) -> list[Notification]:
        """Return notifications, oldest first; *whole*: with all incidents, otherwise only with the one that *query* names."""
        rows: dict[int, list[Any]] = {}
        for row in await self._connection.execute(query, values or {}):
            rows.setdefault(row.id, []).append(row)
        deliveries = await self._deliveries(list(rows))
        return [
            to_notice(parts if whole else parts[:1], tuple(deliveries.get(notification_id, ())))
            for notification_id, parts in rows.items()
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
            attempts = tuple(from_row(Attempt, row) for row in theirs if row.id is not None)
            made = Delivery(id=delivery_id, address=address, attempts=attempts)
            deliveries.setdefault(first.notification_id, []).append(made)
        return deliveries

    async def is_decided(self, key: str) -> bool:
        """Whether the notification with this key was decided before, alone or in a bundle."""
        return (await self._connection.execute(DECIDED, {"part_key": key})).first() is not None

    async def add_notice(
        self,
        of: Incident,
        draft: NotificationDraft,
        now: datetime,
        *,
        urgency: Urgency = Urgency.FIRST,
        gathering: str | None = None,
        not_before: datetime | None = None,
    ) -> Notification | None:
        """Write a notification and return it; `None`: its key exists."""
        if await self.is_decided(draft.key):
            return None
        facts = FACTS.dump_json(draft.facts).decode()
        same = ("key", "plan", "purpose", "language", "expires_at", *PART)
        values: dict[str, Any] = {
            "state": NotificationState.PENDING,
            "urgency": urgency,
            "not_before": not_before,
            "created_at": now,
        }
        kept = {
            "facts": facts,
            "addresses": ADDRESSES.dump_json(draft.addresses).decode(),
            "addressee": ADDRESSEE.dump_json(draft.addressee).decode(),
            "bundle_key": gathering,
        }
        notification_id = new_id(await self._connection.execute(ADD_NOTICE, named(draft, same) | values | kept))
        await self._add_part(notification_id, of, draft, facts)
        # Built as it would be read: reading takes two queries, and a thousand agencies may fail at once.
        part = NotificationIncident(incident_id=of.id, facts=draft.facts, **named(draft, PART))
        return Notification(
            id=notification_id, parts=(part,), **values, **named(draft, (*same, "facts", "addresses", "addressee"))
        )

    async def _add_part(self, notification_id: int, of: Incident, draft: NotificationDraft, facts: str) -> None:
        values = {
            "notification_id": notification_id,
            "incident_id": of.id,
            "facts": facts,
            **named(draft, ("key", *PART)),
        }
        await self._connection.execute(ADD_PART, values)

    async def join_notice(self, notification_id: int, of: Incident, draft: NotificationDraft) -> bool:
        """Add an incident to a notification unless an attempt is in progress; return whether it was added."""
        await self.lock_notice(notification_id)
        if (await self._connection.execute(BEGUN, {"notification_id": notification_id})).first() is not None:
            return False
        await self._add_part(notification_id, of, draft, FACTS.dump_json(draft.facts).decode())
        return True

    async def lock_notice(self, notification_id: int) -> None:
        """Lock a notification until the end of the transaction: no incident joins it, and no attempt begins."""
        if self._connection.dialect.name != "sqlite":  # SQLite has a single writer.
            await self._connection.execute(LOCK_NOTICE, {"notification_id": notification_id})

    async def leave_notice(self, notification_id: int, incident_id: int, now: datetime) -> None:
        """Remove an incident from a notification."""
        this = (notification_incident.c.notification_id == notification_id) & (
            notification_incident.c.incident_id == incident_id
        )
        await self._connection.execute(update(notification_incident).where(this).values(left_at=now))

    async def lead_of(self, notification_id: int) -> int | None:
        """Return the incident that processes a notification: the first of its incidents; `None`: it has none any more."""
        # Not from the notification table: its facts would be read for each of a thousand others.
        this = (notification_incident.c.notification_id == notification_id) & notification_incident.c.left_at.is_(None)
        lead = select(func.min(notification_incident.c.incident_id)).where(this)
        found: int | None = (await self._connection.execute(lead)).scalar_one_or_none()
        return found

    async def gathered(self, gathering: str, since: datetime, incident_id: int) -> Sequence[BundleCandidate]:
        """Return the notifications that were bundled under a key since then, oldest first, for a decision on an incident."""
        values = {"key": gathering, "since": since, "incident_id": incident_id}
        return [
            from_row(
                BundleCandidate,
                row,
                notification_id=row.id,
                due_at=max(row.created_at, row.not_before or row.created_at),
            )
            for row in await self._connection.execute(GATHERED, values)
        ]

    async def hold(self, notification_id: int, until: datetime) -> None:
        """Delay the attempts of a notification until then."""
        await self._connection.execute(
            update(notification).where(notification.c.id == notification_id).values(not_before=until)
        )

    async def reopen_notice(self, notification_id: int, expires_at: datetime) -> None:
        """Reopen a final notification until then."""
        values = {"state": NotificationState.PENDING, "expires_at": expires_at}
        await self._connection.execute(
            update(notification).where(notification.c.id == notification_id).values(**values)
        )

    async def settle(self, notification_id: int, state: NotificationState) -> None:
        """Write the state of a notification."""
        await self._connection.execute(SETTLE, {"notification_id": notification_id, "new_state": state})
