"""Application of events, provider callbacks and acknowledgements to the store, within the caller's transaction.

`alerts.model.incident` computes the changed incident. This module reads and writes incidents, and writes audit entries
and logs. The texts of audit entries ("outage measured, too") and the keys of their details ("matter", "why", "had") are
older than the terms of the code and never change, because the audit log is a hash chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeGuard, assert_never

import structlog

from alerts.decide.escalation import has_no_next_person, resume_escalation
from alerts.decide.gateway.latency import (
    Milestone,
    NotificationLatency,
    acknowledged_notification,
    is_first_notification,
    latency_start,
    new_milestones,
)
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.engine.gateway_call import apply_report, attempt_audit_entry
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
from alerts.model.incident import (
    Incident,
    IncidentState,
    apply,
    has_become_outage,
    is_significant_change,
    is_suppressed,
)
from alerts.model.notification import Plan, Purpose
from alerts.model.oncall import Override
from alerts.persistence.store import AuditEntry, UnitOfWork

log = structlog.get_logger()

#: If more incidents change at once, one log line summarises them. The audit log has an entry for each.
_MAX_SEPARATE_LOG_LINES = 10


async def handle_event(uow: UnitOfWork, event: Event) -> Incident | None:
    """Process an event. Return its incident after the event, or `None` if the event applies to none."""
    before = await _find_incident(uow, event)
    if _opens_incident(event, before):
        [opened] = await _open_incidents(uow, [event])
        return opened
    if before is None:
        return None
    after = apply(before, event)
    if isinstance(event, Resolve) and not before.is_open and after is before:
        return None  # The incident had ended before.
    if after is not before and isinstance(event, Expire | Escalate):
        # The next escalation step is due now.
        after = resume_escalation(after, event.at, await overrides_for(uow, after, event.at))
    await _apply_changes(uow, [(event, before, after)])
    return after


async def handle_events(uow: UnitOfWork, events: Sequence[Trigger | Resolve]) -> Sequence[Incident]:
    """Process up to some two hundred events about different incidents, in few SQL statements.

    Return the opened and changed incidents.
    """
    last_incidents = await uow.last_incidents([event.dedup_key for event in events])
    opening, changes = list[Trigger | Declare](), list[tuple[Event, Incident, Incident]]()
    for event in events:
        before = last_incidents.get(event.dedup_key)
        if _opens_incident(event, before):
            opening.append(event)
        elif before is not None and (after := apply(before, event)) is not before:
            changes.append((event, before, after))
    await _apply_changes(uow, changes)
    return [*(await _open_incidents(uow, opening)), *(after for _, _, after in changes)]


def _opens_incident(event: Event, before: Incident | None) -> TypeGuard[Trigger | Declare]:
    """Whether *event* opens an incident. *before*: the last incident with the event's dedup key.

    A trigger is suppressed if a person has closed the incident about the same problem a short time ago.
    """
    if before is not None and (before.is_open or (isinstance(event, Trigger) and is_suppressed(before, event))):
        return False
    return isinstance(event, Trigger | Declare)


async def overrides_for(uow: UnitOfWork, incident: Incident, now: datetime) -> Sequence[Override]:
    """Return the overrides that apply *now* to the rotas of an incident's policy."""
    rotas = {rota.name for rota in incident.policy.escalation.rotas}
    return await uow.overrides(rotas, now) if rotas else ()


async def _open_incidents(uow: UnitOfWork, events: Sequence[Trigger | Declare]) -> Sequence[Incident]:
    opened = await uow.add_incidents(events)
    for event, incident in zip(events, opened, strict=True):
        audit_event = "incident opened" if isinstance(event, Trigger) else "outage declared"
        await _add_audit_entry(uow, incident, event, audit_event)
        if len(events) <= _MAX_SEPARATE_LOG_LINES:
            log.warning(audit_event, incident=incident.number, type=incident.type)
    if len(events) > _MAX_SEPARATE_LOG_LINES:
        log.warning("incidents opened", incidents=len(opened), first=opened[0].number, last=opened[-1].number)
    return opened


async def _apply_changes(uow: UnitOfWork, changes: Sequence[tuple[Event, Incident, Incident]]) -> None:
    """Write changed incidents and audit entries. *changes*: events with their incidents before and after."""
    await uow.save_incidents([after for _, before, after in changes if after is not before])
    for event, before, after in changes:
        if after.policy is not before.policy:
            await uow.save_policy(after)
        if after is not before and isinstance(event, MarkFalseAlarm):
            # The incident may be inactive, and its recipients must get a correction now.
            await uow.activate_incident(after.id)
        if after is not before or isinstance(event, AddNote):
            audit_event = _audit_event(event, before, after)
            await _add_audit_entry(uow, after, event, audit_event)
            if len(changes) <= _MAX_SEPARATE_LOG_LINES:
                log.info(audit_event, incident=after.number, state=after.state)
    if len(changes) > _MAX_SEPARATE_LOG_LINES:
        numbers = [after.number for _, _, after in changes]
        log.info("incidents changed", incidents=len(changes), first=numbers[0], last=numbers[-1])


