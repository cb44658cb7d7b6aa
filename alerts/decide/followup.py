"""Follow-ups of an outage that lasts or changes, and enclosure numbers of letters. Pure: the caller passes the time.

A recipient outside (an office that is notified by the announcement) gets a daily follow-up on each working day of the
agency, unless it gets another notification on that day. The daily follow-up goes by fax and letter, or by SMS to a
recipient with neither, and never by a call. It waits until an earlier notification is known to have arrived; a letter
has arrived when a clerk has posted it.

A change of type (for example, sending works again and receiving does not) is reported after it has lasted for a while:
to staff by SMS, to recipients outside by all channels used before. A degradation is reported to staff only.

A person releases (approves) the announcement; the release also covers its follow-ups. The end of the outage stops
follow-ups, and so does a silence, which the caller checks.

The *enclosure number* counts the faxes and letters to a recipient about an incident. A later page cites an earlier one
by date and enclosure number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta

from alerts.decide.announcement import expiry
from alerts.decide.escalation import build_facts, staff_addresses
from alerts.hours.office_hours import OfficeHours
from alerts.hours.wallclock import first_instant
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address, Recipient
from alerts.model.delivery import SETTLED, Notification, NotificationDraft, NotificationState
from alerts.model.incident import OUTAGES, Incident
from alerts.model.notification import OUTAGE_PURPOSES, Plan, Purpose

#: How long a change of type must last before staff are notified. Recipients outside are notified after
#: `AnnouncementPlan.release_offered_after`.
CHANGE_DELAY = timedelta(minutes=10)

#: Time until a notification to staff of a change expires. A later one would be outdated.
STAFF_UPDATE_EXPIRY = timedelta(hours=2)

#: Minimum time between a notification to a recipient and the next daily follow-up.
MIN_INTERVAL = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """Follow-ups that are due now, and when the next is due."""

    drafts: tuple[NotificationDraft, ...] = ()
    #: When the next follow-up is due; `None`: no time is known, because another event must happen first.
    next_at: datetime | None = None
    #: Since when the earliest of `drafts` is due; `None` without drafts.
    since: datetime | None = None


def follow_up(incident: Incident, notifications: Sequence[Notification], now: datetime) -> FollowUp:
    """Return the follow-ups of an incident. Idempotent: when a draft is stored, its follow-up is not due any more."""
    if not incident.is_open or incident.type not in OUTAGES:
        return FollowUp()
    updates = [*_staff_updates(incident, notifications, now), *_recipient_updates(incident, notifications, now)]
    return FollowUp(
        drafts=tuple(each.draft for each in updates if each.draft is not None),
        next_at=min((each.send_at for each in updates if each.draft is None), default=None),
        since=min((each.due_at for each in updates if each.draft is not None), default=None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlannedUpdate:
    """A follow-up to one reader."""

    #: When it may be sent. A daily follow-up waits for office hours, so that `send_at` may be later than `due_at`.
    send_at: datetime
    #: Since when it is due.
    due_at: datetime
    #: `None`: `send_at` is in the future.
    draft: NotificationDraft | None


# -- staff -----------------------------------------------------------------------------------------------------------


def _staff_updates(
    incident: Incident, notifications: Sequence[Notification], now: datetime
) -> Iterator[_PlannedUpdate]:
    """Yield a follow-up for each staff member who was last notified of another type."""
    if incident.flapping:
        return
    last_by_person: dict[str, Notification] = {}
    for n in notifications:
        if n.plan is Plan.ESCALATION and n.purpose in OUTAGE_PURPOSES and n.state is not NotificationState.WITHDRAWN:
            last_by_person[n.person] = n
    notified = {
        n.person for n in notifications if n.plan is Plan.ESCALATION and n.facts.type in OUTAGES and n.may_have_arrived
    }
    for person, last in last_by_person.items():
        addresses = staff_addresses(incident, last)
        if person not in notified or last.facts.type is incident.current_type or not addresses:
            continue
        due_at = incident.current_type_since + CHANGE_DELAY
        draft = _staff_draft(incident, last, addresses, now) if due_at <= now else None
        yield _PlannedUpdate(send_at=due_at, due_at=due_at, draft=draft)


def _staff_draft(
    incident: Incident, last: Notification, addresses: tuple[Address, ...], now: datetime
) -> NotificationDraft:
    """Return the draft of the change of type. *last*: the last notification of the staff member.

    It states the current type, also when that is a degradation, for which `build_facts` states the worst type so far.
    """
    facts = build_facts(incident, Plan.ESCALATION, Purpose.UPDATE, now)
    return NotificationDraft(
        incident_id=incident.id,
        person=last.person,
        language=last.language,
        facts=replace(
            facts,
            type=incident.current_type,
            began_at=incident.current_type_began_at or incident.began_at,
            previous_type=last.facts.type,
        ),
        expires_at=now + STAFF_UPDATE_EXPIRY,
        addresses=addresses,
        restarts=last.restarts,
        key_suffix=_change_key(incident),
    )


def _change_key(incident: Incident) -> str:
    """Return the key suffix of a follow-up about the last change of type."""
    return incident.current_type_since.isoformat(timespec="seconds")


# -- recipients ------------------------------------------------------------------------------------------------------


def _recipient_updates(
    incident: Incident, notifications: Sequence[Notification], now: datetime
) -> Iterator[_PlannedUpdate]:
    """Yield the follow-ups to each recipient outside on each channel, if the announcement is released."""
    if incident.released_at is None or incident.current_type not in OUTAGES:
        return
    for recipient in incident.policy.announcement.recipients:
        daily_addresses = _daily_addresses(recipient)
        for address in recipient.addresses:
            earlier = outage_notifications(notifications, recipient.key, address.channel)
            if (last := latest_notification(earlier)) is None:
                continue
            reasons = [
                *_change_reasons(incident, last),
                *(_daily_reasons(incident, last, now) if address in daily_addresses else ()),
            ]
            # If both reasons are due, send one page only: the page about a change also states that the outage lasts.
            due_reason = next((each for each in reasons if each.send_at <= now), None)
            if due_reason is not None:
                key_suffix = due_reason.key_suffix
                draft = _draft(incident, recipient, address, notifications, now, key_suffix=key_suffix)
                yield _PlannedUpdate(send_at=due_reason.send_at, due_at=due_reason.due_at, draft=draft)
                continue
            for each in reasons:
                yield _PlannedUpdate(send_at=each.send_at, due_at=each.due_at, draft=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _UpdateReason:
    """Reason for a follow-up to a recipient outside; `send_at` and `due_at` as in `_PlannedUpdate`."""

    send_at: datetime
    due_at: datetime
    #: End of the notification's key: the day, or the time of the change.
    key_suffix: str


def _change_reasons(incident: Incident, last: Notification) -> Iterator[_UpdateReason]:
    if last.facts.type is not incident.current_type and not incident.flapping:
        due_at = incident.current_type_since + incident.policy.announcement.release_offered_after
        yield _UpdateReason(send_at=due_at, due_at=due_at, key_suffix=_change_key(incident))


def _daily_reasons(incident: Incident, last: Notification, now: datetime) -> Iterator[_UpdateReason]:
    """Yield the reason for the daily follow-up after *last*, the recipient's last notification, if there is one."""
    plan = incident.policy.announcement
    hours = plan.updates  # The agency's office hours.
    if hours is not None and plan.follows_up:
        due_at = hours.first_open_time(_earliest_next(hours, _finished_at(last)))
        # After a downtime or a silence *due_at* may be long ago: wait until the office is open, and until a change of
        # type has lasted long enough to be reported.
        at = hours.first_open_time(max(due_at, now, *(each.send_at for each in _change_reasons(incident, last))))
        yield _UpdateReason(send_at=at, due_at=due_at, key_suffix=now.astimezone(hours.zone).date().isoformat())


