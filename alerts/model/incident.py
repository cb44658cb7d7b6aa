"""The life of an incident.

Everything that changes an incident's state lives in this file, and nothing else does. `TRANSITIONS` is the
specification: the tests read it, and so does the table in docs/explanation/incident.md.
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

    #: Nobody has acknowledged. Escalation runs.
    TRIGGERED = "triggered"
    #: A person has acknowledged. Escalation stops until the acknowledgement expires; the announcement continues.
    ACKNOWLEDGED = "acknowledged"
    #: It ended. Everybody who was notified of it is notified of the end.
    RESOLVED = "resolved"


#: (state, event) -> next state. A pair that is not listed changes nothing.
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

#: What a person says again within this time changes nothing: a provider brings a key twice, and a telephone may answer every
#: answer with "OK".
SAID_TWICE = timedelta(minutes=1)

#: How long after its end an incident can still be declared a false alarm. Later, a correction would only puzzle those
#: who have long gone back to their mail.
CORRECTABLE_FOR = timedelta(hours=24)

#: So long what is measured all the same opens no new incident after a person has ended one. Then somebody has to say so again.
HOLDS_FOR = timedelta(hours=24)

#: How much is wrong.
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

#: Mail does not work: people outside may need to know.
OUTAGES = frozenset({IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH})


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
class Declaration:
    """A person's word that mail does not work. Stands until a person says that it does again."""

    matter: IncidentType
    at: datetime
    by: str
    why: str
    #: When it was said to be over, and by whom.
    over_at: datetime | None = None
    over_by: str | None = None

    @property
    def stands(self) -> bool:
        """Whether nobody has said yet that it is over."""
        return self.over_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualClosure:
    """How an incident ended by a person's word, or because nobody watches it any more (`AUTOMATIC`)."""

    at: datetime
    by: str
    why: str
    #: Whether mail works again, as the person says: else nobody is told of a recovery.
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One stretch of trouble, and whom it was decided to tell."""

    id: int
    dedup_key: str
    #: What people quote: "JKR-07".
    number: str
    matter: IncidentType
    state: IncidentState
    brief: PolicySnapshot
    began_at: datetime
    opened_at: datetime
    position: Position
    #: When it became what it is about now: an outage may begin as slowness.
    since: datetime
    #: After which enclosure its pages go on, because the store was an older copy (`alerts.persistence.restoration`).
    pages_left_out: int = 0
    #: What is wrong now, as far as was seen: while an outage ends it may be less than `matter`, and slowness in the end.
    present: IncidentType
    present_since: datetime
    #: When what `matter` and `present` say began, as it was measured or declared, and when mail first failed in it; `None`: with
    #: the incident, or never. Junk from 22.16 is no failure of sending from 22.16.
    matter_began_at: datetime | None = None
    present_began_at: datetime | None = None
    outage_began_at: datetime | None = None
    #: It went down and up again and again before it opened.
    unsteady: bool = False
    #: What was last measured to be wrong; `None`: nothing, or nothing any more, and it is open by a person's word alone, or
    #: was closed by one.
    measured: IncidentType | None = None
    #: By whose word it is an outage, or was; `None`: it was measured alone.
    declared: Declaration | None = None
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
    #: When a person said that it was a false alarm, who, and in which words why.
    corrected_at: datetime | None = None
    corrected_by: str | None = None
    corrected_why: str | None = None
    #: By whose word it ended; `None`: it is open, or the probes have seen it end, or it was a false alarm.
    closed: ManualClosure | None = None

    @property
    def is_open(self) -> bool:
        """Whether the trouble goes on."""
        return self.state is not IncidentState.RESOLVED

    @property
    def ended_untold(self) -> bool:
        """Whether it was closed, and nobody says that mail works again."""
        return self.closed is not None and not self.closed.recovered and self.corrected_at is None

    @property
    def held_since(self) -> datetime | None:
        """When a person has ended it though it was measured: that opens nothing for a while (`is_held`).

        Not when it was corrected after its end: what is measured since is another trouble.
        """
        by_hand = self.closed.at if self.closed is not None and self.closed.by != AUTOMATIC else None
        at = max(filter(None, (self.corrected_at, by_hand)), default=None)
        is_ended_by_word = self.resolved_at in {self.corrected_at, by_hand}
        return at if self.measured is not None and is_ended_by_word else None

    @property
    def to_be_told(self) -> IncidentType:
        """What a notice that is decided on now says is wrong: of an outage what is left of it."""
        return self.present if {self.matter, self.present} <= OUTAGES else self.matter

    @property
    def told_began_at(self) -> datetime:
        """When that began which a notice that is decided on now says is wrong (`to_be_told`); of what is over, all of it."""
        if not self.is_open:
            return self.worst_began_at
        began_at = self.present_began_at if self.to_be_told is self.present else self.matter_began_at
        return began_at or self.began_at

    @property
    def worst_began_at(self) -> datetime:
        """When mail first failed in it or, where it never did, when it began."""
        return (self.outage_began_at or self.began_at) if self.matter in OUTAGES else self.began_at

    @property
    def standing(self) -> IncidentType | None:
        """What is declared and not yet said to be over."""
        return self.declared.matter if self.declared is not None and self.declared.stands else None

    @property
    def known_from(self) -> str:
        """Who has declared it, as long as that says more than is measured; "": it is known from what is measured."""
        said = self.declared
        return (
            said.by
            if said is not None and said.stands and joined(self.measured, said.matter) is not self.measured
            else ""
        )

    @property
    def held_by(self) -> IncidentType | None:
        """By what it is held open: what is measured, what is declared, or both together; `None`: by nothing."""
        return joined(self.measured, self.standing)

    def name_of(self, person: str) -> str:
        """Return the name of a contact of the frozen plan, by its key; the key itself when there is none."""
        contact = self.brief.escalation.contact(person)
        return contact.name if contact else person

    def holder_name(self, person: str) -> str:
        """Return by what name a contact acts: the one by which they have the incident already, or their own."""
        by = self.acknowledged_by
        return by if by is not None and self.is_had_by({self.name_of(person)}) else self.name_of(person)

    def is_had_by(self, names: AbstractSet[str]) -> bool:
        """Whether one of *names* is that of whoever has it, or of the same contact (`EscalationPolicy.named`)."""
        by, named = self.acknowledged_by, self.brief.escalation.named
        if by is None or by in names:
            return by is not None
        holder = named(by)
        return holder is not None and any(named(name) == holder for name in names)

    def reader(self, notice: Notification) -> str:
        """Return whom a notice is for, as people know them."""
        return str(notice.addressee or self.name_of(notice.person))

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


def open_incident(event: Trigger | Declare, *, incident_id: int, number: str) -> Incident:
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
        matter_began_at=event.began_at,
        present_began_at=event.began_at,
        outage_began_at=event.began_at if event.matter in OUTAGES else None,
        unsteady=isinstance(event, Trigger) and event.unsteady,
        measured=event.matter if isinstance(event, Trigger) else None,
        declared=_declaration(event) if isinstance(event, Declare) else None,
    )


def apply(incident: Incident, event: Event) -> Incident:
    """Return the incident after *event*; the same object if nothing changed."""
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
            return replace(_let_go(incident), state=state, had_by=incident.acknowledged_by)
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
            return _correct(replace(incident, state=state), event) if may_correct(incident, event.at) else incident
        case _:
            assert_never(event)


def _acknowledge(incident: Incident, event: Acknowledge) -> Incident:
    """Let a person take it on. Whoever has it already has it for longer; only who says from whom takes it from another."""
    if incident.state is IncidentState.ACKNOWLEDGED and (event.of is None or event.of != incident.acknowledged_by):
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


def _hand_on(incident: Incident, event: Escalate, state: IncidentState) -> Incident:
    if incident.handed_on and incident.had_by == event.by and _was_heard_just_before(incident, event.at):
        return incident
    return replace(_let_go(incident), state=state, heard_at=event.at, had_by=event.by, handed_on=True)


def _release(incident: Incident, event: Release) -> Incident:
    if incident.released_at is not None or incident.matter not in OUTAGES:
        return incident
    released = replace(incident, released_at=event.at, released_by=event.by)
    return released if event.by == AUTOMATIC else _prolong(released, event.at)


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


def is_news(matter: IncidentType, told: IncidentType) -> bool:
    """Whether *matter* is to be told where *told* was: more is wrong than before, or as much and something else.

    While an outage ends less is wrong from run to run: that is no news. Where sending was down and now receiving is,
    what was told would be false.
    """
    return matter is not told and SEVERITY[matter] >= SEVERITY[told]


def joined(one: IncidentType | None, other: IncidentType | None) -> IncidentType | None:
    """Return what is wrong where two things are, or one of them: nothing sent and nothing received is both."""
    if one is None or other is None:
        return one or other
    if one is not other and {one, other} <= OUTAGES:
        return IncidentType.BOTH
    return max(one, other, key=SEVERITY.__getitem__)


def _trigger(incident: Incident, event: Trigger) -> Incident:
    """Take in what is measured; what was declared is wrong besides, for as long as that stands."""
    wrong = joined(event.matter, incident.standing) or event.matter
    # What is declared besides began before: both are wrong since the later of the two.
    began_at = event.began_at if wrong is event.matter else max(event.began_at, incident.told_began_at)
    after = _worsen(incident, wrong, event.less_since or event.at, event.brief.cause, began_at)
    return after if event.matter is incident.measured else replace(after, measured=event.matter)


def _declare(incident: Incident, event: Declare) -> Incident:
    """Take in a person's word. What it is held open by already they need not say."""
    wrong = joined(event.matter, incident.held_by) or event.matter
    if wrong is incident.held_by:
        return incident
    # Whoever says more than was said before takes none of it back.
    said = joined(event.matter, incident.standing) or event.matter
    began_at = event.began_at if wrong is event.matter else max(event.began_at, incident.told_began_at)
    return replace(
        _worsen(incident, wrong, event.at, None, began_at),
        began_at=min(incident.began_at, event.began_at),
        declared=replace(_declaration(event), matter=said),
    )


