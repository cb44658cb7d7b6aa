"""Audit of escalations: overdue actions and failed escalations. Pure.

The auditor reads the store, independently of the engine's cycle, and computes by itself when each step was due: a cycle
that has stopped, makes no progress or decides wrongly is detected the same way. Deliberate waits (a silence, office
hours, a gateway's retry) are not overdue.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.decide.announcement import OFFERED_ANEW_AFTER, Announce, ReleaseNow, announce, offered_from, waits_for_staff
from alerts.decide.bundle import GROUP_INTERVAL
from alerts.decide.escalation import calls_again, is_left_to_nobody
from alerts.decide.followup import follow_up
from alerts.decide.gateway.next_action import DeliveryPolicy, Wait, decisive, next_move
from alerts.decide.release_result import releaser, undelivered
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.delivery import Notification, NotificationState
from alerts.model.incident import Incident, IncidentState, release_is_offered
from alerts.model.notification import OF_TELLING, IncidentType, Plan, Purpose

#: Tolerated delay: a busy cycle, a gateway without free slots.
GRACE = timedelta(minutes=2)
#: How long an offered announcement may wait: until the assignee and the next step were called.
RELEASED_WITHIN = 2 * OFFERED_ANEW_AFTER


class MissedAction(StrEnum):
    """Action that is due and did not happen."""

    #: A step is due and has not begun, or has begun without notifications; or nothing follows an expired
    #: acknowledgement.
    STEP = "step"
    #: A notification waits for nothing and is not sent.
    NOTICE = "notice"
    #: An announcement was released and was not sent.
    ANNOUNCEMENT = "announcement"
    #: A person who was notified of an outage was not notified of its end.
    RECOVERY = "recovery"


class EscalationFailure(StrEnum):
    """Reason why an incident's notifications reached nobody."""

    #: All rounds are over, and nobody has acknowledged, or the assignee does not answer any more.
    NOBODY_ANSWERED = "nobody_answered"
    #: No staff member could be notified.
    NOBODY_REACHED = "nobody_reached"
    #: A recipient outside could not be notified by any address, or a letter is not posted after a workday; or a
    #: notification failed and nobody can be informed of that.
    RECIPIENT_UNTOLD = "recipient_untold"
    #: An announcement waits for its release, and the people who were asked have not released it.
    UNRELEASED = "unreleased"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueAction:
    """An overdue action."""

    incident: Incident
    lapse: MissedAction
    #: When it was due.
    since: datetime
    notification_id: int | None = None

    @property
    def key(self) -> str:
        """Identifies the same overdue action in successive audits."""
        return f"{self.incident.id}/{self.lapse}/{self.notification_id or ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Result for one incident."""

    overdue: tuple[OverdueAction, ...] = ()
    #: Reasons of failure, each with its start.
    unheard_since: Mapping[EscalationFailure, datetime] = field(default_factory=dict)
    #: Notifications outside whose delivery a person must find out.
    doubtful: tuple[int, ...] = ()
    #: Silenced or paused on purpose: nothing is examined.
    held: bool = False

    @property
    def unheard(self) -> frozenset[EscalationFailure]:
        """The reasons of failure."""
        return frozenset(self.unheard_since)


def examine(
    incident: Incident,
    notices: Sequence[Notification],
    gateways: Mapping[Channel, Sequence[str]],
    policy: DeliveryPolicy,
    now: datetime,
    *,
    held: bool = False,
    paper_held: bool = False,
    busy: Collection[Address] = (),
) -> Examination:
    """Return the overdue actions and the escalation failures of *incident*.

    *gateways*: as for `alerts.decide.gateway.next_action.next_move`. *held*: all notifications are silenced;
    *paper_held*: paper is paused until a person confirms a restored store. *busy*: telephones in another call.
    """
    doubtful = tuple(n.id for n in notices if n.plan is Plan.ANNOUNCEMENT and n.state is NotificationState.UNKNOWN)
    if held:
        return Examination(held=True, doubtful=doubtful)
    waiting = [
        n
        for n in notices
        if not (paper_held and n.channel in ON_PAPER) and _address(n) not in busy and not waits_for_staff(n, notices)
    ]
    found = (
        _step(incident, notices, now),
        *_stuck(incident, waiting, gateways, policy, now),
        _announcement(incident, notices, now),
        _recovery(incident, notices, now),
    )
    return Examination(
        overdue=tuple(lapse for lapse in found if lapse is not None),
        unheard_since=dict(_unheard(incident, notices, now)),
        doubtful=doubtful,
    )


