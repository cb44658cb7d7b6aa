"""Decide whom of the staff to tell next, and when, and whom to call again. Pure: the caller passes the time.

Only recovery ends an escalation; an acknowledgement stops it for as long as that stands (`alerts.decide.promise`). That
a delivery failed is another matter (`alerts.decide.gateway.move` falls back to the person's next address); but when every
contact of a step has failed for good, waiting helps nobody and the next step starts at once. So it does when a step has
nobody to tell. A step that calls again has failed when it has called as often as it may.

Who is on call is decided when a step starts, and stays decided: a handover in the middle of a step changes the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.model.brief import EscalationPolicy, Step
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import Draft, Notice, NoticeState
from alerts.model.gateway import ErrorClass
from alerts.model.incident import OUTAGES, Incident, IncidentState, Position, has_got_worse, release_is_offered
from alerts.model.notice import Facts, Plan, Purpose
from alerts.model.oncall import Override, on_call

#: In a call about one of these an announcement can be released.
_CALLS_FOR_ACTION = frozenset({Purpose.OUTAGE, Purpose.RELEASE})

#: Staff are told for as long as an incident runs; a message older than this would only confuse.
EXPIRY = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartStep:
    """Begin this step: write its notices and remember the position."""

    position: Position
    drafts: tuple[Draft, ...]
    #: Rotas, by name, that have nobody on call; each once.
    deserted: tuple[str, ...] = ()
    #: Who is told because of an override, and whom the brief does not know yet.
    stand_ins: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TellAgain:
    """A call of the present step ended without a keypress: call again. The position stays."""

    drafts: tuple[Draft, ...]
    #: When something is due after that.
    then: datetime


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nobody has acknowledged; the next step, or the next call of this one, is due then."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Exhausted:
    """All rounds are done and nobody acknowledged."""


@dataclass(frozen=True, slots=True)
class AtRest:
    """Acknowledged or over: nothing to escalate."""


Escalation = StartStep | TellAgain | WaitUntil | Exhausted | AtRest


def escalate(
    incident: Incident, notices: Sequence[Notice], now: datetime, overrides: Sequence[Override] = ()
) -> Escalation:
    """Decide about an incident, given its notices. Asking again changes nothing: drafts carry unique keys.

    *overrides*: those that may stand now, of any rota.
    """
    if incident.state is not IncidentState.TRIGGERED:
        return AtRest()
    policy, at = incident.brief.escalation, incident.position
    of_step = _of_step(incident, notices)
    calls = tuple(_calls_due(incident, notices))
    following = _following(at, policy)
    due = None if following is None else at.since + _wait_before(following, policy)
    if due is not None and of_step and not calls and all(n.state is NoticeState.FAILED for n in of_step):
        due = now
    if following is not None and due is not None and now >= due:
        # `since` is the due time, not now: a late cycle does not push the later steps back. But after a long pause
        # the steps missed meanwhile must not all fire at once.
        since = due if now - due < timedelta(minutes=1) else now
        return _start(incident, replace(following, since=since), now, overrides)
    if ripe := tuple(_draft_again(incident, n, number, now) for n, number, call_at in calls if call_at <= now):
        return TellAgain(drafts=ripe, then=due if due is not None else now + EXPIRY)
    coming = [call_at for _, _, call_at in calls] + ([due] if due is not None else [])
    return WaitUntil(min(coming)) if coming else Exhausted()


def staff_know(incident: Incident, notices: Sequence[Notice]) -> bool:
    """Whether staff know what *incident* is about now: a notice to one of them has left, or somebody has taken it on."""
    return incident.acknowledged_at is not None or any(
        n.plan is Plan.ESCALATION
        and n.purpose is Purpose.OUTAGE
        and n.has_left
        and not has_got_worse(incident, n.facts.matter)
        for n in notices
    )


def put_back(incident: Incident, withheld: Sequence[Notice], now: datetime) -> Incident:
    """Return *incident*, of which nobody is to be told for a while, with its escalation before the step that was *withheld*.

    Else that step would count as done, and its people be passed over; if it is the last, for good. It begins when they may
    be told again. In a wave of its own, because its notices have been decided on.
    """
    at, policy = incident.position, incident.brief.escalation
    steps = [(n.round, n.step) for n in withheld if n.wave == at.wave and n.step < len(policy.steps)]
    if incident.state is not IncidentState.TRIGGERED or not steps:
        return incident
    round_, step = min(steps)
    first = replace(at, wave=at.wave + 1, round=round_, step=step)
    return replace(incident, position=replace(first, step=step - 1, since=now - _wait_before(first, policy)))


def go_on(incident: Incident, now: datetime) -> Incident:
    """Return *incident*, which nobody has any more, with its next step due *now*, if there is one."""
    at, policy = incident.position, incident.brief.escalation
    following = _following(at, policy)
    if following is None:
        return incident
    since = min(at.since, now - _wait_before(following, policy))
    return replace(incident, position=replace(at, since=since))


def _start(incident: Incident, position: Position, now: datetime, overrides: Sequence[Override]) -> StartStep:
    """Begin the step at *position*, or the next of its round that has somebody to tell."""
    policy, deserted = incident.brief.escalation, list[str]()
    while True:
        step = policy.steps[position.step]
        people, without = people_of(step, policy, now, overrides)
        deserted += without
        if incident.handed_on:
            # Not to whoever has just handed it on, unless there is nobody else.
            left = policy.named(incident.had_by or "")
            people = [person for person in people if person != left] or people
        if people or position.step + 1 == len(policy.steps):
            drafts = tuple(_draft(incident, position, step, contact, now) for contact in people)
            return StartStep(
                position=position,
                drafts=drafts,
                deserted=tuple(dict.fromkeys(deserted)),
                stand_ins=tuple(person for person in people if policy.contact(person.key) is None),
            )
        position = replace(position, step=position.step + 1)


def people_of(
    step: Step, policy: EscalationPolicy, now: datetime, overrides: Sequence[Override]
) -> tuple[Sequence[Contact], Sequence[str]]:
    """Return whom a step tells, each once, and its rotas that have nobody on call: the fallback stands in for them."""
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


def _following(at: Position, policy: EscalationPolicy) -> Position | None:
    if at.step + 1 < len(policy.steps):
        return replace(at, step=at.step + 1)
    if policy.steps and at.round + 1 < policy.rounds:
        return replace(at, step=0, round=at.round + 1)
    return None


def exhausted_at(incident: Incident) -> datetime | None:
    """Return when the last step of the last round has had its time; `None` while there is another, or before the first."""
    at, policy = incident.position, incident.brief.escalation
    return None if at.step < 0 or _following(at, policy) else at.since + policy.repeat_after


def _wait_before(position: Position, policy: EscalationPolicy) -> timedelta:
    if position.step == 0 and position.round > 0:
        return policy.repeat_after
    return policy.steps[position.step].after


def _of_step(incident: Incident, notices: Sequence[Notice]) -> Sequence[Notice]:
    """Return the notices of the step that was started last, in their order."""
    at = incident.position
    return [
        n
        for n in notices
        if n.plan is Plan.ESCALATION
        and n.purpose is Purpose.OUTAGE
        and (n.wave, n.round, n.step) == (at.wave, at.round, at.step)
    ]


def calls_again(incident: Incident, notices: Sequence[Notice]) -> bool:
    """Return whether somebody is still to be called again in the step that was started last."""
    return any(_calls_due(incident, notices))


def _calls_due(incident: Incident, notices: Sequence[Notice]) -> Iterator[tuple[Notice, int, datetime]]:
    """Yield the last call to each person, the number of the one that is to follow, and when."""
    at, steps = incident.position, incident.brief.escalation.steps
    again = steps[at.step].call_again if 0 <= at.step < len(steps) else None
    if again is None:
        return
    latest: dict[str, list[Notice]] = {}
    for notice in _of_step(incident, notices):
        latest.setdefault(notice.person, []).append(notice)
    # One of an earlier step that a brake holds will ring soon enough.
    held = {n.person for n in notices if n.plan is Plan.ESCALATION and n.state is NoticeState.PENDING}
    for person in (person for person in latest if person not in held):
        calls = latest[person]
        last = calls[-1]
        if len(calls) <= again.times and (ended_at := _ended_in_vain(last)):
            yield last, len(calls) + 1, ended_at + again.every


def _ended_in_vain(notice: Notice) -> datetime | None:
    """Return when a call ended that nobody acknowledged; `None` if it goes on, was none, or cannot be repeated."""
    last = notice.last_attempt
    over = {NoticeState.DELIVERED, NoticeState.FAILED}
    if notice.channel is not Channel.VOICE or notice.state not in over or last is None:
        return None
    hopeless = all(a.error is ErrorClass.PERMANENT for a in notice.attempts)
    return None if hopeless else last.ended_at


def _draft_again(incident: Incident, notice: Notice, number: int, now: datetime) -> Draft:
    """Return the draft of call *number* (the first is 1) to the person of *notice*, at the numbers that ring."""
    return Draft(
        incident_id=incident.id,
        person=notice.person,
        language=notice.language,
        facts=facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
        expires_at=now + EXPIRY,
        addresses=tuple(address for address in notice.addresses if address.channel is Channel.VOICE),
        wave=notice.wave,
        round=notice.round,
        step=notice.step,
        once=str(number),
    )


def _draft(incident: Incident, position: Position, step: Step, contact: Contact, now: datetime) -> Draft:
    return Draft(
        incident_id=incident.id,
        person=contact.key,
        language=contact.language,
        facts=facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
        expires_at=now + EXPIRY,
        addresses=_addresses(contact, step),
        wave=position.wave,
        round=position.round,
        step=position.step,
    )


def _addresses(contact: Contact, step: Step) -> tuple[Address, ...]:
    """Return where to reach a contact. What is called again is rung once a notice, not by the gateways' own table.

    Who stands in for somebody may have no address on the step's channels: then all they have, because silence is worse.
    """
    addresses = contact.addresses_on(step.channels) or contact.addresses
    if step.call_again is None:
        return addresses
    return tuple(replace(a, once=True) if a.channel is Channel.VOICE else a for a in addresses)


def staff_addresses(incident: Incident, notice: Notice) -> tuple[Address, ...]:
    """Return where to tell whoever of the staff got *notice* what became of it: by SMS where there is one.

    It rings nobody out of bed, unless no SMS gets there (STOP, no gateway): then it goes by the way they were told.
    """
    contact = incident.brief.escalation.contact(notice.person)
    by_sms = contact.addresses_on([Channel.SMS]) if contact else ()
    return (*by_sms, *(address for address in notice.addresses if address not in by_sms))


def facts(
    incident: Incident, plan: Plan, purpose: Purpose, now: datetime, first_noticed_at: datetime | None = None
) -> Facts:
    """Return what a notice about *incident*, decided on *now*, has to tell."""
    tells_staff = plan is Plan.ESCALATION and purpose is Purpose.OUTAGE
    return Facts(
        purpose=purpose,
        plan=plan,
        matter=incident.to_be_told,
        office=incident.brief.office,
        number=incident.number,
        began_at=incident.told_began_at,
        noticed_at=now,
        first_noticed_at=first_noticed_at,
        ended_at=incident.ended_at,
        subject=incident.brief.subject,
        subject_en=incident.brief.subject_en,
        cause=incident.brief.cause if tells_staff else None,
        declared_by=incident.known_from if tells_staff else "",
        unsteady=incident.unsteady and incident.matter in OUTAGES,
        by=incident.had_by or "" if tells_staff else "",
        handed_on=incident.handed_on and tells_staff,
        heard_at=incident.heard_at if tells_staff else None,
        may_release=plan is Plan.ESCALATION and purpose in _CALLS_FOR_ACTION and release_is_offered(incident, now),
    )
