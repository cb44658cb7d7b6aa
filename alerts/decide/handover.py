"""Notification of people who come on duty while an incident is open. Pure: the caller passes the time.

A person who takes over in the morning was not notified of the night's incidents. They get an SMS (or a call if an SMS
is not possible) with the start and type, who was on duty, who has acknowledged, and whether an announcement waits.
Nothing else changes: the assignee stays until the new person takes over, and steps notify as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.decide.escalation import facts
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.delivery import Notification, NotificationDraft, NotificationState
from alerts.model.incident import Incident, release_is_offered
from alerts.model.notification import TELLS_OF_IT, Plan, Purpose
from alerts.model.oncall import Handover, Override, Rota, last_handover, next_change

#: An older handover is not reported: after such a downtime other notifications matter.
LOOKS_BACK = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverNotification:
    """People to notify because they have come on duty."""

    drafts: tuple[NotificationDraft, ...] = ()
    #: Time of the next possible handover.
    then: datetime | None = None
    #: People on an override whom the policy does not contain yet.
    stand_ins: tuple[Contact, ...] = ()


def come_on_duty(
    incident: Incident, notices: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> HandoverNotification:
    """Decide about an incident. Idempotent: drafts have unique keys.

    *overrides*: of the rotas of its steps, those that ended at most `LOOKS_BACK` ago.
    """
    rotas = rotas_of(incident)
    if not incident.is_open or not rotas:
        return HandoverNotification()
    changes = (next_change(rota, overrides, now) for rota in rotas)
    then = min((at for at in changes if at is not None), default=None)
    if not _is_told(incident, notices):
        return HandoverNotification(then=then)
    policy = incident.policy.escalation
    taken = {person.key: (person, at) for person, at in _takers(incident, rotas, overrides, now)}
    told = [(person, at) for person, at in taken.values() if not _knows(incident, notices, person, at)]
    return HandoverNotification(
        drafts=tuple(_draft(incident, person, handover, now) for person, handover in told),
        then=then,
        stand_ins=tuple(person for person, _ in told if policy.contact(person.key) is None),
    )


def rotas_of(incident: Incident) -> Sequence[Rota]:
    """Return the rotas of the steps of an incident's policy."""
    policy = incident.policy.escalation
    names = dict.fromkeys(name for step in policy.steps for name in step.rotas)
    return [rota for rota in policy.rotas if rota.name in names]


def _takers(
    incident: Incident, rotas: Sequence[Rota], overrides: Sequence[Override], now: datetime
) -> Iterator[tuple[Contact, Handover]]:
    """Yield the people who came on duty since the opening; the fallback for an empty rota."""
    since = max(incident.opened_at, now - LOOKS_BACK)
    for rota in rotas:
        handover = last_handover(rota, overrides, since, now)
        if handover is None:
            continue
        person = handover.to or incident.policy.escalation.fallback
        if person is not None:
            yield person, handover


def _is_told(incident: Incident, notices: Sequence[Notification]) -> bool:
    """Whether any staff were notified: before that, steps notify the people on call."""
    return incident.acknowledged_at is not None or any(n.plan is Plan.ESCALATION and n.was_told for n in notices)


def _knows(incident: Incident, notices: Sequence[Notification], person: Contact, handover: Handover) -> bool:
    """Whether the person has acknowledged, or was notified since coming on duty."""
    return incident.policy.escalation.named(incident.acknowledged_by or "") == person or any(
        n.plan is Plan.ESCALATION
        and n.purpose in TELLS_OF_IT
        and n.person == person.key
        and n.created_at >= handover.at
        and n.state is not NotificationState.WITHDRAWN
        for n in notices
    )


def _draft(incident: Incident, person: Contact, handover: Handover, now: datetime) -> NotificationDraft:
    has_it = incident.acknowledged_by or ""
    told = facts(incident, Plan.ESCALATION, Purpose.UPDATE, now)
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=replace(
            told,
            type=incident.current_type,
            began_at=incident.current_type_began_at or incident.began_at,
            cause=incident.policy.cause,
            by=has_it,
            last_response_at=incident.last_response_at if has_it else None,
            relieved=handover.previous.name if handover.previous is not None else "",
            may_release=release_is_offered(incident, now),
        ),
        # Valid while they are on duty, for a day at most.
        expires_at=now + LOOKS_BACK,
        addresses=person.addresses_on([Channel.SMS, Channel.VOICE]),
        restarts=incident.position.restarts,
        once=handover.at.isoformat(timespec="seconds"),
    )
