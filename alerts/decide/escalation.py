"""Escalation: which staff to notify next, when, and whom to call again. Pure: the caller passes the time.

The escalation ends with the incident. An acknowledgement stops it until the acknowledgement expires
(`alerts.decide.ack_timeout`). After a failed delivery `alerts.decide.gateway.next_action` uses the person's next
address. When the notifications to all people of a step have failed, the next step of the round starts at once. A step
with redial (repeated calls) fails only after its last call. A step without people is skipped.

A round goes through all steps of the policy, and the policy has `rounds` rounds. Then repeats follow without end: the
first step with people is repeated every `repeat_interval` (a degradation at most once a day), and everybody in the
policy is notified whenever office hours begin and at each handover (change of shift). A repeat is a round of one step.

The keys of notifications contain restart, round and step, and a notification with a used key is not sent. To notify
people again from an earlier step, the escalation therefore restarts: `Position.restarts` is increased.

The people on call are determined when a step starts, so that a handover during a step affects only the next step. The
announcement to offices outside is a separate plan, which staff must release (approve); calls to staff may ask for the
release.
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
    has_become_outage,
    release_is_offered,
)
from alerts.model.notification import Facts, IncidentType, Plan, Purpose, Successors
from alerts.model.oncall import Override, next_handover, on_call
from alerts.model.policy_snapshot import EscalationPolicy, Step

#: Purposes whose calls can release an announcement.
_RELEASE_CALL_PURPOSES = frozenset({Purpose.OUTAGE, Purpose.RELEASE})

#: Time until a notification to staff expires: an older message would only confuse.
EXPIRY = timedelta(minutes=30)

#: Channels of a repeat, by preference.
_REPEAT_CHANNELS = (Channel.VOICE, Channel.SMS, Channel.FAX, Channel.LETTER)

#: Repeats are due at multiples of `_REPEAT_GRID` since `_EPOCH`, so that those of a mass outage coincide and are
#: bundled.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_REPEAT_GRID = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartStep:
    """The next step starts: create its notifications and store its position."""

    position: Position
    drafts: tuple[NotificationDraft, ...]
    #: Names of rotas without anybody on call.
    empty_rotas: tuple[str, ...] = ()
    #: Substitutes on call by an override, whom the incident's policy does not contain yet.
    stand_ins: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redial:
    """Calls of the current step ended without a key press and are repeated. The position does not change."""

    drafts: tuple[NotificationDraft, ...]
    #: When the next step starts.
    next_at: datetime


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing is due before `at`, the time of the next step or redial."""

    at: datetime


@dataclass(frozen=True, slots=True)
class EscalationStopped:
    """The incident is acknowledged or over, or its policy has nobody to notify."""


Escalation = StartStep | Redial | WaitUntil | EscalationStopped


@dataclass(frozen=True, slots=True, kw_only=True)
class _NextStep:
    """The next step and when it starts."""

    position: Position
    due_at: datetime
    #: Whether it notifies everybody in the policy, not only the people of one step.
    notifies_everybody: bool = False


