"""Announcement of outages to the agency's recipients outside. Pure: the caller passes the time.

While mail is down, the circular (paragraph 4) requires letter, fax or telephone for official business, so the agency's
correspondents must be informed. A false letter cannot be recalled: a duty officer releases the announcement, unless the
agency has opted in to automatic release. Calls and SMS offer the release to staff repeatedly, in turns: first to the
assignee, then to the staff of the next step, and so on. `alerts.decide.auditor` decides when the NOC is notified of an
unreleased announcement.
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

#: Expiry by channel. A fax is tried for a working day; a letter waits for a clerk, who posts it.
EXPIRY: dict[Channel, timedelta] = {
    Channel.SMS: timedelta(hours=2),
    Channel.VOICE: timedelta(hours=2),
    Channel.FAX: timedelta(hours=12),
    Channel.LETTER: timedelta(days=7),
}

#: States in which a gateway may not have received the notification.
_NOT_ATTEMPTED = frozenset(
    {AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.NOT_FOUND, AttemptState.NEVER_SENT}
)

#: Interval of the first offers: enough for three calls, a decision, and finding the PIN.
REOFFER_INTERVAL = timedelta(minutes=15)
#: Interval of later offers. By then all staff are informed, and perhaps refuse deliberately.
LATE_REOFFER_INTERVAL = timedelta(hours=1)
_FREQUENT_TURNS = 4
#: Turns end at full quarters of an hour, so that the offers of a mass outage coincide.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReleaseNow:
    """The agency has opted in to automatic release, and it is due."""


@dataclass(frozen=True, slots=True)
class NotBefore:
    """Automatic release is due at `at`, if the outage lasts until then."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AwaitStaffNotified:
    """Automatic release is due, but staff must be notified first, and are not yet."""


@dataclass(frozen=True, slots=True)
class AwaitRelease:
    """A duty officer has to release the announcement."""

    #: Time of the next offer; `None`: the escalation's calls offer it, because nobody has acknowledged.
    at: datetime | None
    #: Offers to the people of the current turn.
    drafts: tuple[NotificationDraft, ...] = ()
    #: People on an override whom the policy does not contain yet.
    stand_ins: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class Announce:
    """Released: send these notifications."""

    drafts: tuple[NotificationDraft, ...]


@dataclass(frozen=True, slots=True)
class NoRecipients:
    """Nobody outside is notified."""


Announcement = ReleaseNow | NotBefore | AwaitStaffNotified | AwaitRelease | Announce | NoRecipients


