"""Result of a release, for the person who released the announcement. Pure: the caller passes the time.

Offices outside are notified of an outage after a person has released (approved) the announcement. The notifications to
these offices that were decided together are a *batch*: the announcement, a follow-up, the recovery, or the correction.
When the gateways have finished a batch, a notification to that person, the result, states how many notifications
arrived and who was not reached. If everybody was reached, only the announcement has a result, and only while the
incident is open. If letters are unposted at the end of the next workday, a second result states their number. Results
of several agencies within `RESULT_INTERVAL` are bundled (`alerts.decide.bundle`).

If the announcement was released automatically, the NOC is notified of failures instead (`alerts.decide.auditor`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.decide.escalation import build_facts
from alerts.decide.followup import has_known_arrival
from alerts.decide.paper import post_by
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.delivery import SETTLED, Notification, NotificationDraft, NotificationState
from alerts.model.incident import Incident
from alerts.model.notification import Plan, Purpose

#: Time until a result expires.
EXPIRY = timedelta(hours=12)
#: Duration of a workday for agencies without known office hours.
_WORKDAY = timedelta(days=1)
#: Number of last digits by which the result identifies a telephone number. Carriers block SMS with more digits.
_SHOWN_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseResult:
    """Results that are due now, and when the next is due."""

    drafts: tuple[NotificationDraft, ...] = ()
    #: When the next result may be due; `None`: no time is known, because another event must happen first.
    next_at: datetime | None = None


def release_result(incident: Incident, notifications: Sequence[Notification], now: datetime) -> ReleaseResult:
    """Return the results of an incident's release. Idempotent: drafts have unique keys."""
    contact = releasing_contact(incident)
    if contact is None:
        return ReleaseResult()
    drafts, next_times = list[NotificationDraft](), list[datetime]()
    for batch_key, batch in _batches(notifications).items():
        _, decided_at = batch_key
        sent = [n for n in batch if n.channel is not Channel.LETTER]
        letters = [n for n in batch if n.channel is Channel.LETTER]
        final_times = [_final_at(incident, n) for n in sent]
        if any(at > now for at in final_times):
            next_times.append(max(final_times))
        elif draft := _delivery_draft(incident, contact, sent, batch_key, now):
            drafts.append(draft)
        if overdue := _overdue_letters(incident, letters, now):
            drafts.append(_draft(incident, contact, batch_key, now, unposted=len(overdue), issued_at=decided_at))
        else:
            next_times += [
                at for n in letters if not _is_posted_or_withdrawn(n) and (at := posting_deadline(incident, n)) > now
            ]
    return ReleaseResult(drafts=tuple(drafts), next_at=min(next_times, default=None))


def releasing_contact(incident: Incident) -> Contact | None:
    """Return the staff member who released the announcement; `None` if nobody did, or without a telephone number."""
    contact = incident.policy.escalation.contact_by_name(incident.released_by or "")
    return contact if contact is not None and contact.addresses_on([Channel.SMS, Channel.VOICE]) else None


def undelivered(incident: Incident, notifications: Sequence[Notification], now: datetime) -> Sequence[Notification]:
    """Return the failed notifications to recipients outside, including letters whose `posting_deadline` is over."""
    outside = [n for n in notifications if n.plan is Plan.ANNOUNCEMENT]
    overdue = _overdue_letters(incident, [n for n in outside if n.channel is Channel.LETTER], now)
    return [n for n in outside if n.state is NotificationState.FAILED or n in overdue]


def posting_deadline(incident: Incident, notification: Notification) -> datetime:
    """Return by when the letter *notification* must be posted: the end of the next workday."""
    hours = incident.policy.announcement.updates  # The agency's office hours.
    return notification.created_at + _WORKDAY if hours is None else post_by(notification.created_at, hours)


#: Key of a batch: purpose of its notifications, and the time of their decision.
_BatchKey = tuple[Purpose, datetime]


def _batches(notifications: Sequence[Notification]) -> Mapping[_BatchKey, Sequence[Notification]]:
    batches: dict[_BatchKey, list[Notification]] = {}
    for n in notifications:
        if n.plan is Plan.ANNOUNCEMENT and n.state is not NotificationState.WITHDRAWN:
            batches.setdefault((n.purpose, n.facts.notified_at), []).append(n)
    return batches


def _final_at(incident: Incident, notification: Notification) -> datetime:
    """Return from when on the state of a notification counts as final.

    A state in `SETTLED`, which only a person can change, is final already: the result is the creation, a time in the
    past. Another state is final when the notification expires. If it is unknown whether the notification was sent, a
    person has a workday to find out.
    """
    if notification.state is NotificationState.UNKNOWN:
        return posting_deadline(incident, notification)
    return notification.created_at if notification.state in SETTLED else notification.expires_at


def _is_posted_or_withdrawn(letter: Notification) -> bool:
    return letter.has_arrived or letter.state is NotificationState.WITHDRAWN


def _overdue_letters(incident: Incident, letters: Sequence[Notification], now: datetime) -> Sequence[Notification]:
    """Return the letters that no clerk has posted by their `posting_deadline`."""
    return [n for n in letters if not _is_posted_or_withdrawn(n) and now >= posting_deadline(incident, n)]


def _delivery_draft(
    incident: Incident, contact: Contact, sent: Sequence[Notification], batch_key: _BatchKey, now: datetime
) -> NotificationDraft | None:
    """Return the result of a batch whose notifications *sent* are final; `None` if there is nothing to report."""
    arrived = [n for n in sent if has_known_arrival(n)]
    missing = [n for n in sent if not has_known_arrival(n)]
    purpose, _ = batch_key
    is_reportable = bool(missing) or (purpose is Purpose.OUTAGE and incident.is_open)
    if not sent or not is_reportable:
        return None
    return _draft(
        incident, contact, batch_key, now, arrived=len(arrived), undelivered=tuple(map(_recipient_label, missing))
    )


def _recipient_label(notification: Notification) -> str:
    """Return the name of a recipient who was not reached, with the last digits of the number."""
    name = notification.addressee.organisation if notification.addressee else notification.person
    digits = "".join(filter(str.isdecimal, notification.addresses[0].number))[-_SHOWN_DIGITS:]
    return f"{name} (no. {digits})" if digits else name


def _draft(
    incident: Incident,
    contact: Contact,
    batch_key: _BatchKey,
    now: datetime,
    *,
    arrived: int = 0,
    undelivered: tuple[str, ...] = (),
    unposted: int = 0,
    issued_at: datetime | None = None,
) -> NotificationDraft:
    """Return the draft of a result. *unposted*: number of unposted letters, which were decided at *issued_at*."""
    purpose, at = batch_key
    facts = build_facts(incident, Plan.ESCALATION, Purpose.RESULT, now)
    kind = "unposted" if unposted else "delivered"
    return NotificationDraft(
        incident_id=incident.id,
        person=contact.key,
        language=contact.language,
        facts=replace(facts, arrived=arrived, undelivered=undelivered, unposted=unposted, first_notified_at=issued_at),
        expires_at=now + EXPIRY,
        addresses=contact.addresses_on([Channel.SMS, Channel.VOICE]),
        key_suffix=f"{purpose}/{at.isoformat(timespec='seconds')}/{kind}",
    )
