"""Consequences for an incident's notifications when it is acknowledged or ends. Pure: the caller passes the time.

When mail works again, everybody who was notified of the outage gets a recovery by the same channels, and nobody else.
Unsent notifications are cancelled. A letter that is still in the tray (the directory from which a clerk posts letters)
is withdrawn, so that its reader needs no recovery. After a false alarm the same people get a correction instead of a
recovery. If a person closes the incident without stating that mail works again, only staff are notified. If an incident
ended before any staff were notified, they get only the recovery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.decide.announcement import expiry
from alerts.decide.escalation import build_facts, staff_addresses
from alerts.decide.followup import has_known_arrival, next_enclosure, outage_notifications
from alerts.decide.gateway.next_action import UNDELIVERED, decisive_attempt
from alerts.hours.elapsed import is_recent
from alerts.model.channel import Channel
from alerts.model.delivery import (
    DOUBTFUL,
    SETTLED,
    Attempt,
    AttemptState,
    Notification,
    NotificationDraft,
    NotificationState,
)
from alerts.model.event import AUTOMATIC
from alerts.model.incident import Incident, IncidentState, has_become_outage
from alerts.model.notification import ABOUT_NOTIFICATIONS, Plan, Purpose


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a notification that is not sent yet and no longer needed."""

    notification: Notification


@dataclass(frozen=True, slots=True)
class Abandon:
    """Do not resend a notification that may have been sent and is no longer needed."""

    notification: Notification


@dataclass(frozen=True, slots=True)
class WithdrawLetter:
    """Withdraw a letter that is in the tray and no longer needed, before a clerk posts it."""

    notification: Notification
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Notify:
    """Create a notification: who has acknowledged, a recovery, a correction, or that the incident was closed."""

    draft: NotificationDraft


Consequence = Cancel | Abandon | WithdrawLetter | Notify

#: How long after an acknowledgement other staff are notified of the assignee. Later they have asked, or sleep again.
ASSIGNEE_UPDATE_PERIOD = timedelta(minutes=15)


def consequences(incident: Incident, notifications: Sequence[Notification], now: datetime) -> Iterator[Consequence]:
    """Yield the consequences for the notifications of an acknowledged or ended incident.

    If the incident is neither acknowledged nor ended, only cancel notifications that ask staff to release (approve) an
    announcement which is released already.
    """
    if incident.state is IncidentState.TRIGGERED:
        notifications = [notification for notification in notifications if notification.purpose is Purpose.RELEASE]
    is_resolved = incident.state is IncidentState.RESOLVED
    reports_recovery = is_resolved and incident.false_alarm_at is None and not incident.closed_without_recovery
    is_late_report_due = reports_recovery and not _may_have_been_notified(incident, notifications)
    notified_keys: set[str] = set()
    for notification in notifications:
        is_needless = is_obsolete(incident, notification) or _lacks_earlier_letter(notification, notifications)
        # An acknowledgement does not cancel a handover notification, which informs a person who comes on duty. Because
        # it may be the person's only notification, the person is notified of the assignee and of the end, as after a
        # notification of the outage.
        if not is_needless and not notification.facts.is_handover:
            continue
        # The last attempt or, if that failed, an earlier one that a gateway accepted.
        last = decisive_attempt(notification)
        if is_needless and notification.state not in SETTLED:
            if last is None or last.state in UNDELIVERED:
                yield Abandon(notification) if _is_doubtful(notification) else Cancel(notification)
            elif is_resolved and notification.channel is Channel.LETTER and last.state is AttemptState.ACCEPTED:
                # If an earlier withdrawal failed with an error, retry it after a pause.
                if last.error is None or now >= last.query_at:
                    yield WithdrawLetter(notification, last)
                continue
            elif last.state in _IN_PROGRESS:
                continue
        reports_outage = notification.purpose is Purpose.OUTAGE or notification.facts.is_handover
        if (
            is_resolved
            and reports_outage
            and (notification.may_have_arrived or (is_late_report_due and _was_pending_at_end(notification)))
        ):
            draft = _end_draft(incident, notification, notifications, now)
        elif not is_resolved and reports_outage and notification.may_have_arrived:
            draft = _assignee_draft(incident, notification, now)
        else:
            continue
        if draft and draft.key not in notified_keys:
            notified_keys.add(draft.key)
            yield Notify(draft)


def _may_have_been_notified(incident: Incident, notifications: Sequence[Notification]) -> bool:
    """Whether any staff member may have been notified of the incident."""
    staff = [n for n in notifications if n.plan is Plan.ESCALATION and n.purpose is Purpose.OUTAGE]
    calling = (last for n in staff if (last := n.last_attempt) and last.state is AttemptState.CALLING)
    return incident.acknowledged_at is not None or any(n.may_have_arrived for n in staff) or any(calling)


def _was_pending_at_end(notification: Notification) -> bool:
    """Whether a notification to staff was unsent, or had failed, at the end, and was not withdrawn before.

    The NOC is not notified of the end of incidents about notifications (`ABOUT_NOTIFICATIONS`).
    """
    last = decisive_attempt(notification)
    return (
        notification.plan is Plan.ESCALATION
        and notification.state is not NotificationState.WITHDRAWN
        and (last is None or last.state in UNDELIVERED)
        and notification.facts.type not in ABOUT_NOTIFICATIONS
    )