def announce(
    incident: Incident, notifications: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> Announcement:
    """Return the next action for an incident's announcement. Idempotent: drafts have unique keys.

    *overrides*: those that may apply now, of any rota. They decide to whom a release is offered.
    """
    plan = incident.policy.announcement
    if incident.type not in OUTAGES or not plan.recipients or not incident.is_open:
        return NoRecipients()
    if incident.released_at is not None:
        return Announce(tuple(_draft(incident, r, a, now) for r in plan.recipients for a in r.addresses))
    if incident.current_type not in OUTAGES:
        return NoRecipients()  # Mail is only slow by now.
    if not plan.automatic:
        return _offer(incident, notifications, now, overrides)
    release_at = incident.since + plan.release_offered_after
    if now < release_at:
        return NotBefore(release_at)
    return ReleaseNow() if is_staff_notified(incident, notifications) else AwaitStaffNotified()


def must_wait_for_staff(notification: Notification, notifications: Sequence[Notification]) -> bool:
    """Return whether a notification outside must wait for an unattempted notification to staff that was due before.

    An attempt counts once a gateway has accepted or refused it. It does not count if the process died during the call,
    because the gateway may not have received it. The wait ends, because every notification to staff is sent, fails or
    expires.

    *notifications*: the notifications of one incident of *notification*.
    """
    if notification.plan is not Plan.ANNOUNCEMENT or notification.attempts:
        return False
    return any(
        n.plan is Plan.ESCALATION
        and n.state is NotificationState.PENDING
        and n.due_at <= notification.due_at
        and all(a.state in _NOT_ATTEMPTED for a in n.attempts)
        for n in notifications
    )


def offers_start_at(incident: Incident) -> datetime:
    """Return when offers of the release begin: the outage has lasted, and a recipient is reachable."""
    plan = incident.policy.announcement
    return _reachable_at(plan, incident.since + plan.release_offered_after)


def _reachable_at(plan: AnnouncementPlan, at: datetime) -> datetime:
    """Return when the first recipient is reachable by another channel than letter, *at* or later."""
    numbers = [a for recipient in plan.recipients for a in recipient.addresses if a.channel is not Channel.LETTER]
    return min((at if address.hours is None else address.hours.opening(at) for address in numbers), default=at)


def _offer(
    incident: Incident, notifications: Sequence[Notification], now: datetime, overrides: Sequence[Override]
) -> AwaitRelease:
    """Return the offers of the current turn, and when the next turn begins. Missed turns are skipped."""
    plan, policy = incident.policy.announcement, incident.policy.escalation
    since = incident.acknowledged_at
    if since is None:
        return AwaitRelease(at=None)
    first_at = max(offers_start_at(incident), _reachable_at(plan, since))
    # Nobody is called at night about an announcement that can only be sent in the morning.
    starts_at = max(first_at, _reachable_at(plan, now))
    if now < starts_at:
        return AwaitRelease(at=starts_at)
    number, turn_ends_at = _current_turn(first_at, now)
    contacts = _turn_contacts(incident, number, now, overrides)
    if number < _FREQUENT_TURNS:
        contacts = [person for person in contacts if not _has_answered_offer(person, notifications)]
    return AwaitRelease(
        at=turn_ends_at,
        drafts=tuple(_offer_draft(incident, person, number, now, turn_ends_at) for person in contacts),
        stand_ins=tuple(person for person in contacts if policy.contact(person.key) is None),
    )


def _current_turn(first_at: datetime, now: datetime) -> tuple[int, datetime]:
    """Return the number of the turn at *now*, from 0, and its end. Turn 0 lasts a quarter of an hour at least."""
    first_end = first_at + (_EPOCH - first_at) % REOFFER_INTERVAL
    number = max(now - first_end, timedelta(0)) // REOFFER_INTERVAL
    if number < _FREQUENT_TURNS:
        return number, first_end + (number + 1) * REOFFER_INTERVAL
    frequent_end = first_end + _FREQUENT_TURNS * REOFFER_INTERVAL
    late_turns = (now - frequent_end) // LATE_REOFFER_INTERVAL
    return _FREQUENT_TURNS + late_turns, frequent_end + (late_turns + 1) * LATE_REOFFER_INTERVAL


def _turn_contacts(incident: Incident, number: int, now: datetime, overrides: Sequence[Override]) -> Sequence[Contact]:
    """Return the people of a turn: first the assignee, then those of each step after the last that began.

    Nobody is repeated before everybody has had a turn.
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
    """Whether a person has answered a call about the release."""
    return any(
        n.purpose is Purpose.RELEASE
        and n.person == person.key
        and n.channel is Channel.VOICE
        and n.state is NotificationState.DELIVERED
        for n in notifications
    )


def _offer_draft(
    incident: Incident, person: Contact, turn: int, now: datetime, turn_ends_at: datetime
) -> NotificationDraft:
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=build_facts(incident, Plan.ESCALATION, Purpose.RELEASE, now),
        expires_at=turn_ends_at,
        addresses=person.addresses_on([Channel.VOICE, Channel.SMS]),
        restarts=incident.position.restarts,
        round=turn,
        once=turn_ends_at.isoformat(timespec="seconds"),  # One per turn.
    )


def expiry(address: Address, now: datetime) -> datetime:
    """Return the expiry of an announcement to *address* that is decided *now*.

    For a closed office the time counts from its opening, so that an announcement of the night does not expire unsent.
    """
    span = EXPIRY[address.channel]
    if address.hours is None:
        return now + span
    ends_at = address.hours.opening(now) + span
    return ends_at if address.hours.is_open(ends_at) else address.hours.closing(ends_at)


def _draft(incident: Incident, recipient: Recipient, address: Address, now: datetime) -> NotificationDraft:
    return NotificationDraft(
        incident_id=incident.id,
        person=recipient.key,
        language=recipient.language,
        facts=replace(
            build_facts(incident, Plan.ANNOUNCEMENT, Purpose.OUTAGE, now), enclosure=1 + incident.skipped_pages
        ),
        expires_at=expiry(address, now),
        addresses=(address,),
        addressee=recipient.addressee,
    )
