"""Rate limits of contacts, gateways and telephones."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.decide.gateway.rate_limit import CONTACT_LIMITS, free_at, minute_limit, telephone_free_at
from alerts.model.channel import Channel
from alerts.model.gateway import MAX_CALL_DURATION
from tests.unit.alerts.people import MINUTE, SECOND, T0

SMS, VOICE = CONTACT_LIMITS[Channel.SMS], CONTACT_LIMITS[Channel.VOICE]


def ago(*minutes: float) -> list[datetime]:
    return [T0 - minute * MINUTE for minute in minutes]


@pytest.mark.parametrize(
    ("used", "wait"),
    [
        ([], timedelta(0)),
        (ago(14, 10), timedelta(0)),
        (ago(14, 10, 5), MINUTE),
        (ago(16, 10, 5), timedelta(0)),
        # Seven within the hour, three at a time.
        (ago(59, 58, 40, 39, 20, 16, 1), MINUTE),
        # Fifteen within three hours.
        (ago(*(10 * n + 20 for n in reversed(range(15)))), 20 * MINUTE),
        # After a clock is set back, a time in the future counts as now.
        ([T0 + 60 * MINUTE] * 3, 15 * MINUTE),
    ],
)
def test_calls_to_one_number_are_limited(used: list[datetime], wait: timedelta) -> None:
    assert free_at(used, VOICE, T0) == T0 + wait


def test_contact_limits_match_documentation() -> None:
    page = " ".join(
        (Path(__file__).parents[4] / "docs/explanation/notification-limits.md").read_text(encoding="utf-8").split()
    )
    sms, calls = ([limit.count for limit in limits] for limits in (SMS, VOICE))
    assert (
        "{} SMS in 15 minutes, {} in an hour and {} in three hours, and {}, {} and {} calls".format(*sms, *calls)
        in page
    )
    assert [limit.within / MINUTE for limits in (SMS, VOICE) for limit in limits] == [15, 60, 180] * 2


def test_gateway_minute_limit_delays_until_capacity_is_free() -> None:
    assert free_at([T0 - 59 * SECOND, T0 - SECOND], minute_limit(2), T0) == T0 + SECOND
    assert free_at([T0 - 60 * SECOND, T0 - SECOND], minute_limit(2), T0) == T0


@given(st.lists(st.integers(0, 200 * 60), max_size=60))
def test_free_at_satisfies_every_limit(seconds: list[int]) -> None:
    used = sorted(T0 - second * SECOND for second in seconds)
    free = free_at(used, SMS, T0)

    assert T0 <= free <= T0 + timedelta(hours=3)
    for limit in SMS:
        assert sum(free - limit.within < at for at in used) < limit.count


@pytest.mark.parametrize(
    ("began", "wait"),
    [
        ([], timedelta(0)),
        ([T0], MAX_CALL_DURATION),
        (ago(5, 3), MAX_CALL_DURATION - 3 * MINUTE),
        # The end of the call is unknown.
        ([T0 - MAX_CALL_DURATION], timedelta(0)),
        # The clock was set back.
        ([T0 + SECOND], timedelta(0)),
    ],
)
def test_telephone_free_at_waits_for_end_of_call(began: list[datetime], wait: timedelta) -> None:
    assert telephone_free_at(began, T0) == T0 + wait
