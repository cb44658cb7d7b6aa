"""Which repeated lines are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from monitor.runtime.log_throttle import LogThrottle

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_log_throttle_passes_a_kind_once_an_interval_and_after_the_clock_was_set_back() -> None:
    throttle = LogThrottle(timedelta(minutes=1))
    asked = [("a", 0), ("a", 59), ("b", 59), ("a", 60), ("a", 61), ("a", -3600), ("a", -3599)]
    due = [throttle.is_due(kind, NOON + timedelta(seconds=at)) for kind, at in asked]
    assert due == [True, False, True, True, False, True, False]


def test_log_throttle_of_ever_new_kinds_remembers_the_latest() -> None:
    throttle = LogThrottle(timedelta(minutes=1))
    assert all(throttle.is_due(number, NOON) for number in range(2000))
    assert not throttle.is_due(1999, NOON)
    assert throttle.is_due(0, NOON)
