"""Notification of people who come on duty while an incident is open. Pure: the caller passes the time.

A rota is the plan of who is on call; at a handover the person on call changes. The person who comes on duty was not
notified of incidents that opened before. They get an SMS, or a call if an SMS is not possible, which states start and
type of the incident, who was on duty, who has acknowledged, and whether the announcement to offices outside awaits its
release (approval). Nothing else changes: the assignee stays until somebody else acknowledges, and escalation steps
notify as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.decide.escalation import build_facts
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.delivery import Notification, NotificationDraft, NotificationState
from alerts.model.incident import Incident, release_is_offered
from alerts.model.notification import OUTAGE_PURPOSES, Plan, Purpose
from alerts.model.oncall import Handover, Override, Rota, last_handover, next_change

#: Older handovers are not reported: after a day's downtime of Pantau other notifications matter more.
MAX_HANDOVER_AGE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverNotification:
    """Notifications to people who have come on duty."""

    drafts: tuple[NotificationDraft, ...] = ()
    #: Time of the next possible handover; `None`: none is known.
    next_at: datetime | None = None
    #: Substitutes on call by an override, whom the incident's policy does not contain yet.
    stand_ins: tuple[Contact, ...] = ()


def handover_notification(
    incident: Incident, notifications: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> HandoverNotification:
    """Return the handover notifications of an incident. Idempotent: drafts have unique keys.

    *overrides*: stored replacements of people on call, in the rotas of the policy's steps, without those that ended
    more than `MAX_HANDOVER_AGE` ago.
    """
    rotas = step_rotas(incident)
    if not incident.is_open or not rotas:
        return HandoverNotification()
    changes = (next_change(rota, overrides, now) for rota in rotas)
    next_at = min((at for at in changes if at is not None), default=None)
    if not _is_staff_notified(incident, notifications):
        return HandoverNotification(next_at=next_at)
    policy = incident.policy.escalation
    on_duty = {person.key: (person, handover) for person, handover in _people_on_duty(incident, rotas, overrides, now)}
    uninformed = [
        (person, handover)
        for person, handover in on_duty.values()
        if not _is_informed(incident, notifications, person, handover)
    ]
    return HandoverNotification(
        drafts=tuple(_draft(incident, person, handover, now) for person, handover in uninformed),
        next_at=next_at,
        stand_ins=tuple(person for person, _ in uninformed if policy.contact(person.key) is None),
    )


def step_rotas(incident: Incident) -> Sequence[Rota]:
    """Return the rotas of the steps of an incident's policy."""
    policy = incident.policy.escalation
    names = dict.fromkeys(name for step in policy.steps for name in step.rotas)
    return [rota for rota in policy.rotas if rota.name in names]


def _people_on_duty(
    incident: Incident, rotas: Sequence[Rota], overrides: Sequence[Override], now: datetime
) -> Iterator[tuple[Contact, Handover]]:
    """Yield the people who came on duty since the opening, with their handovers.

    If nobody is on call in a rota, the policy's fallback counts as on duty.
    """
    since = max(incident.opened_at, now - MAX_HANDOVER_AGE)
    for rota in rotas:
        handover = last_handover(rota, overrides, since, now)
        if handover is None:
            continue
        person = handover.to or incident.policy.escalation.fallback
        if person is not None:
            yield person, handover


def _is_staff_notified(incident: Incident, notifications: Sequence[Notification]) -> bool:
    """Whether any staff were notified. Before that, the steps of the escalation notify the people on call."""
    return incident.acknowledged_at is not None or any(
        n.plan is Plan.ESCALATION and n.may_have_arrived for n in notifications
    )


def _is_informed(
    incident: Incident, notifications: Sequence[Notification], person: Contact, handover: Handover
) -> bool:
    """Whether the person has acknowledged, or was notified since coming on duty."""
    return incident.policy.escalation.contact_by_name(incident.acknowledged_by or "") == person or any(
        n.plan is Plan.ESCALATION
        and n.purpose in OUTAGE_PURPOSES
        and n.person == person.key
        and n.created_at >= handover.at
        and n.state is not NotificationState.WITHDRAWN
        for n in notifications
    )


def _draft(incident: Incident, person: Contact, handover: Handover, now: datetime) -> NotificationDraft:
    assignee = incident.acknowledged_by or ""
    facts = build_facts(incident, Plan.ESCALATION, Purpose.UPDATE, now)
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=replace(
            facts,
            type=incident.current_type,
            began_at=incident.current_type_began_at or incident.began_at,
            cause=incident.policy.cause,
            by=assignee,
            last_response_at=incident.last_response_at if assignee else None,
            relieved=handover.previous.name if handover.previous is not None else "",
            may_release=release_is_offered(incident, now),
        ),
        # The notification is useful while the person is on duty, which is a day at most.
        expires_at=now + MAX_HANDOVER_AGE,
        addresses=person.addresses_on([Channel.SMS, Channel.VOICE]),
        restarts=incident.position.restarts,
        key_suffix=handover.at.isoformat(timespec="seconds"),
    )
