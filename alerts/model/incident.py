"""Life cycle of an incident. Pure.

Only this module changes an incident's state: `apply` returns the incident after an event. `TRANSITIONS` is the
specification, which the tests compare with the table in docs/explanation/incident.md.

The probes detect a type of problem. A person may also declare one, that is, report that mail does not work. The
incident stays open while either lasts. Its `type` is the worst type so far, its `current_type` the present one.

Two plans notify people: the escalation notifies staff step by step until somebody acknowledges, the announcement
notifies offices outside after a person has released (approved) it. Incidents are exported as JSON, so that field names
never change.
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

    #: Nobody has acknowledged the incident: the escalation runs.
    TRIGGERED = "triggered"
    #: A person has acknowledged the incident. The escalation pauses until the acknowledgement expires; the announcement
    #: does not pause.
    ACKNOWLEDGED = "acknowledged"
    #: The incident has ended. Everybody who was notified of it is notified of the end.
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

#: An acknowledgement or escalation that a person repeats within this time has no effect: a provider may report a key
#: press twice, and a telephone may respond to each SMS with "OK" automatically.
REPEAT_WINDOW = timedelta(minutes=1)

#: How long after its end an incident may be marked as a false alarm. A later correction would only confuse its readers.
FALSE_ALARM_PERIOD = timedelta(hours=24)

#: How long after a person has closed an incident the same problem opens no new incident.
SUPPRESSION_PERIOD = timedelta(hours=24)

#: Severity of each type; larger is worse.
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

#: Types in which mail does not work, so that offices outside may be notified.
OUTAGES = frozenset({IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Position of an incident in its escalation."""

    #: How often the escalation has restarted: because the incident became worse, an acknowledgement ended, a step was
    #: silenced, or the whole policy was replaced.
    restarts: int = 0
    #: Number of the round (pass through all steps), from 0. From `EscalationPolicy.rounds` on, each is a repeat.
    round: int = 0
    #: Index of the step that started last; -1 before the first step.
    step: int = -1
    #: When that step started; before the first step, when the escalation began or restarted.
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A person's report that mail does not work, valid until a person ends it."""

    type: IncidentType
    at: datetime
    #: Name of the person.
    by: str
    reason: str
    #: When a person ended the declaration, and who; `None`: it is valid.
    ended_at: datetime | None = None
    ended_by: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether the declaration is still valid."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualClosure:
    """Closing of an incident by a person, or automatically (`AUTOMATIC`) because the problem is no longer monitored."""

    at: datetime
    by: str
    reason: str
    #: Whether the person stated that mail works again. If not, no recovery notification is sent.
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One problem, with the policy of its notifications."""

    id: int
    #: Key of the problem, such as an agency's code. At most one open incident has it.
    dedup_key: str
    #: The number that people quote: "JKR-07".
    number: str
    #: Worst type so far.
    type: IncidentType
    state: IncidentState
    #: Policy of the notifications, as configured when the incident opened.
    policy: PolicySnapshot
    #: When the problem began, as far as known.
    began_at: datetime
    #: When Pantau opened the incident.
    opened_at: datetime
    position: Position
    #: When the incident opened or, if it became worse and its escalation restarted, when that happened.
    since: datetime
    #: Highest page number that was used on paper and is missing from a restored database. New pages are numbered after
    #: it.
    skipped_pages: int = 0
    #: Present type. While an outage ends, it may be less severe than `type`.
    current_type: IncidentType
    #: When `current_type` was detected or declared.
    current_type_since: datetime
    #: When the problem of `type` began; `None`: at `began_at`. It may be later than `began_at`: for example, mail went
    #: to junk folders before it failed.
    type_began_at: datetime | None = None
    #: When the problem of `current_type` began; `None`: at `began_at`.
    current_type_began_at: datetime | None = None
    #: When the first outage of the incident began; `None`: no outage so far.
    outage_began_at: datetime | None = None
    #: Mail was down and up repeatedly before the incident opened.
    flapping: bool = False
    #: Last detected type. `None`: the probes detect nothing; a declaration keeps the incident open, or a person closed
    #: it.
    detected: IncidentType | None = None
    #: Last declaration, active or ended; `None`: nobody has declared an outage.
    declared: Declaration | None = None
    #: When the assignee acknowledged; `None`: nobody has, or the acknowledgement has ended.
    acknowledged_at: datetime | None = None
    #: Name of the assignee: the person who has acknowledged. `None`: as for `acknowledged_at`.
    acknowledged_by: str | None = None
    #: Last response of the current or previous assignee: an acknowledgement, a note, a release, an escalation.
    last_response_at: datetime | None = None
    #: When the assignee was reminded of the expiry; `None`: not since the last response.
    reminded_at: datetime | None = None
    #: Assignee whose acknowledgement expired, or person who escalated; `None`: neither, or acknowledged since.
    previous_assignee: str | None = None
    #: Whether `previous_assignee` escalated; otherwise the acknowledgement expired.
    escalated: bool = False
    #: When the announcement was released, and by whom; `None`: not released.
    released_at: datetime | None = None
    released_by: str | None = None
    #: When Pantau or a person ended the incident; `None`: open.
    resolved_at: datetime | None = None
    #: When the problem ended, as far as known: usually before `resolved_at`.
    ended_at: datetime | None = None
    #: When a person marked the incident as a false alarm, who, and the reason; `None`: nobody did.
    false_alarm_at: datetime | None = None
    false_alarm_by: str | None = None
    false_alarm_reason: str | None = None
    #: `None`: the incident is open, ended because the probes detect no problem any more, or was a false alarm.
    closed: ManualClosure | None = None

    @property
    def is_open(self) -> bool:
        """Whether the incident has not ended."""
        return self.state is not IncidentState.RESOLVED

    @property
    def closed_without_recovery(self) -> bool:
        """Whether a person closed the incident without stating that mail works again."""
        return self.closed is not None and not self.closed.recovered and self.false_alarm_at is None

    @property
    def suppressed_since(self) -> datetime | None:
        """When a person closed the incident, or marked it as a false alarm, although the problem was still detected.

        `is_suppressed` uses it. `None`: the incident did not end this way, and a later detection is a new problem.
        """
        closed_at = self.closed.at if self.closed is not None and self.closed.by != AUTOMATIC else None
        at = max(filter(None, (self.false_alarm_at, closed_at)), default=None)
        is_ended_by_person = self.resolved_at in {self.false_alarm_at, closed_at}
        return at if self.detected is not None and is_ended_by_person else None

    @property
    def reported_type(self) -> IncidentType:
        """Type that a notification states now: `current_type` if it and `type` are outages, otherwise `type`."""
        return self.current_type if {self.type, self.current_type} <= OUTAGES else self.type

    @property
    def reported_type_began_at(self) -> datetime:
        """When the problem of `reported_type` began; after the incident has ended, `worst_began_at`."""
        if not self.is_open:
            return self.worst_began_at
        began_at = self.current_type_began_at if self.reported_type is self.current_type else self.type_began_at
        return began_at or self.began_at

    @property
    def worst_began_at(self) -> datetime:
        """When the first outage of the incident began; if it had no outage, when the incident began."""
        return (self.outage_began_at or self.began_at) if self.type in OUTAGES else self.began_at

    @property
    def declared_type(self) -> IncidentType | None:
        """The type of the active declaration; `None` without one."""
        return self.declared.type if self.declared is not None and self.declared.is_active else None

    @property
    def declared_by(self) -> str:
        """Who made the active declaration, if it reports more than is detected; "" otherwise."""
        declaration = self.declared
        if declaration is None or not declaration.is_active:
            return ""
        reports_more = combined_type(self.detected, declaration.type) is not self.detected
        return declaration.by if reports_more else ""

    @property
    def active_type(self) -> IncidentType | None:
        """The detected and declared types combined; `None` if nothing is detected or declared any more."""
        return combined_type(self.detected, self.declared_type)

    def contact_name(self, person: str) -> str:
        """Return the name of the contact with the key *person*; *person* itself if the policy has no such contact."""
        contact = self.policy.escalation.contact(person)
        return contact.name if contact else person

    def acting_name(self, person: str) -> str:
        """Return the name to record for an action of the contact with the key *person*.

        For the assignee it is `acknowledged_by`, so that the action is recognised as the assignee's; otherwise the
        contact's name.
        """
        by = self.acknowledged_by
        return by if by is not None and self.is_assigned_to({self.contact_name(person)}) else self.contact_name(person)

    def is_assigned_to(self, names: AbstractSet[str]) -> bool:
        """Whether one of *names* is `acknowledged_by`, or names the same contact."""
        by, policy = self.acknowledged_by, self.policy.escalation
        if by is None or by in names:
            return by is not None
        assignee = policy.contact_by_name(by)
        return assignee is not None and any(policy.contact_by_name(name) == assignee for name in names)

    def reader_name(self, notification: Notification) -> str:
        """Return the name of a notification's reader, as shown to people."""
        return str(notification.addressee or self.contact_name(notification.person))

    @property
    def acknowledged_until(self) -> datetime | None:
        """When the acknowledgement expires without a further response; `None`: the incident is not acknowledged now.

        If the reminder was sent late, the acknowledgement expires later, so that the assignee has the whole time
        `remind_before` to respond.
        """
        if self.state is not IncidentState.ACKNOWLEDGED or self.last_response_at is None:
            return None
        policy = self.policy.escalation
        until = self.last_response_at + policy.acknowledgement_timeout
        return until if self.reminded_at is None else max(until, self.reminded_at + policy.remind_before)


