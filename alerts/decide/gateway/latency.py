"""Notification latency: from the decision to acceptance, delivery and acknowledgement. Pure.

The caller determines milestones in the transaction that writes the attempt's state, so that each is reported once: if
the same state is written again, after a restart or by another engine on the same database, no milestone is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.decide.silence import Silence, matches_incident
from alerts.model.channel import Channel
from alerts.model.delivery import SUBMITTED, Attempt, AttemptState, Notification
from alerts.model.incident import Incident
from alerts.model.notification import Plan, Purpose


class Milestone(StrEnum):
    """Milestone of a notification; its latency is measured from the decision."""

    #: A gateway accepted the notification.
    ACCEPTED = "accepted"
    #: The notification arrived at the handset, the fax machine or the post.
    DELIVERED = "delivered"
    #: A staff member acknowledged the incident by key, SMS or command. A command counts for the channel of the
    #: notification.
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationLatency:
    """Time to a milestone, for metrics."""

    channel: Channel
    gateway: str
    milestone: Milestone
    #: From the decision (see `latency_start`) to the milestone.
    duration: timedelta
    #: Number of the incident; for a notification about several incidents, of the first.
    incident: str


#: States after which acceptance is not a new milestone: the gateway accepted the message, or may have accepted it
#: before.
_POSSIBLY_ACCEPTED = SUBMITTED | {AttemptState.FAILED, AttemptState.WITHDRAWN}


def new_milestones(channel: Channel, before: AttemptState, after: AttemptState) -> Sequence[Milestone]:
    """Return the milestones that an attempt reaches when its state changes from *before* to *after*."""
    delivered_states, possibly_delivered = {AttemptState.DELIVERED}, {AttemptState.DELIVERED}
    if channel is Channel.LETTER:
        # A letter counts as delivered when it is posted (SENT). A letter that FAILED may have been SENT before.
        delivered_states |= {AttemptState.SENT}
        possibly_delivered |= {AttemptState.SENT, AttemptState.FAILED}
    milestones = [Milestone.ACCEPTED] if after in SUBMITTED and before not in _POSSIBLY_ACCEPTED else []
    if after in delivered_states and before not in possibly_delivered:
        milestones.append(Milestone.DELIVERED)
    return milestones


def is_first_notification(notification: Notification) -> bool:
    """Whether the first step of the escalation created *notification*.

    Its latency counts from the opening of the incident.
    """
    is_outage = notification.plan is Plan.ESCALATION and notification.purpose is Purpose.OUTAGE
    return is_outage and (notification.restarts, notification.round, notification.step) == (0, 0, 0)


def latency_start(notification: Notification, incident: Incident | None, silences: Iterable[Silence]) -> datetime:
    """Return when the latency of *notification* begins.

    The latency of a first notification counts from the opening of *incident*, or from the end of a silence that ended
    later. The latency of another notification counts from its decision. *silences*: those that ended after the opening.
    """
    if incident is None or not is_first_notification(notification):
        return notification.created_at
    # A silence that was ended before it began has an end before its start.
    silence_ends = (
        s.ends_at
        for s in silences
        if matches_incident(s, incident) and s.starts_at <= s.ends_at <= notification.created_at
    )
    return min(notification.created_at, max([incident.opened_at, *silence_ends]))


def acknowledged_notification(
    notifications: Iterable[Notification], person: str
) -> tuple[Notification, Attempt] | None:
    """Return the notification that led *person* to acknowledge, and its attempt; `None`: nobody was notified.

    It is the last notification to this person that a gateway accepted. If there is none, it is the last one to any
    staff member.
    """
    accepted = [
        (notification, attempt)
        for notification in notifications
        if notification.plan is Plan.ESCALATION and notification.purpose is Purpose.OUTAGE
        for attempt in notification.attempts
        if attempt.state in SUBMITTED
    ]
    own = [(notification, attempt) for notification, attempt in accepted if notification.person == person]
    return max(own or accepted, key=lambda each: each[1].started_at, default=None)
