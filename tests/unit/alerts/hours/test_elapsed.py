"""What is recent by a clock that may have been set back."""

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
        # Another engine's clock.
        (-30 * SECOND, 5 * MINUTE, True),
        (-MINUTE, 5 * MINUTE, True),
        (-MINUTE - SECOND, 5 * MINUTE, False),
        (timedelta(hours=-8), timedelta(days=1), False),
        # What is done each second does not wait for a minute.
        (-2 * SECOND, SECOND, False),
    ],
)
def test_is_recent_counts_what_lies_ahead_as_long_ago(ago: timedelta, span: timedelta, *, expected: bool) -> None:
    assert is_recent(T0 - ago, T0, span) is expected
