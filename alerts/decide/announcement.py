"""Announcement of an outage to the agency's recipients: offices outside. Pure: the caller passes the time.

While mail is down, MAMPU's circular of 1 June 2007 (paragraph 4) requires letter, fax or telephone for official
business, so that the agency's correspondents must be informed. Because a false letter cannot be recalled, a duty
officer must first release (approve) the announcement, unless the agency has opted in to automatic release.

Calls and SMS ask staff for the release until it is given. Each such offer goes to other people: offer 0 to the
assignee, the following ones to the people of one escalation step each. `alerts.decide.auditor` decides when the NOC is
notified of an unreleased announcement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from alerts.decide.escalation import build_facts, is_staff_notified, step_contacts
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact, Recipient
from alerts.model.delivery import AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.incident import OUTAGES, Incident
from alerts.model.notification import Plan, Purpose
from alerts.model.oncall import Override
from alerts.model.policy_snapshot import AnnouncementPlan

#: Time until an announcement expires. A fax is tried for a working day; a letter waits for a clerk, who posts it.
EXPIRY: dict[Channel, timedelta] = {
    Channel.SMS: timedelta(hours=2),
    Channel.VOICE: timedelta(hours=2),
    Channel.FAX: timedelta(hours=12),
    Channel.LETTER: timedelta(days=7),
}

#: States of an attempt in which the gateway is not known to have accepted or refused the notification. CALLING: the
#: request to the gateway runs, or the process died during it. NOT_FOUND: a query did not find the notification, but the
#: search is not reliable. NEVER_SENT: a query proved that the gateway did not receive it.
_INCOMPLETE_STATES = frozenset(
    {AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.NOT_FOUND, AttemptState.NEVER_SENT}
)

#: Interval of the first offers: enough for three calls, a decision, and finding the PIN.
REOFFER_INTERVAL = timedelta(minutes=15)
#: Interval of later offers. By then all staff are informed, and perhaps refuse deliberately.
LATE_REOFFER_INTERVAL = timedelta(hours=1)
#: Number of offers at `REOFFER_INTERVAL`; later ones follow at `LATE_REOFFER_INTERVAL`.
_FREQUENT_OFFERS = 4
#: Offers end at full quarters of an hour since this time, so that in a mass outage the offers of all agencies coincide.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReleaseNow:
    """The agency has opted in to automatic release, and the release is due."""


@dataclass(frozen=True, slots=True)
class NotBefore:
    """Automatic release is due at `at`, if the outage lasts until then."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AwaitStaffNotified:
    """Automatic release is due, but waits until staff are notified."""


@dataclass(frozen=True, slots=True)
class AwaitRelease:
    """A duty officer has to release the announcement."""

    #: When the next offer begins; `None`: nobody has acknowledged, and the escalation's calls ask for the release.
    at: datetime | None
    #: Notifications of the current offer.
    drafts: tuple[NotificationDraft, ...] = ()
    #: Substitutes on call by an override, whom the incident's policy does not contain yet.
    stand_ins: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class Announce:
    """The announcement is released: send these notifications."""

    drafts: tuple[NotificationDraft, ...]


@dataclass(frozen=True, slots=True)
class NoRecipients:
    """Nobody outside is to be notified."""


Announcement = ReleaseNow | NotBefore | AwaitStaffNotified | AwaitRelease | Announce | NoRecipients