def _daily_addresses(recipient: Recipient) -> Sequence[Address]:
    """Return the addresses of a recipient for daily follow-ups: fax and letter, or SMS if there is neither."""
    on_paper = [address for address in recipient.addresses if address.channel in ON_PAPER]
    return on_paper or [address for address in recipient.addresses if address.channel is Channel.SMS]


def outage_notifications(
    notifications: Sequence[Notification], person: str, channel: Channel
) -> Sequence[Notification]:
    """Return the notifications of the outage and its updates to a recipient on a channel, oldest first."""
    return [
        n
        for n in notifications
        if n.plan is Plan.ANNOUNCEMENT and n.purpose in OUTAGE_PURPOSES and n.person == person and n.channel is channel
    ]


def latest_notification(notifications: Sequence[Notification]) -> Notification | None:
    """Return the latest of a reader's notifications that was not withdrawn.

    `None`: none of them is known to have arrived, or one is still being delivered.
    """
    if any(n.state not in SETTLED and not has_known_arrival(n) for n in notifications):
        return None
    sent = [n for n in notifications if n.state is not NotificationState.WITHDRAWN]
    return sent[-1] if any(has_known_arrival(n) for n in sent) else None


def has_known_arrival(notification: Notification) -> bool:
    """Whether *notification* is known to have arrived, as far as its channel reports arrivals.

    An SMS or call counts as arrived when the gateway has accepted it, because many providers report no more. For a fax
    or letter the arrival must be reported, because the next page cites it.
    """
    return notification.has_arrived if notification.channel in ON_PAPER else notification.is_submitted


