"""Follow-ups of an outage that lasts or changes, and enclosure numbers of letters. Pure: the caller passes the time.

An office that was told to write letters instead of mail asks a day later whether that still applies. On each of the
agency's working days without another notification it gets a follow-up: on paper if it was notified on paper, otherwise
by SMS; never by a call. A recipient whose earlier notification is not known to have arrived gets none, nor one with an
unposted page: a clerk signs one letter at a time.

A change of type (sending works again, receiving does not) is reported once it has lasted: to staff by SMS, outside by
all channels used before. A degradation is reported to staff only.

The release of an announcement covers its follow-ups, because they only report what became of it. A silence or the end
of the outage stops them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta

from alerts.decide.announcement import expiry
from alerts.decide.escalation import facts, staff_addresses
from alerts.hours.office_hours import OfficeHours
from alerts.hours.wallclock import first_showing
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address, Recipient
from alerts.model.delivery import SETTLED, Notification, NotificationDraft, NotificationState
from alerts.model.incident import OUTAGES, Incident
from alerts.model.notification import TELLS_OF_IT, Plan, Purpose

#: How long a change must last before staff are notified. Outside, it is as long as before an announcement is offered.
STANDS = timedelta(minutes=10)

#: Expiry for staff; by then they have asked, or were notified of the end.
NEWS_FOR = timedelta(hours=2)

#: Minimum time between two notifications: an outage of an afternoon needs no second page.
NO_SOONER = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """Notifications due now, and the next time; `None`: nothing is due without another event."""

    drafts: tuple[NotificationDraft, ...] = ()
    then: datetime | None = None
    #: Since when the first draft is due.
    since: datetime | None = None


def follow_up(incident: Incident, notices: Sequence[Notification], now: datetime) -> FollowUp:
    """Decide about an incident with its notifications. Idempotent: what is written is not due any more."""
    if not incident.is_open or incident.type not in OUTAGES:
        return FollowUp()
    found = [*_to_staff(incident, notices, now), *_to_outside(incident, notices, now)]
    return FollowUp(
        drafts=tuple(each.draft for each in found if each.draft is not None),
        then=min((each.at for each in found if each.draft is None), default=None),
        since=min((each.due for each in found if each.draft is not None), default=None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A notification that is due now or then."""

    at: datetime
    #: Since when it is due; at night it waits.
    due: datetime
    draft: NotificationDraft | None


# -- staff -----------------------------------------------------------------------------------------------------------


def _to_staff(incident: Incident, notices: Sequence[Notification], now: datetime) -> Iterator[_Due]:
    """Yield the change of type for each staff member who was notified of the outage."""
    if incident.flapping:
        return
    latest_to: dict[str, Notification] = {}
    for n in notices:
        if n.plan is Plan.ESCALATION and n.purpose in TELLS_OF_IT and n.state is not NotificationState.WITHDRAWN:
            latest_to[n.person] = n
    told = {n.person for n in notices if n.plan is Plan.ESCALATION and n.facts.type in OUTAGES and n.was_told}
    for person, last in latest_to.items():
        addresses = staff_addresses(incident, last)
        if person not in told or last.facts.type is incident.current_type or not addresses:
            continue
        due = incident.current_type_since + STANDS
        draft = _to_officer(incident, last, addresses, now) if due <= now else None
        yield _Due(at=due, due=due, draft=draft)


def _to_officer(
    incident: Incident, last: Notification, addresses: tuple[Address, ...], now: datetime
) -> NotificationDraft:
    """Return the draft for a staff member who was notified *last* of another type."""
    told = facts(incident, Plan.ESCALATION, Purpose.UPDATE, now)
    return NotificationDraft(
        incident_id=incident.id,
        person=last.person,
        language=last.language,
        facts=replace(
            told,
            type=incident.current_type,
            began_at=incident.current_type_began_at or incident.began_at,
            previous_type=last.facts.type,
        ),
        expires_at=now + NEWS_FOR,
        addresses=addresses,
        restarts=last.restarts,
        once=_changed(incident),
    )


def _changed(incident: Incident) -> str:
    return incident.current_type_since.isoformat(timespec="seconds")


# -- recipients ------------------------------------------------------------------------------------------------------


def _to_outside(incident: Incident, notices: Sequence[Notification], now: datetime) -> Iterator[_Due]:
    if incident.released_at is None or incident.current_type not in OUTAGES:
        return
    for recipient in incident.policy.announcement.recipients:
        daily = _daily(recipient)
        for address in recipient.addresses:
            told = to_reader(notices, recipient.key, address.channel)
            if (last := latest(told)) is None:
                continue
            due = [*_on_change(incident, last), *(_on_the_day(incident, last, now) if address in daily else ())]
            # One page per reader: a change also says that the outage lasts.
            ripe = next((each for each in due if each.at <= now), None)
            for each in [ripe] if ripe else due:
                draft = _draft(incident, recipient, address, notices, now, once=each.once) if ripe else None
                yield _Due(at=each.at, due=each.due, draft=draft)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Occasion:
    """Reason for a follow-up outside."""

    at: datetime
    due: datetime
    #: The day, or the time of the change: the end of the notification's key.
    once: str


