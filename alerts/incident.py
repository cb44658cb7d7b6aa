"""The life of an incident.

Everything that changes an incident's state lives in this file, and nothing else does. `TRANSITIONS` is the
specification: the tests read it, and so does the diagram in ARCHITECTURE.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from alerts.brief import Brief
from alerts.event import Acknowledge, Event, Release, Resolve, Trigger
from alerts.notice import Matter


class IncidentState(StrEnum):
    """Where an incident stands."""

    #: Nobody has taken it on: escalation runs.
    TRIGGERED = "triggered"
    #: A person has: escalation stops, announcement does not.
    ACKNOWLEDGED = "acknowledged"
    #: Over. Those who were told of it are told so.
    RESOLVED = "resolved"


#: (state, event) -> next state. A pair that is not listed changes nothing.
TRANSITIONS: dict[tuple[IncidentState, type[Event]], IncidentState] = {
    (IncidentState.TRIGGERED, Trigger): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, Acknowledge): IncidentState.ACKNOWLEDGED,
    (IncidentState.TRIGGERED, Resolve): IncidentState.RESOLVED,
    (IncidentState.TRIGGERED, Release): IncidentState.TRIGGERED,
    (IncidentState.ACKNOWLEDGED, Trigger): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, Resolve): IncidentState.RESOLVED,
    (IncidentState.ACKNOWLEDGED, Release): IncidentState.ACKNOWLEDGED,
}

#: How much is wrong. Only more than before is news.
SEVERITY: dict[Matter, int] = {
    Matter.OWN_FAULT: 0,
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

    #: Counts the times the escalation began anew because things got worse.
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
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    released_at: datetime | None = None
    released_by: str | None = None
    resolved_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether the trouble goes on."""
        return self.state is not IncidentState.RESOLVED


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
    )


def apply(incident: Incident, event: Event) -> Incident:
    """Return the incident after *event*; the same object if nothing changed."""
    state = TRANSITIONS.get((incident.state, type(event)))
    if state is None:
        return incident
    match event:
        case Acknowledge():
            return replace(incident, state=state, acknowledged_at=event.at, acknowledged_by=event.by)
        case Resolve():
            return replace(incident, state=state, resolved_at=event.at, ended_at=event.ended_at)
        case Release():
            if incident.released_at is not None or incident.matter not in OUTAGES:
                return incident
            return replace(incident, state=state, released_at=event.at, released_by=event.by)
        case Trigger():
            return _worsen(incident, event)
        case _:
            assert_never(event)


def _worsen(incident: Incident, event: Trigger) -> Incident:
    """Take in a worse matter.

    When slowness has become an outage, staff who acknowledged the slowness have not yet heard of the outage: the
    escalation begins anew. An outage that spreads to the other direction is told in the notices still to come.
    """
    if SEVERITY[event.matter] <= SEVERITY[incident.matter]:
        return incident
    if incident.matter in OUTAGES:
        return replace(incident, matter=event.matter)
    return replace(
        incident,
        matter=event.matter,
        state=IncidentState.TRIGGERED,
        since=event.at,
        acknowledged_at=None,
        acknowledged_by=None,
        position=Position(wave=incident.position.wave + 1, since=event.at),
    )
