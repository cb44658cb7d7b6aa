"""Whose turn it is at a gateway. Pure.

Within one class whatever came first goes first.
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
    #: Good news waits for bad news.
    RECOVERY = "recovery"


RANK = MappingProxyType({urgency: rank for rank, urgency in enumerate(Urgency)})

#: What a brake never holds back: else somebody would not hear at all, or act on what is known to be wrong.
ALWAYS_GOES = frozenset({Urgency.FIRST, Urgency.ANNOUNCEMENT})
#: What the brake of a person does not hold back, only that of a gateway: they are gathered, so they come every two minutes
#: at the most, and whoever was told that mail fails must not be the last to hear that it works.
NEVER_TOO_MANY = ALWAYS_GOES | {Urgency.RECOVERY}

#: Sorts notices into the order in which they are handed to a gateway: rank, then age, then number.
Priority = tuple[int, datetime, int]


def urgency(plan: Plan, purpose: Purpose, *, round: int, heard_before: bool) -> Urgency:  # noqa: A002 - our word
    """Return how much a notice presses. *heard_before*: the person was owed a notice about this wave already."""
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


def priority(urgency: Urgency, due_at: datetime, notice_id: int) -> Priority:
    """Return the place of a notice in the order."""
    return RANK[urgency], due_at, notice_id
