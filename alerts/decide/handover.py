"""Decide who comes on duty while an incident is open, and hears of it. Pure: the caller passes the time.

Whoever takes the duty over in the morning was told of nothing that began in the night: they get an SMS (or a call, where no
SMS gets there) that says since when what fails, from whom they have the duty, who has taken it on or that nobody has, and
whether an announcement waits. It changes nothing else: whoever has taken it on has it still, until whoever comes on duty
says that they take it over, and steps tell whom they tell.
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

#: A handover longer ago is no news: a service that was down for so long finds other things to tell.
LOOKS_BACK = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverNotification:
    """Who is to hear of an incident now that they have the duty."""

    drafts: tuple[NotificationDraft, ...] = ()
    #: When somebody else may come on duty.
    then: datetime | None = None
    #: Who is told because of an override, and whom the brief does not know yet.
    stand_ins: tuple[Contact, ...] = ()


def come_on_duty(
    incident: Incident, notices: Sequence[Notification], now: datetime, overrides: Sequence[Override] = ()
) -> HandoverNotification:
    """Decide about an incident. Asking again changes nothing: drafts carry unique keys.

    *overrides*: of the rotas that steps name, those that were not over `LOOKS_BACK` ago.
    """
    rotas = rotas_of(incident)
    if not incident.is_open or not rotas:
        return HandoverNotification()
    changes = (next_change(rota, overrides, now) for rota in rotas)
    then = min((at for at in changes if at is not None), default=None)
    if not _is_told(incident, notices):
        return HandoverNotification(then=then)
    policy = incident.brief.escalation
    taken = {person.key: (person, at) for person, at in _takers(incident, rotas, overrides, now)}
    told = [(person, at) for person, at in taken.values() if not _knows(incident, notices, person, at)]
    return HandoverNotification(
        drafts=tuple(_draft(incident, person, handover, now) for person, handover in told),
        then=then,
        stand_ins=tuple(person for person, _ in told if policy.contact(person.key) is None),
    )


def rotas_of(incident: Incident) -> Sequence[Rota]:
    """Return the rotas that the steps of an incident's plan name."""
    policy = incident.brief.escalation
    names = dict.fromkeys(name for step in policy.steps for name in step.rotas)
    return [rota for rota in policy.rotas if rota.name in names]


def _takers(
    incident: Incident, rotas: Sequence[Rota], overrides: Sequence[Override], now: datetime
) -> Iterator[tuple[Contact, Handover]]:
    """Yield who has come on duty since the incident opened; for a rota that has nobody the fallback."""
    since = max(incident.opened_at, now - LOOKS_BACK)
    for rota in rotas:
        handover = last_handover(rota, overrides, since, now)
        if handover is None:
            continue
        person = handover.to or incident.brief.escalation.fallback
        if person is not None:
            yield person, handover


def _is_told(incident: Incident, notices: Sequence[Notification]) -> bool:
    """Whether staff have been told at all: before that the steps tell whoever is on call."""
    return incident.acknowledged_at is not None or any(n.plan is Plan.ESCALATION and n.was_told for n in notices)


def _knows(incident: Incident, notices: Sequence[Notification], person: Contact, handover: Handover) -> bool:
    """Whether somebody has it already, or was told of it since they have the duty."""
    return incident.brief.escalation.named(incident.acknowledged_by or "") == person or any(
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
            matter=incident.present,
            began_at=incident.present_began_at or incident.began_at,
            cause=incident.brief.cause,
            by=has_it,
            heard_at=incident.heard_at if has_it else None,
            relieved=handover.of.name if handover.of is not None else "",
            may_release=release_is_offered(incident, now),
        ),
        # Of use as long as they have the duty; a day at most.
        expires_at=now + LOOKS_BACK,
        addresses=person.addresses_on([Channel.SMS, Channel.VOICE]),
        wave=incident.position.wave,
        once=handover.at.isoformat(timespec="seconds"),
    )
