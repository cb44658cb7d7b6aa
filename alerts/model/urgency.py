"""Priority of notifications that wait for one gateway. Pure.

Among notifications of the same urgency, the oldest goes first.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from alerts.model.notification import Plan, Purpose


class Urgency(StrEnum):
    """Priority of a notification; the first member goes first."""

    #: First notification of the incident to this person. Never rate-limited.
    FIRST = "first"
    #: Repeated notification in the first round of the escalation; a reminder, an update, or the result of an
    #: announcement.
    ESCALATION = "escalation"
    #: Announcement to an office outside; request to staff to release (approve) an announcement; correction after a
    #: false alarm. Never rate-limited.
    ANNOUNCEMENT = "announcement"
    #: Repeated notification in a later round of the escalation.
    REPEAT = "repeat"
    #: Notification that mail works again, that the incident was closed, or who has acknowledged: nobody needs to act.
    RECOVERY = "recovery"


#: Position of each urgency; the smallest goes first.
RANK = MappingProxyType({urgency: rank for rank, urgency in enumerate(Urgency)})

#: Exempt from rate limits: otherwise a person would not be notified at all, or act on wrong information.
UNLIMITED = frozenset({Urgency.FIRST, Urgency.ANNOUNCEMENT})
#: Exempt from the rate limit per person. Recoveries need no limit: they are bundled, so that a person gets at most one
#: every two minutes.
UNLIMITED_PER_PERSON = UNLIMITED | {Urgency.RECOVERY}

#: Sort key of a notification: rank of its urgency, due time, id.
Priority = tuple[int, datetime, int]


def urgency(plan: Plan, purpose: Purpose, *, round: int, notified_before: bool) -> Urgency:  # noqa: A002 - our term
    """Return the urgency of a notification.

    *round*: round of the escalation, from 0. *notified_before*: whether the person was notified since the escalation
    last restarted; it restarts when an incident becomes worse.
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
