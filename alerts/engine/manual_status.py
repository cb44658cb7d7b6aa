"""Delivery status set by a person, for notifications whose delivery no machine can determine.

A fax or a letter that may have been sent is not resent automatically; somebody telephones the reader, and the answer is
stored in one transaction with its consequences.
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
    """Status that a person sets."""

    DELIVERED = "delivered"
    #: It did not arrive, and is not resent.
    LOST = "lost"
    #: It did not arrive, and is resent.
    RESEND = "resend"


#: The audit log keeps the value of older entries.
_AUDITED = {ManualStatus.DELIVERED: "arrived"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualStatusRequest:
    """A person's status of one notification."""

    notification_id: int
    ruling: ManualStatus
    by: str
    #: In the person's words; for the audit log, never for a notification.
    reason: str
    at: datetime


def objection(notice: Notification, incident: Incident, ruling: ManualStatus, *, is_held: bool = False) -> str | None:
    """Return why the status cannot be set for *notice*; `None` if it can.

    *is_held*: it is paused after a restore, and may have been posted before.
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
    """Return the attempts of *notice* with their status."""
    doubtful = [a for a in notice.attempts if a.state in DOUBTFUL]
    match ruling:
        case ManualStatus.DELIVERED:
            return [replace(doubtful[-1], state=AttemptState.DELIVERED, ended_at=now)] if doubtful else []
        case ManualStatus.LOST | ManualStatus.RESEND:
            # A notification to resend is retried at once, like one with a transient failure.
            error = ErrorClass.PERMANENT if ruling is ManualStatus.LOST else ErrorClass.TRANSIENT
            said = "somebody has found that it did not arrive"
            return [
                replace(a, state=AttemptState.FAILED, error=error, detail=said, query_at=now, ended_at=now)
                for a in doubtful
            ]


async def _posted_before(ledger: UnitOfWork, notice: Notification, settlement: ManualStatusRequest) -> None:
    """Write the attempt that the restored store lacks: its reader is due follow-ups."""
    delivery = notice.deliveries[-1] if notice.deliveries else await ledger.add_delivery(notice.id, notice.addresses[0])
    attempt = await ledger.add_attempt(delivery, "by hand", settlement.at, query_at=settlement.at)
    posted = replace(attempt, state=AttemptState.DELIVERED, detail=settlement.reason, ended_at=settlement.at)
    await ledger.save_attempt(posted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualStatusResult:
    """Result of setting a status."""

    #: Ids of the affected incidents.
    concerned: Sequence[int]
    #: Milestones that were reached.
    tellings: Sequence[NotificationLatency]


async def settle(ledger: UnitOfWork, settlement: ManualStatusRequest) -> ManualStatusResult | str:
    """Store a status with its consequences. Return the result, or why it cannot be set."""
    try:
        notice = await ledger.notice(settlement.notification_id)
    except LookupError:
        return f"there is no notice {settlement.notification_id}; `pantau notifications` lists them"
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
            # It has its original time to arrive.
            await ledger.reopen_notice(notice.id, settlement.at + (notice.expires_at - notice.created_at))
    await ledger.journal(
        AuditEntry(
            at=settlement.at,
            actor=settlement.by,
            event=f"notice settled by hand: {_AUDITED.get(settlement.ruling, settlement.ruling)}",
            incident_id=incident.id,
            notification_id=notice.id,
            detail={"number": incident.number, "why": settlement.reason},
        )
    )
    for incident_id in notice.incident_ids:
        # It may be inactive.
        await ledger.rouse(incident_id)
    return ManualStatusResult(concerned=notice.incident_ids, tellings=tellings)
