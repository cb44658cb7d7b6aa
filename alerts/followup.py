"""Decide what people outside are told again of an outage that lasts. Pure: the caller passes the time.

Whoever was told to write letters instead of mail asks, a day later, whether that still holds. On each working day of the
agency on which they have not been told anything yet they get a follow-up: on paper, where they were told on paper, else by
SMS; never by a call. It goes to nobody of whom it is not known that they got what it cites, and not while an earlier page
to them still waits to be posted: a clerk signs one letter at a time.

The release of the announcement covers its follow-ups: they tell nothing but what an officer has let go out. A silence
stops them, and so does the end of the outage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from alerts.announcement import expiry
from alerts.channel import ON_PAPER, Channel
from alerts.contact import Address, Recipient
from alerts.delivery import SETTLED, Draft, Notice, NoticeState
from alerts.escalation import facts
from alerts.incident import OUTAGES, Incident
from alerts.notice import TELLS_OF_IT, Plan, Purpose
from alerts.office_hours import OfficeHours
from alerts.wallclock import first_showing

#: Nobody is told anew of what they were told less than this ago: an outage of an afternoon needs no second page.
NO_SOONER = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What is due now, and when something is due again by itself; `None`: not before something else has happened."""

    drafts: tuple[Draft, ...] = ()
    then: datetime | None = None
    #: Since when the first of the drafts is due.
    since: datetime | None = None


def follow_up(incident: Incident, notices: Sequence[Notice], now: datetime) -> FollowUp:
    """Decide about an incident, given its notices. Asking again changes nothing: what is written is not due any more."""
    plan = incident.brief.announcement
    if not incident.is_open or incident.released_at is None or incident.matter not in OUTAGES or plan.updates is None:
        return FollowUp()
    drafts, later, since = [], [], []
    for recipient in plan.recipients:
        for address in _addresses(recipient):
            told = latest(to_reader(notices, recipient.key, address.channel))
            if told is None:
                continue
            due = plan.updates.opening(_due(plan.updates, _told_at(told)))
            # Not at night, when a service was down or a silence has ended.
            if (at := plan.updates.opening(max(due, now))) <= now:
                since.append(due)
                drafts.append(_draft(incident, recipient, address, notices, now))
            else:
                later.append(at)
    return FollowUp(tuple(drafts), min(later, default=None), min(since, default=None))


def _addresses(recipient: Recipient) -> Sequence[Address]:
    """Return where somebody outside is told that an outage still lasts."""
    on_paper = [address for address in recipient.addresses if address.channel in ON_PAPER]
    return on_paper or [address for address in recipient.addresses if address.channel is Channel.SMS]


def to_reader(notices: Sequence[Notice], person: str, channel: Channel) -> Sequence[Notice]:
    """Return what somebody outside was told, or was to be told, of the outage on a channel, oldest first."""
    return [
        n
        for n in notices
        if n.plan is Plan.ANNOUNCEMENT and n.purpose in TELLS_OF_IT and n.person == person and n.channel is channel
    ]


def latest(told: Sequence[Notice]) -> Notice | None:
    """Return the latest of what one reader was told, if nothing is on its way to them; `None`: nothing can be cited."""
    if any(n.state not in SETTLED and not is_known(n) for n in told):
        return None
    tried = [n for n in told if n.state is not NoticeState.WITHDRAWN]
    return tried[-1] if any(is_known(n) for n in tried) else None


def is_known(notice: Notice) -> bool:
    """Whether somebody outside is known to have got *notice*, as far as its channel can tell.

    Of a page it must be known that it arrived: the next one cites it. An SMS or a call that left is as much as many
    providers ever say.
    """
    return notice.has_arrived if notice.channel in ON_PAPER else notice.has_left


def _told_at(notice: Notice) -> datetime:
    """Return when *notice* arrived, was posted, or came to nothing, as far as is known."""
    last = notice.last_attempt
    return max(notice.created_at, last.ended_at) if last is not None and last.ended_at else notice.created_at


def _due(hours: OfficeHours, told_at: datetime) -> datetime:
    """Return from when on whoever was told something at *told_at* may be told again that it lasts: on another day."""
    day_after = told_at.astimezone(hours.zone).date() + timedelta(days=1)
    midnight = first_showing(datetime.combine(day_after, time()), hours.zone)
    return max(midnight, told_at + NO_SOONER)


def _draft(
    incident: Incident, recipient: Recipient, address: Address, notices: Sequence[Notice], now: datetime
) -> Draft:
    cited = next(n for n in reversed(to_reader(notices, recipient.key, address.channel)) if is_known(n))
    enclosure = next_enclosure(notices, recipient.key)
    told = facts(incident, Plan.ANNOUNCEMENT, Purpose.UPDATE, now, first_noticed_at=cited.created_at)
    return Draft(
        # One a day.
        key=f"{incident.id}/announcement/0.0.0/update/{recipient.key}/{address.channel}/{_day(incident, now)}",
        plan=Plan.ANNOUNCEMENT,
        purpose=Purpose.UPDATE,
        person=recipient.key,
        language=recipient.language,
        facts=replace(told, enclosure=enclosure, cited=cited.facts.enclosure or 1),
        expires_at=expiry(address, now),
        addresses=(address,),
        addressee=recipient.addressee,
    )


def _day(incident: Incident, now: datetime) -> date:
    hours = incident.brief.announcement.updates
    return (now if hours is None else now.astimezone(hours.zone)).date()


def next_enclosure(notices: Sequence[Notice], person: str, purpose: Purpose | None = None) -> int:
    """Return the number of the next page to somebody outside.

    It counts what was taken back, too: that may have been posted after all. What is told by fax and by letter at the same
    time bears the same number, and so does a page of *purpose* that comes after others of its kind.
    """
    return 1 + max(_enclosures(notices, person, purpose), default=0)


def _enclosures(notices: Sequence[Notice], person: str, purpose: Purpose | None) -> Iterator[int]:
    for n in notices:
        if n.plan is Plan.ANNOUNCEMENT and n.person == person and n.purpose is not purpose:
            # Before pages were counted the first was the outage.
            yield n.facts.enclosure or 1
