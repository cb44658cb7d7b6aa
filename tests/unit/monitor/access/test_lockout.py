"""How long somebody waits after wrong passwords."""

from __future__ import annotations

from datetime import timedelta

from monitor.access.lockout import FREE_ACCOUNT_ATTEMPTS, FREE_ADDRESS_ATTEMPTS, Failures
from tests.unit.alerts.people import T0

SECOND = timedelta(seconds=1)


def wait_after(count: int, free: int = FREE_ACCOUNT_ATTEMPTS) -> timedelta:
    until = Failures(count=count, last=T0).blocked_until(T0, free)
    return until - T0 if until else timedelta(0)


def test_blocked_until_doubles_after_free_attempts_up_to_five_minutes() -> None:
    seconds = [wait_after(count).total_seconds() for count in range(14)]
    assert seconds == [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert [wait_after(count, FREE_ADDRESS_ATTEMPTS).total_seconds() for count in (19, 20, 21)] == [0, 1, 2]
    assert wait_after(10_000, FREE_ADDRESS_ATTEMPTS) == timedelta(minutes=5)


def test_blocked_until_expires_and_failures_reset_after_one_hour() -> None:
    assert Failures().blocked_until(T0, FREE_ACCOUNT_ATTEMPTS) is None
    assert Failures().with_failure(T0) == Failures(count=1, last=T0)
    failures = Failures(count=5, last=T0)
    assert failures.blocked_until(T0 + 3 * SECOND, FREE_ACCOUNT_ATTEMPTS) == T0 + 4 * SECOND
    assert failures.blocked_until(T0 + 4 * SECOND, FREE_ACCOUNT_ATTEMPTS) is None
    assert failures.with_failure(T0 + 4 * SECOND).count == 6
    assert failures.with_failure(T0 + timedelta(hours=1)).count == 1


def test_blocked_until_clock_set_back_one_hour_does_not_block() -> None:
    ahead = Failures(count=5, last=T0 + timedelta(hours=1))
    assert ahead.blocked_until(T0, FREE_ACCOUNT_ATTEMPTS) is None
    # The next failure makes one wait as before.
    assert ahead.with_failure(T0).blocked_until(T0, FREE_ACCOUNT_ATTEMPTS) == T0 + 8 * SECOND


def test_blocked_until_clock_few_minutes_behind_still_blocks() -> None:
    for ahead in (10 * SECOND, timedelta(minutes=5)):
        assert Failures(count=5, last=T0 + ahead).blocked_until(T0, FREE_ACCOUNT_ATTEMPTS) == T0 + ahead + 4 * SECOND
