"""Workdays by state."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from alerts.hours.calendar import Calendar, State, _holidays_of
from monitor.config.agency.calendar import CalendarSettings

FRIDAY, SATURDAY, SUNDAY = date(2026, 11, 27), date(2026, 11, 28), date(2026, 11, 29)


def test_settings_build_preloads_holidays() -> None:
    _holidays_of.cache_clear()
    settings = CalendarSettings(state=State.KEDAH)
    assert _holidays_of.cache_info().currsize == 0
    hours = settings.build(ZoneInfo("Asia/Kuala_Lumpur"))
    assert _holidays_of.cache_info().currsize == 1
    hours.calendar.is_workday(FRIDAY)
    assert _holidays_of.cache_info().misses == 1


@pytest.mark.parametrize("state", State)
def test_weekend_is_friday_saturday_in_three_states_else_saturday_sunday(state: State) -> None:
    calendar = Calendar(state=state)
    worked = [calendar.is_workday(day) for day in (FRIDAY, SATURDAY, SUNDAY)]
    early = state in {State.KEDAH, State.KELANTAN, State.TERENGGANU}
    assert worked == ([False, False, True] if early else [True, False, False])


@pytest.mark.parametrize(
    ("day", "worked"),
    [
        (date(2013, 11, 29), True),  # Friday, before 2014
        (date(2024, 11, 29), False),  # Friday, the last year of Friday and Saturday
        (date(2024, 12, 1), True),  # Sunday
        (date(2025, 1, 3), True),  # Friday, from 2025
        (date(2025, 1, 5), False),  # Sunday
    ],
)
def test_johor_weekend_changed_twice(day: date, *, worked: bool) -> None:
    assert Calendar(state=State.JOHOR).is_workday(day) is worked


def test_federal_holiday_applies_in_every_state() -> None:
    merdeka = date(2026, 8, 31)
    assert not any(Calendar(state=state).is_workday(merdeka) for state in State)


def test_state_holiday_applies_in_its_state_only() -> None:
    birthday_in_selangor = date(2026, 12, 11)
    assert not Calendar(state=State.SELANGOR).is_workday(birthday_in_selangor)
    assert Calendar(state=State.PUTRAJAYA).is_workday(birthday_in_selangor)


def test_federal_territory_day_on_sunday_is_observed_on_monday() -> None:
    monday = date(2026, 2, 2)
    off = {state for state in State if not Calendar(state=state).is_workday(monday)}
    assert off >= {State.KUALA_LUMPUR, State.LABUAN, State.PUTRAJAYA}
    assert State.SARAWAK not in off


def test_configured_holidays_and_workdays_override_calendar() -> None:
    calendar = Calendar(state=State.PERAK, holidays=(FRIDAY,), workdays=(SATURDAY, FRIDAY.replace(day=26)))
    assert not calendar.is_workday(FRIDAY)
    assert calendar.is_workday(SATURDAY)
    assert not calendar.is_workday(SUNDAY)
