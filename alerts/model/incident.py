"""Life cycle of an incident.

This module alone changes an incident's state. `TRANSITIONS` is the specification: the tests read it, and the table in
docs/explanation/incident.md.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from alerts.hours.elapsed import TOLERANCE
from alerts.model.delivery import Notification
from alerts.model.event import (
    AUTOMATIC,
    Acknowledge,
    AddNote,
    Close,
    Declare,
    Escalate,
    Event,
    Expire,
    MarkFalseAlarm,
    Release,
    Resolve,
    Trigger,
)
from alerts.model.notification import Cause, IncidentType
from alerts.model.policy_snapshot import PolicySnapshot


class IncidentState(StrEnum):
    """State of an incident."""

    #: Not acknowledged: escalation runs.
    TRIGGERED = "triggered"
    #: Acknowledged: escalation stops until the expiry, the announcement does not.
    ACKNOWLEDGED = "acknowledged"
    #: It ended. Everybody who was notified of it is notified of the end.
    RESOLVED = "resolved"


#: (state, event) to next state. Pairs that are not listed have no effect.
TRANSITIONS: dict[tuple[IncidentState, type[Event]], IncidentState] = {
    (IncidentState.TRIGGERED, Trigger): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, Declare): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, Acknowledge): IncidentState.ACKNOWLEDGED,
    (IncidentState.TRIGGERED, Resolve): IncidentState.RESOLVED,
    (IncidentState.TRIGGERED, AddNote): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, Escalate): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, Release): IncidentState.TRIGGERED,
    (IncidentState.TRIGGERED, MarkFalseAlarm): IncidentState.RESOLVED,
    (IncidentState.TRIGGERED, Close): IncidentState.RESOLVED,
    (IncidentState.ACKNOWLEDGED, Trigger): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, Declare): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, Acknowledge): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, AddNote): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, Escalate): IncidentState.TRIGGERED,
    (IncidentState.ACKNOWLEDGED, Expire): IncidentState.TRIGGERED,
    (IncidentState.ACKNOWLEDGED, Resolve): IncidentState.RESOLVED,
    (IncidentState.ACKNOWLEDGED, Release): IncidentState.ACKNOWLEDGED,
    (IncidentState.ACKNOWLEDGED, MarkFalseAlarm): IncidentState.RESOLVED,
    (IncidentState.ACKNOWLEDGED, Close): IncidentState.RESOLVED,
    (IncidentState.RESOLVED, AddNote): IncidentState.RESOLVED,
    (IncidentState.RESOLVED, Resolve): IncidentState.RESOLVED,
    (IncidentState.RESOLVED, MarkFalseAlarm): IncidentState.RESOLVED,
}

#: Repeated commands within this time have no effect: a provider reports a key twice, and a telephone may answer every
#: reply with "OK".
REPEATED_WITHIN = timedelta(minutes=1)

#: How long after its end an incident may be marked as a false alarm. A later correction would only puzzle its readers.
FALSE_ALARM_WITHIN = timedelta(hours=24)

#: How long after a person has closed an incident its continued detection opens no new one.
SUPPRESSED_FOR = timedelta(hours=24)

#: Severity of a type.
SEVERITY: dict[IncidentType, int] = {
    IncidentType.MONITORING_FAULT: 0,
    IncidentType.UNREACHED: 0,
    IncidentType.DOUBTFUL: 0,
    IncidentType.UNRELEASED: 0,
    IncidentType.RESTORED: 0,
    IncidentType.ALERT: 0,
    IncidentType.DEGRADED: 1,
    IncidentType.SIGN_IN: 2,
    IncidentType.SENDING: 3,
    IncidentType.RECEIVING: 3,
    IncidentType.BOTH: 4,
}

#: Mail does not work: people outside may be notified.
OUTAGES = frozenset({IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Position in the escalation."""

    #: Number of restarts of the escalation, because the incident became worse, or of a step, after a silence.
    restarts: int = 0
    round: int = 0
    #: Index of the last started step; -1 before the first.
    step: int = -1
    #: Start of that step (before the first: of the restart).
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A person's report that mail does not work, valid until a person ends it."""

    type: IncidentType
    at: datetime
    by: str
    reason: str
    #: End of the declaration, and who ended it.
    ended_at: datetime | None = None
    ended_by: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualClosure:
    """Closing by a person, or of an incident that is no longer monitored (`AUTOMATIC`)."""

    at: datetime
    by: str
    reason: str
    #: Whether mail works again according to the person: otherwise no recovery is sent.
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One problem with its notifications' policy."""

    id: int
    dedup_key: str
    #: The number that people quote: "JKR-07".
    number: str
    type: IncidentType
    state: IncidentState
    policy: PolicySnapshot
    began_at: datetime
    opened_at: datetime
    position: Position
    #: Since when it has its type: an outage may begin as a degradation.
    since: datetime
    #: Last used enclosure number after a restore of the database (`alerts.persistence.restoration`).
    skipped_pages: int = 0
    #: Current type: while an outage ends it may be less than `type`.
    current_type: IncidentType
    current_type_since: datetime
    #: Start of `type` and `current_type`, detected or declared, and the first failure in it; `None`: at the start of the
    #: incident, or never. Junk since 22.16 is no failed sending since 22.16.
    type_began_at: datetime | None = None
    current_type_began_at: datetime | None = None
    outage_began_at: datetime | None = None
    #: It flapped before it opened.
    flapping: bool = False
    #: Last detected type; `None`: nothing is detected, and the incident is open by a declaration, or was closed by a
    #: person.
    detected: IncidentType | None = None
    #: Its declaration, current or past; `None`: it was only detected.
    declared: Declaration | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    #: Last answer of the current or previous assignee.
    last_response_at: datetime | None = None
    #: When the assignee was reminded; `None`: not since the last answer.
    reminded_at: datetime | None = None
    #: The assignee at the expiry or escalation; `None`: none, or acknowledged again.
    previous_assignee: str | None = None
    #: Whether the previous assignee escalated, and the acknowledgement did not just expire.
    escalated: bool = False
    released_at: datetime | None = None
    released_by: str | None = None
    resolved_at: datetime | None = None
    ended_at: datetime | None = None
    #: When a person marked it as a false alarm, who, and the reason.
    false_alarm_at: datetime | None = None
    false_alarm_by: str | None = None
    false_alarm_reason: str | None = None
    #: Closing by a person; `None`: open, ended by detection, or a false alarm.
    closed: ManualClosure | None = None

    @property
    def is_open(self) -> bool:
        """Whether the problem lasts."""
        return self.state is not IncidentState.RESOLVED

    @property
    def closed_without_recovery(self) -> bool:
        """Whether it was closed without a recovery."""
        return self.closed is not None and not self.closed.recovered and self.false_alarm_at is None

    @property
    def suppressed_since(self) -> datetime | None:
        """When a person closed it while it was detected, which suppresses a new incident for a while (`is_suppressed`).

        Not after a correction of an ended incident: what is detected since is another problem.
        """
        by_hand = self.closed.at if self.closed is not None and self.closed.by != AUTOMATIC else None
        at = max(filter(None, (self.false_alarm_at, by_hand)), default=None)
        is_ended_by_word = self.resolved_at in {self.false_alarm_at, by_hand}
        return at if self.detected is not None and is_ended_by_word else None

    @property
    def reported_type(self) -> IncidentType:
        """The type in a notification decided now: for an outage what is left of it."""
        return self.current_type if {self.type, self.current_type} <= OUTAGES else self.type

    @property
    def reported_type_began_at(self) -> datetime:
        """Start of `reported_type`; for an ended incident, of all of it."""
        if not self.is_open:
            return self.worst_began_at
        began_at = self.current_type_began_at if self.reported_type is self.current_type else self.type_began_at
        return began_at or self.began_at

    @property
    def worst_began_at(self) -> datetime:
        """When mail first failed in it, or its start without a failure."""
        return (self.outage_began_at or self.began_at) if self.type in OUTAGES else self.began_at

    @property
    def declared_type(self) -> IncidentType | None:
        """The declared type that has not ended."""
        return self.declared.type if self.declared is not None and self.declared.is_active else None

    @property
    def declared_by(self) -> str:
        """Who declared it, while that exceeds what is detected; "" otherwise."""
        said = self.declared
        return (
            said.by
            if said is not None and said.is_active and joined(self.detected, said.type) is not self.detected
            else ""
        )

    @property
    def active_type(self) -> IncidentType | None:
        """The type that keeps it open: detected, declared, or both; `None`: none."""
        return joined(self.detected, self.declared_type)

    def name_of(self, person: str) -> str:
        """Return the name of a contact in the frozen policy by its key; the key without a contact."""
        contact = self.policy.escalation.contact(person)
        return contact.name if contact else person

    def assignee_name(self, person: str) -> str:
        """Return the name under which a contact acts: the assignee's name if they have the incident, or their own."""
        by = self.acknowledged_by
        return by if by is not None and self.is_assigned_to({self.name_of(person)}) else self.name_of(person)

    def is_assigned_to(self, names: AbstractSet[str]) -> bool:
        """Whether one of *names* is the assignee's, or of the same contact (`EscalationPolicy.named`)."""
        by, named = self.acknowledged_by, self.policy.escalation.named
        if by is None or by in names:
            return by is not None
        holder = named(by)
        return holder is not None and any(named(name) == holder for name in names)

    def reader(self, notice: Notification) -> str:
        """Return the reader of a notification, as people name them."""
        return str(notice.addressee or self.name_of(notice.person))

    @property
    def acknowledged_until(self) -> datetime | None:
        """Expiry of the acknowledgement without further answers; `None`: not acknowledged, or over.

        After a late reminder the assignee has the usual time to answer.
        """
        if self.state is not IncidentState.ACKNOWLEDGED or self.last_response_at is None:
            return None
        policy = self.policy.escalation
        until = self.last_response_at + policy.acknowledgement_timeout
        return until if self.reminded_at is None else max(until, self.reminded_at + policy.remind_before)


