"""Effects of events, delivery reports and acknowledgements on the store, within one transaction.

`alerts.model.incident` decides them; this module reads, writes and logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeGuard, assert_never

import structlog

from alerts.decide.escalation import go_on, is_left_to_nobody
from alerts.decide.gateway.latency import Milestone, NotificationLatency, due_at, is_first, reached, told_last
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.engine.gateway_call import reported, told_by
from alerts.model.channel import Channel
from alerts.model.delivery import Attempt, AttemptState, Notification, NotificationIncident
from alerts.model.event import (
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
from alerts.model.gateway import AckResult, CallbackEvent
from alerts.model.incident import Incident, IncidentState, apply, has_got_worse, is_news, is_suppressed
from alerts.model.notification import Plan, Purpose
from alerts.model.oncall import Override
from alerts.persistence.store import AuditEntry, UnitOfWork

log = structlog.get_logger()

#: Beyond so many at once the log has one line; the audit log has each.
_LOGGED_EACH = 10


async def take_in(ledger: UnitOfWork, event: Event) -> Incident | None:
    """Process an event. Return its incident after the event; `None` without one."""
    before = await _find(ledger, event)
    if _opens(event, before):
        [opened] = await _open(ledger, [event])
        return opened
    if before is None:
        return None
    after = apply(before, event)
    if isinstance(event, Resolve) and not before.is_open and after is before:
        return None
    if after is not before and isinstance(event, Expire | Escalate):
        after = go_on(after, event.at, await overrides_for(ledger, after, event.at))
    await _change(ledger, [(event, before, after)])
    return after


async def take_in_all(ledger: UnitOfWork, events: Sequence[Trigger | Resolve]) -> Sequence[Incident]:
    """Process up to some two hundred events about different incidents in few statements.

    Return the changed incidents.
    """
    known = await ledger.last_incidents([event.dedup_key for event in events])
    opening, changes = list[Trigger | Declare](), list[tuple[Event, Incident, Incident]]()
    for event in events:
        before = known.get(event.dedup_key)
        if _opens(event, before):
            opening.append(event)
        elif before is not None and (after := apply(before, event)) is not before:
            changes.append((event, before, after))
    await _change(ledger, changes)
    return [*(await _open(ledger, opening)), *(after for _, _, after in changes)]


def _opens(event: Event, before: Incident | None) -> TypeGuard[Trigger | Declare]:
    """Whether *event* opens an incident; *before*: the last one with the same key."""
    if before is not None and (before.is_open or (isinstance(event, Trigger) and is_suppressed(before, event))):
        return False
    return isinstance(event, Trigger | Declare)


async def overrides_for(ledger: UnitOfWork, incident: Incident, now: datetime) -> Sequence[Override]:
    """Return the overrides that apply *now* to the rotas of an incident's policy."""
    rotas = {rota.name for rota in incident.policy.escalation.rotas}
    return await ledger.overrides(rotas, now) if rotas else ()


async def _open(ledger: UnitOfWork, events: Sequence[Trigger | Declare]) -> Sequence[Incident]:
    opened = await ledger.add_incidents(events)
    for event, incident in zip(events, opened, strict=True):
        what = "incident opened" if isinstance(event, Trigger) else "outage declared"
        await _journal(ledger, incident, event, what)
        if len(events) <= _LOGGED_EACH:
            log.warning(what, incident=incident.number, type=incident.type)
    if len(events) > _LOGGED_EACH:
        log.warning("incidents opened", incidents=len(opened), first=opened[0].number, last=opened[-1].number)
    return opened


async def _change(ledger: UnitOfWork, changes: Sequence[tuple[Event, Incident, Incident]]) -> None:
    """Write events with their incidents before and after."""
    await ledger.save_incidents([after for _, before, after in changes if after is not before])
    for event, before, after in changes:
        if after.policy is not before.policy:
            await ledger.save_brief(after)
        if after is not before and isinstance(event, MarkFalseAlarm):
            # It may be inactive: its recipients are due follow-ups now.
            await ledger.rouse(after.id)
        if after is not before or isinstance(event, AddNote):
            what = _what_happened(event, before, after)
            await _journal(ledger, after, event, what)
            if len(changes) <= _LOGGED_EACH:
                log.info(what, incident=after.number, state=after.state)
    if len(changes) > _LOGGED_EACH:
        log.info("incidents changed", incidents=len(changes), first=changes[0][2].number, last=changes[-1][2].number)