def deserves_own_incident(incident: Incident) -> bool:
    """Whether the NOC gets an incident about a failed escalation of *incident*.

    Not of its own incidents: that would never end.
    """
    return incident.type not in {IncidentType.MONITORING_FAULT, *OF_TELLING}


# -- overdue ---------------------------------------------------------------------------------------------------------


def _step(incident: Incident, notices: Sequence[Notification], now: datetime) -> OverdueAction | None:
    if (until := incident.acknowledged_until) is not None and now - until > GRACE:
        return OverdueAction(incident=incident, lapse=MissedAction.STEP, since=until)
    if incident.state is not IncidentState.TRIGGERED:
        return None
    at = incident.position
    due = _next_step_due(incident)
    of_step = [n for n in _to_staff(notices) if n.created_at >= at.since - GRACE]
    if at.step >= 0:
        failed = bool(of_step) and all(n.state is NotificationState.FAILED for n in of_step)
        if failed and due is not None and _has_another_step(incident) and not calls_again(incident, notices):
            # Waiting is useless then: the next step starts at once.
            due = min(due, max(_given_up_at(n) for n in of_step))
        elif now - at.since > GROUP_INTERVAL + GRACE and not (
            _told_since(notices, at.since) or is_left_to_nobody(incident)
        ):
            return OverdueAction(incident=incident, lapse=MissedAction.STEP, since=at.since)
    if due is None or now - due <= GRACE:
        return None
    return OverdueAction(incident=incident, lapse=MissedAction.STEP, since=due)


def _told_since(notices: Sequence[Notification], since: datetime) -> bool:
    """Whether staff were notified, or are about to be, since a step began: by time, not by the step's number.

    One notification may contain several incidents, and a step adds none to a throttled one.
    """
    since -= GRACE
    return any(
        n.state is NotificationState.PENDING
        or n.created_at >= since
        or any(a.started_at >= since for a in n.attempts)
        # Throttled beyond its expiry.
        or (n.due_at >= since and (n.state is NotificationState.WITHDRAWN or n.attempts))
        for n in _to_staff(notices)
    )


def _has_another_step(incident: Incident) -> bool:
    """Whether a step of the same round follows."""
    at, policy = incident.position, incident.policy.escalation
    return at.round < policy.rounds and at.step + 1 < len(policy.steps)


def _next_step_due(incident: Incident) -> datetime | None:
    """Return when the next step is due at the latest; `None` when there is nobody to notify."""
    at, policy = incident.position, incident.policy.escalation
    if not policy.steps:
        return None
    if _has_another_step(incident):
        return at.since + policy.steps[at.step + 1].after
    if at.round + 1 < policy.rounds:
        return at.since + policy.repeat_after
    # A degradation repeats once a day only.
    least = timedelta(days=1 if incident.type is IncidentType.DEGRADED else 0)
    return at.since + max(policy.repeat_interval, least)


def _stuck(
    incident: Incident,
    notices: Sequence[Notification],
    gateways: Mapping[Channel, Sequence[str]],
    policy: DeliveryPolicy,
    now: datetime,
) -> Iterator[OverdueAction]:
    """Yield notifications with an action that was due a while ago and is still open."""
    for notice in notices:
        # The first incident of a bundle sends it, so that it is overdue once.
        if notice.state is not NotificationState.PENDING or not notice.leads:
            continue
        since = _last_event(notice)
        if now - since <= GRACE:
            continue
        moves = (next_move(notice, gateways, policy, at) for at in (now - GRACE, now))
        if not any(isinstance(move, Wait) for move in moves):
            yield OverdueAction(incident=incident, lapse=MissedAction.NOTICE, since=since, notification_id=notice.id)


def _address(notice: Notification) -> Address:
    """Return the current address of a notification."""
    return notice.deliveries[-1].address if notice.deliveries else notice.addresses[0]


def _last_event(notice: Notification) -> datetime:
    """Return when the notification last progressed, or was to be checked."""
    last = decisive(notice)
    if last is None:
        return notice.due_at
    return max(notice.due_at, last.query_at, last.ended_at or last.started_at)