def open_incident(event: Trigger | Declare, *, incident_id: int, number: str) -> Incident:
    """Return the incident that *event* opens."""
    return Incident(
        id=incident_id,
        dedup_key=event.dedup_key,
        number=number,
        type=event.type,
        state=IncidentState.TRIGGERED,
        policy=event.policy,
        began_at=event.began_at,
        opened_at=event.at,
        position=Position(since=event.at),
        since=event.at,
        current_type=event.type,
        current_type_since=event.at,
        type_began_at=event.began_at,
        current_type_began_at=event.began_at,
        outage_began_at=event.began_at if event.type in OUTAGES else None,
        flapping=isinstance(event, Trigger) and event.flapping,
        detected=event.type if isinstance(event, Trigger) else None,
        declared=_declaration(event) if isinstance(event, Declare) else None,
    )


def apply(incident: Incident, event: Event) -> Incident:
    """Return the incident after *event*; the same object without a change."""
    state = TRANSITIONS.get((incident.state, type(event)))
    if state is None:
        return incident
    match event:
        case Acknowledge():
            return _acknowledge(incident, event)
        case AddNote():
            return _prolong(incident, event.at)
        case Escalate():
            return _hand_on(incident, event, state)
        case Expire():
            return replace(_let_go(incident), state=state, previous_assignee=incident.acknowledged_by)
        case Release():
            return _release(incident, event)
        case Trigger():
            return _trigger(incident, event)
        case Declare():
            return _declare(incident, event)
        case Resolve():
            return _resolve(incident, event, state)
        case Close():
            return _close(incident, event, state)
        case MarkFalseAlarm():
            return (
                _correct(replace(incident, state=state), event)
                if may_mark_false_alarm(incident, event.at)
                else incident
            )
        case _:
            assert_never(event)