def _declaration(event: Declare) -> Declaration:
    return Declaration(matter=event.matter, at=event.at, by=event.by, why=event.why)


def _resolve(incident: Incident, event: Resolve, state: IncidentState) -> Incident:
    """Let it be measured no more: over, unless a person's word stands that it is not, or had ended it before."""
    if not incident.is_open:
        if incident.closed is None or incident.measured is None:
            return incident
        ended_at = incident.ended_at or _end(incident, event.ended_at, event.at)
        return replace(incident, measured=None, ended_at=ended_at)
    declared = incident.declared
    if declared is not None and declared.stands:
        left = replace(incident, measured=None)
        began_at = incident.began_at if declared.at <= incident.opened_at else declared.at
        return incident if incident.measured is None else _worsen(left, declared.matter, event.at, None, began_at)
    ended_at = event.ended_at if declared is None else max(event.ended_at, declared.over_at or event.ended_at)
    return replace(incident, state=state, resolved_at=event.at, ended_at=_end(incident, ended_at, event.at))


def _end(incident: Incident, ended_at: datetime, found_at: datetime) -> datetime:
    """Return when an incident ended that was found to be over.

    What is left may have worked since before it began, because what failed has left the configuration, or is blamed on
    something else by now. Then nobody saw it end.
    """
    began_at = incident.worst_began_at
    return ended_at if ended_at > began_at else max(found_at, began_at)


