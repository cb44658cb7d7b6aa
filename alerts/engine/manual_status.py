"""Delivery status that a person sets for a notification, because Pantau could not determine it.

A fax or letter that may have been sent is not resent automatically. A person telephones the reader and sets the status,
which is stored with its consequences in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from alerts.decide.gateway.latency import NotificationLatency
from alerts.decide.state_change import is_obsolete
from alerts.engine.event_handler import milestone_latencies
from alerts.model.channel import ON_PAPER
from alerts.model.delivery import DOUBTFUL, Attempt, AttemptState, Notification, NotificationState
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Incident, IncidentState
from alerts.persistence.store import AuditEntry, UnitOfWork


class ManualStatus(StrEnum):
    """Status that a person sets."""

    DELIVERED = "delivered"
    #: The notification did not arrive, and is not resent.
    LOST = "lost"
    #: The notification did not arrive, and is resent.
    RESEND = "resend"


#: Names of statuses in audit entries, if they differ from the value: older entries have these names.
_AUDITED = {ManualStatus.DELIVERED: "arrived"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualStatusRequest:
    """Request of a person to set the status of one notification."""

    notification_id: int
    status: ManualStatus
    by: str
    #: In the person's words, for the audit log. It is not used in notifications.
    reason: str
    at: datetime


def rejection_reason(
    notification: Notification, incident: Incident, status: ManualStatus, *, is_paused: bool = False
) -> str | None:
    """Return why the status cannot be set for *notification*; `None` if it can.

    *is_paused*: the notification is pending, because faxes and letters are paused after a restore of the database. It
    may have been sent after the restored copy was made, so that a person may set its status.
    """
    if is_paused and status is not ManualStatus.RESEND:
        return None
    if notification.state is not NotificationState.UNKNOWN:
        return f"notification {notification.id} is {notification.state}: its status can be set only if it is unknown"
    is_needless = incident.state is not IncidentState.TRIGGERED and is_obsolete(incident, notification)
    if status is ManualStatus.RESEND and is_needless:
        return (
            f"notification {notification.id} is no longer needed, because {incident.number} is {incident.state}; "
            "use --delivered or --lost"
        )
    return None


def attempts_with_status(notification: Notification, status: ManualStatus, now: datetime) -> Sequence[Attempt]:
    """Return the attempts of *notification* whose result is unknown, changed according to *status*.

    For DELIVERED, return only the last of these attempts.
    """
    doubtful = [a for a in notification.attempts if a.state in DOUBTFUL]
    match status:
        case ManualStatus.DELIVERED:
            return [replace(doubtful[-1], state=AttemptState.DELIVERED, ended_at=now)] if doubtful else []
        case ManualStatus.LOST | ManualStatus.RESEND:
            # A transient error causes a retry at once, a permanent error none.
            error = ErrorClass.PERMANENT if status is ManualStatus.LOST else ErrorClass.TRANSIENT
            detail = "a person has found that it did not arrive"
            return [
                replace(a, state=AttemptState.FAILED, error=error, detail=detail, query_at=now, ended_at=now)
                for a in doubtful
            ]


async def _add_posted_attempt(uow: UnitOfWork, notification: Notification, request: ManualStatusRequest) -> None:
    """Write the attempt of a fax or letter that was sent after the restored copy of the database was made.

    Because of the attempt, the reader gets follow-ups.
    """
    delivery = (
        notification.deliveries[-1]
        if notification.deliveries
        else await uow.add_delivery(notification.id, notification.addresses[0])
    )
    attempt = await uow.add_attempt(delivery, "by hand", request.at, query_at=request.at)
    posted = replace(attempt, state=AttemptState.DELIVERED, detail=request.reason, ended_at=request.at)
    await uow.save_attempt(posted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualStatusResult:
    """Result of setting a status."""

    #: Ids of the affected incidents.
    incident_ids: Sequence[int]
    #: Latencies of the milestones that were reached.
    latencies: Sequence[NotificationLatency]


async def set_manual_status(uow: UnitOfWork, request: ManualStatusRequest) -> ManualStatusResult | str:
    """Store a status with its consequences. Return the result, or the reason why the status cannot be set."""
    try:
        notification = await uow.notification(request.notification_id)
    except LookupError:
        return f"there is no notification {request.notification_id}; `pantau notifications` lists them"
    incident = await uow.incident(notification.incident_id)
    if incident is None:
        return f"notification {notification.id} has no incident any more"
    is_paused = (
        notification.state is NotificationState.PENDING
        and notification.channel in ON_PAPER
        and await uow.is_paper_paused()
    )
    if (problem := rejection_reason(notification, incident, request.status, is_paused=is_paused)) is not None:
        return problem
    if is_paused and request.status is ManualStatus.DELIVERED:
        await _add_posted_attempt(uow, notification, request)
    latencies = list[NotificationLatency]()
    previous_states = {a.id: a.state for a in notification.attempts}
    for attempt in attempts_with_status(notification, request.status, request.at):
        await uow.save_attempt(attempt)
        latencies += await milestone_latencies(uow, notification, attempt, previous_states[attempt.id], request.at)
    match request.status:
        case ManualStatus.DELIVERED:
            await uow.set_notification_state(notification.id, NotificationState.DELIVERED)
        case ManualStatus.LOST:
            await uow.set_notification_state(notification.id, NotificationState.FAILED)
        case ManualStatus.RESEND:
            # The resent notification has as much time until it expires as the original one.
            await uow.reopen_notification(
                notification.id, request.at + (notification.expires_at - notification.created_at)
            )
    await uow.add_audit_entry(
        AuditEntry(
            at=request.at,
            actor=request.by,
            event=f"notice settled by hand: {_AUDITED.get(request.status, request.status)}",
            incident_id=incident.id,
            notification_id=notification.id,
            detail={"number": incident.number, "why": request.reason},
        )
    )
    for incident_id in notification.incident_ids:
        # The incident may be inactive.
        await uow.activate_incident(incident_id)
    return ManualStatusResult(incident_ids=notification.incident_ids, latencies=latencies)
