"""Recency with a clock that may have been set back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.hours.elapsed import is_recent
from tests.unit.alerts.people import MINUTE, SECOND, T0


@pytest.mark.parametrize(
    ("ago", "span", "expected"),
    [
        (timedelta(0), 5 * MINUTE, True),
        (5 * MINUTE - SECOND, 5 * MINUTE, True),
        (5 * MINUTE, 5 * MINUTE, False),
        # The clock of another engine is ahead.
        (-30 * SECOND, 5 * MINUTE, True),
        (-MINUTE, 5 * MINUTE, True),
        (-MINUTE - SECOND, 5 * MINUTE, False),
        (timedelta(hours=-8), timedelta(days=1), False),
        # An interval of one second tolerates no clock difference of a minute.
        (-2 * SECOND, SECOND, False),
    ],
)
def test_is_recent_treats_future_as_long_ago(ago: timedelta, span: timedelta, *, expected: bool) -> None:
    assert is_recent(T0 - ago, T0, span) is expected