def _acknowledge(incident: Incident, event: Acknowledge) -> Incident:
    """Acknowledge. The assignee extends the acknowledgement; another person takes over only by naming the assignee."""
    if incident.state is IncidentState.ACKNOWLEDGED and (event.of is None or event.of != incident.acknowledged_by):
        if event.by != incident.acknowledged_by or _was_heard_just_before(incident, event.at):
            return incident
        return _prolong(incident, event.at)
    return replace(
        _let_go(incident),
        state=IncidentState.ACKNOWLEDGED,
        acknowledged_at=event.at,
        acknowledged_by=event.by,
        last_response_at=event.at,
    )


def _hand_on(incident: Incident, event: Escalate, state: IncidentState) -> Incident:
    if incident.escalated and incident.previous_assignee == event.by and _was_heard_just_before(incident, event.at):
        return incident
    return replace(
        _let_go(incident), state=state, last_response_at=event.at, previous_assignee=event.by, escalated=True
    )


def _release(incident: Incident, event: Release) -> Incident:
    if incident.released_at is not None or incident.type not in OUTAGES:
        return incident
    released = replace(incident, released_at=event.at, released_by=event.by)
    return released if event.by == AUTOMATIC else _prolong(released, event.at)


def _was_heard_just_before(incident: Incident, at: datetime) -> bool:
    return incident.last_response_at is not None and timedelta(0) <= at - incident.last_response_at < REPEATED_WITHIN


