"""How long it takes to tell somebody: from the verdict until a gateway has it, they have it, and answer. Pure.

Told once: when an attempt comes to a milestone in the transaction that writes so. Whoever writes it a second time, after a
restart or as another engine on the same store, finds it there.
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
    #: The handset, the fax machine or the post has it.
    DELIVERED = "delivered"
    #: A member of the staff acknowledged, by a key, by SMS or by a command; it counts for the channel of the
    #: notification.
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationLatency:
    """How long it took to come to a milestone; for those who count."""

    channel: Channel
    gateway: str
    milestone: Milestone
    took: timedelta
    #: Number of the incident; of a bundle the first.
    incident: str


#: What ended badly may have come as far as a gateway before.
_MAY_HAVE_LEFT = LEFT | {AttemptState.FAILED, AttemptState.WITHDRAWN}


def reached(channel: Channel, before: AttemptState, after: AttemptState) -> Sequence[Milestone]:
    """Return the milestones that an attempt has newly come to."""
    arrived, may_have_arrived = {AttemptState.DELIVERED}, {AttemptState.DELIVERED}
    if channel is Channel.LETTER:
        # It has arrived, as far as anybody hears, when it is posted.
        arrived |= {AttemptState.SENT}
        may_have_arrived |= {AttemptState.SENT, AttemptState.FAILED}
    new = [Milestone.ACCEPTED] if after in LEFT and before not in _MAY_HAVE_LEFT else []
    return [*new, Milestone.DELIVERED] if after in arrived and before not in may_have_arrived else new


def is_first(notice: Notification) -> bool:
    """Whether it is one of those that an incident begins with: its verdict is the opening."""
    is_outage = notice.plan is Plan.ESCALATION and notice.purpose is Purpose.OUTAGE
    return is_outage and (notice.wave, notice.round, notice.step) == (0, 0, 0)


def due_at(notice: Notification, incident: Incident | None, silences: Iterable[Silence]) -> datetime:
    """Return since when *notice* was due: the opening of its incident for the first, for others when it was decided on.

    *incident*: of a first one. *silences*: those since its opening. Where nobody was to be told then, it is due since
    the silence ended.
    """
    if incident is None or not is_first(notice):
        return notice.created_at
    over = (s.ends for s in silences if is_about(s, incident) and s.begins <= s.ends <= notice.created_at)
    return min(notice.created_at, max([incident.opened_at, *over]))


def told_last(notices: Iterable[Notification], person: str) -> tuple[Notification, Attempt] | None:
    """Return which of an incident's notices moved *person* to take it on, and how it came; `None`: nobody was told.

    The last that a gateway took: of those to them, or else to anybody of the staff.
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
