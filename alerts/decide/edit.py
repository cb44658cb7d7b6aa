"""Decide what an open incident takes over of an edited configuration. Pure: the caller passes the time.

People and numbers follow the edit: another number is used from the next message on, whoever was told at the old one is told
again, and whoever was removed is told no more. What is done when stays as it was when the incident opened: the steps with
their times and channels, the rounds, when an announcement is offered. Where the steps are the same, those whom each of them
names are taken over with the rotas; else only who is in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.decide.escalation import EXPIRY, facts
from alerts.model.contact import Address, Contact, Recipient
from alerts.model.delivery import AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.incident import Incident, IncidentState, Position
from alerts.model.notification import Plan, Purpose
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """The incident by the edit, and what follows for its notices."""

    incident: Incident
    #: To withdraw: they have not left, and would go to whom or where they are not to go any more.
    withdrawn: tuple[Notification, ...] = ()
    #: In their place, and to whoever was told at a number that is not theirs.
    drafts: tuple[NotificationDraft, ...] = ()


def follow_edit(
    incident: Incident, present: PolicySnapshot, notices: Sequence[Notification], now: datetime
) -> Edited | None:
    """Return what an incident takes over; `None`: nothing.

    *present*: whom it would tell if it opened now, with its stand-ins as they are by now.
    """
    before = incident.brief
    brief = edited(before, present, is_released=incident.released_at is not None)
    if brief == before:
        return _follow_late(incident, notices, now)
    after = replace(incident, brief=brief)
    if brief.escalation.steps and not _same_steps(before, brief):
        # All whom it named are gone, and the whole plan is the present one.
        after = replace(after, position=Position(wave=incident.position.wave + 1, since=now))
    waiting = [n for n in notices if _is_left(brief, n)]
    drafts = [draft for n in waiting if (draft := _again(after, n, now)) is not None]
    again = {draft.person for draft in drafts if draft.facts.purpose is Purpose.OUTAGE}
    left = [n for n in notices if n not in waiting and n.person not in again]
    drafts += _told_elsewhere(after, left, now)
    drafts += [draft for n in _failed_elsewhere(brief, notices, now) if (draft := _again(after, n, now)) is not None]
    return Edited(incident=after, withdrawn=tuple(waiting), drafts=tuple(drafts))


def _follow_late(incident: Incident, notices: Sequence[Notification], now: datetime) -> Edited | None:
    """Return what follows for notices that an earlier edit left alone, because a message was under way, and that failed since."""
    brief = incident.brief
    # A notice without an attempt was written by this brief. A recovery also goes to people who are no longer named.
    waiting = [
        n for n in notices if n.attempts and _is_left(brief, n) and (n.purpose is Purpose.OUTAGE or _reached(brief, n))
    ]
    failed = [n for n in _failed_elsewhere(brief, notices, now) if n not in waiting]
    # Staff were told of the outage at the new number when the edit was followed.
    again = [n for n in (*waiting, *failed) if n.plan is Plan.ANNOUNCEMENT or n.purpose is not Purpose.OUTAGE]
    drafts = [draft for n in again if (draft := _again(incident, n, now)) is not None]
    return Edited(incident=incident, withdrawn=tuple(waiting), drafts=tuple(drafts)) if waiting or drafts else None


def edited(before: PolicySnapshot, present: PolicySnapshot, *, is_released: bool = False) -> PolicySnapshot:
    """Return a brief with the people and numbers of *present*.

    *is_released*: nobody is added whom the announcement, once released, would go to.
    """
    if present.tells_nobody or before.tells_nobody:
        return before
    escalation = _edited_escalation(before.escalation, present.escalation)
    announcement = _edited_announcement(before.announcement, present.announcement, is_released=is_released)
    return replace(before, escalation=escalation, announcement=announcement)


def keeps_plan(before: PolicySnapshot, present: PolicySnapshot) -> bool:
    """Whether an incident goes on by a plan that is another in the configuration by now, whoever its people are."""
    if before.tells_nobody or present.tells_nobody:
        return False
    return _without_people(before) != _without_people(present)


def _without_people(brief: PolicySnapshot) -> tuple[EscalationPolicy, AnnouncementPlan]:
    policy = replace(
        brief.escalation, steps=tuple(_shape(brief.escalation.steps)), rotas=(), fallback=None, stand_ins=()
    )
    return policy, replace(brief.announcement, recipients=())


def _edited_escalation(before: EscalationPolicy, present: EscalationPolicy) -> EscalationPolicy:
    people = {person.key: person for person in present.people}
    rotas = {rota.name for rota in present.rotas}
    if _shape(before.steps) == _shape(present.steps):
        steps = tuple(
            replace(step, contacts=now.contacts, rotas=now.rotas)
            for step, now in zip(before.steps, present.steps, strict=True)
        )
    else:
        steps = tuple(
            replace(
                step,
                contacts=tuple(people[each.key] for each in step.contacts if each.key in people),
                rotas=tuple(name for name in step.rotas if name in rotas),
            )
            for step in before.steps
        )
    if not any(step.contacts or step.rotas for step in steps):
        return present
    return replace(
        before,
        steps=steps,
        rotas=present.rotas,
        fallback=present.fallback,
        stand_ins=present.stand_ins,
    )


def _edited_announcement(before: AnnouncementPlan, present: AnnouncementPlan, *, is_released: bool) -> AnnouncementPlan:
    known = {recipient.key for recipient in before.recipients}
    recipients = (each for each in present.recipients if not is_released or each.key in known)
    return replace(before, recipients=tuple(recipients))


def _shape(steps: Iterable[Step]) -> Sequence[Step]:
    """Return what of steps is not people."""
    return [replace(step, contacts=(), rotas=()) for step in steps]


def _same_steps(before: PolicySnapshot, after: PolicySnapshot) -> bool:
    return _shape(before.escalation.steps) == _shape(after.escalation.steps)


def _is_left(brief: PolicySnapshot, notice: Notification) -> bool:
    """Whether a notice waits to go to whom or where it is not to go any more. A call that is under way ends by itself."""
    return (
        notice.state is NotificationState.PENDING
        and not set(notice.addresses) <= set(_reached(brief, notice))
        and not any(attempt.state is AttemptState.CALLING for attempt in notice.attempts)
    )


def _reached(brief: PolicySnapshot, notice: Notification) -> Sequence[Address]:
    """Return all addresses of the reader of a notice, in their order; nothing for somebody whom the brief does not name."""
    reader: Contact | Recipient | None
    if notice.plan is Plan.ESCALATION:
        reader = brief.escalation.contact(notice.person)
    else:
        reader = next((each for each in brief.announcement.recipients if each.key == notice.person), None)
    return () if reader is None else reader.addresses


def _again(incident: Incident, notice: Notification, now: datetime) -> NotificationDraft | None:
    """Return a notice that has not left, to where whoever it is for is reached now; `None`: nowhere."""
    part = next((part for part in notice.parts if part.incident_id == incident.id), None)
    addresses = _addresses(incident.brief, notice)
    if part is None or not addresses:
        return None
    return NotificationDraft(
        incident_id=incident.id,
        person=notice.person,
        language=notice.language,
        facts=part.facts,
        expires_at=notice.expires_at,
        addresses=addresses,
        addressee=notice.addressee,
        wave=part.wave,
        round=part.round,
        step=part.step,
        once=_once(now),
    )


def _addresses(brief: PolicySnapshot, notice: Notification) -> tuple[Address, ...]:
    """Return where the reader of a notice is reached now, by the channels that it names."""
    if notice.plan is Plan.ESCALATION:
        return reached_at(brief, notice.person, notice.addresses)
    channels = {address.channel for address in notice.addresses}
    return tuple(address for address in _reached(brief, notice) if address.channel in channels)


def reached_at(brief: PolicySnapshot, person: str, addresses: Sequence[Address]) -> tuple[Address, ...]:
    """Return *addresses* of a member of the staff as they are now; nothing for somebody whom the plan does not name."""
    contact = brief.escalation.contact(person)
    if contact is None:
        return ()
    if all(address in contact.addresses for address in addresses):
        return tuple(addresses)
    once = {address.channel for address in addresses if address.once}
    found = contact.addresses_on(dict.fromkeys(address.channel for address in addresses)) or contact.addresses
    return tuple(replace(a, once=True) if a.channel in once else a for a in found)


def _told_elsewhere(incident: Incident, notices: Sequence[Notification], now: datetime) -> Iterator[NotificationDraft]:
    """Yield the news for whoever was told of it only at numbers that are not theirs, while nobody has it."""
    if incident.state is not IncidentState.TRIGGERED:
        return
    told: dict[str, list[Notification]] = {}
    for n in notices:
        is_news = n.plan is Plan.ESCALATION and n.purpose is Purpose.OUTAGE and n.wave == incident.position.wave
        if is_news and n.deliveries and n.state is not NotificationState.WITHDRAWN:
            told.setdefault(n.person, []).append(n)
    for person, theirs in told.items():
        contact, used = incident.brief.escalation.contact(person), {d.address for n in theirs for d in n.deliveries}
        if contact is None or not used.isdisjoint(contact.addresses):
            continue
        last = theirs[-1]
        yield NotificationDraft(
            incident_id=incident.id,
            person=person,
            language=contact.language,
            facts=facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
            expires_at=now + EXPIRY,
            addresses=reached_at(incident.brief, person, last.addresses),
            wave=last.wave,
            round=last.round,
            step=last.step,
            once=_once(now),
        )


def _failed_elsewhere(brief: PolicySnapshot, notices: Sequence[Notification], now: datetime) -> Iterator[Notification]:
    """Yield the last page to each office on a channel that failed, where none of its numbers is the office's any more."""
    last = {(n.person, n.addresses[0].channel): n for n in notices if n.plan is Plan.ANNOUNCEMENT}
    for n in last.values():
        if (
            n.state is NotificationState.FAILED
            and now < n.expires_at
            and set(n.addresses).isdisjoint(_reached(brief, n))
        ):
            yield n


def _once(now: datetime) -> str:
    # To the microsecond: two edits within a second are two.
    return f"edited/{now.isoformat()}"
