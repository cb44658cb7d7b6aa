"""Announcement of outages outside the agency. Pure: the caller passes the time.

The circular (paragraph 4) moves official business to letter, fax and telephone while mail is down; the agency's
correspondents must be informed. A false letter cannot be recalled, so a duty officer releases the announcement, unless
the agency has opted in to automatic release. An unreleased announcement is offered repeatedly: to the assignee, then to
the staff of the next step, and so on. The auditor decides when the operations centre is notified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from alerts.decide.escalation import facts, people_of, staff_know
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact, Recipient
from alerts.model.delivery import AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.incident import OUTAGES, Incident
from alerts.model.notification import Plan, Purpose
from alerts.model.oncall import Override
from alerts.model.policy_snapshot import AnnouncementPlan

#: A fax without success after a working day is left to a person; a letter waits for its clerk.
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

#: Interval of offers in the first hour: enough for three calls, a decision, and finding the PIN.
OFFERED_ANEW_AFTER = timedelta(minutes=15)
#: Interval afterwards. All staff are informed; a deliberate refusal must not cause constant calls.
OFFERED_LATER_AFTER = timedelta(hours=1)
_QUICK_TURNS = 4
#: Turns end at full quarters of an hour, so that the offers of a mass outage coincide.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReleaseNow:
    """The agency has opted in to automatic release, and it is due."""


@dataclass(frozen=True, slots=True)
class NotBefore:
    """Automatic release is due then, if the outage lasts."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AwaitStaffNotified:
    """Automatic release is due, but no notification to staff has been sent, and staff come first."""


@dataclass(frozen=True, slots=True)
class AwaitRelease:
    """A duty officer decides."""

    #: Time of the next offer; `None`: the escalation's calls offer it, because nobody has acknowledged.
    at: datetime | None
    #: Notifications to the people of this turn.
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
    incident: Incident, notices: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> Announcement:
    """Decide about an incident with its notifications. Idempotent: drafts have unique keys.

    *overrides*: those that may apply now, of any rota; they decide to whom a release is offered.
    """
    plan = incident.policy.announcement
    if incident.type not in OUTAGES or not plan.recipients or not incident.is_open:
        return NoRecipients()
    if incident.released_at is not None:
        return Announce(tuple(_draft(incident, r, a, now) for r in plan.recipients for a in r.addresses))
    if incident.current_type not in OUTAGES:
        return NoRecipients()  # Mail is only slow by now.
    if not plan.automatic:
        return _offer(incident, notices, now, overrides)
    lasted = incident.since + plan.release_offered_after
    if now < lasted:
        return NotBefore(lasted)
    return ReleaseNow() if staff_know(incident, notices) else AwaitStaffNotified()


def waits_for_staff(notice: Notification, notices: Sequence[Notification]) -> bool:
    """Return whether a notification outside must wait for one to staff that was due before and not attempted yet.

    An attempt counts once a gateway accepted or refused it. One that may not have arrived, because the process died
    during the call, does not count and is sent again. Every notification to staff is sent, fails or expires, so the
    wait ends.

    *notices*: the notifications of one incident of *notice*.
    """
    if notice.plan is not Plan.ANNOUNCEMENT or notice.attempts:
        return False
    return any(
        n.plan is Plan.ESCALATION
        and n.state is NotificationState.PENDING
        and n.due_at <= notice.due_at
        and all(a.state in _NOT_ATTEMPTED for a in n.attempts)
        for n in notices
    )


def offered_from(incident: Incident) -> datetime:
    """Return when offers of the release begin: the outage has lasted, and a recipient is reachable."""
    plan = incident.policy.announcement
    return _reachable(plan, incident.since + plan.release_offered_after)


def _reachable(plan: AnnouncementPlan, at: datetime) -> datetime:
    """Return when a recipient is reachable, *at* or later. Letters do not count, because they wait for a clerk."""
    lines = [a for recipient in plan.recipients for a in recipient.addresses if a.channel is not Channel.LETTER]
    return min((at if line.hours is None else line.hours.opening(at) for line in lines), default=at)


