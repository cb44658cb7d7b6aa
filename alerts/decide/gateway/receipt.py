"""Overdue receipts of a gateway, compared with its baseline. Pure.

Operators filter silently: an SMS is accepted and never arrives. A gateway without any receipts has no baseline, and
missing ones say nothing. A gateway whose receipts used to come within seconds and are missing for a while is used after
the others of its channel. There is no other effect: if all are affected the configured order applies, and nothing is
resent or counted as lost. There may be no fault: when callbacks cannot reach us and the provider cannot be queried,
messages arrive unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Receipts needed for a baseline, and the number of latest ones it uses.
ENOUGH, LATEST = 3, 20
#: Nine of ten came within the usual time; the others were phones that were off. A receipt is overdue after this
#: multiple of it, but not before a provider without callbacks has been queried a few times.
PATIENCE, AT_LEAST = 3, timedelta(minutes=3)
#: Older messages say nothing.
RECENT = timedelta(days=1)
#: Overdue receipts needed, to at least two people because one phone may be off; or this many to a single one.
OVERDUE, OVERDUE_TO_ONE = 3, 10
#: Interval at which the gateway gets one message first, to prove itself.
TRY_AGAIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedReceipt:
    """A message that arrived."""

    taken_at: datetime
    #: When its receipt arrived.
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingReceipt:
    """An accepted message without a receipt."""

    taken_at: datetime
    #: Identifies the person.
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptBaseline:
    """Usual receipts of a gateway."""

    #: Time within which nearly all arrive.
    usual: timedelta
    #: Time after which a receipt is overdue.
    patience: timedelta
    #: Submission of the newest message with a receipt.
    proven_at: datetime
    #: Arrival of the newest receipt.
    received_at: datetime

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the range of submission times that may be overdue now. A later receipt proves the gateway."""
        return max(self.proven_at, now - RECENT), now - self.patience


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueReceipts:
    """Overdue receipts of a gateway."""

    since: datetime
    usual: timedelta
    #: Number of overdue messages among those examined.
    overdue: int
    #: Submission of the last of them.
    tried_at: datetime


def habit(answered: Sequence[ReceivedReceipt]) -> ReceiptBaseline | None:
    """Return a gateway's baseline by the latest receipts; `None` without one."""
    if len(answered) < ENOUGH:
        return None
    # After the clock was set back no receipt precedes its message.
    took = sorted(max(a.received_at - a.taken_at, timedelta(0)) for a in answered)
    usual = took[math.ceil(len(took) * 0.9) - 1]
    return ReceiptBaseline(
        usual=usual,
        patience=max(AT_LEAST, PATIENCE * usual),
        proven_at=max(a.taken_at for a in answered),
        received_at=max(a.received_at for a in answered),
    )


def doubt(habit: ReceiptBaseline, unanswered: Sequence[MissingReceipt], now: datetime) -> OverdueReceipts | None:
    """Return the overdue receipts of a gateway with this baseline; `None` without any. A new receipt clears them."""
    earliest, latest = habit.span(now)
    overdue = sorted(
        (u for u in unanswered if earliest < u.taken_at <= latest and u.taken_at + habit.patience > habit.received_at),
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