def _close(incident: Incident, event: Close, state: IncidentState) -> Incident:
    """Let a person's word stand no more: over, unless it is measured that it is not, and they have not said about that."""
    said, after = incident.declared, incident
    if said is not None and said.stands:
        after = replace(incident, declared=replace(said, over_at=event.at, over_by=event.by))
    if event.recovered is None and incident.measured is not None:
        return after if after is incident else _prolong(_measured_alone(after, incident.measured, event.at), event.at)
    recovered = event.recovered is not False
    closing = ManualClosure(at=event.at, by=event.by, why=event.why, recovered=recovered)
    # When it ended nobody knows who does not say that mail works again.
    ended_at = event.at if recovered else None
    return replace(after, state=state, resolved_at=event.at, ended_at=ended_at, closed=closing)


def _measured_alone(incident: Incident, measured: IncidentType, at: datetime) -> Incident:
    """Return an incident of which nothing is declared any more."""
    return _worsen(incident, measured, at, incident.brief.cause, incident.told_began_at)


def _worsen(incident: Incident, matter: IncidentType, at: datetime, why: Cause | None, began_at: datetime) -> Incident:
    """Take in another matter, since when it is taken to be so, *why*, where that was measured, and when it began.

    When slowness has become an outage, staff who acknowledged the slowness have not yet heard of the outage: the
    escalation begins anew. An outage that spreads, moves to the other direction or ends in one is told in the notices still
    to come, and to those who were told before by `alerts.decide.followup`.
    """
    if matter is incident.present:
        return incident
    # The plan stays as it was frozen; why it fails may be another reason by now.
    brief = incident.brief
    brief = brief if brief.cause is why else replace(brief, cause=why)
    changed = replace(
        incident,
        present=matter,
        present_since=at,
        present_began_at=began_at,
        outage_began_at=incident.outage_began_at or (began_at if matter in OUTAGES else None),
        brief=brief,
    )
    if not is_news(matter, incident.matter):
        return changed
    if incident.matter in OUTAGES:
        return replace(changed, matter=matter, matter_began_at=began_at)
    return replace(
        _let_go(changed),
        matter=matter,
        matter_began_at=began_at,
        state=IncidentState.TRIGGERED,
        since=at,
        heard_at=None,
        position=Position(wave=incident.position.wave + 1, since=at),
    )


