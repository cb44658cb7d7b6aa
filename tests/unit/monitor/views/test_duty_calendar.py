"""Rota as an iCalendar file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from icalendar import Calendar

from alerts.model.oncall import OnCallPeriod
from monitor.views.duty_calendar import duty_calendar
from tests.unit.alerts.people import SITI, T0

DAY = timedelta(days=1)
MALAYSIA = timezone(timedelta(hours=8))


def test_duty_calendar_has_utc_events_including_gaps() -> None:
    begins = datetime(2026, 12, 1, 8, tzinfo=MALAYSIA)
    on_call_periods = [
        OnCallPeriod(starts_at=begins, ends_at=begins + DAY, person=SITI),
        OnCallPeriod(starts_at=begins + DAY, ends_at=begins + 2 * DAY, person=None),
    ]
    made = duty_calendar("JCM/bertugas", on_call_periods, T0).decode()
    assert "DTSTART:20261201T000000Z\r\nDTEND:20261202T000000Z" in made
    first, second = Calendar.from_ical(made).walk("VEVENT")
    assert str(first["uid"]) == "20261201T000000Z-jcm-bertugas@pantau"
    assert str(first["summary"]) == f"{SITI.name} (JCM/bertugas)"
    assert str(second["summary"]) == "TIADA SESIAPA BERTUGAS (JCM/bertugas)"
    for number in (address.number for address in SITI.addresses):
        assert number not in made


def test_duty_calendar_escapes_names_and_folds_lines() -> None:
    person = SITI.__class__(
        key="x", name="Siti, BEGIN:VEVENT;\n" + "Contoh " * 20, language=SITI.language, addresses=()
    )
    made = duty_calendar("JCM/b", [OnCallPeriod(starts_at=T0, ends_at=T0 + DAY, person=person)], T0)
    assert all(len(line) <= 75 for line in made.split(b"\r\n"))
    [event] = Calendar.from_ical(made).walk("VEVENT")
    assert str(event["summary"]) == f"{person.name} (JCM/b)"


def test_duty_calendar_without_events_is_valid() -> None:
    made = duty_calendar("bersama", [], datetime(2026, 12, 1, tzinfo=UTC))
    assert Calendar.from_ical(made)["prodid"]
    assert b"REFRESH-INTERVAL;VALUE=DURATION:PT1H" in made
