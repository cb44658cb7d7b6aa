"""Decide whom of the staff to tell next, and when. Pure: the caller passes the time.

Only an acknowledgement or recovery ends an escalation. That a delivery failed is another matter (`alerts.move` falls
back to the person's next address); but when every contact of a step has failed for good, waiting helps nobody and
the next step starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.brief import EscalationPolicy, Step
from alerts.contact import Contact
from alerts.delivery import Draft, Notice, NoticeState
from alerts.incident import Incident, IncidentState, Position
from alerts.notice import Facts, Plan, Purpose

#: Staff are told for as long as an incident runs; a message older than this would only confuse.
EXPIRY = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartStep:
    """Begin this step: write its notices and remember the position."""

    position: Position
    drafts: tuple[Draft, ...]


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nobody has acknowledged; the next step is due then."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Exhausted:
    """All rounds are done and nobody acknowledged."""


@dataclass(frozen=True, slots=True)
class AtRest:
    """Acknowledged or over: nothing to escalate."""


Escalation = StartStep | WaitUntil | Exhausted | AtRest


def escalate(incident: Incident, notices: Sequence[Notice], now: datetime) -> Escalation:
    """Decide about an incident, given its notices. Asking again changes nothing: drafts carry unique keys."""
    if incident.state is not IncidentState.TRIGGERED:
        return AtRest()
    policy, at = incident.brief.escalation, incident.position
    following = _following(at, policy)
    if following is None:
        return Exhausted()
    due = at.since + _wait_before(following, policy)
    if at.step >= 0 and _failed_for_good(incident, notices):
        due = now
    if now < due:
        return WaitUntil(due)
    # `since` is the due time, not now: a late cycle does not push the later steps back. But after a long pause
    # the steps missed meanwhile must not all fire at once.
    step = policy.steps[following.step]
    position = replace(following, since=due if now - due < timedelta(minutes=1) else now)
    return StartStep(position=position, drafts=tuple(_draft(incident, position, step, c, now) for c in step.contacts))


def _following(at: Position, policy: EscalationPolicy) -> Position | None:
    if at.step + 1 < len(policy.steps):
        return replace(at, step=at.step + 1)
    if policy.steps and at.round + 1 < policy.rounds:
        return replace(at, step=0, round=at.round + 1)
    return None


def _wait_before(position: Position, policy: EscalationPolicy) -> timedelta:
    if position.step == 0 and position.round > 0:
        return policy.repeat_after
    return policy.steps[position.step].after


def _failed_for_good(incident: Incident, notices: Sequence[Notice]) -> bool:
    at = incident.position
    of_step = [
        n
        for n in notices
        if n.plan is Plan.ESCALATION
        and n.purpose is Purpose.OUTAGE
        and (n.wave, n.round, n.step) == (at.wave, at.round, at.step)
    ]
    return bool(of_step) and all(n.state is NoticeState.FAILED for n in of_step)


def _draft(incident: Incident, position: Position, step: Step, contact: Contact, now: datetime) -> Draft:
    key = f"{incident.id}/escalation/{position.wave}.{position.round}.{position.step}/outage/{contact.key}"
    return Draft(
        key=key,
        plan=Plan.ESCALATION,
        purpose=Purpose.OUTAGE,
        person=contact.key,
        language=contact.language,
        facts=facts(incident, Plan.ESCALATION, Purpose.OUTAGE, now),
        expires_at=now + EXPIRY,
        addresses=contact.addresses_on(step.channels),
        wave=position.wave,
        round=position.round,
        step=position.step,
    )


def facts(
    incident: Incident, plan: Plan, purpose: Purpose, now: datetime, first_noticed_at: datetime | None = None
) -> Facts:
    """Return what a notice about *incident*, decided on *now*, has to tell."""
    return Facts(
        purpose=purpose,
        plan=plan,
        matter=incident.matter,
        office=incident.brief.office,
        number=incident.number,
        began_at=incident.began_at,
        noticed_at=now,
        first_noticed_at=first_noticed_at,
        ended_at=incident.ended_at,
        subject=incident.brief.subject,
        subject_en=incident.brief.subject_en,
    )