def open_incident(event: Trigger | Declare, *, incident_id: int, number: str) -> Incident:
    """Return the incident that *event* opens. The store assigns *incident_id* and *number*."""
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
    """Return the incident after *event*; the same object if nothing changes."""
    state = TRANSITIONS.get((incident.state, type(event)))
    if state is None:
        return incident
    match event:
        case Acknowledge():
            return _acknowledge(incident, event)
        case AddNote():
            return _prolong(incident, event.at)
        case Escalate():
            return _escalate(incident, event, state)
        case Expire():
            return replace(_clear_acknowledgement(incident), state=state, previous_assignee=incident.acknowledged_by)
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
                _mark_false_alarm(replace(incident, state=state), event)
                if may_mark_false_alarm(incident, event.at)
                else incident
            )
        case _:
            assert_never(event)


def _acknowledge(incident: Incident, event: Acknowledge) -> Incident:
    """Apply an acknowledgement.

    An acknowledgement by the assignee extends the earlier one. Another person takes over only if
    `event.previous_assignee` is still the assignee.
    """
    is_takeover = event.previous_assignee is not None and event.previous_assignee == incident.acknowledged_by
    if incident.state is IncidentState.ACKNOWLEDGED and not is_takeover:
        if event.by != incident.acknowledged_by or _is_repeated(incident, event.at):
            return incident
        return _prolong(incident, event.at)
    return replace(
        _clear_acknowledgement(incident),
        state=IncidentState.ACKNOWLEDGED,
        acknowledged_at=event.at,
        acknowledged_by=event.by,
        last_response_at=event.at,
    )


