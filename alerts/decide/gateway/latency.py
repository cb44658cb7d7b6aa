"""Notification latency: from the verdict to acceptance, delivery and acknowledgement. Pure.

Each milestone is counted once, in the transaction that writes it. A repeated write, after a restart or by another
engine on the store, finds it present.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.decide.silence import Silence, is_about
from alerts.model.channel import Channel
from alerts.model.delivery import LEFT, Attempt, AttemptState, Notification
from alerts.model.incident import Incident
from alerts.model.notification import Plan, Purpose


class Milestone(StrEnum):
    """Milestone of a notification; its latency is measured from the decision."""

    #: A gateway accepted the notification.
    ACCEPTED = "accepted"
    #: It arrived at the handset, the fax machine or the post.
    DELIVERED = "delivered"
    #: A staff member acknowledged it by key, SMS or command; a command counts for the channel of the notification.
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationLatency:
    """Time to a milestone, for metrics."""

    channel: Channel
    gateway: str
    milestone: Milestone
    took: timedelta
    #: Number of the incident; of a bundle the first.
    incident: str


#: States in which the attempt may have been accepted before.
_MAY_HAVE_LEFT = LEFT | {AttemptState.FAILED, AttemptState.WITHDRAWN}


def reached(channel: Channel, before: AttemptState, after: AttemptState) -> Sequence[Milestone]:
    """Return the milestones that an attempt has newly reached."""
    arrived, may_have_arrived = {AttemptState.DELIVERED}, {AttemptState.DELIVERED}
    if channel is Channel.LETTER:
        # A letter counts as delivered when it is posted.
        arrived |= {AttemptState.SENT}
        may_have_arrived |= {AttemptState.SENT, AttemptState.FAILED}
    new = [Milestone.ACCEPTED] if after in LEFT and before not in _MAY_HAVE_LEFT else []
    return [*new, Milestone.DELIVERED] if after in arrived and before not in may_have_arrived else new


def is_first(notice: Notification) -> bool:
    """Whether it is among the first of its incident, whose start is the opening."""
    is_outage = notice.plan is Plan.ESCALATION and notice.purpose is Purpose.OUTAGE
    return is_outage and (notice.restarts, notice.round, notice.step) == (0, 0, 0)


def due_at(notice: Notification, incident: Incident | None, silences: Iterable[Silence]) -> datetime:
    """Return since when *notice* was due: the first ones since the opening of the incident, others since their decision.

    *incident*: of a first one. *silences*: those since its opening; their end counts instead.
    """
    if incident is None or not is_first(notice):
        return notice.created_at
    over = (s.ends_at for s in silences if is_about(s, incident) and s.starts_at <= s.ends_at <= notice.created_at)
    return min(notice.created_at, max([incident.opened_at, *over]))


def told_last(notices: Iterable[Notification], person: str) -> tuple[Notification, Attempt] | None:
    """Return the notification that led *person* to acknowledge, and its attempt; `None`: nobody was notified.

    The last that a gateway accepted: to this person, or otherwise to any staff member.
    """
    left = [
        (notice, attempt)
        for notice in notices
        if notice.plan is Plan.ESCALATION and notice.purpose is Purpose.OUTAGE
        for attempt in notice.attempts
        if attempt.state in LEFT
    ]
    theirs = [(notice, attempt) for notice, attempt in left if notice.person == person]
    return max(theirs or left, key=lambda each: each[1].started_at, default=None)
