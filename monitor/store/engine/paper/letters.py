"""Letters in the database.

A gateway queues letters as files in a *tray*, a directory from which clerks print and post them. The attempt of a
letter is ACCEPTED in the tray, SENT after posting, and WITHDRAWN if it was taken back before.
"""

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
    delivery,
    incident,
    letter_step,
    notification,
    notification_incident,
    to_storable,
)

#: States in which a letter has left the tray.
_LEFT_TRAY = (AttemptState.SENT, AttemptState.DELIVERED, AttemptState.WITHDRAWN)
#: Maximum number of letters in each of the two parts of a list. The list is kept in memory.
_MAX_LETTERS = 1000


class SqlLetters(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for letters."""

    async def record_letter_step(self, attempt_id: int, step: LetterStep, handling: Handling) -> Handling | None:
        """Record who printed or posted a letter; if a record exists, return it and write nothing."""
        if (earlier := (await self.letter_steps(attempt_id)).get(step)) is not None:
            return earlier
        values = asdict(handling) | {"attempt_id": attempt_id, "step": step, "by": to_storable(handling.by, 200)}
        await self._connection.execute(insert(letter_step).values(**values))
        return None

    async def letter_steps(self, attempt_id: int) -> Mapping[LetterStep, Handling]:
        """Return who printed and who posted a letter, by step; a step that was not recorded is missing."""
        return (await self._read_handlings([attempt_id])).get(attempt_id, {})

    async def undo_posting(self, posted: Attempt) -> bool:
        """Write that a letter is in its tray and was not posted. Return `False` if it was not recorded as posted."""
        in_tray = {"state": AttemptState.ACCEPTED, "rank": RANK[AttemptState.ACCEPTED], "ended_at": None}
        is_posted = (attempt.c.id == posted.id) & (attempt.c.state == AttemptState.SENT)
        if not (await self._connection.execute(update(attempt).where(is_posted).values(**in_tray))).rowcount:
            return False
        posting_step = (letter_step.c.attempt_id == posted.id) & (letter_step.c.step == LetterStep.POSTED)
        await self._connection.execute(delete(letter_step).where(posting_step))
        return True

    async def undo_withdrawal(self, parent: Notification, withdrawn: Attempt) -> None:
        """Record that a letter was posted although its attempt was withdrawn.

        *parent*: the notification of the attempt, which counts as sent again.
        """
        sent = {"state": AttemptState.SENT, "rank": RANK[AttemptState.SENT], "ended_at": None}
        is_withdrawn = (attempt.c.id == withdrawn.id) & (attempt.c.state == AttemptState.WITHDRAWN)
        if (await self._connection.execute(update(attempt).where(is_withdrawn).values(**sent))).rowcount:
            await self._connection.execute(
                update(notification).where(notification.c.id == parent.id).values(state=NotificationState.SENT)
            )

    async def letters(self, gateways: Collection[str], queued_after: datetime) -> Sequence[TrayLetter]:
        """Return the letters in the trays of *gateways*, oldest first, followed by letters that have left the trays.

        The latter were queued after *queued_after*, and are sorted newest first. Each part has at most 1,000 letters.
        """
        in_tray = _select_letters(gateways, (AttemptState.ACCEPTED,)).order_by(attempt.c.started_at, attempt.c.id)
        left_tray = _select_letters(gateways, _LEFT_TRAY).where(attempt.c.started_at > queued_after)
        left_tray = left_tray.order_by(attempt.c.started_at.desc(), attempt.c.id.desc())
        letters = dict[int, TrayLetter]()
        for query in (in_tray, left_tray):
            # `yielding` lets other tasks run in between.
            async for row in yielding(await self._connection.execute(query.limit(_MAX_LETTERS))):
                letters.setdefault(row.attempt_id, _to_letter(row))
        handlings = await self._read_handlings(list(letters))
        result = []
        for attempt_id, letter in letters.items():
            steps = handlings.get(attempt_id, {})
            result.append(replace(letter, printed=steps.get(LetterStep.PRINTED), posted=steps.get(LetterStep.POSTED)))
        return result

    async def queued_letters(self, notification_ids: Collection[int]) -> Mapping[int, QueuedLetter]:
        """Return the letters in trays, by notification id, if the audit log still contains the hash of the file."""
        queued = (
            select(attempt.c.reference, attempt.c.gateway, delivery.c.notification_id)
            .join(delivery, delivery.c.id == attempt.c.delivery_id)
            .where(delivery.c.notification_id.in_(notification_ids), attempt.c.state == AttemptState.ACCEPTED)
        )
        gateways = {(row.notification_id, row.reference): row.gateway for row in await self._connection.execute(queued)}
        entries_query = select(audit_log.c.notification_id, audit_log.c.detail).where(
            audit_log.c.notification_id.in_(notification_ids)
        )
        letters = dict[int, QueuedLetter]()
        for row in await self._connection.execute(entries_query):
            reference, sha256 = row.detail.get("reference", ""), row.detail.get("sha256", "")
            if sha256 and (gateway := gateways.get((row.notification_id, reference))) is not None:
                letters[row.notification_id] = QueuedLetter(gateway=gateway, reference=reference, sha256=sha256)
        return letters

    async def _read_handlings(self, attempt_ids: Sequence[int]) -> dict[int, dict[LetterStep, Handling]]:
        """Return the recorded steps of letters, by attempt id."""
        handlings: dict[int, dict[LetterStep, Handling]] = {}
        query = select(letter_step).where(letter_step.c.attempt_id.in_(attempt_ids))
        for row in await self._connection.execute(query):
            handlings.setdefault(row.attempt_id, {})[LetterStep(row.step)] = from_row(Handling, row)
        return handlings


def _select_letters(gateways: Collection[str], states: Collection[AttemptState]) -> Select[Any]:
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
        # A letter is about one incident only, of the agency that issues the letter.
        .join(notification_incident, notification_incident.c.notification_id == notification.c.id)
        .join(incident, incident.c.id == notification_incident.c.incident_id)
        .where(attempt.c.gateway.in_(gateways), attempt.c.state.in_(states))
    )


def _to_letter(row: Any) -> TrayLetter:
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
