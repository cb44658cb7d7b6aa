"""Office hours."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
PUTRAJAYA = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
KEDAH = OfficeHours(calendar=Calendar(state=State.KEDAH), zone=MALAYSIA)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


def test_office_is_open_eight_to_five_on_workday() -> None:
    assert [PUTRAJAYA.is_open(local(f"2026-11-25 {at}")) for at in ("07:59", "08:00", "16:59", "17:00")] == [
        False,
        True,
        True,
        False,
    ]


def test_friday_is_workday_in_putrajaya_not_in_kedah() -> None:
    friday, sunday = local("2026-11-27 10:00"), local("2026-11-29 10:00")
    assert (PUTRAJAYA.is_open(friday), PUTRAJAYA.is_open(sunday)) == (True, False)
    assert (KEDAH.is_open(friday), KEDAH.is_open(sunday)) == (False, True)


def test_first_open_time_skips_weekend_and_is_now_while_open() -> None:
    assert PUTRAJAYA.first_open_time(local("2026-11-27 20:00")) == local("2026-11-30 08:00")
    assert KEDAH.first_open_time(local("2026-11-26 20:00")) == local("2026-11-29 08:00")
    assert PUTRAJAYA.first_open_time(local("2026-11-25 10:00")) == local("2026-11-25 10:00")


def test_noon_break_closes_office() -> None:
    office = OfficeHours(calendar=Calendar(), zone=MALAYSIA, spans=((time(8), time(13)), (time(14), time(17))))
    assert not office.is_open(local("2026-11-25 13:30"))
    assert office.first_open_time(local("2026-11-25 13:30")) == local("2026-11-25 14:00")
    assert office.next_closing_time(local("2026-11-25 09:00")) == local("2026-11-25 13:00")


def test_calendar_without_workdays_does_not_wait_forever() -> None:
    days = tuple(local("2026-11-25 08:00").date() + timedelta(days=n) for n in range(-2, 60))
    never = OfficeHours(calendar=Calendar(holidays=days), zone=MALAYSIA)
    at = local("2026-11-25 10:00")
    assert (never.first_open_time(at), never.next_closing_time(at)) == (at, at)


@given(
    st.sampled_from(State),
    st.sampled_from(["Asia/Kuala_Lumpur", "Europe/London", "Australia/Lord_Howe"]),
    st.datetimes(min_value=datetime(2024, 1, 1), max_value=datetime(2028, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_opening_precedes_closing_and_office_is_open_between(state: State, zone: str, at: datetime) -> None:
    office = OfficeHours(calendar=Calendar(state=state), zone=ZoneInfo(zone))
    opening = office.first_open_time(at)
    closing = office.next_closing_time(at)
    assert at <= opening < closing
    assert office.is_open(opening)
    assert not office.is_open(closing)
    assert (opening == at) is office.is_open(at)
