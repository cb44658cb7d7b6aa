"""Escalation: which staff to notify next, when, and whom to call again. Pure: the caller passes the time.

Only a recovery ends an escalation; an acknowledgement stops it until it expires (`alerts.decide.ack_timeout`). A failed
delivery is handled elsewhere (`alerts.decide.gateway.next_action` uses the person's next address); but when every
contact of a step has failed, the next step of the round starts at once. The same holds for a step without anybody. A
step with redial has failed after its last call.

Each of `rounds` rounds takes all steps. Then the escalation repeats without end: the staff on duty are called every
`repeat_interval` (once a day unless it is an outage), and everybody in the policy at each start of office hours and
each handover. A repeat is a round of one step.

The people on call are determined when a step starts: a handover during a step affects the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import Notification, NotificationDraft, NotificationState
from alerts.model.event import Expire
from alerts.model.gateway import ErrorClass
from alerts.model.incident import (
    OUTAGES,
    Incident,
    IncidentState,
    Position,
    apply,
    has_got_worse,
    release_is_offered,
)
from alerts.model.notification import Facts, IncidentType, Plan, Purpose, Successors
from alerts.model.oncall import Override, next_handover, on_call
from alerts.model.policy_snapshot import EscalationPolicy, Step

#: Purposes whose calls can release an announcement.
_CALLS_FOR_ACTION = frozenset({Purpose.OUTAGE, Purpose.RELEASE})

#: An older message would only confuse.
EXPIRY = timedelta(minutes=30)

#: Channels of a repeat, by preference.
_LOUDEST = (Channel.VOICE, Channel.SMS, Channel.FAX, Channel.LETTER)

#: Repeats coincide at full quarters of an hour, so that those of a mass outage are bundled.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_GRID = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartStep:
    """Start this step: create its notifications and store the position."""

    position: Position
    drafts: tuple[NotificationDraft, ...]
    #: Names of rotas without anybody on call.
    deserted: tuple[str, ...] = ()
    #: People on an override whom the policy does not contain yet.
    stand_ins: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redial:
    """A call of the current step ended without a key press: call again. The position stays."""

    drafts: tuple[NotificationDraft, ...]
    #: Time of the next action after that.
    then: datetime


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Not acknowledged: the next step, or the next call of this one, is due then."""

    at: datetime


@dataclass(frozen=True, slots=True)
class EscalationStopped:
    """Acknowledged or over, or nobody to notify."""


Escalation = StartStep | Redial | WaitUntil | EscalationStopped


@dataclass(frozen=True, slots=True, kw_only=True)
class _Following:
    """The following step."""

    position: Position
    due: datetime
    #: Whether it notifies everybody in the policy, not only the people of one step.
    everybody: bool = False