def escalate(
    incident: Incident, notifications: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> Escalation:
    """Return the next action of an incident's escalation. Idempotent: drafts have unique keys.

    *notifications*: all notifications of the incident. *overrides*: stored replacements of people on call, of any rota,
    that may apply now.
    """
    policy, current = incident.policy.escalation, incident.position
    if incident.state is not IncidentState.TRIGGERED or not policy.steps:
        return EscalationStopped()
    step_notifications = _step_notifications(incident, notifications)
    redials = tuple(_redials_due(incident, notifications))
    next_step = _next_step(incident)
    due_at = next_step.due_at
    # After a failed step the next step of the round starts at once. The next round does not: it would notify the same
    # people again.
    has_failed = (
        bool(step_notifications)
        and not redials
        and all(n.state is NotificationState.FAILED for n in step_notifications)
    )
    if has_failed and next_step.position.round == current.round:
        due_at = now
    if now >= due_at:
        # The step counts from its due time, so that a late cycle does not delay later steps. After a long pause of the
        # engine it counts from now, so that the missed steps do not all start at once.
        since = due_at if now - due_at < timedelta(minutes=1) else now
        position = replace(next_step.position, since=since)
        return _start(incident, notifications, replace(next_step, position=position), now, overrides)
    due_redials = tuple(_redial_draft(incident, n, number, now) for n, number, call_at in redials if call_at <= now)
    if due_redials:
        return Redial(drafts=due_redials, next_at=due_at)
    return WaitUntil(min([due_at, *(call_at for _, _, call_at in redials)]))


def is_staff_notified(incident: Incident, notifications: Sequence[Notification]) -> bool:
    """Whether staff were notified of *incident*, or somebody has acknowledged it.

    If the incident was a degradation first and has become an outage, a notification of the degradation does not count.
    """
    return incident.acknowledged_at is not None or any(
        n.plan is Plan.ESCALATION
        and n.purpose is Purpose.OUTAGE
        and n.is_submitted
        and not has_become_outage(incident, n.facts.type)
        for n in notifications
    )


def rewind_escalation(incident: Incident, silenced: Sequence[Notification], now: datetime) -> Incident:
    """Return *incident* with its escalation set back before the first step of the *silenced* notifications.

    *silenced*: unsent notifications that were withdrawn because of a silence. Without the change their step would count
    as done, although its people were not notified. The step starts again when the silence ends, after a restart of the
    escalation, because the keys of its notifications are used already.
    """
    current, policy = incident.position, incident.policy.escalation
    steps = [(n.round, n.step) for n in silenced if n.restarts == current.restarts and n.step < len(policy.steps)]
    if incident.state is not IncidentState.TRIGGERED or not steps:
        return incident
    round_, step = min(steps)
    return replace(incident, position=_position_before(incident, round_, step, now))


def resume_escalation(incident: Incident, now: datetime, overrides: Sequence[Override] = ()) -> Incident:
    """Return *incident* after its acknowledgement has ended, with a restarted escalation whose next step is due *now*.

    The next step is the one after the last started step; the first step follows the last. The rounds begin again with
    round 0. If a person has escalated, the next step with another person is due instead. If there is no other person,
    only repeats follow.
    """
    current, policy = incident.position, incident.policy.escalation
    if not policy.steps:
        return incident
    step_indexes = [(current.step + 1 + n) % len(policy.steps) for n in range(len(policy.steps))]
    if incident.escalated:
        escalated_by = policy.contact_by_name(incident.previous_assignee or "")
        other_steps = [
            n for n in step_indexes if _step_contacts_except(incident, n, now, overrides, excluded=escalated_by)[0]
        ]
        if not other_steps and escalated_by is not None:
            return replace(incident, position=replace(current, round=max(current.round, policy.rounds), since=now))
        step_indexes = other_steps or step_indexes
    return replace(incident, position=_position_before(incident, 0, step_indexes[0], now))


def has_no_next_person(incident: Incident) -> bool:
    """Whether a person has escalated and the policy has nobody else: nobody is notified until the next repeat."""
    current = incident.position
    return (
        incident.escalated
        # No repeat has started since the person escalated, because a repeat would have moved `since`.
        and incident.last_response_at == current.since
        and current.round >= incident.policy.escalation.rounds
    )


def successors(incident: Incident, at: datetime, overrides: Sequence[Override] = ()) -> Successors:
    """Return who is notified if the acknowledgement of *incident* expires *at* that time.

    OTHERS: other staff at once. SELF: first the assignee again, then other staff. NOBODY: only the assignee again.
    """
    policy = incident.policy.escalation
    assignee = policy.contact_by_name(incident.acknowledged_by or "")
    expired = resume_escalation(apply(incident, Expire(incident_id=incident.id, at=at)), at, overrides)
    decision = escalate(expired, (), at, overrides)
    if isinstance(decision, StartStep) and any(
        draft.person != (assignee and assignee.key) for draft in decision.drafts
    ):
        return Successors.OTHERS
    steps = range(len(policy.steps))
    has_others = any(_step_contacts_except(incident, n, at, overrides, excluded=assignee)[0] for n in steps)
    return Successors.SELF if has_others else Successors.NOBODY


def next_notification_at(incident: Incident) -> datetime:
    """Return when staff are notified next without an acknowledgement."""
    return _next_step(incident).due_at


def repeat_interval(incident: Incident) -> timedelta:
    """Return the interval of repeats after the last round; at least a day for a degradation."""
    interval = incident.policy.escalation.repeat_interval
    return max(interval, timedelta(days=1)) if incident.type is IncidentType.DEGRADED else interval


def _position_before(incident: Incident, round_: int, step: int, now: datetime) -> Position:
    """Return the position from which *step* is due *now*, after a restart, because its present keys may be used."""
    current, policy = incident.position, incident.policy.escalation
    wait = repeat_interval(incident) if round_ >= policy.rounds else policy.steps[step].after
    return replace(current, restarts=current.restarts + 1, round=round_, step=step - 1, since=now - wait)


def _start(
    incident: Incident,
    notifications: Sequence[Notification],
    next_step: _NextStep,
    now: datetime,
    overrides: Sequence[Override],
) -> StartStep:
    """Start *next_step*, or the first step after it in its round that has somebody to notify.

    The person who escalated is left out, unless the remaining steps have nobody else. A repeat leaves out people who
    have come on duty and got a handover notification by the same channel since the repeat was due.
    """
    policy, position = incident.policy.escalation, next_step.position
    escalated_by = (
        policy.contact_by_name(incident.previous_assignee or "")
        if incident.escalated and not next_step.notifies_everybody
        else None
    )
    # First without the person who escalated; if nobody else is found, with that person.
    for excluded in dict.fromkeys((escalated_by, None)):
        step_index, people, empty_rotas = position.step, dict[str, Contact](), list[str]()
        while True:
            contacts, step_empty_rotas = _step_contacts_except(incident, step_index, now, overrides, excluded=excluded)
            empty_rotas += step_empty_rotas
            people |= {person.key: person for person in contacts if person.key not in people}
            if step_index + 1 == len(policy.steps) or (people and not next_step.notifies_everybody):
                break
            step_index += 1
        if people:
            break
    position = position if next_step.notifies_everybody else replace(position, step=step_index)
    drafts = [_draft(incident, position, contact, now) for contact in people.values()]
    handovers = [n for n in notifications if n.facts.is_handover and n.created_at >= position.since]
    notified = {(n.person, n.channel) for n in handovers if position.round >= policy.rounds}
    return StartStep(
        position=position,
        drafts=tuple(d for d in drafts if not d.addresses or (d.person, d.addresses[0].channel) not in notified),
        empty_rotas=tuple(dict.fromkeys(empty_rotas)),
        stand_ins=tuple(person for person in people.values() if policy.contact(person.key) is None),
    )


def _step_contacts_except(
    incident: Incident, step_index: int, now: datetime, overrides: Sequence[Override], *, excluded: Contact | None
) -> tuple[Sequence[Contact], Sequence[str]]:
    """Return the contacts of a step, without *excluded*, and the names of its rotas without anybody on call."""
    policy = incident.policy.escalation
    people, empty_rotas = step_contacts(policy.steps[step_index], policy, now, overrides)
    return [person for person in people if person != excluded], empty_rotas


def step_contacts(
    step: Step, policy: EscalationPolicy, now: datetime, overrides: Sequence[Override]
) -> tuple[Sequence[Contact], Sequence[str]]:
    """Return the contacts of a step, each once, and the names of its rotas without anybody on call.

    If nobody is on call in a rota, the policy's fallback is notified instead.
    """
    people, empty_rotas = {contact.key: contact for contact in step.contacts}, []
    for name in step.rotas:
        rota = policy.rota(name)
        person = None if rota is None else on_call(rota, overrides, now)
        if person is None:
            empty_rotas.append(name)
            person = policy.fallback
        if person is not None:
            people.setdefault(person.key, person)
    return tuple(people.values()), empty_rotas


def _next_step(incident: Incident) -> _NextStep:
    """Return the step after the last started one: of the same round, of the next round, or a repeat."""
    current, policy = incident.position, incident.policy.escalation
    next_position = replace(current, step=current.step + 1)
    if current.step >= 0 and (next_position.step == len(policy.steps) or current.round >= policy.rounds):
        next_position = replace(current, step=0, round=current.round + 1)
    if next_position.round >= policy.rounds:
        return _next_repeat(incident, next_position)
    wait = policy.repeat_after if next_position.round > current.round else policy.steps[next_position.step].after
    return _NextStep(position=next_position, due_at=current.since + wait)


def _next_repeat(incident: Incident, next_position: Position) -> _NextStep:
    """Return the next repeat: at the next start of office hours or handover, at the latest after `repeat_interval`.

    Handovers by overrides do not count.
    """
    current, policy, interval = incident.position, incident.policy.escalation, repeat_interval(incident)
    due_at = current.since + interval
    if current.round >= policy.rounds:
        # Repeats after the first one are due up to a quarter of the interval earlier, on the grid.
        due_at -= (due_at - _EPOCH) % min(interval / 4, _REPEAT_GRID)
    opening_at = policy.office_hours.next_opening(current.since) if policy.office_hours else None
    handovers = (next_handover(rota, (), current.since, within=interval) for rota in policy.rotas)
    event_times = (opening_at, *(each.at for each in handovers if each is not None))
    times = [at for at in event_times if at is not None and at <= due_at]
    return _NextStep(position=next_position, due_at=min(times, default=due_at), notifies_everybody=bool(times))


def _step_notifications(incident: Incident, notifications: Sequence[Notification]) -> Sequence[Notification]:
    """Return the notifications of the last started step, in order."""
    current = incident.position
    return [
        n
        for n in notifications
        if n.plan is Plan.ESCALATION
        and n.purpose is Purpose.OUTAGE
        and (n.restarts, n.round, n.step) == (current.restarts, current.round, current.step)
    ]


def has_redials_left(incident: Incident, notifications: Sequence[Notification]) -> bool:
    """Whether calls of the last started step will be repeated."""
    return any(_redials_due(incident, notifications))


def _redials_due(
    incident: Incident, notifications: Sequence[Notification]
) -> Iterator[tuple[Notification, int, datetime]]:
    """Yield the last call to each person of the current step, and the number (from 2) and time of the next call."""
    current, policy = incident.position, incident.policy.escalation
    if not 0 <= current.step < len(policy.steps) or current.round >= policy.rounds:
        return
    redial_policy = policy.steps[current.step].redial
    if redial_policy is None:
        return
    latest: dict[str, list[Notification]] = {}
    for notification in _step_notifications(incident, notifications):
        latest.setdefault(notification.person, []).append(notification)
    # While a person has an unsent notification, for example because of a rate limit, the call is not repeated.
    pending_people = {
        n.person for n in notifications if n.plan is Plan.ESCALATION and n.state is NotificationState.PENDING
    }
    for person in (person for person in latest if person not in pending_people):
        calls = latest[person]
        last = calls[-1]
        if len(calls) <= redial_policy.times and (ended_at := _unacknowledged_call_end(last)):
            yield last, len(calls) + 1, ended_at + redial_policy.interval


def _unacknowledged_call_end(notification: Notification) -> datetime | None:
    """Return when an unacknowledged call ended; `None` if it has not ended, was no call, or failed permanently."""
    last = notification.last_attempt
    ended_states = {NotificationState.DELIVERED, NotificationState.FAILED}
    if notification.channel is not Channel.VOICE or notification.state not in ended_states or last is None:
        return None
    is_permanent = all(a.error is ErrorClass.PERMANENT for a in notification.attempts)
    return None if is_permanent else last.ended_at


def _redial_draft(incident: Incident, notification: Notification, number: int, now: datetime) -> NotificationDraft:
    """Return the draft of call *number* (from 2) to the person of *notification*, at the voice addresses."""
    return NotificationDraft(
        incident_id=incident.id,
        person=notification.person,
        language=notification.language,
        facts=build_facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
        expires_at=now + EXPIRY,
        addresses=tuple(address for address in notification.addresses if address.channel is Channel.VOICE),
        restarts=notification.restarts,
        round=notification.round,
        step=notification.step,
        key_suffix=str(number),
    )


def _draft(incident: Incident, position: Position, contact: Contact, now: datetime) -> NotificationDraft:
    return NotificationDraft(
        incident_id=incident.id,
        person=contact.key,
        language=contact.language,
        facts=build_facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
        expires_at=now + EXPIRY,
        addresses=_addresses(contact, position, incident.policy.escalation),
        restarts=position.restarts,
        round=position.round,
        step=position.step,
    )


def _addresses(contact: Contact, position: Position, policy: EscalationPolicy) -> tuple[Address, ...]:
    """Return a contact's addresses for a step, in order of preference.

    In a step with redial and in a repeat, a notification calls a telephone only once, without retries. A repeat uses
    all channels of the policy, voice first. A contact without addresses on these channels, such as a substitute, is
    notified at all addresses.
    """
    step = policy.steps[position.step]
    is_repeat = position.round >= policy.rounds
    channels = sorted(policy.channels, key=_REPEAT_CHANNELS.index) if is_repeat else step.channels
    addresses = contact.addresses_on(channels) or contact.addresses
    if step.redial is None and not is_repeat:
        return addresses
    return tuple(replace(a, once=True) if a.channel is Channel.VOICE else a for a in addresses)


def staff_addresses(incident: Incident, notification: Notification) -> tuple[Address, ...]:
    """Return the addresses for a later, less urgent notification to the staff reader of *notification*.

    SMS addresses come first, because an SMS does not wake anybody. The addresses of *notification* follow, for a reader
    who has opted out of SMS.
    """
    contact = incident.policy.escalation.contact(notification.person)
    sms_addresses = contact.addresses_on([Channel.SMS]) if contact else ()
    return (*sms_addresses, *(address for address in notification.addresses if address not in sms_addresses))


def build_facts(
    incident: Incident, plan: Plan, purpose: Purpose, now: datetime, first_notified_at: datetime | None = None
) -> Facts:
    """Return the facts of a notification about *incident* that is decided *now*.

    *first_notified_at*: time of the earlier notification to which this one refers; `None`: to none.
    """
    is_staff_outage = plan is Plan.ESCALATION and purpose is Purpose.OUTAGE
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
        cause=incident.policy.cause if is_staff_outage else None,
        declared_by=incident.declared_by if is_staff_outage else "",
        flapping=incident.flapping and incident.type in OUTAGES,
        by=incident.previous_assignee or "" if is_staff_outage else "",
        escalated=incident.escalated and is_staff_outage,
        last_response_at=incident.last_response_at if is_staff_outage else None,
        may_release=plan is Plan.ESCALATION and purpose in _RELEASE_CALL_PURPOSES and release_is_offered(incident, now),
    )