def has_got_worse(incident: Incident, told: IncidentType) -> bool:
    """Whether somebody who was told of *told* has not heard what it is now: slowness has become an outage."""
    return told not in OUTAGES and incident.matter in OUTAGES


def may_correct(incident: Incident, now: datetime) -> bool:
    """Whether it can be declared a false alarm: once, while it is open or within `CORRECTABLE_FOR` of its end."""
    if incident.corrected_at is not None:
        return False
    return incident.resolved_at is None or -TOLERANCE <= now - incident.resolved_at <= CORRECTABLE_FOR


def release_is_offered(incident: Incident, now: datetime) -> bool:
    """Whether a duty officer is asked to release the announcement: the outage has lasted long enough, and nobody has.

    Not while mail is only slow by now: of that nobody outside hears.
    """
    plan = incident.brief.announcement
    return (
        incident.is_open
        and incident.released_at is None
        and {incident.matter, incident.present} <= OUTAGES
        and bool(plan.recipients)
        and not plan.automatic
        and now >= incident.since + plan.offered_after
    )


def _correct(incident: Incident, event: MarkFalseAlarm) -> Incident:
    corrected = replace(incident, corrected_at=event.at, corrected_by=event.by, corrected_why=event.why)
    if incident.resolved_at is not None:
        return corrected
    return replace(corrected, resolved_at=event.at, ended_at=event.at)


def is_held(ended: Incident, event: Trigger) -> bool:
    """Whether *event* tells of nothing but what a person has ended by hand: *ended* is the last incident about it.

    What a prober measures does not change because a person knows better: without this the next run would open the same
    incident again. Trouble of which anything began afterwards, or that is worse, is another matter, and after a day a person
    has to say so again. Where nothing was measured, the person has ended nothing but what another had said.
    """
    since = ended.held_since
    return (
        since is not None
        and (event.latest_at or event.began_at) <= since
        and -TOLERANCE <= event.at - since <= HOLDS_FOR
        and not is_news(event.matter, ended.matter)
    )