def _escalate(incident: Incident, event: Escalate, state: IncidentState) -> Incident:
    if incident.escalated and incident.previous_assignee == event.by and _is_repeated(incident, event.at):
        return incident
    return replace(
        _clear_acknowledgement(incident),
        state=state,
        last_response_at=event.at,
        previous_assignee=event.by,
        escalated=True,
    )


def _release(incident: Incident, event: Release) -> Incident:
    if incident.released_at is not None or incident.type not in OUTAGES:
        return incident
    released = replace(incident, released_at=event.at, released_by=event.by)
    return released if event.by == AUTOMATIC else _prolong(released, event.at)


def _is_repeated(incident: Incident, at: datetime) -> bool:
    return incident.last_response_at is not None and timedelta(0) <= at - incident.last_response_at < REPEAT_WINDOW


def _prolong(incident: Incident, at: datetime) -> Incident:
    """Extend the acknowledgement, if there is one, to its full time from *at*."""
    if incident.state is not IncidentState.ACKNOWLEDGED:
        return incident
    return replace(incident, last_response_at=at, reminded_at=None)


def _clear_acknowledgement(incident: Incident) -> Incident:
    """Remove the current and the previous assignee."""
    return replace(
        incident, acknowledged_at=None, acknowledged_by=None, reminded_at=None, previous_assignee=None, escalated=False
    )


