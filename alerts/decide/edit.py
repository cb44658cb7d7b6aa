"""Effects of an edited configuration on open incidents. Pure: the caller passes the time.

People and numbers follow the edit: a new number is used from the next message on, people who were notified at the old
one are notified again, and removed people are not notified any more. The schedule stays as it was at the opening: steps
with their times and channels, rounds, offers of announcements. If the steps are unchanged, their people and rotas are
replaced; otherwise only people in both remain.
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
    """The incident after the edit, and its consequences."""

    incident: Incident
    #: To withdraw: not sent yet, and addressed to a removed person or number.
    withdrawn: tuple[Notification, ...] = ()
    #: To send instead, and again to people notified at a number that is not theirs.
    drafts: tuple[NotificationDraft, ...] = ()


def follow_edit(
    incident: Incident, present: PolicySnapshot, notices: Sequence[Notification], now: datetime
) -> Edited | None:
    """Return the changes to an incident; `None` without any.

    *present*: the policy of an incident that opened now, with current substitutes.
    """
    before = incident.policy
    brief = edited(before, present, is_released=incident.released_at is not None)
    if brief == before:
        return _follow_late(incident, notices, now)
    after = replace(incident, policy=brief)
    if brief.escalation.steps and not _same_steps(before, brief):
        # All its people are gone: the whole policy is replaced.
        after = replace(after, position=Position(restarts=incident.position.restarts + 1, since=now))
    waiting = [n for n in notices if _is_left(brief, n)]
    drafts = [draft for n in waiting if (draft := _again(after, n, now)) is not None]
    again = {draft.person for draft in drafts if draft.facts.purpose is Purpose.OUTAGE}
    left = [n for n in notices if n not in waiting and n.person not in again]
    drafts += _told_elsewhere(after, left, now)
    drafts += [draft for n in _failed_elsewhere(brief, notices, now) if (draft := _again(after, n, now)) is not None]
    return Edited(incident=after, withdrawn=tuple(waiting), drafts=tuple(drafts))


def _follow_late(incident: Incident, notices: Sequence[Notification], now: datetime) -> Edited | None:
    """Return the consequences for notifications that were under way during an earlier edit and failed since."""
    brief = incident.policy
    # A notification without an attempt already follows this policy. A recovery also goes to people who are no longer
    # named.
    waiting = [
        n for n in notices if n.attempts and _is_left(brief, n) and (n.purpose is Purpose.OUTAGE or _reached(brief, n))
    ]
    failed = [n for n in _failed_elsewhere(brief, notices, now) if n not in waiting]
    # At the edit, staff were notified of the outage at the new number.
    again = [n for n in (*waiting, *failed) if n.plan is Plan.ANNOUNCEMENT or n.purpose is not Purpose.OUTAGE]
    drafts = [draft for n in again if (draft := _again(incident, n, now)) is not None]
    return Edited(incident=incident, withdrawn=tuple(waiting), drafts=tuple(drafts)) if waiting or drafts else None


def edited(before: PolicySnapshot, present: PolicySnapshot, *, is_released: bool = False) -> PolicySnapshot:
    """Return a policy with the people and numbers of *present*.

    *is_released*: add nobody to whom a released announcement would go.
    """
    if present.has_nobody_to_notify or before.has_nobody_to_notify:
        return before
    escalation = _edited_escalation(before.escalation, present.escalation)
    announcement = _edited_announcement(before.announcement, present.announcement, is_released=is_released)
    return replace(before, escalation=escalation, announcement=announcement)


def keeps_plan(before: PolicySnapshot, present: PolicySnapshot) -> bool:
    """Whether an incident keeps its steps although the configuration has others now."""
    if before.has_nobody_to_notify or present.has_nobody_to_notify:
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
    """Return the steps without people."""
    return [replace(step, contacts=(), rotas=()) for step in steps]


def _same_steps(before: PolicySnapshot, after: PolicySnapshot) -> bool:
    return _shape(before.escalation.steps) == _shape(after.escalation.steps)


def _is_left(brief: PolicySnapshot, notice: Notification) -> bool:
    """Whether a notification waits for a removed person or address. A call under way ends by itself."""
    return (
        notice.state is NotificationState.PENDING
        and not set(notice.addresses) <= set(_reached(brief, notice))
        and not any(attempt.state is AttemptState.CALLING for attempt in notice.attempts)
    )


def _reached(brief: PolicySnapshot, notice: Notification) -> Sequence[Address]:
    """Return all addresses of a notification's reader in order; nothing for a person outside the policy."""
    reader: Contact | Recipient | None
    if notice.plan is Plan.ESCALATION:
        reader = brief.escalation.contact(notice.person)
    else:
        reader = next((each for each in brief.announcement.recipients if each.key == notice.person), None)
    return () if reader is None else reader.addresses


