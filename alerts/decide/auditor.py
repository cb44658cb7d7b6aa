"""Audit of an incident: overdue actions and escalation failures. Pure: the caller passes the time.

The engine processes incidents in cycles. Independently of the cycles, `monitor.watchdog.auditor` passes the stored
incidents and notifications to this module. It computes when each action was due without the engine's own schedule, and
so detects an engine that has stopped, makes no progress or decides wrongly. Deliberate waits (a silence, office hours,
a gateway's retry) are not overdue.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.decide.announcement import (
    REOFFER_INTERVAL,
    Announce,
    ReleaseNow,
    announce,
    must_wait_for_staff,
    offers_start_at,
)
from alerts.decide.bundle import BUNDLE_INTERVAL
from alerts.decide.escalation import has_no_next_person, has_redials_left
from alerts.decide.followup import follow_up
from alerts.decide.gateway.next_action import DeliveryPolicy, Wait, decisive_attempt, next_action
from alerts.decide.release_result import releasing_contact, undelivered
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.delivery import Notification, NotificationState
from alerts.model.incident import Incident, IncidentState, release_is_offered
from alerts.model.notification import ABOUT_NOTIFICATIONS, IncidentType, Plan, Purpose

#: Tolerated delay, for example by a busy cycle or a gateway without free slots.
GRACE = timedelta(minutes=2)
#: How long an announcement may await its release (a duty officer's approval). In this time staff are asked for the
#: release twice: first the assignee, then the people of the next step.
RELEASE_DEADLINE = 2 * REOFFER_INTERVAL


class MissedAction(StrEnum):
    """Action that was due and has not happened. The values are labels of a metric."""

    #: An escalation step has not started or has created no notifications, or an expired acknowledgement has had no
    #: consequence.
    STEP = "step"
    #: A notification is not sent, although it has no reason to wait.
    NOTICE = "notice"
    #: An announcement was released and is not sent.
    ANNOUNCEMENT = "announcement"
    #: A person who was notified of an outage is not notified of its end.
    RECOVERY = "recovery"


class EscalationFailure(StrEnum):
    """Reason why people who should act or be informed were not reached, although Pantau did what was due."""

    #: All rounds of the escalation are over and nobody has acknowledged, or the assignee does not respond any more.
    NOBODY_ANSWERED = "nobody_answered"
    #: All notifications to staff have failed.
    NOBODY_REACHED = "nobody_reached"
    #: A recipient outside was not reached: all notifications to it have failed, or its letter is not posted after a
    #: workday. Also if only some notifications have failed, and nobody can be informed of that.
    RECIPIENT_UNTOLD = "recipient_untold"
    #: An announcement waits for its release, and the people who were asked have not released it.
    UNRELEASED = "unreleased"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueAction:
    """An overdue action."""

    incident: Incident
    action: MissedAction
    #: When the action was due.
    since: datetime
    #: For NOTICE: the unsent notification.
    notification_id: int | None = None

    @property
    def key(self) -> str:
        """Key that is the same in successive audits."""
        return f"{self.incident.id}/{self.action}/{self.notification_id or ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """Result of the audit of one incident."""

    overdue: tuple[OverdueAction, ...] = ()
    #: Escalation failures and when each began.
    failed_since: Mapping[EscalationFailure, datetime] = field(default_factory=dict)
    #: Ids of notifications to recipients outside whose arrival Pantau cannot determine, so that a person must.
    doubtful: tuple[int, ...] = ()
    #: Whether the incident is silenced. Then only `doubtful` is determined.
    is_silenced: bool = False

    @property
    def failures(self) -> frozenset[EscalationFailure]:
        """The escalation failures."""
        return frozenset(self.failed_since)


def audit_incident(
    incident: Incident,
    notifications: Sequence[Notification],
    gateways: Mapping[Channel, Sequence[str]],
    delivery_policy: DeliveryPolicy,
    now: datetime,
    *,
    is_silenced: bool = False,
    is_paper_paused: bool = False,
    busy_telephones: Collection[Address] = (),
) -> AuditResult:
    """Return the overdue actions and the escalation failures of *incident*.

    *gateways*: names of gateways by channel, best first. *delivery_policy*: delays and limits of attempts and queries.
    *is_silenced*: nobody is notified of the incident now. *is_paper_paused*: letters and faxes are paused until a
    person confirms a restored database. *busy_telephones*: telephones that are in a call now.
    """
    doubtful = tuple(
        n.id for n in notifications if n.plan is Plan.ANNOUNCEMENT and n.state is NotificationState.UNKNOWN
    )
    if is_silenced:
        return AuditResult(is_silenced=True, doubtful=doubtful)
    examined = [
        n
        for n in notifications
        if not (is_paper_paused and n.channel in ON_PAPER)
        and _current_address(n) not in busy_telephones
        and not must_wait_for_staff(n, notifications)
    ]
    actions = (
        _overdue_step(incident, notifications, now),
        *_overdue_notifications(incident, examined, gateways, delivery_policy, now),
        _overdue_announcement(incident, notifications, now),
        _overdue_recovery(incident, notifications, now),
    )
    return AuditResult(
        overdue=tuple(action for action in actions if action is not None),
        failed_since=dict(_escalation_failures(incident, notifications, now)),
        doubtful=doubtful,
    )


def needs_noc_incident(incident: Incident) -> bool:
    """Whether an escalation failure of *incident* opens a further incident, which notifies the NOC.

    Incidents of the NOC itself open none: each failure of such an incident would open another one.
    """
    return incident.type not in {IncidentType.MONITORING_FAULT, *ABOUT_NOTIFICATIONS}


# -- overdue ---------------------------------------------------------------------------------------------------------


def _overdue_step(incident: Incident, notifications: Sequence[Notification], now: datetime) -> OverdueAction | None:
    """Return the escalation step that has not started in time, or has notified nobody; `None` without one."""
    if (until := incident.acknowledged_until) is not None and now - until > GRACE:
        return OverdueAction(incident=incident, action=MissedAction.STEP, since=until)
    if incident.state is not IncidentState.TRIGGERED:
        return None
    current = incident.position
    due_at = _next_step_due(incident)
    step_notifications = [n for n in _staff_notifications(notifications) if n.created_at >= current.since - GRACE]
    if current.step >= 0:
        has_failed = bool(step_notifications) and all(n.state is NotificationState.FAILED for n in step_notifications)
        # A step with redial (repeated calls) fails only after its last call.
        if (
            has_failed
            and due_at is not None
            and _has_another_step(incident)
            and not has_redials_left(incident, notifications)
        ):
            # After a failed step the next step of the round starts at once.
            due_at = min(due_at, max(_failed_at(n) for n in step_notifications))
        elif now - current.since > BUNDLE_INTERVAL + GRACE and not (
            _is_staff_notified_since(notifications, current.since) or has_no_next_person(incident)
        ):
            return OverdueAction(incident=incident, action=MissedAction.STEP, since=current.since)
    if due_at is None or now - due_at <= GRACE:
        return None
    return OverdueAction(incident=incident, action=MissedAction.STEP, since=due_at)


def _is_staff_notified_since(notifications: Sequence[Notification], since: datetime) -> bool:
    """Whether staff were notified since a step began, or are about to be.

    The step numbers of the notifications are not compared, because a step creates no notification for a person for whom
    an earlier notification still waits: for other incidents to join it, or for a rate limit.
    """
    since -= GRACE
    return any(
        n.state is NotificationState.PENDING
        or n.created_at >= since
        or any(a.started_at >= since for a in n.attempts)
        # A rate limit delayed the notification beyond the beginning of the step. If it expires meanwhile, it is
        # withdrawn.
        or (n.due_at >= since and (n.state is NotificationState.WITHDRAWN or n.attempts))
        for n in _staff_notifications(notifications)
    )


def _has_another_step(incident: Incident) -> bool:
    """Whether a step of the same round follows."""
    current, policy = incident.position, incident.policy.escalation
    return current.round < policy.rounds and current.step + 1 < len(policy.steps)


def _next_step_due(incident: Incident) -> datetime | None:
    """Return when the next step is due at the latest; `None` when there is nobody to notify."""
    current, policy = incident.position, incident.policy.escalation
    if not policy.steps:
        return None
    if _has_another_step(incident):
        return current.since + policy.steps[current.step + 1].after
    if current.round + 1 < policy.rounds:
        return current.since + policy.repeat_after
    # A degradation repeats once a day only.
    min_interval = timedelta(days=1 if incident.type is IncidentType.DEGRADED else 0)
    return current.since + max(policy.repeat_interval, min_interval)


def _overdue_notifications(
    incident: Incident,
    notifications: Sequence[Notification],
    gateways: Mapping[Channel, Sequence[str]],
    delivery_policy: DeliveryPolicy,
    now: datetime,
) -> Iterator[OverdueAction]:
    """Yield the notifications whose next action was due before the grace time and is still not done."""
    for notification in notifications:
        # A bundle is sent when its first incident is processed, so that only this incident reports it as overdue.
        if notification.state is not NotificationState.PENDING or not notification.leads:
            continue
        since = _last_progress_at(notification)
        if now - since <= GRACE:
            continue
        next_actions = (next_action(notification, gateways, delivery_policy, at) for at in (now - GRACE, now))
        if not any(isinstance(action, Wait) for action in next_actions):
            yield OverdueAction(
                incident=incident, action=MissedAction.NOTICE, since=since, notification_id=notification.id
            )


def _current_address(notification: Notification) -> Address:
    """Return the address that was tried last, or else the first one."""
    return notification.deliveries[-1].address if notification.deliveries else notification.addresses[0]


def _last_progress_at(notification: Notification) -> datetime:
    """Return the latest of these times: the notification became due, its attempt changed, its query was due."""
    last = decisive_attempt(notification)
    if last is None:
        return notification.due_at
    return max(notification.due_at, last.query_at, last.ended_at or last.started_at)


def _failed_at(notification: Notification) -> datetime:
    """Return when a failed notification failed; when it was created if that is unknown."""
    last = decisive_attempt(notification)
    return notification.created_at if last is None else max(notification.created_at, last.ended_at or last.started_at)


def _overdue_announcement(
    incident: Incident, notifications: Sequence[Notification], now: datetime
) -> OverdueAction | None:
    """Return the automatic release, the announcement or the follow-up that is overdue; `None` without one."""
    notified = {n.person for n in notifications if n.plan is Plan.ANNOUNCEMENT}
    match announce(incident, notifications, now):
        case ReleaseNow():
            since = incident.since + incident.policy.announcement.release_offered_after
        case Announce(drafts=drafts) if incident.released_at and any(d.person not in notified for d in drafts):
            since = incident.released_at
        # Every recipient was notified, but a follow-up is due.
        case Announce() if (due_at := follow_up(incident, notifications, now - GRACE).since) is not None:
            since = due_at
        case _:
            return None
    return (
        OverdueAction(incident=incident, action=MissedAction.ANNOUNCEMENT, since=since) if now - since > GRACE else None
    )


def _overdue_recovery(incident: Incident, notifications: Sequence[Notification], now: datetime) -> OverdueAction | None:
    """Return the overdue recovery if a reader who was notified of the outage is not notified of its end in time."""
    if incident.resolved_at is None or now - incident.resolved_at <= BUNDLE_INTERVAL + GRACE:
        return None
    expected = {
        _reader_key(n)
        for n in notifications
        if (n.purpose is Purpose.OUTAGE or n.facts.is_handover)
        and n.may_have_arrived
        and n.state is not NotificationState.PENDING
        # If an incident is closed without a recovery, nobody outside is notified of its end.
        if n.plan is Plan.ESCALATION or not incident.closed_without_recovery
    }
    notified = {
        _reader_key(n) for n in notifications if n.purpose in {Purpose.RECOVERY, Purpose.CORRECTION, Purpose.CLOSED}
    }
    if expected <= notified:
        return None
    return OverdueAction(incident=incident, action=MissedAction.RECOVERY, since=incident.resolved_at)


def _reader_key(notification: Notification) -> tuple[Plan, str, Channel | None]:
    """Return the reader of a notification as a key. A recipient outside is notified on each channel separately."""
    return (
        notification.plan,
        notification.person,
        notification.channel if notification.plan is Plan.ANNOUNCEMENT else None,
    )


# -- escalation failures ---------------------------------------------------------------------------------------------


def _escalation_failures(
    incident: Incident, notifications: Sequence[Notification], now: datetime
) -> Iterator[tuple[EscalationFailure, datetime]]:
    """Yield the escalation failures of an incident and when each began."""
    if incident.state is IncidentState.TRIGGERED:
        staff = [n for n in _staff_notifications(notifications) if n.created_at >= incident.since - GRACE]
        # The incident may have been acknowledged before: then the failure begins after the last response.
        since = max(incident.since, incident.last_response_at or incident.since)
        if _is_exhausted(incident, now):
            yield EscalationFailure.NOBODY_ANSWERED, since
        if staff and all(n.state is NotificationState.FAILED and now - _failed_at(n) > GRACE for n in staff):
            yield EscalationFailure.NOBODY_REACHED, since
    if incident.released_at is not None and _has_unnotified_recipient(incident, notifications, now):
        yield EscalationFailure.RECIPIENT_UNTOLD, incident.released_at
    # A missing release is a person's delay, not Pantau's. Therefore it is an escalation failure and no overdue action,
    # which would stop the heartbeat (the signal to an outside service that alerts when the signal stops).
    if (
        release_is_offered(incident, now)
        and not incident.flapping
        and now - offers_start_at(incident) >= RELEASE_DEADLINE
    ):
        yield EscalationFailure.UNRELEASED, offers_start_at(incident)


def _is_exhausted(incident: Incident, now: datetime) -> bool:
    """Whether the last round is over. Its last step counts as over after the pause between two rounds."""
    current, policy = incident.position, incident.policy.escalation
    if current.round >= policy.rounds or not policy.steps:
        return True
    is_last = current.round + 1 == policy.rounds and current.step + 1 == len(policy.steps)
    return is_last and now - current.since > policy.repeat_after


def _has_unnotified_recipient(incident: Incident, notifications: Sequence[Notification], now: datetime) -> bool:
    """Whether all notifications to a recipient outside have failed, or some have and nobody can be informed of that."""
    missing = undelivered(incident, notifications, now)
    if missing and releasing_contact(incident) is None:
        # The result of the release would report the failed notifications, but its reader is not reachable.
        return True
    outside = [n for n in notifications if n.plan is Plan.ANNOUNCEMENT and n.purpose is Purpose.OUTAGE]
    return incident.is_open and bool(
        {n.person for n in outside if n in missing} - {n.person for n in outside if n not in missing}
    )


def _staff_notifications(notifications: Sequence[Notification]) -> Iterator[Notification]:
    return (
        n for n in notifications if n.plan is Plan.ESCALATION and (n.purpose is Purpose.OUTAGE or n.facts.is_handover)
    )
