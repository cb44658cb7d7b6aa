"""Overdue delivery receipts of a gateway, compared with its baseline. Pure.

Mobile operators filter silently: an SMS is accepted and never arrives. The baseline of a gateway is how long its
receipts usually take; a gateway that sends no receipts has no baseline, and its missing receipts mean nothing. A
gateway with overdue receipts is used after the others of its channel. No message is resent or counted as lost, because
it may have arrived: perhaps callbacks cannot reach us and the provider cannot be queried. If all gateways of a channel
have overdue receipts, the configured order applies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Receipts needed for a baseline, and the number of latest ones it uses.
MIN_RECEIPTS, MAX_RECEIPTS = 3, 20
#: A receipt is overdue after this multiple of the usual delay, but not before the minimum, so that a provider without
#: callbacks has been queried a few times. The usual delay is the 90th percentile, because some phones are off.
OVERDUE_FACTOR, MIN_OVERDUE_AFTER = 3, timedelta(minutes=3)
#: Older messages are not examined.
MAX_AGE = timedelta(days=1)
#: Number of overdue receipts from which a gateway counts as overdue: for messages to at least two numbers, and for
#: messages to a single number, whose phone may be off.
MIN_OVERDUE, MIN_OVERDUE_ONE_PERSON = 3, 10
#: A gateway with overdue receipts is tested with one message per interval: a new receipt ends its overdue state.
RETRY_INTERVAL = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedReceipt:
    """A message with a receipt."""

    accepted_at: datetime
    #: When its receipt arrived.
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingReceipt:
    """An accepted message without a receipt."""

    accepted_at: datetime
    #: Identifies the person.
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptBaseline:
    """Usual delay of a gateway's receipts."""

    #: 90th percentile of the time from acceptance to receipt.
    usual_delay: timedelta
    #: Time after which a receipt is overdue.
    overdue_after: timedelta
    #: Acceptance of the newest message with a receipt.
    confirmed_at: datetime
    #: Arrival of the newest receipt.
    received_at: datetime

    def submission_window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the range of acceptance times whose missing receipts are overdue now.

        A receipt for a newer message clears the missing receipts of older messages.
        """
        return max(self.confirmed_at, now - MAX_AGE), now - self.overdue_after


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueReceipts:
    """Overdue receipts of a gateway."""

    since: datetime
    usual_delay: timedelta
    #: Number of overdue messages among those examined.
    overdue: int
    #: Acceptance of the last of them.
    last_accepted_at: datetime


def receipt_baseline(received: Sequence[ReceivedReceipt]) -> ReceiptBaseline | None:
    """Return a gateway's baseline from its latest receipts; `None` with fewer than `MIN_RECEIPTS`."""
    if len(received) < MIN_RECEIPTS:
        return None
    # After the clock was set back a receipt may precede its message: its delay counts as none.
    delays = sorted(max(a.received_at - a.accepted_at, timedelta(0)) for a in received)
    usual_delay = delays[math.ceil(len(delays) * 0.9) - 1]
    return ReceiptBaseline(
        usual_delay=usual_delay,
        overdue_after=max(MIN_OVERDUE_AFTER, OVERDUE_FACTOR * usual_delay),
        confirmed_at=max(a.accepted_at for a in received),
        received_at=max(a.received_at for a in received),
    )


def overdue_receipts(
    baseline: ReceiptBaseline, missing: Sequence[MissingReceipt], now: datetime
) -> OverdueReceipts | None:
    """Return the overdue receipts among *missing*; `None` if they are too few, or if a new receipt has cleared them.

    *missing*: accepted messages of the gateway without a receipt.
    """
    earliest, latest = baseline.submission_window(now)
    overdue = sorted(
        (
            u
            for u in missing
            if earliest < u.accepted_at <= latest and u.accepted_at + baseline.overdue_after > baseline.received_at
        ),
        key=lambda u: u.accepted_at,
    )
    people: set[str] = set()
    for count, message in enumerate(overdue, start=1):
        people.add(message.number)
        if count >= (MIN_OVERDUE if len(people) > 1 else MIN_OVERDUE_ONE_PERSON):
            return OverdueReceipts(
                since=message.accepted_at + baseline.overdue_after,
                usual_delay=baseline.usual_delay,
                overdue=len(overdue),
                last_accepted_at=overdue[-1].accepted_at,
            )
    return None