def _finished_at(notification: Notification) -> datetime:
    """Return when *notification* arrived, was posted or failed; when it was created if that is unknown."""
    last = notification.last_attempt
    return (
        max(notification.created_at, last.ended_at) if last is not None and last.ended_at else notification.created_at
    )


def _earliest_next(hours: OfficeHours, last_at: datetime) -> datetime:
    """Return the earliest time of a daily follow-up after a notification that finished at *last_at*.

    It is on a later day, and `MIN_INTERVAL` later.
    """
    day_after = last_at.astimezone(hours.zone).date() + timedelta(days=1)
    midnight = first_instant(datetime.combine(day_after, time()), hours.zone)
    return max(midnight, last_at + MIN_INTERVAL)


def _draft(
    incident: Incident,
    recipient: Recipient,
    address: Address,
    notifications: Sequence[Notification],
    now: datetime,
    *,
    key_suffix: str,
) -> NotificationDraft:
    """Return the draft of a follow-up to a recipient. *key_suffix*: see `_UpdateReason`."""
    cited = next(
        n for n in reversed(outage_notifications(notifications, recipient.key, address.channel)) if has_known_arrival(n)
    )
    facts = build_facts(incident, Plan.ANNOUNCEMENT, Purpose.UPDATE, now, first_notified_at=cited.created_at)
    return NotificationDraft(
        incident_id=incident.id,
        person=recipient.key,
        language=recipient.language,
        facts=replace(
            facts,
            previous_type=cited.facts.type if cited.facts.type is not facts.type else None,
            enclosure=next_enclosure(incident, notifications, recipient.key),
            cited=cited.facts.enclosure or 1,
        ),
        expires_at=expiry(address, now),
        addresses=(address,),
        addressee=recipient.addressee,
        key_suffix=key_suffix,
    )


def next_enclosure(
    incident: Incident, notifications: Sequence[Notification], person: str, purpose: Purpose | None = None
) -> int:
    """Return the enclosure number of the next page to a recipient: pages about an incident are numbered from 1.

    Withdrawn pages count, because they may have been posted after all. Pages with *purpose* do not count: so the fax and
    the letter about the end of an incident get the same number. Numbers up to `Incident.skipped_pages` may have been used
    before the database was restored from an older copy.
    """
    return 1 + max((incident.skipped_pages, *_enclosures(notifications, person, purpose)))


def _enclosures(notifications: Sequence[Notification], person: str, purpose: Purpose | None) -> Iterator[int]:
    for n in notifications:
        if n.plan is Plan.ANNOUNCEMENT and n.person == person and n.purpose is not purpose:
            # Early versions did not number pages, and sent one page about the outage.
            yield n.facts.enclosure or 1