async def take_word(ledger: UnitOfWork, event: Event) -> tuple[Incident | None, Sequence[NotificationLatency]]:
    """Process an event of a person or program without a gateway. Return the incident after it, and latencies."""
    if not isinstance(event, Acknowledge):
        return await take_in(ledger, event), ()
    before = await ledger.incident(event.incident_id)
    after = await take_in(ledger, event)
    if before is None or after is None or (before.state, after.state) != _TAKEN_ON:
        return after, ()
    person = after.policy.escalation.named(event.by)
    told = told_last(await ledger.notices(after.id), person.key if person else "")
    if told is None:
        return after, ()  # Nobody was notified: they saw it on a page.
    notice, attempt = told
    channel, took = notice.delivery_of(attempt).address.channel, event.at - await _due_at(ledger, notice)
    return after, [_telling(notice, channel, attempt.gateway, Milestone.ACKNOWLEDGED, took)]


_TAKEN_ON = (IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResult:
    """Result of a provider's report."""

    #: State of its acknowledgement.
    result: AckResult
    #: Ids of the affected incidents.
    concerned: Sequence[int] = ()
    #: Milestones that were reached.
    tellings: Sequence[NotificationLatency] = ()


async def take_report(
    ledger: UnitOfWork, gateway: str, heard: CallbackEvent, policy: DeliveryPolicy, now: datetime
) -> ReportResult:
    """Record a provider's report on an attempt. Idempotent."""
    found = await ledger.attempt(heard.reference)
    # A provider may only report on its own attempts.
    if found is None or found[1].gateway != gateway:
        return ReportResult(result=AckResult.OVER)
    notice, attempt = found
    tellings, freed = list[NotificationLatency](), tuple[int, ...]()
    if heard.report and await ledger.first_heard(gateway, heard.event_id, now):
        told = reported(notice.delivery_of(attempt), attempt, heard.report, policy, now)
        if not await ledger.save_attempt(told):
            if told.ended_at is not None:
                await ledger.end_call(attempt.id, now)
        elif told.state is not attempt.state:
            await ledger.journal(told_by(gateway, notice, told, "reported", now))
            tellings += await come_to(ledger, notice, told, attempt.state, now)
        freed = await freed_by(ledger, notice, told)
    if heard.escalated:
        result = await hand_on(ledger, notice, now)
        return ReportResult(result=result, concerned=(*notice.incident_ids, *freed), tellings=tellings)
    if not heard.acknowledged:
        return ReportResult(result=AckResult.NONE, concerned=(*notice.incident_ids[:1], *freed), tellings=tellings)
    result = await acknowledge(ledger, notice, now)
    channel = notice.delivery_of(attempt).address.channel
    tellings += await taken_on(ledger, notice, result, now, channel=channel, gateway=gateway)
    return ReportResult(result=result, concerned=(*notice.incident_ids, *freed), tellings=tellings)


async def freed_by(ledger: UnitOfWork, notice: Notification, attempt: Attempt) -> tuple[int, ...]:
    """Return the incidents with a call due to the telephone of *attempt*, if its call has ended."""
    address = notice.delivery_of(attempt).address
    if address.channel is not Channel.VOICE or attempt.ended_at is None:
        return ()
    return tuple(await ledger.waiting_for(address))


async def come_to(
    ledger: UnitOfWork, notice: Notification, attempt: Attempt, before: AttemptState, now: datetime
) -> Sequence[NotificationLatency]:
    """Return the milestones that a written attempt has reached; *before*: its stored state until then."""
    channel = notice.delivery_of(attempt).address.channel
    milestones = reached(channel, before, attempt.state)
    if not milestones:
        return ()
    took = now - await _due_at(ledger, notice)
    return [_telling(notice, channel, attempt.gateway, milestone, took) for milestone in milestones]


async def taken_on(
    ledger: UnitOfWork, notice: Notification, result: AckResult, now: datetime, *, channel: Channel, gateway: str
) -> Sequence[NotificationLatency]:
    """Return the latency of an acknowledgement of *notice* by this answer, if there is one."""
    if result is not AckResult.TAKEN or notice.plan is Plan.ANNOUNCEMENT or notice.purpose is Purpose.RELEASE:
        return ()
    took = now - await _due_at(ledger, notice)
    return [_telling(notice, channel, gateway, Milestone.ACKNOWLEDGED, took)]


async def _due_at(ledger: UnitOfWork, notice: Notification) -> datetime:
    incident = await ledger.incident(notice.incident_id) if is_first(notice) else None
    # Most are decided at once.
    late = incident is not None and notice.created_at - incident.opened_at > timedelta(minutes=1)
    return due_at(notice, incident, await ledger.silences(incident.opened_at) if late and incident else ())


def _telling(
    notice: Notification, channel: Channel, gateway: str, milestone: Milestone, took: timedelta
) -> NotificationLatency:
    # Clocks of engines on one store may differ.
    took = max(took, timedelta(0))
    return NotificationLatency(
        channel=channel, gateway=gateway, milestone=milestone, took=took, incident=notice.facts.number
    )


async def acknowledge(ledger: UnitOfWork, notice: Notification, now: datetime) -> AckResult:
    """Record a key press that acknowledges *notice*. Return the state of the acknowledgement."""
    if notice.plan is Plan.ANNOUNCEMENT or notice.purpose is Purpose.RELEASE:
        # A recipient outside has confirmed, while the escalation waits for staff; or another person has acknowledged,
        # and this one only confirms.
        await ledger.journal(_confirmed(notice, now))
        for part in notice.parts if notice.purpose is Purpose.RELEASE else ():
            before = await ledger.incident(part.incident_id)
            # An unacknowledged incident becomes theirs, and their own acknowledgement is extended.
            if before and before.acknowledged_by in {None, by := before.assignee_name(part.person)}:
                await take_in(ledger, Acknowledge(incident_id=before.id, at=now, by=by))
        return AckResult.OVER if await _is_past(ledger, notice) else AckResult.TAKEN
    results = [await _acknowledge(ledger, notice, part, now) for part in notice.parts]
    return next((result for result in _WEIGHT if result in results), AckResult.OVER)


async def hand_on(ledger: UnitOfWork, notice: Notification, now: datetime) -> AckResult:
    """Record that the person escalates the incidents of *notice*. Return the result."""
    if notice.plan is Plan.ANNOUNCEMENT:
        return AckResult.OVER
    results = [await _hand_on(ledger, part, now) for part in notice.parts]
    return next((result for result in _WEIGHT if result in results), AckResult.OVER)


async def _hand_on(ledger: UnitOfWork, part: NotificationIncident, now: datetime) -> AckResult:
    before = await ledger.incident(part.incident_id)
    if before is None or not before.is_open:
        return AckResult.OVER
    name = before.assignee_name(part.person)
    # Only the assignee may escalate.
    if before.acknowledged_by not in {None, name}:
        return AckResult.ALREADY
    after = await take_in(ledger, Escalate(incident_id=before.id, at=now, by=name))
    return AckResult.NOBODY_LEFT if after is not None and is_left_to_nobody(after) else AckResult.ESCALATED


async def _is_past(ledger: UnitOfWork, notice: Notification) -> bool:
    """Whether a notification is about something that is over, so that a confirmation is only recorded."""
    if notice.purpose not in {Purpose.OUTAGE, Purpose.UPDATE, Purpose.RELEASE}:
        return False
    incidents = [await ledger.incident(part.incident_id) for part in notice.parts]
    return all(incident is None or not incident.is_open for incident in incidents)


#: The result for a bundle: the first of these that applies to any of its incidents.
_WEIGHT = (
    AckResult.ESCALATED,
    AckResult.NOBODY_LEFT,
    AckResult.TAKEN,
    AckResult.WORSE,
    AckResult.PROLONGED,
    AckResult.AGAIN,
    AckResult.ALREADY,
)


async def _acknowledge(
    ledger: UnitOfWork, notice: Notification, part: NotificationIncident, now: datetime
) -> AckResult:
    before = await ledger.incident(part.incident_id)
    if before is None:
        return AckResult.OVER
    if not before.is_open:
        await ledger.journal(_confirmed(notice, now, part))
        return AckResult.OVER
    if notice.purpose is not Purpose.UPDATE and has_got_worse(before, part.facts.type):
        # The notification is older than a worse state, of which this person is not notified yet.
        await ledger.journal(_confirmed(notice, now, part))
        return AckResult.WORSE
    name = before.assignee_name(part.person)
    if before.state is IncidentState.TRIGGERED:
        await take_in(ledger, Acknowledge(incident_id=before.id, at=now, by=name))
        return AckResult.TAKEN
    if part.facts.is_handover and before.acknowledged_by == part.facts.by != name:
        # They have come on duty and were told the assignee. A later assignee keeps it.
        await take_in(ledger, Acknowledge(incident_id=before.id, at=now, by=name, of=part.facts.by))
        return AckResult.TAKEN
    # The name of another assignee would let them go back to sleep.
    if before.acknowledged_by != name:
        await ledger.journal(_confirmed(notice, now, part))
        return AckResult.ALREADY
    after = await take_in(ledger, Acknowledge(incident_id=before.id, at=now, by=name))
    if after == before:
        await ledger.journal(_confirmed(notice, now, part))
        return AckResult.AGAIN
    return AckResult.PROLONGED


async def _find(ledger: UnitOfWork, event: Event) -> Incident | None:
    match event:
        case Trigger() | Declare() | Resolve():
            return await ledger.last_incident(event.dedup_key)
        case Acknowledge() | AddNote() | Escalate() | Expire() | Release() | MarkFalseAlarm() | Close():
            return await ledger.incident(event.incident_id)
        case _:
            assert_never(event)


def _what_happened(event: Event, before: Incident, after: Incident) -> str:
    match event:
        case Trigger():
            if before.detected is None:
                return "outage measured, too"
            return "incident got worse" if is_news(event.type, before.type) else "incident changed"
        case Declare():
            return "outage declared"
        case Resolve():
            return "incident resolved" if before.is_open and not after.is_open else "outage measured no more"
        case Close():
            return "declared outage over, measured still" if after.is_open else "incident closed"
        case Acknowledge():
            return _whose_it_is(before.acknowledged_by, after.acknowledged_by)
        case AddNote():
            return "remark"
        case Escalate():
            return "handed on"
        case Expire():
            return "acknowledgement expired"
        case Release():
            return "announcement released"
        case MarkFalseAlarm():
            return "declared a false alarm"
        case _:
            assert_never(event)


def _whose_it_is(before: str | None, after: str | None) -> str:
    if before is None:
        return "incident acknowledged"
    return "acknowledgement prolonged" if before == after else "incident taken over"


async def _journal(ledger: UnitOfWork, incident: Incident, event: Event, what: str) -> None:
    actor = "engine" if isinstance(event, Trigger | Resolve | Expire) else event.by
    detail = {"number": incident.number, "matter": str(incident.current_type if incident.is_open else incident.type)}
    if (until := incident.acknowledged_until) is not None:
        detail["until"] = until.isoformat()
    match event:
        case Declare():
            detail |= {"declared": str(event.type), "why": event.reason}
        case MarkFalseAlarm():
            detail["why"] = event.reason
        case Close():
            detail["why"] = event.reason
            if incident.closed is not None:
                detail["recovered"] = "yes" if incident.closed.recovered else "no"
                detail |= {"measured": str(incident.detected)} if incident.detected is not None else {}
        case AddNote():
            detail["text"] = event.text
        case Acknowledge() if event.of is not None:
            detail["of"] = event.of
        case Expire() if incident.previous_assignee and incident.last_response_at:
            detail |= {"had": incident.previous_assignee, "since": incident.last_response_at.isoformat()}
    if isinstance(event, Release | MarkFalseAlarm | Close) and event.despite is not None:
        detail["despite"] = event.despite
    await ledger.journal(AuditEntry(at=event.at, actor=actor, event=what, incident_id=incident.id, detail=detail))


def _confirmed(notice: Notification, now: datetime, part: NotificationIncident | None = None) -> AuditEntry:
    about = part or notice.parts[0]
    return AuditEntry(
        at=now,
        actor=about.person,
        event="receipt confirmed",
        incident_id=about.incident_id,
        notification_id=notice.id,
    )