def announce(
    incident: Incident, notifications: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> Announcement:
    """Return the next action for an incident's announcement. Idempotent: drafts have unique keys.

    *overrides*: stored replacements of people on call, of any rota, that may apply now. Offers go to the people on
    call.
    """
    plan = incident.policy.announcement
    if incident.type not in OUTAGES or not plan.recipients or not incident.is_open:
        return NoRecipients()
    if incident.released_at is not None:
        return Announce(
            tuple(
                _draft(incident, recipient, address, now)
                for recipient in plan.recipients
                for address in recipient.addresses
            )
        )
    if incident.current_type not in OUTAGES:
        return NoRecipients()  # The outage is now only a degradation.
    if not plan.automatic:
        return _offer(incident, notifications, now, overrides)
    # The release by a person is offered, and the automatic release takes place, after the same time.
    release_at = incident.since + plan.release_offered_after
    if now < release_at:
        return NotBefore(release_at)
    return ReleaseNow() if is_staff_notified(incident, notifications) else AwaitStaffNotified()


def must_wait_for_staff(notification: Notification, notifications: Sequence[Notification]) -> bool:
    """Whether an announcement must wait for a notification to staff that was due before and has no completed attempt.

    An attempt is complete once a gateway has accepted or refused the notification. It is incomplete if the process died
    during the request to the gateway, which may not have received the request. The wait ends in any case: each
    notification to staff is sent, fails or expires.

    *notifications*: all notifications of one incident. If *notification* reports several incidents, the caller checks
    each of them.
    """
    if notification.plan is not Plan.ANNOUNCEMENT or notification.attempts:
        return False
    return any(
        n.plan is Plan.ESCALATION
        and n.state is NotificationState.PENDING
        and n.due_at <= notification.due_at
        and all(a.state in _INCOMPLETE_STATES for a in n.attempts)
        for n in notifications
    )


def offers_start_at(incident: Incident) -> datetime:
    """Return when staff are first asked for the release: `release_offered_after` is over, a recipient is reachable."""
    plan = incident.policy.announcement
    return _reachable_at(plan, incident.since + plan.release_offered_after)


def _reachable_at(plan: AnnouncementPlan, at: datetime) -> datetime:
    """Return the first time from *at* on at which a recipient is reachable by fax, SMS or call.

    *at* itself if all recipients get letters only.
    """
    numbers = [a for recipient in plan.recipients for a in recipient.addresses if a.channel is not Channel.LETTER]
    return min((at if address.hours is None else address.hours.first_open_time(at) for address in numbers), default=at)


def _offer(
    incident: Incident, notifications: Sequence[Notification], now: datetime, overrides: Sequence[Override]
) -> AwaitRelease:
    """Return the notifications of the current offer, and when the next offer begins. Missed offers are skipped."""
    plan, policy = incident.policy.announcement, incident.policy.escalation
    acknowledged_at = incident.acknowledged_at
    if acknowledged_at is None:
        return AwaitRelease(at=None)
    first_at = max(offers_start_at(incident), _reachable_at(plan, acknowledged_at))
    # Nobody is called at night about an announcement that can only be sent in the morning.
    starts_at = max(first_at, _reachable_at(plan, now))
    if now < starts_at:
        return AwaitRelease(at=starts_at)
    number, offer_ends_at = _current_offer(first_at, now)
    contacts = _offer_contacts(incident, number, now, overrides)
    if number < _FREQUENT_OFFERS:  # Later offers go to people who have answered one, too.
        contacts = [person for person in contacts if not _has_answered_offer(person, notifications)]
    return AwaitRelease(
        at=offer_ends_at,
        drafts=tuple(_offer_draft(incident, person, number, now, offer_ends_at) for person in contacts),
        stand_ins=tuple(person for person in contacts if policy.contact(person.key) is None),
    )


def _current_offer(first_at: datetime, now: datetime) -> tuple[int, datetime]:
    """Return the number of the offer at *now*, from 0, and its end.

    *first_at*: start of offer 0. Offer 0 lasts from there to the end of the first full quarter of an hour.
    """
    first_end = first_at + (_EPOCH - first_at) % REOFFER_INTERVAL
    number = max(now - first_end, timedelta(0)) // REOFFER_INTERVAL
    if number < _FREQUENT_OFFERS:
        return number, first_end + (number + 1) * REOFFER_INTERVAL
    frequent_end = first_end + _FREQUENT_OFFERS * REOFFER_INTERVAL
    late_offers = (now - frequent_end) // LATE_REOFFER_INTERVAL
    return _FREQUENT_OFFERS + late_offers, frequent_end + (late_offers + 1) * LATE_REOFFER_INTERVAL


def _offer_contacts(incident: Incident, number: int, now: datetime, overrides: Sequence[Override]) -> Sequence[Contact]:
    """Return the people of offer *number*: of offer 0 the assignee, of each later one the next step's people.

    The first of these steps is the one after the step that the escalation started last; the policy's first step follows
    its last. People who got an earlier offer are left out; when everybody has got one, the offers begin again with the
    assignee.
    """
    policy, next_step = incident.policy.escalation, incident.position.step + 1
    assignee = policy.contact_by_name(incident.acknowledged_by or "")
    groups = [] if assignee is None else [[assignee]]
    if incident.flapping:
        # While mail works intermittently, the release is offered to the assignee only, and once.
        return groups[number] if number < len(groups) else ()
    offered = {person.key for group in groups for person in group}
    for step in (*policy.steps[next_step:], *policy.steps[:next_step]):
        group = [person for person in step_contacts(step, policy, now, overrides)[0] if person.key not in offered]
        offered |= {person.key for person in group}
        groups += [group] if group else []
    return groups[number % len(groups)] if groups else ()


def _has_answered_offer(person: Contact, notifications: Sequence[Notification]) -> bool:
    """Whether a person has answered a call that asked for the release."""
    return any(
        n.purpose is Purpose.RELEASE
        and n.person == person.key
        and n.channel is Channel.VOICE
        and n.state is NotificationState.DELIVERED
        for n in notifications
    )


def _offer_draft(
    incident: Incident, person: Contact, number: int, now: datetime, offer_ends_at: datetime
) -> NotificationDraft:
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=build_facts(incident, Plan.ESCALATION, Purpose.RELEASE, now),
        expires_at=offer_ends_at,
        addresses=person.addresses_on([Channel.VOICE, Channel.SMS]),
        restarts=incident.position.restarts,
        round=number,  # From 1 on, the offer waits a moment, so that it is bundled with those of other incidents.
        key_suffix=offer_ends_at.isoformat(timespec="seconds"),  # One notification per offer and person.
    )


def expiry(address: Address, now: datetime) -> datetime:
    """Return the expiry of an announcement to *address* that is decided *now*.

    For a closed office the time counts from its next opening, so that an announcement decided at night does not expire
    unsent. If the office is closed at the expiry, the announcement expires at the end of the next office hours.
    """
    span = EXPIRY[address.channel]
    if address.hours is None:
        return now + span
    ends_at = address.hours.first_open_time(now) + span
    return ends_at if address.hours.is_open(ends_at) else address.hours.next_closing_time(ends_at)


def _draft(incident: Incident, recipient: Recipient, address: Address, now: datetime) -> NotificationDraft:
    return NotificationDraft(
        incident_id=incident.id,
        person=recipient.key,
        language=recipient.language,
        # The enclosure number counts the pages (faxes and letters) to a recipient. Numbers that may have been used
        # before the database was restored from an older copy are skipped.
        facts=replace(
            build_facts(incident, Plan.ANNOUNCEMENT, Purpose.OUTAGE, now), enclosure=1 + incident.skipped_pages
        ),
        expires_at=expiry(address, now),
        addresses=(address,),
        addressee=recipient.addressee,
    )