def is_significant_change(incident_type: IncidentType, notified_type: IncidentType) -> bool:
    """Whether people who were notified of *notified_type* must be notified of *incident_type*.

    They must if it is another type that is at least as severe. While an outage ends, the type becomes less severe with
    each run of the probes, and nobody is notified of that. A change from SENDING to RECEIVING is reported, because the
    earlier notification is no longer true.
    """
    return incident_type is not notified_type and SEVERITY[incident_type] >= SEVERITY[notified_type]


def combined_type(first: IncidentType | None, second: IncidentType | None) -> IncidentType | None:
    """Return the type of two simultaneous problems: BOTH for two different outages, otherwise the more severe type."""
    if first is None or second is None:
        return first or second
    if first is not second and {first, second} <= OUTAGES:
        return IncidentType.BOTH
    return max(first, second, key=SEVERITY.__getitem__)


def _trigger(incident: Incident, event: Trigger) -> Incident:
    """Apply a detection; an active declaration is combined with it."""
    combined = combined_type(event.type, incident.declared_type) or event.type
    # If the type is combined of two problems, it began when the later problem began.
    began_at = event.began_at if combined is event.type else max(event.began_at, incident.reported_type_began_at)
    after = _change_type(incident, combined, event.less_severe_since or event.at, event.policy.cause, began_at)
    return after if event.type is incident.detected else replace(after, detected=event.type)


def _declare(incident: Incident, event: Declare) -> Incident:
    """Apply a declaration. A declaration that adds nothing to the active type has no effect."""
    combined = combined_type(event.type, incident.active_type) or event.type
    if combined is incident.active_type:
        return incident
    # A second declaration adds to the first.
    declared_type = combined_type(event.type, incident.declared_type) or event.type
    began_at = event.began_at if combined is event.type else max(event.began_at, incident.reported_type_began_at)
    return replace(
        _change_type(incident, combined, event.at, None, began_at),
        began_at=min(incident.began_at, event.began_at),
        declared=replace(_declaration(event), type=declared_type),
    )


def _declaration(event: Declare) -> Declaration:
    return Declaration(type=event.type, at=event.at, by=event.by, reason=event.reason)


def _resolve(incident: Incident, event: Resolve, state: IncidentState) -> Incident:
    """Apply the end of the detection: resolve the incident, unless an active declaration keeps it open.

    If a person has closed the incident already, record that nothing is detected any more, and when the problem ended.
    """
    if not incident.is_open:
        if incident.closed is None or incident.detected is None:
            return incident
        ended_at = incident.ended_at or _end(incident, event.ended_at, event.at)
        return replace(incident, detected=None, ended_at=ended_at)
    declared = incident.declared
    if declared is not None and declared.is_active:
        if incident.detected is None:
            return incident
        undetected = replace(incident, detected=None)
        # A declaration that opened the incident has the start of the incident.
        began_at = incident.began_at if declared.at <= incident.opened_at else declared.at
        return _change_type(undetected, declared.type, event.at, None, began_at)
    ended_at = event.ended_at if declared is None else max(event.ended_at, declared.ended_at or event.ended_at)
    return replace(incident, state=state, resolved_at=event.at, ended_at=_end(incident, ended_at, event.at))


def _end(incident: Incident, ended_at: datetime, found_at: datetime) -> datetime:
    """Return when an incident ended: *ended_at*, the time of the first good run, if it is after the start.

    Otherwise return *found_at*, when the end was found. *ended_at* is before the start if no route (pair of mailboxes
    between which probes are sent) recovered: the failing routes were removed, or their failures were attributed to
    another party, and the remaining routes have worked all the time.
    """
    began_at = incident.worst_began_at
    return ended_at if ended_at > began_at else max(found_at, began_at)


