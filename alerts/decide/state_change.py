"""Consequences of an acknowledgement or the end of an incident for its notifications. Pure: the caller passes the time.

A recovery notification goes to everybody who was notified of the outage, by the same channels, and to nobody else.
Unsent notifications are cancelled; a letter that is still in the tray (the directory from which a clerk posts letters)
is withdrawn and needs no recovery letter. After a false alarm the same people get a correction instead of a recovery.
If a person closes the incident without a recovery, only staff are notified. An incident that ended before any staff
were notified is reported to them once, as past.
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
    """The notification is not sent yet and no longer needed: cancel it."""

    notification: Notification


@dataclass(frozen=True, slots=True)
class Abandon:
    """The notification was perhaps sent and is no longer needed: do not send it again."""

    notification: Notification


@dataclass(frozen=True, slots=True)
class WithdrawLetter:
    """The letter is in the tray and no longer needed: withdraw it before a clerk posts it."""

    notification: Notification
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Notify:
    """A person who was notified is told who acknowledged, or gets the recovery or a correction.

    Staff who could not be notified before the end get only the recovery.
    """

    draft: NotificationDraft


Conclusion = Cancel | Abandon | WithdrawLetter | Notify

#: How long after an acknowledgement staff are told who acknowledged; later they have asked, or sleep again.
ASSIGNEE_NEWS_PERIOD = timedelta(minutes=15)


def conclude(incident: Incident, notifications: Sequence[Notification], now: datetime) -> Iterator[Conclusion]:
    """Yield the consequences for the notifications of an acknowledged or ended incident.

    For an incident that is neither acknowledged nor ended, only cancel offers of the release if it has been made.
    """
    if incident.state is IncidentState.TRIGGERED:
        notifications = [notification for notification in notifications if notification.purpose is Purpose.RELEASE]
    is_resolved = incident.state is IncidentState.RESOLVED
    reports_recovery = is_resolved and incident.false_alarm_at is None and not incident.closed_without_recovery
    is_late_report_due = reports_recovery and not _may_be_notified(incident, notifications)
    notified_keys: set[str] = set()
    for notification in notifications:
        is_needless = is_obsolete(incident, notification) or _lacks_earlier_letter(notification, notifications)
        # An acknowledgement does not cancel a handover notification (to a person who comes on duty). Its reader may
        # have got no other notification, so they are notified of the assignee and the end, too.
        if not is_needless and not notification.facts.is_handover:
            continue
        last = decisive_attempt(notification)
        if is_needless and notification.state not in SETTLED:
            if last is None or last.state in UNDELIVERED:
                yield Abandon(notification) if _is_doubtful(notification) else Cancel(notification)
            elif is_resolved and notification.channel is Channel.LETTER and last.state is AttemptState.ACCEPTED:
                # An error means that an earlier withdrawal could not reach the tray: retry after a pause.
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


def _may_be_notified(incident: Incident, notifications: Sequence[Notification]) -> bool:
    """Whether any staff member was, or may have been, notified of the incident."""
    staff = [n for n in notifications if n.plan is Plan.ESCALATION and n.purpose is Purpose.OUTAGE]
    calling = (last for n in staff if (last := n.last_attempt) and last.state is AttemptState.CALLING)
    return incident.acknowledged_at is not None or any(n.may_have_arrived for n in staff) or any(calling)


def _was_pending_at_end(notification: Notification) -> bool:
    """Whether a notification to staff was unsent, or had failed, at the end, and was not withdrawn before."""
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
            # A person has marked the incident as a false alarm since: a correction follows instead.
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
            # After the end only failures are reported.
            return not incident.is_open and not notification.facts.undelivered and not notification.facts.unposted
        case _:
            return False


def _lacks_earlier_letter(notification: Notification, notifications: Sequence[Notification]) -> bool:
    """Whether *notification* is a letter about the end whose reader got no earlier letter, because none was posted."""
    if notification.purpose not in {Purpose.RECOVERY, Purpose.CORRECTION} or notification.channel is not Channel.LETTER:
        return False
    letters = outage_notifications(notifications, notification.person, Channel.LETTER)
    return notification.plan is Plan.ANNOUNCEMENT and not any(n.may_have_arrived for n in letters)


#: States of an attempt that may turn out to be sent, in which case its reader gets a recovery.
_IN_PROGRESS = frozenset({AttemptState.CALLING, AttemptState.UNKNOWN})


def _is_doubtful(notification: Notification) -> bool:
    """Whether an attempt may have been sent although the gateway does not confirm it."""
    return any(a.state in DOUBTFUL for a in notification.attempts)


def _end_draft(
    incident: Incident, notification: Notification, notifications: Sequence[Notification], now: datetime
) -> NotificationDraft | None:
    purpose = Purpose.RECOVERY if incident.false_alarm_at is None else Purpose.CORRECTION
    if incident.closed_without_recovery:
        if notification.plan is Plan.ANNOUNCEMENT:
            return None  # Recipients outside are only notified of changes of mail.
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
    by, at = incident.acknowledged_by or "", incident.acknowledged_at
    person, assignee = (
        incident.policy.escalation.contact(notification.person),
        incident.policy.escalation.contact_by_name(by),
    )
    # A reader who was notified two or more restarts of the escalation ago, or of a degradation before the outage, is
    # not told each new assignee.
    is_outdated = notification.restarts < incident.position.restarts - 1 or has_become_outage(
        incident, notification.facts.type
    )
    if at is None or person is None or person == assignee or is_outdated:
        return None
    # By SMS only: it must not wake anybody.
    addresses = person.addresses_on([Channel.SMS])
    if not addresses or not is_recent(at, now, ASSIGNEE_NEWS_PERIOD):
        return None
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=replace(build_facts(incident, Plan.ESCALATION, Purpose.TAKEN, now), by=by),
        expires_at=at + 2 * ASSIGNEE_NEWS_PERIOD,
        addresses=addresses,
        restarts=incident.position.restarts,
        once=at.isoformat(timespec="seconds"),
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
    """Whether a follow-up may cite *notification*: a page that may not have arrived is never cited."""
    return has_known_arrival(notification) if notification.plan is Plan.ANNOUNCEMENT else notification.may_have_arrived
