"""The life of an incident.

Everything that changes an incident's state lives in this file, and nothing else does. `TRANSITIONS` is the
specification: the tests read it, and so does the diagram in ARCHITECTURE.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from alerts.brief import Brief
from alerts.event import AUTOMATIC, Acknowledge, Correct, Event, Expire, HandOn, Release, Remark, Resolve, Trigger
from alerts.notice import Matter


class IncidentState(StrEnum):
    """Where an incident stands."""

    #: Nobody has taken it on: escalation runs.
    TRIGGERED = "triggered"
    #: A person has: escalation stops until that expires, announcement does not.
    ACKNOWLEDGED = "acknowledged"
    #: Over. Those who were told of it are told so.
    RESOLVED = "resolved"


#: (state, event) -> next state. A pair that is not listed changes nothing.
TRANSITIONS: dict[tuple[IncidentState, type[Event]], IncidentState] = {
    (IncidentState.TRIGGERED, Trigger): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, Acknowledge): IncidentState.ACKNOWLEDGED,
    (IncidentState.TRIGGERED, Resolve): IncidentState.RESOLVED,
    (IncidentState.TRIGGERED, Remark): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, HandOn): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, Release): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, Correct): IncidentState.RESOLVED,
    (IncidentState.ACKNOWLEDGED, Trigger): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, Acknowledge): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, Remark): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, HandOn): IncidentState.TRIGGERED,
    (IncidentState.ACKNOWLEDGED, Expire): IncidentState.TRIGGERED,
    (IncidentState.ACKNOWLEDGED, Resolve): IncidentState.RESOLVED,
    (IncidentState.ACKNOWLEDGED, Release): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, Correct): IncidentState.RESOLVED,
    (IncidentState.RESOLVED, Remark): IncidentState.RESOLVED,
    (IncidentState.RESOLVED, Correct): IncidentState.RESOLVED,
}

#: What a person says again within this time changes nothing: a provider brings a key twice, and a telephone may answer every
#: answer with "OK".
SAID_TWICE = timedelta(minutes=1)

#: How long after its end an incident can still be declared a false alarm. Later, a correction would only puzzle those
#: who have long gone back to their mail.
CORRECTABLE_FOR = timedelta(hours=24)

#: How much is wrong.
SEVERITY: dict[Matter, int] = {
    Matter.OWN_FAULT: 0,
    Matter.UNREACHED: 0,
    Matter.DOUBTFUL: 0,
    Matter.UNRELEASED: 0,
    Matter.DEGRADED: 1,
    Matter.SENDING: 2,
    Matter.RECEIVING: 2,
    Matter.BOTH: 3,
}

#: Mail does not work: people outside may need to know.
OUTAGES = frozenset({Matter.SENDING, Matter.RECEIVING, Matter.BOTH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the escalation has come."""

    #: Counts the times the escalation began anew, because things got worse, or a step of it, because a silence withheld it.
    wave: int = 0
    round: int = 0
    #: Index of the last step that was started; -1 before the first.
    step: int = -1
    #: When that step was started (before the first: when the wave began).
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One stretch of trouble, and whom it was decided to tell."""

    id: int
    dedup_key: str
    #: What people quote: "JKR-07".
    number: str
    matter: Matter
    state: IncidentState
    brief: Brief
    began_at: datetime
    opened_at: datetime
    position: Position
    #: When it became what it is about now: an outage may begin as slowness.
    since: datetime
    #: What is wrong now, as far as was seen: while an outage ends it may be less than `matter`, and slowness in the end.
    present: Matter
    present_since: datetime
    #: It went down and up again and again before it opened.
    unsteady: bool = False
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    #: When anything was last heard of whoever has taken it on, or had.
    heard_at: datetime | None = None
    #: When they were reminded that it is about to expire; `None`: not since they were heard of.
    reminded_at: datetime | None = None
    #: Who had taken it on when that expired, or has handed it on; `None`: nobody, or somebody has taken it on again.
    had_by: str | None = None
    #: Whether they handed it on, and were not just heard of no more.
    handed_on: bool = False
    released_at: datetime | None = None
    released_by: str | None = None
    resolved_at: datetime | None = None
    ended_at: datetime | None = None
    #: When a person declared it a false alarm, who, and in which words why.
    corrected_at: datetime | None = None
    corrected_by: str | None = None
    corrected_why: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the trouble goes on."""
        return self.state is not IncidentState.RESOLVED

    @property
    def to_be_told(self) -> Matter:
        """What a notice that is decided on now says is wrong: of an outage what is left of it."""
        return self.present if {self.matter, self.present} <= OUTAGES else self.matter

    @property
    def acknowledged_until(self) -> datetime | None:
        """When the acknowledgement expires if nothing is heard; `None`: nobody has taken it on, or it is over.

        Whoever is reminded late has as long to answer as anybody else.
        """
        if self.state is not IncidentState.ACKNOWLEDGED or self.heard_at is None:
            return None
        policy = self.brief.escalation
        until = self.heard_at + policy.acknowledge_for
        return until if self.reminded_at is None else max(until, self.reminded_at + policy.remind_before)


def open_incident(event: Trigger, *, incident_id: int, number: str) -> Incident:
    """Return the incident that *event* opens."""
    return Incident(
        id=incident_id,
        dedup_key=event.dedup_key,
        number=number,
        matter=event.matter,
        state=IncidentState.TRIGGERED,
        brief=event.brief,
        began_at=event.began_at,
        opened_at=event.at,
        position=Position(since=event.at),
        since=event.at,
        present=event.matter,
        present_since=event.at,
        unsteady=event.unsteady,
    )


