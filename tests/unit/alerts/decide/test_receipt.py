"""Whether a gateway that takes everything, and of which nothing is heard any more, is to be doubted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.decide.gateway.receipt import (
    MAX_AGE,
    MIN_OVERDUE_AFTER,
    MIN_OVERDUE_ONE_PERSON,
    OVERDUE_FACTOR,
    MissingReceipt,
    OverdueReceipts,
    ReceiptBaseline,
    ReceivedReceipt,
    overdue_receipts,
    receipt_baseline,
)
from tests.unit.alerts.people import MINUTE, SECOND, T0

DAY = timedelta(days=1)
HABIT = ReceiptBaseline(usual_delay=10 * SECOND, overdue_after=3 * MINUTE, confirmed_at=T0 - DAY, received_at=T0 - DAY)


def after(*seconds: float) -> list[ReceivedReceipt]:
    """Return messages that arrived so long after they were sent."""
    return [
        ReceivedReceipt(accepted_at=T0 + n * MINUTE, received_at=T0 + n * MINUTE + s * SECOND)
        for n, s in enumerate(seconds)
    ]


def sent(*minutes: float, people: int = 2) -> list[MissingReceipt]:
    return [
        MissingReceipt(accepted_at=T0 + m * MINUTE, number=f"+6010000010{n % people}") for n, m in enumerate(minutes)
    ]


def is_doubted(unanswered: list[MissingReceipt], at: timedelta, receipt_baseline: ReceiptBaseline = HABIT) -> bool:
    return overdue_receipts(receipt_baseline, unanswered, T0 + at) is not None


@pytest.mark.parametrize("receipts", [(), (2,), (2, 4)])
def test_a_gateway_that_hardly_ever_gave_a_receipt_has_no_habit(receipts: tuple[float, ...]) -> None:
    assert receipt_baseline(after(*receipts)) is None


@pytest.mark.parametrize(
    ("receipts", "usual", "overdue_after"),
    [
        ((2, 4, 6), 6 * SECOND, MIN_OVERDUE_AFTER),
        # One phone in ten may be off.
        ((5,) * 9 + (3600,), 5 * SECOND, MIN_OVERDUE_AFTER),
        ((5,) * 8 + (3600,) * 2, timedelta(hours=1), OVERDUE_FACTOR * timedelta(hours=1)),
        ((120,) * 20, 2 * MINUTE, OVERDUE_FACTOR * 2 * MINUTE),
        # The clock was set back between a message and its receipt.
        ((-3600, -3600, -3600), timedelta(0), MIN_OVERDUE_AFTER),
    ],
)
def test_what_is_usual_is_each_gateways_own(
    receipts: tuple[float, ...], usual: timedelta, overdue_after: timedelta
) -> None:
    found = receipt_baseline(after(*receipts))
    assert found is not None
    assert (found.usual_delay, found.overdue_after) == (usual, overdue_after)


def test_a_gateway_is_proven_by_the_latest_that_arrived_in_whatever_order_the_receipts_come() -> None:
    quick, slow = after(0, 2, 9)[1:], after(3600)
    for answered in ([*slow, *quick], [*quick, *slow]):
        found = receipt_baseline(answered)
        assert found is not None
        assert (found.confirmed_at, found.received_at) == (T0 + 2 * MINUTE, T0 + timedelta(hours=1))


def test_three_that_are_overdue_for_two_people_are_a_doubt_from_the_third_on() -> None:
    waiting = sent(0, 1, 2)

    assert not is_doubted(waiting, 5 * MINUTE - SECOND)
    assert overdue_receipts(HABIT, waiting, T0 + 5 * MINUTE) == OverdueReceipts(
        since=T0 + 5 * MINUTE, usual_delay=HABIT.usual_delay, overdue=3, last_accepted_at=T0 + 2 * MINUTE
    )


def test_one_phone_that_is_off_is_no_gateway_that_is_silent() -> None:
    waiting = sent(*range(MIN_OVERDUE_ONE_PERSON), people=1)

    assert not is_doubted(waiting[:-1], timedelta(hours=1))
    assert is_doubted(waiting, timedelta(hours=1))


def test_a_hundred_that_are_on_their_way_are_none_that_are_overdue() -> None:
    waiting = sent(*(n / 100 for n in range(100)))

    assert not is_doubted(waiting, HABIT.overdue_after - SECOND)


def test_a_slow_gateway_is_given_its_own_time() -> None:
    slow = ReceiptBaseline(
        usual_delay=10 * MINUTE,
        overdue_after=30 * MINUTE,
        confirmed_at=HABIT.confirmed_at,
        received_at=HABIT.received_at,
    )

    assert not is_doubted(sent(0, 1, 2), 31 * MINUTE, slow)
    assert is_doubted(sent(0, 1, 2), 32 * MINUTE, slow)


def test_a_fresh_receipt_ends_a_doubt_whatever_else_is_overdue() -> None:
    """Receipts that come late come one after the other, the oldest first: what was sent after it need not be lost."""
    heard = ReceiptBaseline(
        usual_delay=HABIT.usual_delay,
        overdue_after=HABIT.overdue_after,
        confirmed_at=T0 - MINUTE,
        received_at=T0 + 6 * MINUTE,
    )

    assert is_doubted(sent(0, 1, 2), 6 * MINUTE)
    assert not is_doubted(sent(0, 1, 2), 7 * MINUTE, heard)


def test_phones_that_are_off_say_nothing_while_what_was_sent_after_them_arrives() -> None:
    off = sent(1, 1.5, 2)
    proven = ReceiptBaseline(
        usual_delay=HABIT.usual_delay,
        overdue_after=HABIT.overdue_after,
        confirmed_at=T0 + 3 * MINUTE,
        received_at=T0 + 3 * MINUTE,
    )

    assert is_doubted(off, timedelta(hours=1))
    assert not is_doubted(off, timedelta(hours=1), proven)


def test_what_was_sent_a_day_ago_says_nothing_any_more() -> None:
    assert is_doubted(sent(0, 1, 2), MAX_AGE - SECOND)
    assert not is_doubted(sent(0, 1, 2), MAX_AGE)


def test_what_a_clock_that_was_set_back_shows_as_still_to_come_is_not_overdue() -> None:
    assert not is_doubted(sent(0, 1, 2), -DAY)
