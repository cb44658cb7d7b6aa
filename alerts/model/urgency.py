"""Priority of notifications that wait for one gateway. Pure.

Of the same urgency the oldest notification comes first.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from alerts.model.notification import Plan, Purpose


class Urgency(StrEnum):
    """Priority of a notification; the first member goes first."""

    #: The person has not been notified of this incident. Before all others, and never rate-limited.
    FIRST = "first"
    #: A later step of the first round; a reminder, an update or the result of an announcement.
    ESCALATION = "escalation"
    #: To an office outside (an announcement); to staff, the request to release an announcement; a correction. Never
    #: rate-limited.
    ANNOUNCEMENT = "announcement"
    #: A later round.
    REPEAT = "repeat"
    #: A recovery, a closing, or who acknowledged: nobody needs to act.
    RECOVERY = "recovery"


RANK = MappingProxyType({urgency: rank for rank, urgency in enumerate(Urgency)})

#: Exempt from rate limits: otherwise a person would not be notified at all, or act on wrong information.
UNLIMITED = frozenset({Urgency.FIRST, Urgency.ANNOUNCEMENT})
#: Exempt from the rate limit per person. Recoveries are bundled, so that a person gets one every two minutes at most.
UNLIMITED_PER_PERSON = UNLIMITED | {Urgency.RECOVERY}

#: Sort key: rank of the urgency, due time, id.
Priority = tuple[int, datetime, int]


def urgency(plan: Plan, purpose: Purpose, *, round: int, notified_before: bool) -> Urgency:  # noqa: A002 - our word
    """Return the urgency of a notification.

    *notified_before*: the person was notified before in this run of the escalation, which restarts when an incident
    becomes worse.
    """
    match purpose:
        case Purpose.RECOVERY | Purpose.TAKEN | Purpose.CLOSED:
            return Urgency.RECOVERY
        case _ if plan is Plan.ANNOUNCEMENT or purpose in {Purpose.CORRECTION, Purpose.RELEASE}:
            return Urgency.ANNOUNCEMENT
        case Purpose.REMINDER | Purpose.UPDATE | Purpose.RESULT:
            return Urgency.ESCALATION
        case _ if not notified_before:
            return Urgency.FIRST
        case _:
            return Urgency.REPEAT if round else Urgency.ESCALATION


def priority(urgency: Urgency, due_at: datetime, notification_id: int) -> Priority:
    """Return the sort key of a notification."""
    return RANK[urgency], due_at, notification_id
