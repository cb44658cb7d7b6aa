"""Decide whether a gateway that takes messages is to be doubted: receipts are overdue against its own habit. Pure.

Operators filter without a word: an SMS is accepted, and never comes to a phone. A gateway that never gives receipts has no
habit, and its silence says nothing. One that always gave them within seconds and gives none for a while is tried after the
others of its channel. That is all that a doubt does: where all are doubted the order is as configured, and what it was
given is neither sent again nor called lost. For there may be nothing wrong: when our listener for callbacks cannot be
reached and the provider cannot be asked either, the messages arrive, and only we do not hear of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

#: So many receipts make a habit, and of so many, the latest, it is made.
ENOUGH, LATEST = 3, 20
#: All but one in ten came within what is usual; the others were phones that were off. Nothing is overdue before so many
#: times that, nor before a provider without callbacks has been asked a few times.
PATIENCE, AT_LEAST = 3, timedelta(minutes=3)
#: What was sent longer ago says nothing any more.
RECENT = timedelta(days=1)
#: So many must be overdue, to two people at least: one phone may be off. To a single one so many more.
OVERDUE, OVERDUE_TO_ONE = 3, 10
#: How often a doubted gateway is given one message first all the same, so that it can prove itself.
TRY_AGAIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedReceipt:
    """A message that arrived."""

    taken_at: datetime
    #: When we heard that it had.
    heard_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingReceipt:
    """A message that a gateway took and of which nothing was heard since."""

    taken_at: datetime
    #: Tells people apart, and nothing else.
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptBaseline:
    """How a gateway gives receipts."""

    #: Nearly all come within this time.
    usual: timedelta
    #: Without a receipt for this long a message is overdue.
    patience: timedelta
    #: When the newest of what has arrived was sent.
    proven_at: datetime
    #: When a receipt last came.
    heard_at: datetime

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """Return between which times that was sent which may be overdue now. What has arrived since proves the gateway."""
        return max(self.proven_at, now - RECENT), now - self.patience


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueReceipts:
    """Why a gateway is doubted."""

    since: datetime
    usual: timedelta
    #: The messages whose receipts are overdue, as far as they were looked at.
    overdue: int
    #: When it was last given one of those.
    tried_at: datetime


def habit(answered: Sequence[ReceivedReceipt]) -> ReceiptBaseline | None:
    """Return a gateway's habit by what arrived last; `None`: it has none."""
    if len(answered) < ENOUGH:
        return None
    # A clock that was set back in between makes no receipt come before its message.
    took = sorted(max(a.heard_at - a.taken_at, timedelta(0)) for a in answered)
    usual = took[math.ceil(len(took) * 0.9) - 1]
    return ReceiptBaseline(
        usual=usual,
        patience=max(AT_LEAST, PATIENCE * usual),
        proven_at=max(a.taken_at for a in answered),
        heard_at=max(a.heard_at for a in answered),
    )


def doubt(habit: ReceiptBaseline, unanswered: Sequence[MissingReceipt], now: datetime) -> OverdueReceipts | None:
    """Return why a gateway of this habit is doubted; `None`: it is not. A fresh receipt ends every doubt."""
    earliest, latest = habit.span(now)
    overdue = sorted(
        (u for u in unanswered if earliest < u.taken_at <= latest and u.taken_at + habit.patience > habit.heard_at),
        key=lambda u: u.taken_at,
    )
    people: set[str] = set()
    for count, message in enumerate(overdue, start=1):
        people.add(message.number)
        if count >= (OVERDUE if len(people) > 1 else OVERDUE_TO_ONE):
            return OverdueReceipts(
                since=message.taken_at + habit.patience,
                usual=habit.usual,
                overdue=len(overdue),
                tried_at=overdue[-1].taken_at,
            )
    return None
