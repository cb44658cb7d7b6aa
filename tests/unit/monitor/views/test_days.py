"""Days of an agency, and its availability."""

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
from tests.unit.monitor.world import MINUTE, T0

TODAY = date(2026, 11, 24)
DAY = timedelta(days=1)
#: T0 is nine o'clock in Malaysia.
NINE = 9 * 60


def days(count: int = 3, now: datetime = T0, **written: str) -> AgencyDays:
    """Return the view of days given as `ago0`, `ago1` and so on."""
    sheets = {TODAY - int(name.removeprefix("ago")) * DAY: DayTimeline(text) for name, text in written.items()}
    return view_days("JCM", sheets, now, count)


def test_days_are_complete_until_today() -> None:
    shown = days(ago1="w1440", ago7="w1440")
    assert [each.day for each in shown.days] == [TODAY - 2 * DAY, TODAY - DAY, TODAY]
    assert [day.availability for day in shown.days] == [None, 1.0, None]
    assert len(days(400).days) == 400


def test_availability_is_of_observed_minutes() -> None:
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
def test_availability_of_all_agencies_equals_that_of_one(written: dict[str, str], now: datetime) -> None:
    told = {TODAY - int(name.removeprefix("ago")) * DAY: text for name, text in written.items()}
    read = read_days(" ".join(f"{on} {minutes}" for on, minutes in told.items()))
    today = day_of(now)
    at_once = availability_of(past_minutes(read, today), DayTimeline(read.get(today, "")), now)
    assert at_once == view_days("JCM", {on: DayTimeline(text) for on, text in told.items()}, now, 3).availability


def test_past_minutes_equal_days_are_counted_once() -> None:
    before = _count_minutes.cache_info()
    past = past_minutes({TODAY - ago * DAY: "w1440" for ago in range(80)}, TODAY)
    after = _count_minutes.cache_info()
    assert past[1][MinuteState.UP] == 79 * 1440
    # For each of the two spans: the equal days, and the days without data.
    assert after.hits + after.misses - before.hits - before.misses == 4


def test_availability_without_data_is_none() -> None:
    assert [each.availability for each in days().availability] == [None, None]


def test_availability_one_outage_minute_is_below_one() -> None:
    sheets = {TODAY - ago * DAY: DayTimeline("w1440") for ago in range(1, 89)} | {
        TODAY - 89 * DAY: DayTimeline("b1w1439")
    }
    one = view_days("JCM", sheets, T0, 1).availability[1]
    assert one.availability is not None
    assert one.availability < 1


@pytest.mark.parametrize(
    ("written", "now", "no_data"),
    [
        # Runs are a few minutes apart: nothing is missing yet.
        ("w536", T0, 0),
        ("w526", T0, 0),
        # There was no evidence for longer.
        ("w500", T0, 25),
        ("", T0, 525),
        ("", T0 - NINE * MINUTE, 0),
        ("", T0 - NINE * MINUTE + 14 * MINUTE, 0),
        ("", T0 - NINE * MINUTE + 20 * MINUTE, 5),
        # The clock was ahead once: future minutes are omitted.
        ("w1440", T0, 0),
    ],
)
def test_today_counts_elapsed_and_settled_minutes(written: str, now: datetime, no_data: int) -> None:
    (today,) = days(1, now, ago0=written).days
    assert today.minutes[MinuteState.NO_DATA] == no_data
    assert sum(today.minutes.values()) <= NINE + 1


def test_future_day_is_omitted() -> None:
    shown = view_days("JCM", {TODAY + DAY: DayTimeline("b1440")}, T0, 2)
    assert [each.day for each in shown.days] == [TODAY - DAY, TODAY]
    assert shown.availability[0].availability is None