def _on_change(incident: Incident, last: Notification) -> Iterator[_Occasion]:
    if last.facts.type is not incident.current_type and not incident.flapping:
        due = incident.current_type_since + incident.policy.announcement.release_offered_after
        yield _Occasion(at=due, due=due, once=_changed(incident))


def _on_the_day(incident: Incident, last: Notification, now: datetime) -> Iterator[_Occasion]:
    plan = incident.policy.announcement
    hours = plan.updates
    if hours is not None and plan.follows_up:
        due = hours.opening(_again(hours, _told_at(last)))
        # Not at night after a downtime or a silence, and not while the type may change again.
        at = hours.opening(max(due, now, *(each.at for each in _on_change(incident, last))))
        yield _Occasion(at=at, due=due, once=now.astimezone(hours.zone).date().isoformat())


def _daily(recipient: Recipient) -> Sequence[Address]:
    """Return the addresses for daily follow-ups of a recipient."""
    on_paper = [address for address in recipient.addresses if address.channel in ON_PAPER]
    return on_paper or [address for address in recipient.addresses if address.channel is Channel.SMS]


def to_reader(notices: Sequence[Notification], person: str, channel: Channel) -> Sequence[Notification]:
    """Return the notifications of the outage to a recipient on a channel, oldest first."""
    return [
        n
        for n in notices
        if n.plan is Plan.ANNOUNCEMENT and n.purpose in TELLS_OF_IT and n.person == person and n.channel is channel
    ]


def latest(told: Sequence[Notification]) -> Notification | None:
    """Return the latest notification to a reader, unless another is under way; `None`: nothing can be cited."""
    if any(n.state not in SETTLED and not is_known(n) for n in told):
        return None
    tried = [n for n in told if n.state is not NotificationState.WITHDRAWN]
    return tried[-1] if any(is_known(n) for n in tried) else None


def is_known(notice: Notification) -> bool:
    """Whether *notice* is known to have arrived, as far as its channel can report.

    A page must have arrived, because the next one cites it. For an SMS or a call, many providers only report the
    submission.
    """
    return notice.has_arrived if notice.channel in ON_PAPER else notice.has_left


def _told_at(notice: Notification) -> datetime:
    """Return when *notice* arrived, was posted, or failed, as far as known."""
    last = notice.last_attempt
    return max(notice.created_at, last.ended_at) if last is not None and last.ended_at else notice.created_at


def _again(hours: OfficeHours, told_at: datetime) -> datetime:
    """Return the earliest time of a follow-up after *told_at*: on another day."""
    day_after = told_at.astimezone(hours.zone).date() + timedelta(days=1)
    midnight = first_showing(datetime.combine(day_after, time()), hours.zone)
    return max(midnight, told_at + NO_SOONER)


def _draft(
    incident: Incident,
    recipient: Recipient,
    address: Address,
    notices: Sequence[Notification],
    now: datetime,
    *,
    once: str,
) -> NotificationDraft:
    """Return the draft for a recipient. *once*: see `_Occasion`."""
    cited = next(n for n in reversed(to_reader(notices, recipient.key, address.channel)) if is_known(n))
    told = facts(incident, Plan.ANNOUNCEMENT, Purpose.UPDATE, now, first_notified_at=cited.created_at)
    return NotificationDraft(
        incident_id=incident.id,
        person=recipient.key,
        language=recipient.language,
        facts=replace(
            told,
            previous_type=cited.facts.type if cited.facts.type is not told.type else None,
            enclosure=next_enclosure(incident, notices, recipient.key),
            cited=cited.facts.enclosure or 1,
        ),
        expires_at=expiry(address, now),
        addresses=(address,),
        addressee=recipient.addressee,
        once=once,
    )


def next_enclosure(
    incident: Incident, notices: Sequence[Notification], person: str, purpose: Purpose | None = None
) -> int:
    """Return the number of the next page to a recipient.

    Withdrawn pages count, because they may have been posted after all. A fax and a letter of the same time have the
    same number, and so does a page of *purpose* after others of its kind.
    """
    return 1 + max((incident.skipped_pages, *_enclosures(notices, person, purpose)))


def _enclosures(notices: Sequence[Notification], person: str, purpose: Purpose | None) -> Iterator[int]:
    for n in notices:
        if n.plan is Plan.ANNOUNCEMENT and n.person == person and n.purpose is not purpose:
            # Before pages were numbered, the first was the outage.
            yield n.facts.enclosure or 1