def apply(incident: Incident, event: Event) -> Incident:
    """Return the incident after *event*; the same object if nothing changed."""
    state = TRANSITIONS.get((incident.state, type(event)))
    if state is None:
        return incident
    match event:
        case Acknowledge():
            return _acknowledge(incident, event)
        case Remark():
            return _prolong(incident, event.at)
        case HandOn():
            if incident.handed_on and incident.had_by == event.by and _was_heard_just_before(incident, event.at):
                return incident
            left = replace(_let_go(incident), state=state, heard_at=event.at)
            return replace(left, had_by=event.by, handed_on=True)
        case Expire():
            return replace(_let_go(incident), state=state, had_by=incident.acknowledged_by)
        case Resolve():
            return replace(incident, state=state, resolved_at=event.at, ended_at=event.ended_at)
        case Release():
            if incident.released_at is not None or incident.matter not in OUTAGES:
                return incident
            released = replace(incident, state=state, released_at=event.at, released_by=event.by)
            return released if event.by == AUTOMATIC else _prolong(released, event.at)
        case Trigger():
            return _worsen(incident, event)
        case Correct():
            return _correct(replace(incident, state=state), event) if may_correct(incident, event.at) else incident
        case _:
            assert_never(event)


def _acknowledge(incident: Incident, event: Acknowledge) -> Incident:
    """Let a person take it on. Whoever has it already has it for longer; nobody takes it from another."""
    if incident.state is IncidentState.ACKNOWLEDGED:
        if event.by != incident.acknowledged_by or _was_heard_just_before(incident, event.at):
            return incident
        return _prolong(incident, event.at)
    return replace(
        _let_go(incident),
        state=IncidentState.ACKNOWLEDGED,
        acknowledged_at=event.at,
        acknowledged_by=event.by,
        heard_at=event.at,
    )


def _was_heard_just_before(incident: Incident, at: datetime) -> bool:
    return incident.heard_at is not None and timedelta(0) <= at - incident.heard_at < SAID_TWICE


def _prolong(incident: Incident, at: datetime) -> Incident:
    """Let the acknowledgement, if there is one, stand for its whole time from now on."""
    if incident.state is not IncidentState.ACKNOWLEDGED:
        return incident
    return replace(incident, heard_at=at, reminded_at=None)


def _let_go(incident: Incident) -> Incident:
    """Let nobody have it, and nobody have had it."""
    return replace(incident, acknowledged_at=None, acknowledged_by=None, reminded_at=None, had_by=None, handed_on=False)


def is_news(matter: Matter, told: Matter) -> bool:
    """Whether *matter* is to be told where *told* was: more is wrong than before, or as much and something else.

    While an outage ends less is wrong from run to run: that is no news. Where sending was down and now receiving is,
    what was told would be false.
    """
    return matter is not told and SEVERITY[matter] >= SEVERITY[told]


def _worsen(incident: Incident, event: Trigger) -> Incident:
    """Take in another matter.

    When slowness has become an outage, staff who acknowledged the slowness have not yet heard of the outage: the
    escalation begins anew. An outage that spreads, moves to the other direction or ends in one is told in the notices still
    to come, and to those who were told before by `alerts.followup`.
    """
    if event.matter is incident.present:
        return incident
    # The plan stays as it was frozen; why it fails may be another reason by now.
    brief, why = incident.brief, event.brief.cause
    brief = brief if brief.cause is why else replace(brief, cause=why)
    changed = replace(incident, present=event.matter, present_since=event.less_since or event.at, brief=brief)
    if not is_news(event.matter, incident.matter):
        return changed
    if incident.matter in OUTAGES:
        return replace(changed, matter=event.matter)
    return replace(
        _let_go(changed),
        matter=event.matter,
        state=IncidentState.TRIGGERED,
        since=event.at,
        heard_at=None,
        position=Position(wave=incident.position.wave + 1, since=event.at),
    )


def has_got_worse(incident: Incident, told: Matter) -> bool:
    """Whether somebody who was told of *told* has not heard what it is now: slowness has become an outage."""
    return told not in OUTAGES and incident.matter in OUTAGES


def may_correct(incident: Incident, now: datetime) -> bool:
    """Whether it can be declared a false alarm: once, while it is open or within `CORRECTABLE_FOR` of its end."""
    if incident.corrected_at is not None:
        return False
    return incident.resolved_at is None or now - incident.resolved_at <= CORRECTABLE_FOR


def release_is_offered(incident: Incident, now: datetime) -> bool:
    """Whether a duty officer is asked to release the announcement: the outage has lasted long enough, and nobody has."""
    plan = incident.brief.announcement
    return (
        incident.is_open
        and incident.released_at is None
        and incident.matter in OUTAGES
        and bool(plan.recipients)
        and not plan.automatic
        and now >= incident.since + plan.offered_after
    )


def _correct(incident: Incident, event: Correct) -> Incident:
    corrected = replace(incident, corrected_at=event.at, corrected_by=event.by, corrected_why=event.why)
    if incident.resolved_at is not None:
        return corrected
    return replace(corrected, resolved_at=event.at, ended_at=event.at)


def is_the_false_alarm(corrected: Incident, event: Trigger) -> bool:
    """Whether *event* tells of nothing but what *corrected*, the last incident about it, was declared a false alarm for.

    What a prober measures does not change because a person knows better: without this the next start would open the
    same incident again. Trouble of which anything began afterwards, or that is worse, is another matter, and after a day
    a person has to say so again.
    """
    return (
        corrected.corrected_at is not None
        and (event.latest_at or event.began_at) <= corrected.corrected_at
        and event.at - corrected.corrected_at <= CORRECTABLE_FOR
        and not is_news(event.matter, corrected.matter)
    )