def _close(incident: Incident, event: Close, state: IncidentState) -> Incident:
    """Apply a closing by a person, which ends an active declaration.

    If the person does not state whether mail works again (`event.recovered` is `None`), an incident that the probes
    detect stays open, and another incident ends as recovered.
    """
    declaration, after = incident.declared, incident
    has_active_declaration = declaration is not None and declaration.is_active
    if declaration is not None and has_active_declaration:
        after = replace(incident, declared=replace(declaration, ended_at=event.at, ended_by=event.by))
    if event.recovered is None and incident.detected is not None:
        if not has_active_declaration:
            return incident
        return _prolong(_without_declaration(after, incident.detected, event.at), event.at)
    recovered = event.recovered is not False
    closure = ManualClosure(at=event.at, by=event.by, reason=event.reason, recovered=recovered)
    # Without a recovery the time of the end is unknown.
    ended_at = event.at if recovered else None
    return replace(after, state=state, resolved_at=event.at, ended_at=ended_at, closed=closure)


def _without_declaration(incident: Incident, detected: IncidentType, at: datetime) -> Incident:
    """Return the incident with its *detected* type, after its declaration has ended."""
    return _change_type(incident, detected, at, incident.policy.cause, incident.reported_type_began_at)


def _change_type(
    incident: Incident, incident_type: IncidentType, at: datetime, cause: Cause | None, began_at: datetime
) -> Incident:
    """Change the type to *incident_type*, whose problem began at *began_at*.

    *at*: time of the change; *cause*: cause that the probes show, `None` if unknown.

    When a degradation becomes an outage, the escalation restarts, because staff who acknowledged the degradation were
    not notified of the outage. When an outage changes from sending to receiving or the reverse, it does not restart:
    later notifications state the new type, and `alerts.decide.followup` notifies people who were notified before.
    """
    if incident_type is incident.current_type:
        return incident
    # Of the frozen policy only the cause changes.
    policy = incident.policy if incident.policy.cause is cause else replace(incident.policy, cause=cause)
    changed = replace(
        incident,
        current_type=incident_type,
        current_type_since=at,
        current_type_began_at=began_at,
        outage_began_at=incident.outage_began_at or (began_at if incident_type in OUTAGES else None),
        policy=policy,
    )
    if not is_significant_change(incident_type, incident.type):
        return changed
    if incident.type in OUTAGES:
        return replace(changed, type=incident_type, type_began_at=began_at)
    return replace(
        _clear_acknowledgement(changed),
        type=incident_type,
        type_began_at=began_at,
        state=IncidentState.TRIGGERED,
        since=at,
        last_response_at=None,
        position=Position(restarts=incident.position.restarts + 1, since=at),
    )


def has_become_outage(incident: Incident, notified_type: IncidentType) -> bool:
    """Whether the incident has become an outage since a person was notified of *notified_type*."""
    return notified_type not in OUTAGES and incident.type in OUTAGES


def may_mark_false_alarm(incident: Incident, now: datetime) -> bool:
    """Whether *incident* may be marked as a false alarm: once, while open or within `FALSE_ALARM_PERIOD` of its end."""
    if incident.false_alarm_at is not None:
        return False
    return incident.resolved_at is None or -TOLERANCE <= now - incident.resolved_at <= FALSE_ALARM_PERIOD


def release_is_offered(incident: Incident, now: datetime) -> bool:
    """Whether staff are asked to release the announcement, that is, to approve sending it to offices outside.

    The outage must have lasted for `release_offered_after`. While mail is only degraded, staff are not asked, because
    offices outside are not notified of degradations.
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


def _mark_false_alarm(incident: Incident, event: MarkFalseAlarm) -> Incident:
    corrected = replace(incident, false_alarm_at=event.at, false_alarm_by=event.by, false_alarm_reason=event.reason)
    if incident.resolved_at is not None:
        return corrected
    return replace(corrected, resolved_at=event.at, ended_at=event.at)


def is_suppressed(ended: Incident, event: Trigger) -> bool:
    """Whether *event* opens no incident, because a person has closed the incident *ended* about the same problem.

    *ended*: the last incident with the dedup key of *event*. Without this check the next run of the probes, which still
    detects the problem, would open a new incident. A problem that began later or is worse counts as new. After
    `SUPPRESSION_PERIOD` the old problem opens an incident again.
    """
    since = ended.suppressed_since
    return (
        since is not None
        and (event.latest_part_began_at or event.began_at) <= since
        and -TOLERANCE <= event.at - since <= SUPPRESSION_PERIOD
        and not is_significant_change(event.type, ended.type)
    )
