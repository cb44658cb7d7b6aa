"""What is shown of an agency's days, and how available its mail is said to have been."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from monitor.model.day import DayTimeline, MinuteState, day_of
from monitor.views.days import (
    AgencyDays,
    _count_minutes,
    availability_of,
    observed_minutes,
    outage_minutes,
    past_minutes,
    read_days,
    view_days,
)
from tests.unit.monitor.trial import MINUTE, T0

TODAY = date(2026, 11, 24)
DAY = timedelta(days=1)
#: T0 is nine o'clock in Malaysia.
NINE = 9 * 60


def days(count: int = 3, now: datetime = T0, **written: str) -> AgencyDays:
    """Return what is shown of days that are written as `ago0`, `ago1` and so on."""
    sheets = {TODAY - int(name.removeprefix("ago")) * DAY: DayTimeline(text) for name, text in written.items()}
    return view_days("JCM", sheets, now, count)


def test_days_come_without_gaps_and_end_with_today() -> None:
    shown = days(ago1="w1440", ago7="w1440")
    assert [each.day for each in shown.days] == [TODAY - 2 * DAY, TODAY - DAY, TODAY]
    assert [day.availability for day in shown.days] == [None, 1.0, None]
    assert len(days(400).days) == 400


def test_availability_is_of_what_was_watched_and_what_was_not_is_beside_it() -> None:
    (thirty, ninety) = days(ago0="w525b15", ago1="m120w600d720", ago29="-1420s10r5x5", ago30="b1440").availability
    assert (thirty.days, ninety.days) == (30, 90)
    seen = 540 + 1320 + 15
    assert observed_minutes(thirty.minutes) == seen
    assert outage_minutes(thirty.minutes) == 30
    assert thirty.availability == pytest.approx((seen - 30) / seen, abs=1e-6)
    assert thirty.minutes[MinuteState.MAINTENANCE] == 120
    assert thirty.minutes[MinuteState.FALSE_ALARM] == 5
    assert thirty.minutes[MinuteState.NO_DATA] == 27 * 1440 + 1420
    assert ninety.availability == pytest.approx((seen - 30) / (seen + 1440), abs=1e-6)
    assert sum(ninety.minutes.values()) == 89 * 1440 + 540


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"ago0": "w525b15"},
        {
            "ago0": "w30",
            "ago1": "m120w600d720",
            "ago29": "-1420s10r5x5",
            "ago30": "b1440",
            "ago89": "b7w9",
            "ago90": "b1440",
        },
    ],
    ids=len,
)
@pytest.mark.parametrize("now", [T0, T0 + 4 * timedelta(hours=4), T0 - 9 * timedelta(hours=1)], ids=str)
def test_what_is_said_of_all_agencies_at_once_is_what_is_said_of_one(written: dict[str, str], now: datetime) -> None:
    told = {TODAY - int(name.removeprefix("ago")) * DAY: text for name, text in written.items()}
    gathered = read_days(" ".join(f"{on} {minutes}" for on, minutes in told.items()))
    today = day_of(now)
    at_once = availability_of(past_minutes(gathered, today), DayTimeline(gathered.get(today, "")), now)
    assert at_once == view_days("JCM", {on: DayTimeline(text) for on, text in told.items()}, now, 3).availability


def test_days_that_are_like_another_are_counted_once() -> None:
    before = _count_minutes.cache_info()
    past = past_minutes({TODAY - ago * DAY: "w1440" for ago in range(80)}, TODAY)
    after = _count_minutes.cache_info()
    assert past[1][MinuteState.UP] == 79 * 1440
    # Over each of the two spans those that are alike, and those of which nothing is known.
    assert after.hits + after.misses - before.hits - before.misses == 4


def test_what_was_never_watched_is_neither_available_nor_down() -> None:
    assert [each.availability for each in days().availability] == [None, None]


def test_a_single_minute_of_outage_is_not_rounded_away() -> None:
    sheets = {TODAY - ago * DAY: DayTimeline("w1440") for ago in range(1, 89)} | {
        TODAY - 89 * DAY: DayTimeline("b1w1439")
    }
    one = view_days("JCM", sheets, T0, 1).availability[1]
    assert one.availability is not None
    assert one.availability < 1


@pytest.mark.parametrize(
    ("written", "now", "no_data"),
    [
        # Runs a few minutes apart: nothing is missing yet.
        ("w536", T0, 0),
        ("w526", T0, 0),
        # Nobody has proven anything for longer.
        ("w500", T0, 25),
        ("", T0, 525),
        ("", T0 - NINE * MINUTE, 0),
        ("", T0 - NINE * MINUTE + 14 * MINUTE, 0),
        ("", T0 - NINE * MINUTE + 20 * MINUTE, 5),
        # The clock was ahead once: what has not come yet is not told of.
        ("w1440", T0, 0),
    ],
)
def test_of_today_only_what_has_passed_and_is_settled_is_told(written: str, now: datetime, no_data: int) -> None:
    (today,) = days(1, now, ago0=written).days
    assert today.minutes[MinuteState.NO_DATA] == no_data
    assert sum(today.minutes.values()) <= NINE + 1


def test_a_day_of_the_future_is_not_shown() -> None:
    shown = view_days("JCM", {TODAY + DAY: DayTimeline("b1440")}, T0, 2)
    assert [each.day for each in shown.days] == [TODAY - DAY, TODAY]
    assert shown.availability[0].availability is None
