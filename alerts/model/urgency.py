"""Priority of notifications at a gateway. Pure.

Within one class the oldest comes first.
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
    #: A later step of the first round.
    ESCALATION = "escalation"
    #: To a recipient; to staff, the offer to release; to anybody, a correction. Never rate-limited.
    ANNOUNCEMENT = "announcement"
    #: A later round.
    REPEAT = "repeat"
    #: Good news, after bad news.
    RECOVERY = "recovery"


RANK = MappingProxyType({urgency: rank for rank, urgency in enumerate(Urgency)})

#: Never limited: otherwise a person would not be notified at all, or act on wrong information.
ALWAYS_GOES = frozenset({Urgency.FIRST, Urgency.ANNOUNCEMENT})
#: Limited per gateway, not per person: they are bundled, so they come every two minutes at most, and a recovery must
#: not come last.
NEVER_TOO_MANY = ALWAYS_GOES | {Urgency.RECOVERY}

#: Sort key at a gateway: rank, age, number.
Priority = tuple[int, datetime, int]


def urgency(plan: Plan, purpose: Purpose, *, round: int, heard_before: bool) -> Urgency:  # noqa: A002 - our word
    """Return the urgency of a notification. *heard_before*: the person had one in this restart before."""
    match purpose:
        case Purpose.RECOVERY | Purpose.TAKEN | Purpose.CLOSED:
            return Urgency.RECOVERY
        case _ if plan is Plan.ANNOUNCEMENT or purpose in {Purpose.CORRECTION, Purpose.RELEASE}:
            return Urgency.ANNOUNCEMENT
        case Purpose.REMINDER | Purpose.UPDATE | Purpose.RESULT:
            return Urgency.ESCALATION
        case _ if not heard_before:
            return Urgency.FIRST
        case _:
            return Urgency.REPEAT if round else Urgency.ESCALATION


def priority(urgency: Urgency, due_at: datetime, notification_id: int) -> Priority:
    """Return the sort key of a notification."""
    return RANK[urgency], due_at, notification_id