def _again(incident: Incident, notice: Notification, now: datetime) -> NotificationDraft | None:
    """Return an unsent notification to the reader's present addresses; `None` without any."""
    part = next((part for part in notice.parts if part.incident_id == incident.id), None)
    addresses = _addresses(incident.policy, notice)
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
        restarts=part.restarts,
        round=part.round,
        step=part.step,
        once=_once(now),
    )


def _addresses(brief: PolicySnapshot, notice: Notification) -> tuple[Address, ...]:
    """Return the present addresses of a notification's reader, for its channels."""
    if notice.plan is Plan.ESCALATION:
        return reached_at(brief, notice.person, notice.addresses)
    channels = {address.channel for address in notice.addresses}
    return tuple(address for address in _reached(brief, notice) if address.channel in channels)


def reached_at(brief: PolicySnapshot, person: str, addresses: Sequence[Address]) -> tuple[Address, ...]:
    """Return a staff member's *addresses* as they are now; nothing for a person outside the policy."""
    contact = brief.escalation.contact(person)
    if contact is None:
        return ()
    if all(address in contact.addresses for address in addresses):
        return tuple(addresses)
    once = {address.channel for address in addresses if address.once}
    found = contact.addresses_on(dict.fromkeys(address.channel for address in addresses)) or contact.addresses
    return tuple(replace(a, once=True) if a.channel in once else a for a in found)


def _told_elsewhere(incident: Incident, notices: Sequence[Notification], now: datetime) -> Iterator[NotificationDraft]:
    """Yield the outage for people notified only at numbers that are not theirs, while nobody has acknowledged."""
    if incident.state is not IncidentState.TRIGGERED:
        return
    told: dict[str, list[Notification]] = {}
    for n in notices:
        is_news = n.plan is Plan.ESCALATION and n.purpose is Purpose.OUTAGE and n.restarts == incident.position.restarts
        if is_news and n.deliveries and n.state is not NotificationState.WITHDRAWN:
            told.setdefault(n.person, []).append(n)
    for person, theirs in told.items():
        contact, used = incident.policy.escalation.contact(person), {d.address for n in theirs for d in n.deliveries}
        if contact is None or not used.isdisjoint(contact.addresses):
            continue
        last = theirs[-1]
        yield NotificationDraft(
            incident_id=incident.id,
            person=person,
            language=contact.language,
            facts=facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
            expires_at=now + EXPIRY,
            addresses=reached_at(incident.policy, person, last.addresses),
            restarts=last.restarts,
            round=last.round,
            step=last.step,
            once=_once(now),
        )


def _failed_elsewhere(brief: PolicySnapshot, notices: Sequence[Notification], now: datetime) -> Iterator[Notification]:
    """Yield the last page to each office on a failed channel whose former numbers are all replaced."""
    last = {(n.person, n.addresses[0].channel): n for n in notices if n.plan is Plan.ANNOUNCEMENT}
    for n in last.values():
        if (
            n.state is NotificationState.FAILED
            and now < n.expires_at
            and set(n.addresses).isdisjoint(_reached(brief, n))
        ):
            yield n


def _once(now: datetime) -> str:
    # In microseconds: two edits within a second are two.
    return f"edited/{now.isoformat()}"
