"""Effects of an edited configuration on open incidents. Pure: the caller passes the time.

An incident has a snapshot of its notification policy. An edit changes the people and numbers in the snapshot: a new
number is used from the next message on, people who were notified only at the old number are notified again, and removed
people are not notified any more. The schedule stays as it was when the incident opened: steps with their times and
channels, rounds, offers to release the announcement. If the configured steps are unchanged apart from people and rotas,
these are replaced. Otherwise each step keeps only the people and rotas that the current policy still has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.decide.escalation import EXPIRY, build_facts
from alerts.model.contact import Address, Contact, Recipient
from alerts.model.delivery import AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.incident import Incident, IncidentState, Position
from alerts.model.notification import Plan, Purpose
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class EditResult:
    """The incident after the edit, and the consequences for its notifications."""

    incident: Incident
    #: Unsent notifications to a removed person or number. The caller withdraws them.
    withdrawn: tuple[Notification, ...] = ()
    #: Replacements of withdrawn notifications, and notifications to people who were notified at a replaced number.
    drafts: tuple[NotificationDraft, ...] = ()


def apply_edit(
    incident: Incident, current: PolicySnapshot, notifications: Sequence[Notification], now: datetime
) -> EditResult | None:
    """Return the changes to an incident; `None` without changes.

    *current*: the policy that the incident would get if it opened now, with the substitutes of active overrides.
    """
    before = incident.policy
    policy = merged_policy(before, current, is_released=incident.released_at is not None)
    if policy == before:
        return _resend_failed(incident, notifications, now)
    after = replace(incident, policy=policy)
    if policy.escalation.steps and not _has_same_steps(before, policy):
        # None of the old people remain. `_merged_escalation` has replaced the whole escalation policy, which starts
        # from its first step.
        after = replace(after, position=Position(restarts=incident.position.restarts + 1, since=now))
    obsolete = [n for n in notifications if _awaits_removed_address(policy, n)]
    drafts = [draft for n in obsolete if (draft := _resend_draft(after, n, now)) is not None]
    resent = {draft.person for draft in drafts if draft.facts.purpose is Purpose.OUTAGE}
    remaining = [n for n in notifications if n not in obsolete and n.person not in resent]
    drafts += _drafts_for_replaced_numbers(after, remaining, now)
    drafts += [
        draft
        for n in _failed_at_replaced_numbers(policy, notifications, now)
        if (draft := _resend_draft(after, n, now)) is not None
    ]
    return EditResult(incident=after, withdrawn=tuple(obsolete), drafts=tuple(drafts))


def _resend_failed(incident: Incident, notifications: Sequence[Notification], now: datetime) -> EditResult | None:
    """Return the consequences for notifications that were being sent during an earlier edit and have failed since."""
    policy = incident.policy
    # A notification without an attempt was decided with the present policy. A notification with another purpose than
    # OUTAGE, such as a recovery, also goes to a person who is no longer in the policy.
    obsolete = [
        n
        for n in notifications
        if n.attempts
        and _awaits_removed_address(policy, n)
        and (n.purpose is Purpose.OUTAGE or _reader_addresses(policy, n))
    ]
    failed = [n for n in _failed_at_replaced_numbers(policy, notifications, now) if n not in obsolete]
    # At the time of the edit staff were notified of the outage at the new number already.
    resent = [n for n in (*obsolete, *failed) if n.plan is Plan.ANNOUNCEMENT or n.purpose is not Purpose.OUTAGE]
    drafts = [draft for n in resent if (draft := _resend_draft(incident, n, now)) is not None]
    if not obsolete and not drafts:
        return None
    return EditResult(incident=incident, withdrawn=tuple(obsolete), drafts=tuple(drafts))


def merged_policy(before: PolicySnapshot, current: PolicySnapshot, *, is_released: bool = False) -> PolicySnapshot:
    """Return the policy *before* with the people and numbers of *current*.

    *is_released*: whether the announcement is released. Then recipients are not added, because the person who released
    it did not approve sending it to them.
    """
    if current.has_nobody_to_notify or before.has_nobody_to_notify:
        return before
    escalation = _merged_escalation(before.escalation, current.escalation)
    announcement = _merged_announcement(before.announcement, current.announcement, is_released=is_released)
    return replace(before, escalation=escalation, announcement=announcement)


def keeps_old_steps(before: PolicySnapshot, current: PolicySnapshot) -> bool:
    """Whether an incident keeps the schedule of its policy *before* although the configuration has another one now."""
    if before.has_nobody_to_notify or current.has_nobody_to_notify:
        return False
    return _plan_without_people(before) != _plan_without_people(current)


def _plan_without_people(policy: PolicySnapshot) -> tuple[EscalationPolicy, AnnouncementPlan]:
    """Return the schedule of a policy: both plans without people, rotas and recipients."""
    escalation = replace(
        policy.escalation,
        steps=tuple(_without_contacts(policy.escalation.steps)),
        rotas=(),
        fallback=None,
        stand_ins=(),
    )
    return escalation, replace(policy.announcement, recipients=())


def _merged_escalation(before: EscalationPolicy, current: EscalationPolicy) -> EscalationPolicy:
    """Return the escalation policy *before* with the people and rotas of *current*.

    If none of the people and rotas of *before* are left, return *current*: its steps replace the old ones.
    """
    people = {person.key: person for person in current.people}
    rotas = {rota.name for rota in current.rotas}
    if _without_contacts(before.steps) == _without_contacts(current.steps):
        steps = tuple(
            replace(step, contacts=current_step.contacts, rotas=current_step.rotas)
            for step, current_step in zip(before.steps, current.steps, strict=True)
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
        return current
    return replace(
        before,
        steps=steps,
        rotas=current.rotas,
        fallback=current.fallback,
        stand_ins=current.stand_ins,
    )


def _merged_announcement(before: AnnouncementPlan, current: AnnouncementPlan, *, is_released: bool) -> AnnouncementPlan:
    recipient_keys = {recipient.key for recipient in before.recipients}
    recipients = (each for each in current.recipients if not is_released or each.key in recipient_keys)
    return replace(before, recipients=tuple(recipients))


def _without_contacts(steps: Iterable[Step]) -> Sequence[Step]:
    """Return the steps without people and rotas."""
    return [replace(step, contacts=(), rotas=()) for step in steps]


def _has_same_steps(before: PolicySnapshot, after: PolicySnapshot) -> bool:
    return _without_contacts(before.escalation.steps) == _without_contacts(after.escalation.steps)


def _awaits_removed_address(policy: PolicySnapshot, notification: Notification) -> bool:
    """Whether an unsent notification goes to a removed person or address, and no gateway is being called for it."""
    return (
        notification.state is NotificationState.PENDING
        and not set(notification.addresses) <= set(_reader_addresses(policy, notification))
        and not any(attempt.state is AttemptState.CALLING for attempt in notification.attempts)
    )


def _reader_addresses(policy: PolicySnapshot, notification: Notification) -> Sequence[Address]:
    """Return all addresses that a notification's reader has in the policy, in order; none for a removed person."""
    reader: Contact | Recipient | None
    if notification.plan is Plan.ESCALATION:
        reader = policy.escalation.contact(notification.person)
    else:
        reader = next((each for each in policy.announcement.recipients if each.key == notification.person), None)
    return () if reader is None else reader.addresses