def is_obsolete(incident: Incident, notification: Notification) -> bool:
    """Whether an acknowledged or ended incident no longer needs *notification*."""
    match notification.purpose:
        case Purpose.OUTAGE:
            return not incident.is_open or notification.plan is Plan.ESCALATION
        case Purpose.RECOVERY | Purpose.CLOSED:
            # After a recovery was decided, a person has marked a false alarm: a correction follows instead.
            return incident.false_alarm_at is not None
        case Purpose.UPDATE:
            return not incident.is_open
        case Purpose.TAKEN:
            return not incident.is_open or incident.acknowledged_at is None
        case Purpose.REMINDER:
            return not incident.is_open or incident.reminded_at is None
        case Purpose.RELEASE:
            return not incident.is_open or incident.released_at is not None
        case Purpose.RESULT:
            # After the end only results with failures are reported.
            return not incident.is_open and not notification.facts.undelivered and not notification.facts.unposted
        case _:
            return False


def _lacks_earlier_letter(notification: Notification, notifications: Sequence[Notification]) -> bool:
    """Whether *notification* is a letter about the end whose reader got no letter before, because none was posted."""
    if notification.purpose not in {Purpose.RECOVERY, Purpose.CORRECTION} or notification.channel is not Channel.LETTER:
        return False
    letters = outage_notifications(notifications, notification.person, Channel.LETTER)
    return notification.plan is Plan.ANNOUNCEMENT and not any(n.may_have_arrived for n in letters)


#: States of an attempt whose result is awaited: if the message was sent, its reader gets a recovery.
_IN_PROGRESS = frozenset({AttemptState.CALLING, AttemptState.UNKNOWN})


def _is_doubtful(notification: Notification) -> bool:
    """Whether the notification may have been sent although its gateway does not confirm it."""
    return any(a.state in DOUBTFUL for a in notification.attempts)


def _end_draft(
    incident: Incident, notification: Notification, notifications: Sequence[Notification], now: datetime
) -> NotificationDraft | None:
    """Return the draft that notifies the reader of *notification* of the end; `None` if none is to be sent."""
    purpose = Purpose.RECOVERY if incident.false_alarm_at is None else Purpose.CORRECTION
    if incident.closed_without_recovery:
        if notification.plan is Plan.ANNOUNCEMENT:
            return None  # Recipients outside are notified only of failures of mail and of their end.
        purpose = Purpose.CLOSED
    if notification.plan is Plan.ESCALATION:
        addresses = staff_addresses(incident, notification)
        expires_at = now + timedelta(hours=2)
    else:
        addresses = notification.addresses
        expires_at = expiry(notification.addresses[0], now)
    if not addresses:
        return None
    first_notified_at = notification.created_at if _is_citable(notification) else None
    facts = build_facts(incident, notification.plan, purpose, now, first_notified_at=first_notified_at)
    if purpose is Purpose.CLOSED and incident.closed is not None and incident.closed.by != AUTOMATIC:
        facts = replace(facts, by=incident.closed.by)
    if notification.plan is Plan.ANNOUNCEMENT:
        facts = replace(facts, enclosure=next_enclosure(incident, notifications, notification.person, purpose))
        if purpose is Purpose.RECOVERY and (last := _last_citable(notification, notifications)) is not None:
            facts = replace(facts, first_notified_at=last.created_at, cited=last.facts.enclosure or 1)
    return NotificationDraft(
        incident_id=incident.id,
        person=notification.person,
        language=notification.language,
        facts=facts,
        expires_at=expires_at,
        addresses=addresses,
        addressee=notification.addressee,
    )


def _assignee_draft(incident: Incident, notification: Notification, now: datetime) -> NotificationDraft | None:
    """Return a draft that names the assignee to the reader of *notification*; `None` if it is not needed."""
    by, at, policy = incident.acknowledged_by or "", incident.acknowledged_at, incident.policy.escalation
    person, assignee = policy.contact(notification.person), policy.contact_by_name(by)
    # The assignee is not named to people whose notification is two or more restarts of the escalation old, or reported
    # a degradation before the outage.
    is_outdated = notification.restarts < incident.position.restarts - 1 or has_become_outage(
        incident, notification.facts.type
    )
    if at is None or person is None or person == assignee or is_outdated:
        return None
    # Use SMS only, because this notification must not wake anybody.
    addresses = person.addresses_on([Channel.SMS])
    if not addresses or not is_recent(at, now, ASSIGNEE_UPDATE_PERIOD):
        return None
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=replace(build_facts(incident, Plan.ESCALATION, Purpose.TAKEN, now), by=by),
        expires_at=at + 2 * ASSIGNEE_UPDATE_PERIOD,
        addresses=addresses,
        restarts=incident.position.restarts,
        key_suffix=at.isoformat(timespec="seconds"),
    )


def _last_citable(notification: Notification, notifications: Sequence[Notification]) -> Notification | None:
    """Return the latest notification of the outage that is known to have reached the reader of *notification*."""
    return next(
        (
            n
            for n in reversed(outage_notifications(notifications, notification.person, notification.channel))
            if has_known_arrival(n)
        ),
        None,
    )


def _is_citable(notification: Notification) -> bool:
    """Whether a later notification may state the date of *notification*: never of a page that may not have arrived."""
    return has_known_arrival(notification) if notification.plan is Plan.ANNOUNCEMENT else notification.may_have_arrived
