"""Letters in the database, from the tray to the post, and what clerks recorded about them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, insert, select, update

from alerts.decide.paper import Handling, LetterStep, QueuedLetter, TrayLetter
from alerts.model.delivery import RANK, Attempt, AttemptState, Notification, NotificationState
from monitor.runtime.cooperative import yielding
from monitor.store.backend.repository import Repository
from monitor.store.schema.rows import ADDRESSEE, from_row
from monitor.store.schema.tables import (
    attempt,
    audit_log,
    clean,
    delivery,
    incident,
    letter_step,
    notification,
    notification_incident,
)

#: States in which a letter has left the tray.
_GONE = (AttemptState.SENT, AttemptState.DELIVERED, AttemptState.WITHDRAWN)
#: The result is held in memory, and nobody reads a longer list.
_MOST = 1000


class SqlLetters(Repository):
    """Implements the letters of `alerts.persistence.store.UnitOfWork`."""

    async def handle_letter(self, attempt_id: int, step: LetterStep, handling: Handling) -> Handling | None:
        """Record who printed or posted a letter; if it was recorded before, return that and write nothing."""
        if (before := (await self.handled(attempt_id)).get(step)) is not None:
            return before
        values = asdict(handling) | {"attempt_id": attempt_id, "step": step, "by": clean(handling.by, 200)}
        await self._connection.execute(insert(letter_step).values(**values))
        return None

    async def handled(self, attempt_id: int) -> Mapping[LetterStep, Handling]:
        """Return who printed and posted a letter."""
        return (await self._handlings([attempt_id])).get(attempt_id, {})

    async def not_posted(self, posted: Attempt) -> bool:
        """Record that a letter recorded as posted is still in its tray; return whether it was recorded as posted."""
        lies = {"state": AttemptState.ACCEPTED, "rank": RANK[AttemptState.ACCEPTED], "ended_at": None}
        this = (attempt.c.id == posted.id) & (attempt.c.state == AttemptState.SENT)
        if not (await self._connection.execute(update(attempt).where(this).values(**lies))).rowcount:
            return False
        said = (letter_step.c.attempt_id == posted.id) & (letter_step.c.step == LetterStep.POSTED)
        await self._connection.execute(delete(letter_step).where(said))
        return True

    async def not_withdrawn(self, of: Notification, withdrawn: Attempt) -> None:
        """Record that a withdrawn attempt was sent after all; its notification counts as sent again."""
        sent = {"state": AttemptState.SENT, "rank": RANK[AttemptState.SENT], "ended_at": None}
        this = (attempt.c.id == withdrawn.id) & (attempt.c.state == AttemptState.WITHDRAWN)
        if (await self._connection.execute(update(attempt).where(this).values(**sent))).rowcount:
            await self._connection.execute(
                update(notification).where(notification.c.id == of.id).values(state=NotificationState.SENT)
            )

    async def letters(self, gateways: Collection[str], gone_since: datetime) -> Sequence[TrayLetter]:
        """Return the letters in the trays of these gateways, oldest first.

        They are followed by those queued after *gone_since* that have left, newest first; at most a thousand of each.
        """
        lying = _letters(gateways, (AttemptState.ACCEPTED,)).order_by(attempt.c.started_at, attempt.c.id)
        gone = _letters(gateways, _GONE).where(attempt.c.started_at > gone_since)
        gone = gone.order_by(attempt.c.started_at.desc(), attempt.c.id.desc())
        found = dict[int, TrayLetter]()
        for query in (lying, gone):
            async for row in yielding(await self._connection.execute(query.limit(_MOST))):
                found.setdefault(row.attempt_id, _letter(row))
        handled = await self._handlings(list(found))
        return [
            replace(each, printed=known.get(LetterStep.PRINTED), posted=known.get(LetterStep.POSTED))
            for id_, each in found.items()
            for known in (handled.get(id_, {}),)
        ]

    async def laid(self, notice_ids: Collection[int]) -> Mapping[int, QueuedLetter]:
        """Return the letters that were queued for notifications, as far as the audit log still has them."""
        lying = (
            select(attempt.c.reference, attempt.c.gateway, delivery.c.notification_id)
            .join(delivery, delivery.c.id == attempt.c.delivery_id)
            .where(delivery.c.notification_id.in_(notice_ids), attempt.c.state == AttemptState.ACCEPTED)
        )
        gateways = {(row.notification_id, row.reference): row.gateway for row in await self._connection.execute(lying)}
        said = select(audit_log.c.notification_id, audit_log.c.detail).where(
            audit_log.c.notification_id.in_(notice_ids)
        )
        found = dict[int, QueuedLetter]()
        for row in await self._connection.execute(said):
            reference, sha256 = row.detail.get("reference", ""), row.detail.get("sha256", "")
            if sha256 and (gateway := gateways.get((row.notification_id, reference))) is not None:
                found[row.notification_id] = QueuedLetter(gateway=gateway, reference=reference, sha256=sha256)
        return found

    async def _handlings(self, attempt_ids: Sequence[int]) -> dict[int, dict[LetterStep, Handling]]:
        found: dict[int, dict[LetterStep, Handling]] = {}
        query = select(letter_step).where(letter_step.c.attempt_id.in_(attempt_ids))
        for row in await self._connection.execute(query):
            found.setdefault(row.attempt_id, {})[LetterStep(row.step)] = from_row(Handling, row)
        return found


def _letters(gateways: Collection[str], states: Collection[AttemptState]) -> Select[Any]:
    return (
        select(
            attempt.c.id.label("attempt_id"),
            *(attempt.c.state, attempt.c.started_at, attempt.c.ended_at),
            notification.c.id.label("notification_id"),
            *(notification.c.purpose, notification.c.addressee),
            *(incident.c.number, incident.c.agency),
        )
        .join(delivery, delivery.c.id == attempt.c.delivery_id)
        .join(notification, notification.c.id == delivery.c.notification_id)
        # A letter has one issuing agency and one incident.
        .join(notification_incident, notification_incident.c.notification_id == notification.c.id)
        .join(incident, incident.c.id == notification_incident.c.incident_id)
        .where(attempt.c.gateway.in_(gateways), attempt.c.state.in_(states))
    )


def _letter(row: Any) -> TrayLetter:
    state = AttemptState(row.state)
    return from_row(
        TrayLetter,
        row,
        printed=None,
        posted=None,
        addressee=ADDRESSEE.validate_json(row.addressee) if row.addressee else None,
        queued_at=row.started_at,
        is_posted=state in {AttemptState.SENT, AttemptState.DELIVERED},
        taken_back_at=row.ended_at if state is AttemptState.WITHDRAWN else None,
    )