def _given_up_at(notice: Notification) -> datetime:
    """Return when a failed notification failed, as far as known."""
    last = decisive(notice)
    return notice.created_at if last is None else max(notice.created_at, last.ended_at or last.started_at)


def _announcement(incident: Incident, notices: Sequence[Notification], now: datetime) -> OverdueAction | None:
    told = {n.person for n in notices if n.plan is Plan.ANNOUNCEMENT}
    match announce(incident, notices, now):
        case ReleaseNow():
            since = incident.since + incident.policy.announcement.release_offered_after
        case Announce(drafts=drafts) if incident.released_at and any(d.person not in told for d in drafts):
            since = incident.released_at
        case Announce() if (due := follow_up(incident, notices, now - GRACE).since) is not None:
            since = due
        case _:
            return None
    return (
        OverdueAction(incident=incident, lapse=MissedAction.ANNOUNCEMENT, since=since) if now - since > GRACE else None
    )


def _recovery(incident: Incident, notices: Sequence[Notification], now: datetime) -> OverdueAction | None:
    if incident.resolved_at is None or now - incident.resolved_at <= GROUP_INTERVAL + GRACE:
        return None
    owed = {
        _reader(n)
        for n in notices
        if (n.purpose is Purpose.OUTAGE or n.facts.is_handover)
        and n.was_told
        and n.state is not NotificationState.PENDING
        # Nobody outside is notified of an incident that was closed without a recovery.
        if n.plan is Plan.ESCALATION or not incident.closed_without_recovery
    }
    told = {_reader(n) for n in notices if n.purpose in {Purpose.RECOVERY, Purpose.CORRECTION, Purpose.CLOSED}}
    if owed <= told:
        return None
    return OverdueAction(incident=incident, lapse=MissedAction.RECOVERY, since=incident.resolved_at)


def _reader(notice: Notification) -> tuple[Plan, str, Channel | None]:
    """Return the reader of a notification: outside one per channel, for staff one per person."""
    return notice.plan, notice.person, notice.channel if notice.plan is Plan.ANNOUNCEMENT else None


# -- escalation failures ---------------------------------------------------------------------------------------------


def _unheard(
    incident: Incident, notices: Sequence[Notification], now: datetime
) -> Iterator[tuple[EscalationFailure, datetime]]:
    if incident.state is IncidentState.TRIGGERED:
        staff = [n for n in _to_staff(notices) if n.created_at >= incident.since - GRACE]
        # Not since the opening: it may have been acknowledged, and the announcement released.
        since = max(incident.since, incident.last_response_at or incident.since)
        if _is_exhausted(incident, now):
            yield EscalationFailure.NOBODY_ANSWERED, since
        if staff and all(n.state is NotificationState.FAILED and now - _given_up_at(n) > GRACE for n in staff):
            yield EscalationFailure.NOBODY_REACHED, since
    if incident.released_at is not None and _untold(incident, notices, now):
        yield EscalationFailure.RECIPIENT_UNTOLD, incident.released_at
    # A person is late, but no component: no overdue action, which would suppress the heartbeat.
    if release_is_offered(incident, now) and not incident.flapping and now - offered_from(incident) >= RELEASED_WITHIN:
        yield EscalationFailure.UNRELEASED, offered_from(incident)


def _is_exhausted(incident: Incident, now: datetime) -> bool:
    """Whether the last round is over; its last step lasts as long as the pause between two rounds."""
    at, policy = incident.position, incident.policy.escalation
    if at.round >= policy.rounds or not policy.steps:
        return True
    is_last = at.round + 1 == policy.rounds and at.step + 1 == len(policy.steps)
    return is_last and now - at.since > policy.repeat_after


def _untold(incident: Incident, notices: Sequence[Notification], now: datetime) -> bool:
    lost = undelivered(incident, notices, now)
    if lost and releaser(incident) is None:
        return True  # No further step follows.
    outside = [n for n in notices if n.plan is Plan.ANNOUNCEMENT and n.purpose is Purpose.OUTAGE]
    return incident.is_open and bool(
        {n.person for n in outside if n in lost} - {n.person for n in outside if n not in lost}
    )


def _to_staff(notices: Sequence[Notification]) -> Iterator[Notification]:
    return (n for n in notices if n.plan is Plan.ESCALATION and (n.purpose is Purpose.OUTAGE or n.facts.is_handover))