def _offer(
    incident: Incident, notices: Sequence[Notification], now: datetime, overrides: Sequence[Override]
) -> AwaitRelease:
    """Return the people of the current turn, and when the next begins. Missed turns are skipped."""
    plan, policy = incident.policy.announcement, incident.policy.escalation
    since = incident.acknowledged_at
    if since is None:
        return AwaitRelease(at=None)
    begins = max(offered_from(incident), _reachable(plan, since))
    # Call nobody at night for what could only be sent in the morning.
    at = max(begins, _reachable(plan, now))
    if now < at:
        return AwaitRelease(at=at)
    number, ends = _turn(begins, now)
    people = _people(incident, number, now, overrides)
    if number < _QUICK_TURNS:
        people = [person for person in people if not _has_listened(person, notices)]
    return AwaitRelease(
        at=ends,
        drafts=tuple(_call(incident, person, number, now, ends) for person in people),
        stand_ins=tuple(person for person in people if policy.contact(person.key) is None),
    )


def _turn(begins: datetime, now: datetime) -> tuple[int, datetime]:
    """Return the number of the turn, from 0, and its end. The first lasts a quarter of an hour at least."""
    full = begins + (_EPOCH - begins) % OFFERED_ANEW_AFTER
    number = max(now - full, timedelta(0)) // OFFERED_ANEW_AFTER
    if number < _QUICK_TURNS:
        return number, full + (number + 1) * OFFERED_ANEW_AFTER
    quick = full + _QUICK_TURNS * OFFERED_ANEW_AFTER
    later = (now - quick) // OFFERED_LATER_AFTER
    return _QUICK_TURNS + later, quick + (later + 1) * OFFERED_LATER_AFTER


def _people(incident: Incident, number: int, now: datetime, overrides: Sequence[Override]) -> Sequence[Contact]:
    """Return the people of a turn: first the assignee, then step by step after the last that began, nobody twice a round."""
    policy, following = incident.policy.escalation, incident.position.step + 1
    holder = policy.named(incident.acknowledged_by or "")
    groups = [] if holder is None else [[holder]]
    if incident.flapping:
        # Mail works intermittently. The assignee decides whether to announce that, and is asked once.
        return groups[number] if number < len(groups) else ()
    asked = {person.key for group in groups for person in group}
    for step in (*policy.steps[following:], *policy.steps[:following]):
        group = [person for person in people_of(step, policy, now, overrides)[0] if person.key not in asked]
        asked |= {person.key for person in group}
        groups += [group] if group else []
    return groups[number % len(groups)] if groups else ()


def _has_listened(person: Contact, notices: Sequence[Notification]) -> bool:
    """Whether a person took a call about the release, and so knows of it."""
    return any(
        n.purpose is Purpose.RELEASE
        and n.person == person.key
        and n.channel is Channel.VOICE
        and n.state is NotificationState.DELIVERED
        for n in notices
    )


def _call(incident: Incident, person: Contact, turn: int, now: datetime, ends: datetime) -> NotificationDraft:
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=facts(incident, Plan.ESCALATION, Purpose.RELEASE, now),
        expires_at=ends,
        addresses=person.addresses_on([Channel.VOICE, Channel.SMS]),
        restarts=incident.position.restarts,
        round=turn,
        once=ends.isoformat(timespec="seconds"),  # One per turn.
    )


def expiry(address: Address, now: datetime) -> datetime:
    """Return the expiry of an announcement to *address* that is decided *now*.

    For a closed office the time counts from its opening; otherwise an announcement of the night would expire.
    """
    span = EXPIRY[address.channel]
    if address.hours is None:
        return now + span
    ends = address.hours.opening(now) + span
    return ends if address.hours.is_open(ends) else address.hours.closing(ends)


def _draft(incident: Incident, recipient: Recipient, address: Address, now: datetime) -> NotificationDraft:
    return NotificationDraft(
        incident_id=incident.id,
        person=recipient.key,
        language=recipient.language,
        facts=replace(facts(incident, Plan.ANNOUNCEMENT, Purpose.OUTAGE, now), enclosure=1 + incident.skipped_pages),
        expires_at=expiry(address, now),
        addresses=(address,),
        addressee=recipient.addressee,
    )
