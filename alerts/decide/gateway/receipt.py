"""Overdue delivery receipts of a gateway, compared with its baseline. Pure.

Mobile operators filter silently: an SMS is accepted and never arrives. Then its delivery receipt is missing. The
baseline of a gateway is how long its receipts usually take. A gateway that sends no receipts has no baseline, and its
missing receipts are ignored.

A gateway with overdue receipts is used after the others of its channel; if all have overdue receipts, the configured
order applies. Its messages are not resent and do not count as lost, because they may have arrived: perhaps callbacks do
not reach Pantau and the provider cannot be queried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

#: A baseline needs at least, and uses at most, so many of the latest receipts.
MIN_RECEIPTS, MAX_RECEIPTS = 3, 20
#: A receipt is overdue after this multiple of the usual delay. The usual delay is the 90th percentile, because some
#: phones are off.
OVERDUE_FACTOR = 3
#: A receipt is not overdue before this time, so that a provider without callbacks has been queried a few times.
MIN_OVERDUE_AFTER = timedelta(minutes=3)
#: Older messages are ignored.
MAX_AGE = timedelta(days=1)
#: How many messages must have overdue receipts before a gateway counts as overdue. If they go to a single number, more
#: are needed, because its phone may be off.
MIN_OVERDUE, MIN_OVERDUE_ONE_PERSON = 3, 10
#: A gateway with overdue receipts gets one message per interval as a test: a new receipt ends its overdue state.
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
    #: Telephone number to which the message was sent.
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
        """Return the first and the last acceptance time at which a missing receipt is overdue now.

        A missing receipt does not count if a newer message has one.
        """
        return max(self.confirmed_at, now - MAX_AGE), now - self.overdue_after


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueReceipts:
    """State of a gateway with overdue receipts."""

    #: When so many receipts had become overdue that the gateway counts as overdue.
    since: datetime
    #: From the baseline.
    usual_delay: timedelta
    #: Number of messages with an overdue receipt.
    overdue: int
    #: Acceptance of the last of these messages.
    last_accepted_at: datetime


def receipt_baseline(received: Sequence[ReceivedReceipt]) -> ReceiptBaseline | None:
    """Return a gateway's baseline from its latest receipts; `None` with fewer than `MIN_RECEIPTS`."""
    if len(received) < MIN_RECEIPTS:
        return None
    # A negative delay counts as zero: the clock was set back between the message and its receipt.
    delays = sorted(max(each.received_at - each.accepted_at, timedelta(0)) for each in received)
    usual_delay = delays[math.ceil(len(delays) * 0.9) - 1]
    return ReceiptBaseline(
        usual_delay=usual_delay,
        overdue_after=max(MIN_OVERDUE_AFTER, OVERDUE_FACTOR * usual_delay),
        confirmed_at=max(each.accepted_at for each in received),
        received_at=max(each.received_at for each in received),
    )


def overdue_receipts(
    baseline: ReceiptBaseline, missing: Sequence[MissingReceipt], now: datetime
) -> OverdueReceipts | None:
    """Return the state of a gateway with overdue receipts; `None` if too few are overdue.

    *missing*: accepted messages of the gateway without a receipt. A message does not count if another receipt has
    arrived since the message's own receipt became overdue.
    """
    earliest, latest = baseline.submission_window(now)
    overdue = sorted(
        (
            message
            for message in missing
            if earliest < message.accepted_at <= latest
            and message.accepted_at + baseline.overdue_after > baseline.received_at
        ),
        key=lambda message: message.accepted_at,
    )
    numbers: set[str] = set()
    for count, message in enumerate(overdue, start=1):
        numbers.add(message.number)
        if count >= (MIN_OVERDUE if len(numbers) > 1 else MIN_OVERDUE_ONE_PERSON):
            return OverdueReceipts(
                since=message.accepted_at + baseline.overdue_after,
                usual_delay=baseline.usual_delay,
                overdue=len(overdue),
                last_accepted_at=overdue[-1].accepted_at,
            )
    return None