def escalate(
    incident: Incident, notices: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> Escalation:
    """Decide about an incident with its notifications. Idempotent: drafts have unique keys.

    *overrides*: those that may apply now, of any rota.
    """
    policy, at = incident.policy.escalation, incident.position
    if incident.state is not IncidentState.TRIGGERED or not policy.steps:
        return EscalationStopped()
    of_step = _of_step(incident, notices)
    calls = tuple(_calls_due(incident, notices))
    following = _following(incident)
    due = following.due
    # Only within a round: the next one would call the same people again.
    is_in_vain = bool(of_step) and not calls and all(n.state is NotificationState.FAILED for n in of_step)
    if is_in_vain and following.position.round == at.round:
        due = now
    if now >= due:
        # Start from the due time, so that a late cycle does not delay later steps. After a long pause, missed steps
        # must not all start at once.
        since = due if now - due < timedelta(minutes=1) else now
        position = replace(following.position, since=since)
        return _start(incident, notices, replace(following, position=position), now, overrides)
    if ripe := tuple(_draft_again(incident, n, number, now) for n, number, call_at in calls if call_at <= now):
        return Redial(drafts=ripe, then=due)
    return WaitUntil(min([due, *(call_at for _, _, call_at in calls)]))


def staff_know(incident: Incident, notices: Sequence[Notification]) -> bool:
    """Whether staff were notified of what *incident* is now, or somebody has acknowledged it."""
    return incident.acknowledged_at is not None or any(
        n.plan is Plan.ESCALATION
        and n.purpose is Purpose.OUTAGE
        and n.has_left
        and not has_got_worse(incident, n.facts.type)
        for n in notices
    )


def put_back(incident: Incident, withheld: Sequence[Notification], now: datetime) -> Incident:
    """Return a silenced *incident* with its escalation set back before the step that was *withheld*.

    Otherwise that step would count as done and its people be skipped. It starts when the silence ends, in a new
    restart, because its notifications have been decided already.
    """
    at, policy = incident.position, incident.policy.escalation
    steps = [(n.round, n.step) for n in withheld if n.restarts == at.restarts and n.step < len(policy.steps)]
    if incident.state is not IncidentState.TRIGGERED or not steps:
        return incident
    round_, step = min(steps)
    return replace(incident, position=_before(incident, round_, step, now))


def go_on(incident: Incident, now: datetime, overrides: Sequence[Override] = ()) -> Incident:
    """Return an *incident* without an assignee, with the step after the one that was reached due *now*.

    All rounds come again: an expired acknowledgement loses no step. The first step follows the last. After an
    escalation by hand the first step with another person follows; without any, only repeats are left.
    """
    at, policy = incident.position, incident.policy.escalation
    if not policy.steps:
        return incident
    numbers = [(at.step + 1 + n) % len(policy.steps) for n in range(len(policy.steps))]
    if incident.escalated:
        left = policy.named(incident.previous_assignee or "")
        others = [n for n in numbers if _people(incident, n, now, overrides, but=left)[0]]
        if not others and left is not None:
            return replace(incident, position=replace(at, round=max(at.round, policy.rounds), since=now))
        numbers = others or numbers
    return replace(incident, position=_before(incident, 0, numbers[0], now))


def is_left_to_nobody(incident: Incident) -> bool:
    """Whether the last person of the policy has escalated: nobody is notified before the next repeat."""
    at = incident.position
    return (
        incident.escalated and incident.last_response_at == at.since and at.round >= incident.policy.escalation.rounds
    )


def successors(incident: Incident, at: datetime, overrides: Sequence[Override] = ()) -> Successors:
    """Return who is notified when the acknowledgement of *incident* expires *at* that time."""
    policy = incident.policy.escalation
    holder = policy.named(incident.acknowledged_by or "")
    expired = go_on(apply(incident, Expire(incident_id=incident.id, at=at)), at, overrides)
    told = escalate(expired, (), at, overrides)
    if isinstance(told, StartStep) and any(draft.person != (holder and holder.key) for draft in told.drafts):
        return Successors.OTHERS
    steps = range(len(policy.steps))
    others = any(_people(incident, n, at, overrides, but=holder)[0] for n in steps)
    return Successors.SELF if others else Successors.NOBODY


def told_again_at(incident: Incident) -> datetime:
    """Return when staff are notified next without an acknowledgement."""
    return _following(incident).due


def repeat_interval(incident: Incident) -> timedelta:
    """Return the interval of repeats after the last round. A degradation wakes nobody every hour."""
    interval = incident.policy.escalation.repeat_interval
    return max(interval, timedelta(days=1)) if incident.type is IncidentType.DEGRADED else interval


def _before(incident: Incident, round_: int, step: int, now: datetime) -> Position:
    """Return the position before a step that is due *now*, in a new restart: the step's notifications may exist."""
    at, policy = incident.position, incident.policy.escalation
    wait = repeat_interval(incident) if round_ >= policy.rounds else policy.steps[step].after
    return replace(at, restarts=at.restarts + 1, round=round_, step=step - 1, since=now - wait)


def _start(
    incident: Incident,
    notices: Sequence[Notification],
    following: _Following,
    now: datetime,
    overrides: Sequence[Override],
) -> StartStep:
    """Start the next step, or the first after it in its round that has somebody to notify.

    The person who escalated is left out unless nobody else is left. A repeat skips people whom a handover notifies at
    the same moment by the same channel.
    """
    policy, position = incident.policy.escalation, following.position
    left = policy.named(incident.previous_assignee or "") if incident.escalated and not following.everybody else None
    for but in dict.fromkeys((left, None)):
        number, people, deserted = position.step, dict[str, Contact](), list[str]()
        while True:
            found, without = _people(incident, number, now, overrides, but=but)
            deserted += without
            people |= {person.key: person for person in found if person.key not in people}
            if number + 1 == len(policy.steps) or (people and not following.everybody):
                break
            number += 1
        if people:
            break
    position = position if following.everybody else replace(position, step=number)
    drafts = [_draft(incident, position, contact, now) for contact in people.values()]
    relieving = [n for n in notices if n.facts.is_handover and n.created_at >= position.since]
    told = {(n.person, n.channel) for n in relieving if position.round >= policy.rounds}
    return StartStep(
        position=position,
        drafts=tuple(d for d in drafts if not d.addresses or (d.person, d.addresses[0].channel) not in told),
        deserted=tuple(dict.fromkeys(deserted)),
        stand_ins=tuple(person for person in people.values() if policy.contact(person.key) is None),
    )


def _people(
    incident: Incident, number: int, now: datetime, overrides: Sequence[Override], *, but: Contact | None
) -> tuple[Sequence[Contact], Sequence[str]]:
    """Return the people of a step as `people_of`, leaving one out."""
    policy = incident.policy.escalation
    people, deserted = people_of(policy.steps[number], policy, now, overrides)
    return [person for person in people if person != but], deserted


def people_of(
    step: Step, policy: EscalationPolicy, now: datetime, overrides: Sequence[Override]
) -> tuple[Sequence[Contact], Sequence[str]]:
    """Return the people of a step, each once, and its rotas without anybody on call, for whom the fallback is used."""
    people, deserted = {contact.key: contact for contact in step.contacts}, []
    for name in step.rotas:
        rota = policy.rota(name)
        person = None if rota is None else on_call(rota, overrides, now)
        if person is None:
            deserted.append(name)
            person = policy.fallback
        if person is not None:
            people.setdefault(person.key, person)
    return tuple(people.values()), deserted


def _following(incident: Incident) -> _Following:
    at, policy = incident.position, incident.policy.escalation
    following = replace(at, step=at.step + 1)
    if at.step >= 0 and (following.step == len(policy.steps) or at.round >= policy.rounds):
        following = replace(at, step=0, round=at.round + 1)
    if following.round >= policy.rounds:
        return _repeat(incident, following)
    wait = policy.repeat_after if following.round > at.round else policy.steps[following.step].after
    return _Following(position=following, due=at.since + wait)


def _repeat(incident: Incident, following: Position) -> _Following:
    """Return the next repeat: a start of office hours, a handover, or an interval after the last one."""
    at, policy, interval = incident.position, incident.policy.escalation, repeat_interval(incident)
    due = at.since + interval
    if at.round >= policy.rounds:  # The first one comes a whole interval after the last round.
        due -= (due - _EPOCH) % min(interval / 4, _GRID)
    opening = policy.office_hours.next_opening(at.since) if policy.office_hours else None
    handovers = (next_handover(rota, (), at.since, within=interval) for rota in policy.rotas)
    events = [
        event for event in (opening, *(each.at for each in handovers if each)) if event is not None and event <= due
    ]
    return _Following(position=following, due=min(events, default=due), everybody=bool(events))


def _of_step(incident: Incident, notices: Sequence[Notification]) -> Sequence[Notification]:
    """Return the notifications of the last started step, in order."""
    at = incident.position
    return [
        n
        for n in notices
        if n.plan is Plan.ESCALATION
        and n.purpose is Purpose.OUTAGE
        and (n.restarts, n.round, n.step) == (at.restarts, at.round, at.step)
    ]


def calls_again(incident: Incident, notices: Sequence[Notification]) -> bool:
    """Return whether the last started step has further calls."""
    return any(_calls_due(incident, notices))


def _calls_due(incident: Incident, notices: Sequence[Notification]) -> Iterator[tuple[Notification, int, datetime]]:
    """Yield the last call to each person, the number of the next one, and its time."""
    at, policy = incident.position, incident.policy.escalation
    if not 0 <= at.step < len(policy.steps) or at.round >= policy.rounds:
        return
    again = policy.steps[at.step].redial
    if again is None:
        return
    latest: dict[str, list[Notification]] = {}
    for notice in _of_step(incident, notices):
        latest.setdefault(notice.person, []).append(notice)
    # A throttled call of an earlier step is enough.
    held = {n.person for n in notices if n.plan is Plan.ESCALATION and n.state is NotificationState.PENDING}
    for person in (person for person in latest if person not in held):
        calls = latest[person]
        last = calls[-1]
        if len(calls) <= again.times and (ended_at := _ended_in_vain(last)):
            yield last, len(calls) + 1, ended_at + again.interval


def _ended_in_vain(notice: Notification) -> datetime | None:
    """Return when an unacknowledged call ended; `None` if it lasts, was no call, or cannot be repeated."""
    last = notice.last_attempt
    over = {NotificationState.DELIVERED, NotificationState.FAILED}
    if notice.channel is not Channel.VOICE or notice.state not in over or last is None:
        return None
    hopeless = all(a.error is ErrorClass.PERMANENT for a in notice.attempts)
    return None if hopeless else last.ended_at


def _draft_again(incident: Incident, notice: Notification, number: int, now: datetime) -> NotificationDraft:
    """Return the draft of call *number* (from 1) to the person of *notice*, at the numbers that ring."""
    return NotificationDraft(
        incident_id=incident.id,
        person=notice.person,
        language=notice.language,
        facts=facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
        expires_at=now + EXPIRY,
        addresses=tuple(address for address in notice.addresses if address.channel is Channel.VOICE),
        restarts=notice.restarts,
        round=notice.round,
        step=notice.step,
        once=str(number),
    )


def _draft(incident: Incident, position: Position, contact: Contact, now: datetime) -> NotificationDraft:
    return NotificationDraft(
        incident_id=incident.id,
        person=contact.key,
        language=contact.language,
        facts=facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
        expires_at=now + EXPIRY,
        addresses=_addresses(contact, position, incident.policy.escalation),
        restarts=position.restarts,
        round=position.round,
        step=position.step,
    )


def _addresses(contact: Contact, position: Position, policy: EscalationPolicy) -> tuple[Address, ...]:
    """Return a contact's addresses. Each redial is one call per notification, without the gateways' retries.

    A repeat is a call if the policy calls at all. A substitute without addresses on the step's channels is notified at
    all addresses, because silence is worse.
    """
    step = policy.steps[position.step]
    is_repeat = position.round >= policy.rounds
    channels = sorted(policy.channels, key=_LOUDEST.index) if is_repeat else step.channels
    addresses = contact.addresses_on(channels) or contact.addresses
    if step.redial is None and not is_repeat:
        return addresses
    return tuple(replace(a, once=True) if a.channel is Channel.VOICE else a for a in addresses)


def staff_addresses(incident: Incident, notice: Notification) -> tuple[Address, ...]:
    """Return where to inform a staff member about the result of *notice*: by SMS if possible.

    An SMS wakes nobody. Without one (STOP, no gateway) the notification's own addresses are used.
    """
    contact = incident.policy.escalation.contact(notice.person)
    by_sms = contact.addresses_on([Channel.SMS]) if contact else ()
    return (*by_sms, *(address for address in notice.addresses if address not in by_sms))


def facts(
    incident: Incident, plan: Plan, purpose: Purpose, now: datetime, first_notified_at: datetime | None = None
) -> Facts:
    """Return the facts of a notification about *incident* that is decided *now*."""
    tells_staff = plan is Plan.ESCALATION and purpose is Purpose.OUTAGE
    return Facts(
        purpose=purpose,
        plan=plan,
        type=incident.reported_type,
        office=incident.policy.office,
        number=incident.number,
        began_at=incident.reported_type_began_at,
        notified_at=now,
        first_notified_at=first_notified_at,
        ended_at=incident.ended_at,
        followed_up=plan is Plan.ANNOUNCEMENT and incident.policy.announcement.is_followed_up,
        subject=incident.policy.subject,
        subject_en=incident.policy.subject_en,
        cause=incident.policy.cause if tells_staff else None,
        declared_by=incident.declared_by if tells_staff else "",
        flapping=incident.flapping and incident.type in OUTAGES,
        by=incident.previous_assignee or "" if tells_staff else "",
        escalated=incident.escalated and tells_staff,
        last_response_at=incident.last_response_at if tells_staff else None,
        may_release=plan is Plan.ESCALATION and purpose in _CALLS_FOR_ACTION and release_is_offered(incident, now),
    )
