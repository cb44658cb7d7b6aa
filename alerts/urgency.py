"""Whose turn it is at a gateway. Pure.

Within one class whatever came first goes first.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from alerts.notice import Plan, Purpose


class Urgency(StrEnum):
    """How much a notice presses: the first member goes ahead of all others."""

    #: The person has not heard of this incident yet.
    FIRST = "first"
    #: The person has heard, and nobody has acknowledged: a later step of the first round.
    ESCALATION = "escalation"
    #: To somebody outside: news of an outage, or a correction.
    ANNOUNCEMENT = "announcement"
    #: Another round of the same.
    REPEAT = "repeat"
    #: Good news waits for bad news.
    RECOVERY = "recovery"
    #: An exercise delays nobody.
    DRILL = "drill"


RANK = MappingProxyType({urgency: rank for rank, urgency in enumerate(Urgency)})

#: What a budget never holds back: else somebody would not hear at all.
ALWAYS_GOES = frozenset({Urgency.FIRST, Urgency.ANNOUNCEMENT})

#: Sorts notices into the order in which they are handed to a gateway: rank, then age, then number.
Turn = tuple[int, datetime, int]


def urgency(plan: Plan, purpose: Purpose, *, round: int, heard_before: bool) -> Urgency:  # noqa: A002 - our word
    """Return how much a notice presses. *heard_before*: the person was owed a notice about this wave already."""
    match purpose:
        case Purpose.DRILL:
            return Urgency.DRILL
        case Purpose.RECOVERY:
            return Urgency.RECOVERY
        case _ if plan is Plan.ANNOUNCEMENT:
            return Urgency.ANNOUNCEMENT
        case Purpose.CORRECTION:
            return Urgency.ESCALATION
        case _ if not heard_before:
            return Urgency.FIRST
        case _:
            return Urgency.REPEAT if round else Urgency.ESCALATION


def turn(urgency: Urgency, due_at: datetime, notice_id: int) -> Turn:
    """Return the place of a notice in the order."""
    return RANK[urgency], due_at, notice_id
