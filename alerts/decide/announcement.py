"""Decide whether and whom to tell outside the agency. Pure: the caller passes the time.

The circular (paragraph 4) moves official business to letter, fax and telephone while mail is down; the agency's
correspondents must know that. But a false letter cannot be called back, so a duty officer releases the announcement,
unless the agency has opted in to automatic release. One that waits is offered again and again, each time to others: to whoever
has the incident, the staff of the next step, and so on. From when on the operations centre hears of it the auditor says.
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

#: A fax that is not through after a working day is laid before a person; a letter waits for its clerk.
EXPIRY: dict[Channel, timedelta] = {
    Channel.SMS: timedelta(hours=2),
    Channel.VOICE: timedelta(hours=2),
    Channel.FAX: timedelta(hours=12),
    Channel.LETTER: timedelta(days=7),
}

#: Whether a gateway has got it is not known, or it has not.
_NOT_ATTEMPTED = frozenset({AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.NO_TRACE, AttemptState.NEVER_SENT})

#: In its first hour an offer goes to others after so long: time to be called three times, think, and find the PIN.
OFFERED_ANEW_AFTER = timedelta(minutes=15)
#: Then after so long. All know by now; who leaves it unreleased on purpose is not rung all the time for it.
OFFERED_LATER_AFTER = timedelta(hours=1)
_QUICK_TURNS = 4
#: Turns end at full quarters of an hour from it, so that the offers of a mass outage go together.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReleaseNow:
    """The agency opted in to automatic release, and its time has come."""


@dataclass(frozen=True, slots=True)
class NotBefore:
    """Automatic release is due then, if the outage lasts."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AwaitStaffNotified:
    """Automatic release is due, and no notice to staff has left: nobody outside hears of it before them."""


@dataclass(frozen=True, slots=True)
class AwaitRelease:
    """A duty officer decides."""

    #: When it is offered, or offered again; `None`: the calls of the escalation offer it, because nobody has it.
    at: datetime | None
    #: Whose turn it is to be called about it.
    drafts: tuple[NotificationDraft, ...] = ()
    #: Those of them who are called because of an override, and whom the brief does not know yet.
    stand_ins: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class Announce:
    """Released: these are to be told."""

    drafts: tuple[NotificationDraft, ...]


@dataclass(frozen=True, slots=True)
class NoRecipients:
    """Nobody outside is to hear of this."""


Announcement = ReleaseNow | NotBefore | AwaitStaffNotified | AwaitRelease | Announce | NoRecipients


def announce(
    incident: Incident, notices: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> Announcement:
    """Decide about an incident, given its notices. Asking again changes nothing: drafts carry unique keys.

    *overrides*: those that may stand now, of any rota; they say whom a release is offered to.
    """
    plan = incident.brief.announcement
    if incident.matter not in OUTAGES or not plan.recipients or not incident.is_open:
        return NoRecipients()
    if incident.released_at is not None:
        return Announce(tuple(_draft(incident, r, a, now) for r in plan.recipients for a in r.addresses))
    if incident.present not in OUTAGES:
        return NoRecipients()  # It is only slow by now.
    if not plan.automatic:
        return _offer(incident, notices, now, overrides)
    lasted = incident.since + plan.offered_after
    if now < lasted:
        return NotBefore(lasted)
    return ReleaseNow() if staff_know(incident, notices) else AwaitStaffNotified()


def waits_for_staff(notice: Notification, notices: Sequence[Notification]) -> bool:
    """Return whether a notice to somebody outside must wait: one to staff that was due no later has not been attempted yet.

    Attempted is what a gateway took or refused. What it may not have got at all (the process died while it called) is not, and is
    sent again. Each notice to staff leaves, fails or expires, and then nothing waits for it.

    *notices*: those of one incident that *notice* tells of.
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
    """Return when people begin to be called about the release: the outage has lasted, and somebody outside could be told."""
    plan = incident.brief.announcement
    return _reachable(plan, incident.since + plan.offered_after)


def _reachable(plan: AnnouncementPlan, at: datetime) -> datetime:
    """Return when somebody outside could be told, *at* or later. A letter says nothing of it: it waits for its clerk."""
    lines = [a for recipient in plan.recipients for a in recipient.addresses if a.channel is not Channel.LETTER]
    return min((at if line.hours is None else line.hours.opening(at) for line in lines), default=at)


def _offer(
    incident: Incident, notices: Sequence[Notification], now: datetime, overrides: Sequence[Override]
) -> AwaitRelease:
    """Return whose turn it is, and when the next is. Turns that were missed are let go."""
    plan, policy = incident.brief.announcement, incident.brief.escalation
    since = incident.acknowledged_at
    if since is None:
        return AwaitRelease(at=None)
    begins = max(offered_from(incident), _reachable(plan, since))
    # Nobody is rung at night for what could only leave in the morning.
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
    """Return the number of the turn, the first being 0, and when it ends. The first lasts a quarter of an hour at least."""
    full = begins + (_EPOCH - begins) % OFFERED_ANEW_AFTER
    number = max(now - full, timedelta(0)) // OFFERED_ANEW_AFTER
    if number < _QUICK_TURNS:
        return number, full + (number + 1) * OFFERED_ANEW_AFTER
    quick = full + _QUICK_TURNS * OFFERED_ANEW_AFTER
    later = (now - quick) // OFFERED_LATER_AFTER
    return _QUICK_TURNS + later, quick + (later + 1) * OFFERED_LATER_AFTER


def _people(incident: Incident, number: int, now: datetime, overrides: Sequence[Override]) -> Sequence[Contact]:
    """Return whose turn it is: first whoever has it, then step by step after the last that began, and nobody twice a round."""
    policy, following = incident.brief.escalation, incident.position.step + 1
    holder = policy.named(incident.acknowledged_by or "")
    groups = [] if holder is None else [[holder]]
    if incident.unsteady:
        # Mail works now and then. Whether to tell of that is for whoever has it to say, and they are asked once.
        return groups[number] if number < len(groups) else ()
    asked = {person.key for group in groups for person in group}
    for step in (*policy.steps[following:], *policy.steps[:following]):
        group = [person for person in people_of(step, policy, now, overrides)[0] if person.key not in asked]
        asked |= {person.key for person in group}
        groups += [group] if group else []
    return groups[number % len(groups)] if groups else ()


def _has_listened(person: Contact, notices: Sequence[Notification]) -> bool:
    """Whether a person took a call about the release: they know, and who leaves it unreleased has a reason."""
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
        wave=incident.position.wave,
        round=turn,
        once=ends.isoformat(timespec="seconds"),  # One a turn.
    )


def expiry(address: Address, now: datetime) -> datetime:
    """Return until when an announcement to *address* that is decided on *now* is tried.

    An office that has closed is told after it has opened; what is due at night would be over before.
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
        facts=replace(facts(incident, Plan.ANNOUNCEMENT, Purpose.OUTAGE, now), enclosure=1 + incident.pages_left_out),
        expires_at=expiry(address, now),
        addresses=(address,),
        addressee=recipient.addressee,
    )
