"""Types of days, times of day, time zones and windows."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from monitor.config.files.section import InvalidValue, Section, Span, as_text, wrong
from monitor.model.lazy_text import said
from monitor.model.window import InvalidCronError, Recurring, check_cron


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise wrong(said("'{text}' is no day", text=text), "year-month-day: 2026-12-01") from None


def _clock(text: str) -> time:
    try:
        at = time.fromisoformat(text.strip())
    except ValueError:
        at = None
    if at is None or at.tzinfo is not None or (at.second, at.microsecond) != (0, 0) or ":" not in text:
        raise wrong(said("'{text}' is no time of the day", text=text), "08:00, or 17:30")
    return at


def _span(text: str) -> tuple[time, time]:
    begins, dash, ends = text.partition("-")
    if not dash:
        raise wrong(said("'{text}' is no part of a day", text=text), "08:00-17:00")
    span = _clock(begins), _clock(ends)
    if span[0] >= span[1]:
        raise wrong(said("'{text}' ends before it begins", text=text), "08:00-17:00")
    return span


#: Calendar day.
Day = Annotated[date, as_text(_day), InvalidValue(date(2026, 1, 1))]

#: Local time of day, to the minute.
TimeOfDay = Annotated[time, as_text(_clock), InvalidValue(time(8))]

#: Span from one time of day to a later one.
DaySpan = Annotated[tuple[time, time], as_text(_span), InvalidValue((time(8), time(17)))]


MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")

#: One day from the first or last year of `datetime`, a time cannot be converted to another zone.
_FIRST_YEAR, _LAST_YEAR = 2000, 2199
_EXAMPLE = '"0 7 * * mon-fri" (minute hour day month weekday)'


def _cron(text: str) -> str:
    try:
        check_cron(text)
    except InvalidCronError as error:
        raise wrong(str(error), _EXAMPLE) from None
    return text


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise wrong(said("'{text}' is no time zone that this machine knows", text=text), "Asia/Kuala_Lumpur") from None


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        at = None
    if at is None or len(text.strip()) <= len("2026-12-01"):
        raise wrong("is no date with a time", "2026-12-01 22:00, or 2026-12-01T22:00+08:00")
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        raise wrong(said("is in the year {year}", year=at.year), "2026-12-01 22:00, or 2026-12-01T22:00+08:00")
    return at


#: Start times as a cron expression of five fields.
Cron = Annotated[str, AfterValidator(_cron), InvalidValue("0 0 * * *")]

#: A time zone by its IANA name.
Zone = Annotated[ZoneInfo, as_text(_zone), InvalidValue(MALAYSIA)]

#: A date and a time. Without an offset it is local time.
Moment = Annotated[datetime, as_text(_moment), InvalidValue(datetime(2026, 1, 1, tzinfo=UTC))]


class WindowSettings(Section):
    """Recurring window."""

    cron: Cron = Field(examples=['"0 7 * * mon-fri"'])
    """Start: minute, hour, day, month and weekday, in local time."""
    lasts: Span = Field(alias="for", examples=["12h"])
    """Duration."""

    def build(self, zone: ZoneInfo) -> Recurring:
        """Return the window in *zone*."""
        return Recurring(self.cron, self.lasts, zone)


def aware(at: datetime, zone: ZoneInfo) -> datetime:
    """Return *at* in UTC. Without an offset it is local time in *zone*."""
    return (at if at.tzinfo is not None else at.replace(tzinfo=zone)).astimezone(UTC)