def _resend_draft(incident: Incident, notification: Notification, now: datetime) -> NotificationDraft | None:
    """Return a draft that repeats an unsent notification at the reader's present addresses; `None` without any.

    A notification has a part for each incident that it reports; the draft repeats the part about *incident*.
    """
    part = next((part for part in notification.parts if part.incident_id == incident.id), None)
    addresses = _current_reader_addresses(incident.policy, notification)
    if part is None or not addresses:
        return None
    return NotificationDraft(
        incident_id=incident.id,
        person=notification.person,
        language=notification.language,
        facts=part.facts,
        expires_at=notification.expires_at,
        addresses=addresses,
        addressee=notification.addressee,
        restarts=part.restarts,
        round=part.round,
        step=part.step,
        key_suffix=_edit_key(now),
    )


def _current_reader_addresses(policy: PolicySnapshot, notification: Notification) -> tuple[Address, ...]:
    """Return the present addresses of a notification's reader on its channels."""
    if notification.plan is Plan.ESCALATION:
        return current_addresses(policy, notification.person, notification.addresses)
    channels = {address.channel for address in notification.addresses}
    return tuple(address for address in _reader_addresses(policy, notification) if address.channel in channels)


def current_addresses(policy: PolicySnapshot, person: str, addresses: Sequence[Address]) -> tuple[Address, ...]:
    """Return the present addresses of a staff member on the channels of *addresses*; none for a removed person."""
    contact = policy.escalation.contact(person)
    if contact is None:
        return ()
    if all(address in contact.addresses for address in addresses):
        return tuple(addresses)
    # `once`: a notification calls the address only once, without retries.
    once_channels = {address.channel for address in addresses if address.once}
    addresses_now = contact.addresses_on(dict.fromkeys(address.channel for address in addresses)) or contact.addresses
    return tuple(replace(a, once=True) if a.channel in once_channels else a for a in addresses_now)


def _drafts_for_replaced_numbers(
    incident: Incident, notifications: Sequence[Notification], now: datetime
) -> Iterator[NotificationDraft]:
    """Yield outage notifications to staff who were notified only at replaced numbers, if nobody has acknowledged."""
    if incident.state is not IncidentState.TRIGGERED:
        return
    notified: dict[str, list[Notification]] = {}
    for n in notifications:
        is_outage = (
            n.plan is Plan.ESCALATION and n.purpose is Purpose.OUTAGE and n.restarts == incident.position.restarts
        )
        if is_outage and n.deliveries and n.state is not NotificationState.WITHDRAWN:
            notified.setdefault(n.person, []).append(n)
    for person, earlier in notified.items():
        contact = incident.policy.escalation.contact(person)
        used_addresses = {delivery.address for n in earlier for delivery in n.deliveries}
        if contact is None or not used_addresses.isdisjoint(contact.addresses):
            continue
        last = earlier[-1]
        yield NotificationDraft(
            incident_id=incident.id,
            person=person,
            language=contact.language,
            facts=build_facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
            expires_at=now + EXPIRY,
            addresses=current_addresses(incident.policy, person, last.addresses),
            restarts=last.restarts,
            round=last.round,
            step=last.step,
            key_suffix=_edit_key(now),
        )


def _failed_at_replaced_numbers(
    policy: PolicySnapshot, notifications: Sequence[Notification], now: datetime
) -> Iterator[Notification]:
    """Yield the last announcement to each recipient and channel, if it failed and all its numbers are replaced."""
    last = {(n.person, n.addresses[0].channel): n for n in notifications if n.plan is Plan.ANNOUNCEMENT}
    for n in last.values():
        if (
            n.state is NotificationState.FAILED
            and now < n.expires_at
            and set(n.addresses).isdisjoint(_reader_addresses(policy, n))
        ):
            yield n


def _edit_key(now: datetime) -> str:
    """Return the key suffix of a draft that an edit causes. It has microseconds: two edits may come within a second."""
    return f"edited/{now.isoformat()}"
