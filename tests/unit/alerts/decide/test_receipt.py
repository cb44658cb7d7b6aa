"""Overdue receipts of a gateway that accepts every message."""

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
BASELINE = ReceiptBaseline(
    usual_delay=10 * SECOND, overdue_after=3 * MINUTE, confirmed_at=T0 - DAY, received_at=T0 - DAY
)


def received(*seconds: float) -> list[ReceivedReceipt]:
    """Return receipts that arrived *seconds* after their messages."""
    return [
        ReceivedReceipt(accepted_at=T0 + n * MINUTE, received_at=T0 + n * MINUTE + s * SECOND)
        for n, s in enumerate(seconds)
    ]


def sent(*minutes: float, people: int = 2) -> list[MissingReceipt]:
    return [
        MissingReceipt(accepted_at=T0 + m * MINUTE, number=f"+6010000010{n % people}") for n, m in enumerate(minutes)
    ]


def is_overdue(missing: list[MissingReceipt], at: timedelta, receipt_baseline: ReceiptBaseline = BASELINE) -> bool:
    return overdue_receipts(receipt_baseline, missing, T0 + at) is not None


@pytest.mark.parametrize("receipts", [(), (2,), (2, 4)])
def test_gateway_with_too_few_receipts_has_no_baseline(receipts: tuple[float, ...]) -> None:
    assert receipt_baseline(received(*receipts)) is None


@pytest.mark.parametrize(
    ("receipts", "usual", "overdue_after"),
    [
        ((2, 4, 6), 6 * SECOND, MIN_OVERDUE_AFTER),
        # One phone in ten may be switched off.
        ((5,) * 9 + (3600,), 5 * SECOND, MIN_OVERDUE_AFTER),
        ((5,) * 8 + (3600,) * 2, timedelta(hours=1), OVERDUE_FACTOR * timedelta(hours=1)),
        ((120,) * 20, 2 * MINUTE, OVERDUE_FACTOR * 2 * MINUTE),
        # The clock was set back between message and receipt.
        ((-3600, -3600, -3600), timedelta(0), MIN_OVERDUE_AFTER),
    ],
)
def test_receipt_baseline_is_computed_per_gateway(
    receipts: tuple[float, ...], usual: timedelta, overdue_after: timedelta
) -> None:
    found = receipt_baseline(received(*receipts))
    assert found is not None
    assert (found.usual_delay, found.overdue_after) == (usual, overdue_after)


def test_receipt_baseline_confirmed_by_latest_receipt_in_any_order() -> None:
    quick, slow = received(0, 2, 9)[1:], received(3600)
    for answered in ([*slow, *quick], [*quick, *slow]):
        found = receipt_baseline(answered)
        assert found is not None
        assert (found.confirmed_at, found.received_at) == (T0 + 2 * MINUTE, T0 + timedelta(hours=1))


def test_three_overdue_receipts_for_two_people_are_reported() -> None:
    waiting = sent(0, 1, 2)

    assert not is_overdue(waiting, 5 * MINUTE - SECOND)
    assert overdue_receipts(BASELINE, waiting, T0 + 5 * MINUTE) == OverdueReceipts(
        since=T0 + 5 * MINUTE, usual_delay=BASELINE.usual_delay, overdue=3, last_accepted_at=T0 + 2 * MINUTE
    )


def test_overdue_receipts_of_one_phone_need_higher_count() -> None:
    waiting = sent(*range(MIN_OVERDUE_ONE_PERSON), people=1)

    assert not is_overdue(waiting[:-1], timedelta(hours=1))
    assert is_overdue(waiting, timedelta(hours=1))


def test_receipts_not_yet_overdue_are_not_reported() -> None:
    waiting = sent(*(n / 100 for n in range(100)))

    assert not is_overdue(waiting, BASELINE.overdue_after - SECOND)


def test_slow_gateway_uses_its_own_overdue_limit() -> None:
    slow = ReceiptBaseline(
        usual_delay=10 * MINUTE,
        overdue_after=30 * MINUTE,
        confirmed_at=BASELINE.confirmed_at,
        received_at=BASELINE.received_at,
    )

    assert not is_overdue(sent(0, 1, 2), 31 * MINUTE, slow)
    assert is_overdue(sent(0, 1, 2), 32 * MINUTE, slow)


def test_fresh_receipt_clears_overdue_receipts() -> None:
    """Late receipts arrive in order, the oldest first; a later message is not necessarily lost."""
    confirmed = ReceiptBaseline(
        usual_delay=BASELINE.usual_delay,
        overdue_after=BASELINE.overdue_after,
        confirmed_at=T0 - MINUTE,
        received_at=T0 + 6 * MINUTE,
    )

    assert is_overdue(sent(0, 1, 2), 6 * MINUTE)
    assert not is_overdue(sent(0, 1, 2), 7 * MINUTE, confirmed)


def test_overdue_receipts_older_than_confirmed_message_are_ignored() -> None:
    off = sent(1, 1.5, 2)
    proven = ReceiptBaseline(
        usual_delay=BASELINE.usual_delay,
        overdue_after=BASELINE.overdue_after,
        confirmed_at=T0 + 3 * MINUTE,
        received_at=T0 + 3 * MINUTE,
    )

    assert is_overdue(off, timedelta(hours=1))
    assert not is_overdue(off, timedelta(hours=1), proven)


def test_missing_receipts_older_than_max_age_are_ignored() -> None:
    assert is_overdue(sent(0, 1, 2), MAX_AGE - SECOND)
    assert not is_overdue(sent(0, 1, 2), MAX_AGE)


def test_missing_receipts_with_clock_set_back_are_not_overdue() -> None:
    assert not is_overdue(sent(0, 1, 2), -DAY)
