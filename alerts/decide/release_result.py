"""Result of a release, for the person who released. Pure: the caller passes the time.

An outage is announced to recipients outside after a person has released the announcement. The notifications of one
decision are a batch: the announcement, a follow-up, the recovery, the correction. After the gateways have finished, one
result per batch states how many notifications arrived and who was not reached. If everybody was reached, only the
announcement of an outage that is still open has a result. A second result states how many letters are unposted at the
end of the next workday. Results of several agencies within `RESULT_INTERVAL` are bundled (`alerts.decide.bundle`).

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

#: Expiry of a result.
EXPIRY = timedelta(hours=12)
#: For agencies without known office hours.
_WORKDAY = timedelta(days=1)
#: Number of last digits that identify a telephone to an officer. Carriers block SMS with more.
_SHOWN_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseResult:
    """Results that are due now."""

    drafts: tuple[NotificationDraft, ...] = ()
    #: When the next one is due; `None`: none without another event.
    then: datetime | None = None


def release_result(incident: Incident, notifications: Sequence[Notification], now: datetime) -> ReleaseResult:
    """Return the results of an incident's release. Idempotent: drafts have unique keys."""
    contact = releasing_contact(incident)
    if contact is None:
        return ReleaseResult()
    drafts, then = list[NotificationDraft](), list[datetime]()
    for batch_key, batch in _batches(notifications).items():
        sent = [n for n in batch if n.channel is not Channel.LETTER]
        letters = [n for n in batch if n.channel is Channel.LETTER]
        final_times = [_final_at(incident, n) for n in sent]
        if any(at > now for at in final_times):
            then.append(max(final_times))
        elif draft := _delivery_draft(incident, contact, sent, batch_key, now):
            drafts.append(draft)
        if overdue := _overdue_letters(incident, letters, now):
            drafts.append(_draft(incident, contact, batch_key, now, unposted=len(overdue), issued_at=batch_key[1]))
        else:
            then += [at for n in letters if not _is_settled(n) and (at := posting_deadline(incident, n)) > now]
    return ReleaseResult(drafts=tuple(drafts), then=min(then, default=None))


def releasing_contact(incident: Incident) -> Contact | None:
    """Return the staff member who released the announcement and is reachable by SMS or call; `None` without any."""
    contact = incident.policy.escalation.contact_by_name(incident.released_by or "")
    return contact if contact is not None and contact.addresses_on([Channel.SMS, Channel.VOICE]) else None


def undelivered(incident: Incident, notifications: Sequence[Notification], now: datetime) -> Sequence[Notification]:
    """Return the failed notifications outside, including letters that should have been posted by *now*."""
    outside = [n for n in notifications if n.plan is Plan.ANNOUNCEMENT]
    overdue = _overdue_letters(incident, [n for n in outside if n.channel is Channel.LETTER], now)
    return [n for n in outside if n.state is NotificationState.FAILED or n in overdue]


def posting_deadline(incident: Incident, notification: Notification) -> datetime:
    """Return when the letter *notification* must be posted: one workday after it was queued."""
    hours = incident.policy.announcement.updates
    return notification.created_at + _WORKDAY if hours is None else post_by(notification.created_at, hours)


#: Identity of a batch: purpose of its notifications and the time of their decision.
_BatchKey = tuple[Purpose, datetime]


def _batches(notifications: Sequence[Notification]) -> Mapping[_BatchKey, Sequence[Notification]]:
    batches: dict[_BatchKey, list[Notification]] = {}
    for n in notifications:
        if n.plan is Plan.ANNOUNCEMENT and n.state is not NotificationState.WITHDRAWN:
            batches.setdefault((n.purpose, n.facts.notified_at), []).append(n)
    return batches


def _final_at(incident: Incident, notification: Notification) -> datetime:
    """Return when the state of a notification counts as final.

    A settled notification counts as final since its creation, a notification without a receipt from its expiry. If it
    is unknown whether a notification was sent, a person has a workday to find out.
    """
    if notification.state is NotificationState.UNKNOWN:
        return posting_deadline(incident, notification)
    return notification.created_at if notification.state in SETTLED else notification.expires_at


def _is_settled(letter: Notification) -> bool:
    return letter.has_arrived or letter.state is NotificationState.WITHDRAWN


def _overdue_letters(incident: Incident, letters: Sequence[Notification], now: datetime) -> Sequence[Notification]:
    """Return the letters that no clerk has posted after a workday."""
    return [n for n in letters if not _is_settled(n) and now >= posting_deadline(incident, n)]


def _delivery_draft(
    incident: Incident, contact: Contact, sent: Sequence[Notification], batch_key: _BatchKey, now: datetime
) -> NotificationDraft | None:
    arrived = [n for n in sent if has_known_arrival(n)]
    missing = [n for n in sent if not has_known_arrival(n)]
    is_reportable = bool(missing) or (batch_key[0] is Purpose.OUTAGE and incident.is_open)
    if not sent or not is_reportable:
        return None
    return _draft(
        incident, contact, batch_key, now, arrived=len(arrived), undelivered=tuple(map(_recipient_label, missing))
    )


def _recipient_label(notification: Notification) -> str:
    """Return who was not reached, with the last digits of the failed number."""
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
        once=f"{purpose}/{at.isoformat(timespec='seconds')}/{kind}",
    )