def _prolong(incident: Incident, at: datetime) -> Incident:
    """Extend the acknowledgement, if there is one, to its full time from now."""
    if incident.state is not IncidentState.ACKNOWLEDGED:
        return incident
    return replace(incident, last_response_at=at, reminded_at=None)


def _let_go(incident: Incident) -> Incident:
    """Remove the current and the previous assignee."""
    return replace(
        incident, acknowledged_at=None, acknowledged_by=None, reminded_at=None, previous_assignee=None, escalated=False
    )


def is_news(matter: IncidentType, told: IncidentType) -> bool:
    """Whether *matter* must be notified after *told*: more is wrong than before, or as much of another type.

    While an outage ends, less is wrong from run to run, which is no news. A change from sending to receiving would make
    the notification wrong.
    """
    return matter is not told and SEVERITY[matter] >= SEVERITY[told]


def joined(one: IncidentType | None, other: IncidentType | None) -> IncidentType | None:
    """Return the type of both problems together: no sending and no receiving is both."""
    if one is None or other is None:
        return one or other
    if one is not other and {one, other} <= OUTAGES:
        return IncidentType.BOTH
    return max(one, other, key=SEVERITY.__getitem__)


def _trigger(incident: Incident, event: Trigger) -> Incident:
    """Apply a detection; a declared type is wrong besides."""
    wrong = joined(event.type, incident.declared_type) or event.type
    # The declared part began before: both are wrong since the later start.
    began_at = event.began_at if wrong is event.type else max(event.began_at, incident.reported_type_began_at)
    after = _worsen(incident, wrong, event.less_since or event.at, event.policy.cause, began_at)
    return after if event.type is incident.detected else replace(after, detected=event.type)


def _declare(incident: Incident, event: Declare) -> Incident:
    """Apply a declaration. The part that keeps the incident open already need not be repeated."""
    wrong = joined(event.type, incident.active_type) or event.type
    if wrong is incident.active_type:
        return incident
    # A declaration of more withdraws nothing.
    said = joined(event.type, incident.declared_type) or event.type
    began_at = event.began_at if wrong is event.type else max(event.began_at, incident.reported_type_began_at)
    return replace(
        _worsen(incident, wrong, event.at, None, began_at),
        began_at=min(incident.began_at, event.began_at),
        declared=replace(_declaration(event), type=said),
    )


def _declaration(event: Declare) -> Declaration:
    return Declaration(type=event.type, at=event.at, by=event.by, reason=event.reason)


def _resolve(incident: Incident, event: Resolve, state: IncidentState) -> Incident:
    """End the detection: the incident is over unless a declaration keeps it open, or a person closed it before."""
    if not incident.is_open:
        if incident.closed is None or incident.detected is None:
            return incident
        ended_at = incident.ended_at or _end(incident, event.ended_at, event.at)
        return replace(incident, detected=None, ended_at=ended_at)
    declared = incident.declared
    if declared is not None and declared.is_active:
        left = replace(incident, detected=None)
        began_at = incident.began_at if declared.at <= incident.opened_at else declared.at
        return incident if incident.detected is None else _worsen(left, declared.type, event.at, None, began_at)
    ended_at = event.ended_at if declared is None else max(event.ended_at, declared.ended_at or event.ended_at)
    return replace(incident, state=state, resolved_at=event.at, ended_at=_end(incident, ended_at, event.at))


def _end(incident: Incident, ended_at: datetime, found_at: datetime) -> datetime:
    """Return when an ended incident ended.

    The remaining parts may have worked since before its start, when the failing part was removed or is attributed
    elsewhere. Then its end was not observed.
    """
    began_at = incident.worst_began_at
    return ended_at if ended_at > began_at else max(found_at, began_at)


