"""A person says what became of a notice of which no machine can tell whether it arrived.

A fax or a letter that may have left is not sent again by itself; somebody rings its reader, and their word is written down
in the same transaction as what follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from alerts.decide.gateway.latency import NotificationLatency
from alerts.decide.state_change import is_concluded
from alerts.engine.event_handler import come_to
from alerts.model.channel import ON_PAPER
from alerts.model.delivery import DOUBTFUL, Attempt, AttemptState, Notification, NotificationState
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Incident, IncidentState
from alerts.persistence.store import AuditEntry, UnitOfWork


class ManualStatus(StrEnum):
    """What a person says became of a notice, or is to become of it."""

    DELIVERED = "delivered"
    #: It never arrived, and is not sent again.
    LOST = "lost"
    #: It never arrived, and goes out once more.
    RESEND = "resend"


#: The audit log keeps the word that its older entries have.
_AUDITED = {ManualStatus.DELIVERED: "arrived"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualStatusRequest:
    """Somebody's word on one notice."""

    notice_id: int
    ruling: ManualStatus
    by: str
    #: In the person's words; for the journal, never for a notice.
    why: str
    at: datetime


def objection(notice: Notification, incident: Incident, ruling: ManualStatus, *, is_held: bool = False) -> str | None:
    """Return why nobody can say so of *notice*; `None`: they can.

    *is_held*: it waits because the store is an older copy, and may have been posted before.
    """
    if is_held and ruling is not ManualStatus.RESEND:
        return None
    if notice.state is not NotificationState.UNKNOWN:
        return f"notice {notice.id} is {notice.state}: a person settles only what is unknown"
    needless = incident.state is not IncidentState.TRIGGERED and is_concluded(incident, notice)
    if ruling is ManualStatus.RESEND and needless:
        return f"nobody needs notice {notice.id} any more: {incident.number} is {incident.state}; say --delivered or --lost"
    return None


def settled(notice: Notification, ruling: ManualStatus, now: datetime) -> Sequence[Attempt]:
    """Return the attempts of *notice* that are known to stand otherwise now."""
    doubtful = [a for a in notice.attempts if a.state in DOUBTFUL]
    match ruling:
        case ManualStatus.DELIVERED:
            return [replace(doubtful[-1], state=AttemptState.DELIVERED, ended_at=now)] if doubtful else []
        case ManualStatus.LOST | ManualStatus.RESEND:
            # One that goes out once more is tried like any that failed and may be tried again, at once.
            error = ErrorClass.PERMANENT if ruling is ManualStatus.LOST else ErrorClass.TRANSIENT
            said = "somebody has found that it did not arrive"
            return [
                replace(a, state=AttemptState.FAILED, error=error, detail=said, look_at=now, ended_at=now)
                for a in doubtful
            ]


async def _posted_before(ledger: UnitOfWork, notice: Notification, settlement: ManualStatusRequest) -> None:
    """Write the attempt that the store has forgotten: who was told is owed what follows."""
    delivery = notice.deliveries[-1] if notice.deliveries else await ledger.add_delivery(notice.id, notice.addresses[0])
    attempt = await ledger.add_attempt(delivery, "by hand", settlement.at, look_at=settlement.at)
    posted = replace(attempt, state=AttemptState.DELIVERED, detail=settlement.why, ended_at=settlement.at)
    await ledger.save_attempt(posted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualStatusResult:
    """What came of a person's word."""

    #: The incidents that it changes something for.
    concerned: Sequence[int]
    #: The milestones that were come to by it.
    tellings: Sequence[NotificationLatency]


async def settle(ledger: UnitOfWork, settlement: ManualStatusRequest) -> ManualStatusResult | str:
    """Write a person's word down, and what follows from it; return that, or why it cannot be said."""
    try:
        notice = await ledger.notice(settlement.notice_id)
    except LookupError:
        return f"there is no notice {settlement.notice_id}; `pantau notifications` lists them"
    incident = await ledger.incident(notice.incident_id)
    if incident is None:
        return f"notice {notice.id} belongs to no incident any more"
    is_held = notice.state is NotificationState.PENDING and notice.channel in ON_PAPER and await ledger.is_paper_held()
    if (problem := objection(notice, incident, settlement.ruling, is_held=is_held)) is not None:
        return problem
    if is_held and settlement.ruling is ManualStatus.DELIVERED:
        await _posted_before(ledger, notice, settlement)
    tellings, before = list[NotificationLatency](), {a.id: a.state for a in notice.attempts}
    for attempt in settled(notice, settlement.ruling, settlement.at):
        await ledger.save_attempt(attempt)
        tellings += await come_to(ledger, notice, attempt, before[attempt.id], settlement.at)
    match settlement.ruling:
        case ManualStatus.DELIVERED:
            await ledger.settle(notice.id, NotificationState.DELIVERED)
        case ManualStatus.LOST:
            await ledger.settle(notice.id, NotificationState.FAILED)
        case ManualStatus.RESEND:
            # It has the time to arrive that it had at first.
            await ledger.reopen_notice(notice.id, settlement.at + (notice.expires_at - notice.created_at))
    await ledger.journal(
        AuditEntry(
            at=settlement.at,
            actor=settlement.by,
            event=f"notice settled by hand: {_AUDITED.get(settlement.ruling, settlement.ruling)}",
            incident_id=incident.id,
            notice_id=notice.id,
            detail={"number": incident.number, "why": settlement.why},
        )
    )
    for incident_id in notice.incident_ids:
        # It may have been put to rest.
        await ledger.rouse(incident_id)
    return ManualStatusResult(concerned=notice.incident_ids, tellings=tellings)
