"""Throttling of repeated log lines."""

from __future__ import annotations

from monitor.runtime.log_throttle import LogThrottle


def test_log_throttle_admits_a_kind_once_a_minute_and_counts_suppressed() -> None:
    lines = [("a", 0.0), ("a", 1.0), ("a", 59.0), ("b", 59.0), ("a", 60.0), ("a", 61.0), ("a", 200.0)]
    throttle = LogThrottle(iter([at for _, at in lines]).__next__)
    assert [throttle.admit(kind) for kind, _ in lines] == [0, None, None, 0, 2, None, 1]


def test_log_throttle_many_kinds_keeps_latest() -> None:
    throttle = LogThrottle(lambda: 0.0)
    assert all(throttle.admit(number) == 0 for number in range(2000))
    assert throttle.admit(1999) is None
    assert throttle.admit(0) == 0