def _close(incident: Incident, event: Close, state: IncidentState) -> Incident:
    """End the declaration: the incident is over unless it is still detected and the person did not close that too."""
    said, after = incident.declared, incident
    if said is not None and said.is_active:
        after = replace(incident, declared=replace(said, ended_at=event.at, ended_by=event.by))
    if event.recovered is None and incident.detected is not None:
        return after if after is incident else _prolong(_measured_alone(after, incident.detected, event.at), event.at)
    recovered = event.recovered is not False
    closing = ManualClosure(at=event.at, by=event.by, reason=event.reason, recovered=recovered)
    # Without a recovery the time of the end is unknown.
    ended_at = event.at if recovered else None
    return replace(after, state=state, resolved_at=event.at, ended_at=ended_at, closed=closing)


def _measured_alone(incident: Incident, measured: IncidentType, at: datetime) -> Incident:
    """Return an incident without a declaration."""
    return _worsen(incident, measured, at, incident.policy.cause, incident.reported_type_began_at)


def _worsen(incident: Incident, matter: IncidentType, at: datetime, why: Cause | None, began_at: datetime) -> Incident:
    """Change the type, with the time of the change, its cause *why* if detected, and its start.

    When a degradation becomes an outage, staff who acknowledged the degradation are not notified of the outage yet: the
    escalation restarts. An outage that spreads, changes its direction or loses one is reported in later notifications,
    and by `alerts.decide.followup` to people notified before.
    """
    if matter is incident.current_type:
        return incident
    # The policy stays frozen; the cause may have changed.
    brief = incident.policy
    brief = brief if brief.cause is why else replace(brief, cause=why)
    changed = replace(
        incident,
        current_type=matter,
        current_type_since=at,
        current_type_began_at=began_at,
        outage_began_at=incident.outage_began_at or (began_at if matter in OUTAGES else None),
        policy=brief,
    )
    if not is_news(matter, incident.type):
        return changed
    if incident.type in OUTAGES:
        return replace(changed, type=matter, type_began_at=began_at)
    return replace(
        _let_go(changed),
        type=matter,
        type_began_at=began_at,
        state=IncidentState.TRIGGERED,
        since=at,
        last_response_at=None,
        position=Position(restarts=incident.position.restarts + 1, since=at),
    )


def has_got_worse(incident: Incident, told: IncidentType) -> bool:
    """Whether a person notified of *told* is not notified of the outage that a degradation has become."""
    return told not in OUTAGES and incident.type in OUTAGES


def may_mark_false_alarm(incident: Incident, now: datetime) -> bool:
    """Whether it may be marked as a false alarm: once, while open or within `FALSE_ALARM_WITHIN` of its end."""
    if incident.false_alarm_at is not None:
        return False
    return incident.resolved_at is None or -TOLERANCE <= now - incident.resolved_at <= FALSE_ALARM_WITHIN


def release_is_offered(incident: Incident, now: datetime) -> bool:
    """Whether a duty officer is asked to release the announcement: the outage has lasted, and it is not released.

    Not while mail is only slow, of which nobody outside is notified.
    """
    plan = incident.policy.announcement
    return (
        incident.is_open
        and incident.released_at is None
        and {incident.type, incident.current_type} <= OUTAGES
        and bool(plan.recipients)
        and not plan.automatic
        and now >= incident.since + plan.release_offered_after
    )


def _correct(incident: Incident, event: MarkFalseAlarm) -> Incident:
    corrected = replace(incident, false_alarm_at=event.at, false_alarm_by=event.by, false_alarm_reason=event.reason)
    if incident.resolved_at is not None:
        return corrected
    return replace(corrected, resolved_at=event.at, ended_at=event.at)


def is_suppressed(ended: Incident, event: Trigger) -> bool:
    """Whether *event* only detects what a person has closed: *ended* is the last incident with its key.

    Detection does not change because a person knows better: without this the next run would reopen the incident. A
    problem that began later, or is worse, is another one, and after a day a person has to close again. Where nothing
    was detected, the person has only ended a declaration.
    """
    since = ended.suppressed_since
    return (
        since is not None
        and (event.latest_at or event.began_at) <= since
        and -TOLERANCE <= event.at - since <= SUPPRESSED_FOR
        and not is_news(event.type, ended.type)
    )