async def handle_submitted_event(
    uow: UnitOfWork, event: Event
) -> tuple[Incident | None, Sequence[NotificationLatency]]:
    """Process an event that did not arrive by a gateway, such as a command.

    Return its incident, or `None` if the event applies to none, and how long a first acknowledgement took, to report.
    """
    if not isinstance(event, Acknowledge):
        return await handle_event(uow, event), ()
    before = await uow.incident(event.incident_id)
    after = await handle_event(uow, event)
    if before is None or after is None or (before.state, after.state) != _FIRST_ACKNOWLEDGEMENT:
        return after, ()
    person = after.policy.escalation.contact_by_name(event.by)
    # The last notification that a gateway accepted, to the person if there is one.
    acknowledged = acknowledged_notification(await uow.notifications(after.id), person.key if person else "")
    if acknowledged is None:
        return after, ()  # No staff are notified yet: the person saw the incident on a web page.
    notification, attempt = acknowledged
    channel = notification.find_delivery(attempt).address.channel
    duration = event.at - await _latency_start(uow, notification)
    return after, [_latency(notification, channel, attempt.gateway, Milestone.ACKNOWLEDGED, duration)]


#: States of an incident before and after its first acknowledgement, and not those of an extension or a takeover.
_FIRST_ACKNOWLEDGEMENT = (IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackResult:
    """Result of processing a provider's callback."""

    #: Effect of the key that the person pressed; NONE without a key.
    result: AckResult
    #: Ids of the affected incidents.
    incident_ids: Sequence[int] = ()
    #: Latencies of the milestones that were reached.
    latencies: Sequence[NotificationLatency] = ()


async def handle_callback_event(
    uow: UnitOfWork, gateway: str, callback: CallbackEvent, policy: DeliveryPolicy, now: datetime
) -> CallbackResult:
    """Apply a provider's callback about an attempt: a delivery report, a key press of the person, or both.

    Idempotent.
    """
    match = await uow.attempt(callback.reference)
    if match is None:
        return CallbackResult(result=AckResult.OVER)
    notification, attempt = match
    if attempt.gateway != gateway:
        # A provider may report only on its own attempts.
        return CallbackResult(result=AckResult.OVER)
    latencies, freed = list[NotificationLatency](), tuple[int, ...]()
    if callback.report and await uow.add_callback(gateway, callback.event_id, now):
        reported = apply_report(notification.find_delivery(attempt), attempt, callback.report, policy, now)
        if not await uow.save_attempt(reported):
            # A state of higher rank is stored already, but the end of the call may be new.
            if reported.ended_at is not None:
                await uow.end_telephone_call(attempt.id, now)
        elif reported.state is not attempt.state:
            await uow.add_audit_entry(attempt_audit_entry(gateway, notification, reported, "reported", now))
            latencies += await milestone_latencies(uow, notification, reported, attempt.state, now)
        freed = await incidents_freed_by_call(uow, notification, reported)
    if callback.escalated:
        result = await escalate_notification(uow, notification, now)
        return CallbackResult(result=result, incident_ids=(*notification.incident_ids, *freed), latencies=latencies)
    if not callback.acknowledged:
        # Process only the first incident: a notification is sent when its first incident is processed.
        return CallbackResult(
            result=AckResult.NONE, incident_ids=(*notification.incident_ids[:1], *freed), latencies=latencies
        )
    result = await acknowledge_notification(uow, notification, now)
    channel = notification.find_delivery(attempt).address.channel
    latencies += await acknowledgement_latencies(uow, notification, result, now, channel=channel, gateway=gateway)
    return CallbackResult(result=result, incident_ids=(*notification.incident_ids, *freed), latencies=latencies)


async def incidents_freed_by_call(uow: UnitOfWork, notification: Notification, attempt: Attempt) -> tuple[int, ...]:
    """Return the ids of the incidents that wait for the telephone of *attempt*; none if its call has not ended."""
    address = notification.find_delivery(attempt).address
    if address.channel is not Channel.VOICE or attempt.ended_at is None:
        return ()
    return tuple(await uow.incidents_waiting_for(address))


async def milestone_latencies(
    uow: UnitOfWork, notification: Notification, attempt: Attempt, before: AttemptState, now: datetime
) -> Sequence[NotificationLatency]:
    """Return the latencies of the milestones (accepted, delivered) that *attempt* has reached since *before*."""
    channel = notification.find_delivery(attempt).address.channel
    milestones = new_milestones(channel, before, attempt.state)
    if not milestones:
        return ()
    duration = now - await _latency_start(uow, notification)
    return [_latency(notification, channel, attempt.gateway, milestone, duration) for milestone in milestones]


async def acknowledgement_latencies(
    uow: UnitOfWork, notification: Notification, result: AckResult, now: datetime, *, channel: Channel, gateway: str
) -> Sequence[NotificationLatency]:
    """Return the latency of an acknowledgement of *notification*, if *result* is one."""
    if (
        result is not AckResult.TAKEN
        or notification.plan is Plan.ANNOUNCEMENT
        or notification.purpose is Purpose.RELEASE
    ):
        return ()
    duration = now - await _latency_start(uow, notification)
    return [_latency(notification, channel, gateway, Milestone.ACKNOWLEDGED, duration)]


async def _latency_start(uow: UnitOfWork, notification: Notification) -> datetime:
    """Return the time from which latencies of *notification* are measured."""
    incident = await uow.incident(notification.incident_id) if is_first_notification(notification) else None
    # Silences matter only for a notification that was created late; most are created when the incident opens.
    is_late = incident is not None and notification.created_at - incident.opened_at > timedelta(minutes=1)
    return latency_start(notification, incident, await uow.silences(incident.opened_at) if is_late and incident else ())


def _latency(
    notification: Notification, channel: Channel, gateway: str, milestone: Milestone, duration: timedelta
) -> NotificationLatency:
    # The clocks of several engines may differ, so that a milestone may seem to precede the decision.
    duration = max(duration, timedelta(0))
    return NotificationLatency(
        channel=channel, gateway=gateway, milestone=milestone, duration=duration, incident=notification.facts.number
    )


async def acknowledge_notification(uow: UnitOfWork, notification: Notification, now: datetime) -> AckResult:
    """Apply an acknowledgement by key or SMS to the incidents of *notification*. Return its effect."""
    if notification.plan is Plan.ANNOUNCEMENT or notification.purpose is Purpose.RELEASE:
        # A recipient outside cannot acknowledge: the response only confirms that the announcement was received. If
        # staff respond to the question for the release (approval) of an announcement, they also acknowledge, unless
        # another person is the assignee.
        await uow.add_audit_entry(_confirmation_entry(notification, now))
        for part in notification.parts if notification.purpose is Purpose.RELEASE else ():
            before = await uow.incident(part.incident_id)
            # `None`: nobody has acknowledged. The assignee extends the acknowledgement. `acting_name` is the name to
            # record for the contact with the key `part.person`.
            if before and before.acknowledged_by in {None, by := before.acting_name(part.person)}:
                await handle_event(uow, Acknowledge(incident_id=before.id, at=now, by=by))
        return AckResult.OVER if await _are_all_ended(uow, notification) else AckResult.TAKEN
    results = [await _acknowledge_incident(uow, notification, part, now) for part in notification.parts]
    return next((result for result in _RESULT_PRECEDENCE if result in results), AckResult.OVER)


async def escalate_notification(uow: UnitOfWork, notification: Notification, now: datetime) -> AckResult:
    """Escalate the incidents of *notification* for its person. Return the effect."""
    if notification.plan is Plan.ANNOUNCEMENT:
        return AckResult.OVER
    results = [await _escalate_incident(uow, part, now) for part in notification.parts]
    return next((result for result in _RESULT_PRECEDENCE if result in results), AckResult.OVER)


async def _escalate_incident(uow: UnitOfWork, part: NotificationIncident, now: datetime) -> AckResult:
    before = await uow.incident(part.incident_id)
    if before is None or not before.is_open:
        return AckResult.OVER
    name = before.acting_name(part.person)
    # If the incident has an assignee, only the assignee may escalate it.
    if before.acknowledged_by not in {None, name}:
        return AckResult.ALREADY
    after = await handle_event(uow, Escalate(incident_id=before.id, at=now, by=name))
    return AckResult.NOBODY_LEFT if after is not None and has_no_next_person(after) else AckResult.ESCALATED


async def _are_all_ended(uow: UnitOfWork, notification: Notification) -> bool:
    """Whether *notification* is about outages that have all ended, so that a response has no effect."""
    if notification.purpose not in {Purpose.OUTAGE, Purpose.UPDATE, Purpose.RELEASE}:
        return False
    incidents = [await uow.incident(part.incident_id) for part in notification.parts]
    return all(incident is None or not incident.is_open for incident in incidents)


#: A notification may be about several incidents, with a result each. The response reports the first of these results
#: that occurs.
_RESULT_PRECEDENCE = (
    AckResult.ESCALATED,
    AckResult.NOBODY_LEFT,
    AckResult.TAKEN,
    AckResult.WORSE,
    AckResult.PROLONGED,
    # The person repeats an acknowledgement of a moment ago.
    AckResult.AGAIN,
    AckResult.ALREADY,
)


async def _acknowledge_incident(
    uow: UnitOfWork, notification: Notification, part: NotificationIncident, now: datetime
) -> AckResult:
    """Apply the acknowledgement of *notification* to the incident of *part*. Return the effect."""
    before = await uow.incident(part.incident_id)
    if before is None:
        return AckResult.OVER
    if not before.is_open:
        await uow.add_audit_entry(_confirmation_entry(notification, now, part))
        return AckResult.OVER
    if notification.purpose is not Purpose.UPDATE and has_become_outage(before, part.facts.type):
        # The notification reported a degradation, and the incident has become an outage since.
        await uow.add_audit_entry(_confirmation_entry(notification, now, part))
        return AckResult.WORSE
    name = before.acting_name(part.person)
    if before.state is IncidentState.TRIGGERED:
        await handle_event(uow, Acknowledge(incident_id=before.id, at=now, by=name))
        return AckResult.TAKEN
    if part.facts.is_handover and before.acknowledged_by == part.facts.by != name:
        # By responding to a handover notification, the person now on duty takes over from the assignee that the
        # notification names (`facts.by`). If the assignee has changed since, there is no takeover.
        await handle_event(uow, Acknowledge(incident_id=before.id, at=now, by=name, previous_assignee=part.facts.by))
        return AckResult.TAKEN
    # ALREADY means that somebody else is the assignee. The assignee must not get this result, because a person who
    # hears it in a call goes back to sleep.
    if before.acknowledged_by != name:
        await uow.add_audit_entry(_confirmation_entry(notification, now, part))
        return AckResult.ALREADY
    after = await handle_event(uow, Acknowledge(incident_id=before.id, at=now, by=name))
    if after == before:
        await uow.add_audit_entry(_confirmation_entry(notification, now, part))
        return AckResult.AGAIN
    return AckResult.PROLONGED


async def _find_incident(uow: UnitOfWork, event: Event) -> Incident | None:
    match event:
        case Trigger() | Declare() | Resolve():
            return await uow.last_incident(event.dedup_key)
        case Acknowledge() | AddNote() | Escalate() | Expire() | Release() | MarkFalseAlarm() | Close():
            return await uow.incident(event.incident_id)
        case _:
            assert_never(event)


def _audit_event(event: Event, before: Incident, after: Incident) -> str:
    """Return the text of the audit entry for a changed incident."""
    match event:
        case Trigger():
            # Until now only a person had declared the outage.
            if before.detected is None:
                return "outage measured, too"
            return "incident got worse" if is_significant_change(event.type, before.type) else "incident changed"
        case Declare():
            return "outage declared"
        case Resolve():
            return "incident resolved" if before.is_open and not after.is_open else "outage measured no more"
        case Close():
            return "declared outage over, measured still" if after.is_open else "incident closed"
        case Acknowledge():
            return _acknowledgement_event(before.acknowledged_by, after.acknowledged_by)
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


def _acknowledgement_event(before: str | None, after: str | None) -> str:
    if before is None:
        return "incident acknowledged"
    return "acknowledgement prolonged" if before == after else "incident taken over"


async def _add_audit_entry(uow: UnitOfWork, incident: Incident, event: Event, audit_event: str) -> None:
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
        case Acknowledge() if event.previous_assignee is not None:
            detail["of"] = event.previous_assignee
        case Expire() if incident.previous_assignee and incident.last_response_at:
            detail |= {"had": incident.previous_assignee, "since": incident.last_response_at.isoformat()}
    if isinstance(event, Release | MarkFalseAlarm | Close) and event.despite is not None:
        # The newest probe runs contradict the person, who has confirmed nevertheless.
        detail["despite"] = event.despite
    await uow.add_audit_entry(
        AuditEntry(at=event.at, actor=actor, event=audit_event, incident_id=incident.id, detail=detail)
    )


def _confirmation_entry(
    notification: Notification, now: datetime, part: NotificationIncident | None = None
) -> AuditEntry:
    """Return the audit entry of a response that only confirms receipt, about *part* or the first incident."""
    confirmed = part or notification.parts[0]
    return AuditEntry(
        at=now,
        actor=confirmed.person,
        event="receipt confirmed",
        incident_id=confirmed.incident_id,
        notification_id=notification.id,
    )
