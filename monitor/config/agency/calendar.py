"""Section `calendar`: the state of Malaysia whose weekends and holidays apply, additional days, and office hours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time
from itertools import pairwise
from zoneinfo import ZoneInfo

from pydantic import Field

from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours
from monitor.config.fields.window import Day, DaySpan
from monitor.config.files.findings import Findings
from monitor.config.files.reading import Reader
from monitor.config.files.secret import SecretResolver
from monitor.config.files.section import OneLine, ResolvedPath, Section
from monitor.model.translatable import translatable


class GazettedDay(Section):
    """Holiday or workday that the government has announced and the holiday library does not contain."""

    date: Day = Field(examples=["2026-12-07"])
    """The day."""
    what: OneLine = Field(examples=["Cuti peristiwa"])
    """Occasion of the day."""
    states: tuple[State, ...] = ()
    """States in which it applies; default: all."""


class Gazette(Section):
    """Announced days that the holiday library does not contain, in `calendar.file` or in `calendar`."""

    holidays: tuple[GazettedDay, ...] = ()
    """Additional days on which offices are closed."""
    workdays: tuple[GazettedDay, ...] = ()
    """Weekend days and holidays on which they are open."""


class CalendarSettings(Gazette):
    """Working days and office hours. They apply to every agency that does not override them."""

    state: State = State.PUTRAJAYA
    """State whose weekends and holidays apply: a federal office follows the state where it is."""
    office_hours: tuple[DaySpan, ...] = ((time(8), time(17)),)
    """Office hours on workdays, in local time."""
    file: ResolvedPath | None = None
    """File with further `holidays` and `workdays`."""

    def build_calendar(self, state: State | None = None) -> Calendar:
        """Return the calendar of a state; default: the configured state."""
        calendar_state = state or self.state
        calendar = Calendar(
            state=calendar_state,
            holidays=_dates_in(calendar_state, self.holidays),
            workdays=_dates_in(calendar_state, self.workdays),
        )
        return calendar.preload()  # Load the state's public holidays now, instead of at the first use.

    def build(self, zone: ZoneInfo, state: State | None = None) -> OfficeHours:
        """Return the office hours of a state; default: the configured state."""
        return OfficeHours(calendar=self.build_calendar(state), zone=zone, spans=self.office_hours)

    def with_gazette(self, gazette: Gazette | None) -> CalendarSettings:
        """Return these settings with the days of *gazette*, the content of `file`; `None`: without further days."""
        if gazette is None:
            return self
        holidays, workdays = (*self.holidays, *gazette.holidays), (*self.workdays, *gazette.workdays)
        return self.model_copy(update={"holidays": holidays, "workdays": workdays})


class CalendarOverrides(Section):
    """Calendar settings that an agency overrides."""

    state: State | None = None
    """As in the settings."""
    office_hours: tuple[DaySpan, ...] | None = None
    """As in the settings."""

    def merged_into(self, general: CalendarSettings) -> CalendarSettings:
        """Return the agency's calendar, based on the *general* settings."""
        overrides = {key: value for key in ("state", "office_hours") if (value := getattr(self, key)) is not None}
        return general.model_copy(update=overrides)


def _dates_in(state: State, days: Sequence[GazettedDay]) -> tuple[date, ...]:
    return tuple(day.date for day in days if not day.states or state in day.states)


def read_gazette(findings: Findings, secret_resolver: SecretResolver) -> Gazette | None:
    """Return the days in `calendar.file`, and record invalid values; `None` if the file cannot be parsed at all."""
    document = findings.document
    return Reader(findings, secret_resolver).read(Gazette, document.data) if document.readable else None


def check_gazette(gazette: Gazette, findings: Findings) -> None:
    """Record days that are both a holiday and a workday in the same state, each with what to write instead."""
    workdays = {(day.date, state): day for day in gazette.workdays for state in day.states or State}
    for number, day in enumerate(gazette.holidays):
        if any((day.date, state) in workdays for state in day.states or State):
            date_findings = findings["holidays", number, "date"]
            date_findings.error(
                translatable("{date} is also one of the workdays", date=day.date), "it in one of the two"
            )


def check_office_hours(spans: Sequence[tuple[time, time]] | None, findings: Findings) -> None:
    """Record empty or overlapping office hours, and hours in the wrong order. `None`: the file sets none."""
    if spans is None:
        return
    if not spans:
        findings.error("no office would ever be open", '["08:00-17:00"]')
    for number, ((_, previous_end), (start, _)) in enumerate(pairwise(spans), start=1):
        if start <= previous_end:
            findings[number].error("does not begin after the end of the one before", "later hours, or one span")
