"""Types of days, times of day, time zones and recurring time windows."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from monitor.config.files.section import PositiveDuration, Section, SubstituteIfInvalid, parsed_by, shape_error
from monitor.model.translatable import translatable
from monitor.model.window import InvalidCronError, Recurring, check_cron


def _parse_day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise shape_error(translatable("'{text}' is no day", text=text), "year-month-day: 2026-12-01") from None


def _parse_time_of_day(text: str) -> time:
    try:
        parsed = time.fromisoformat(text.strip())
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is not None or (parsed.second, parsed.microsecond) != (0, 0) or ":" not in text:
        raise shape_error(translatable("'{text}' is no time of the day", text=text), "08:00, or 17:30")
    return parsed


def _parse_day_span(text: str) -> tuple[time, time]:
    begins, dash, ends = text.partition("-")
    if not dash:
        raise shape_error(translatable("'{text}' is no part of a day", text=text), "08:00-17:00")
    span = _parse_time_of_day(begins), _parse_time_of_day(ends)
    if span[0] >= span[1]:
        raise shape_error(translatable("'{text}' ends before it begins", text=text), "08:00-17:00")
    return span


#: Calendar day.
Day = Annotated[date, parsed_by(_parse_day), SubstituteIfInvalid(date(2026, 1, 1))]

#: Local time of day, to the minute.
TimeOfDay = Annotated[time, parsed_by(_parse_time_of_day), SubstituteIfInvalid(time(8))]

#: Span from one time of day to a later one, as two times: "08:00-17:00".
DaySpan = Annotated[tuple[time, time], parsed_by(_parse_day_span), SubstituteIfInvalid((time(8), time(17)))]


#: Default time zone.
MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")

#: Permitted years of a `Moment`. Near the limits of `datetime`, a time cannot be converted to another zone.
_FIRST_YEAR, _LAST_YEAR = 2000, 2199
_CRON_EXAMPLE = '"0 7 * * mon-fri" (minute hour day month weekday)'


def _check_cron_value(text: str) -> str:
    try:
        check_cron(text)
    except InvalidCronError as error:
        raise shape_error(str(error), _CRON_EXAMPLE) from None
    return text


def _parse_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise shape_error(
            translatable("'{text}' is no time zone of this machine", text=text), "Asia/Kuala_Lumpur"
        ) from None


def _parse_moment(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        parsed = None
    # `fromisoformat` also accepts a date alone, and takes it for midnight.
    if parsed is None or len(text.strip()) <= len("2026-12-01"):
        raise shape_error("is no date with a time", "2026-12-01 22:00, or 2026-12-01T22:00+08:00")
    if not _FIRST_YEAR <= parsed.year <= _LAST_YEAR:
        raise shape_error(
            translatable("is in the year {year}", year=parsed.year), "2026-12-01 22:00, or 2026-12-01T22:00+08:00"
        )
    return parsed


#: A cron expression of five fields.
Cron = Annotated[str, AfterValidator(_check_cron_value), SubstituteIfInvalid("0 0 * * *")]

#: A time zone by its IANA name.
Zone = Annotated[ZoneInfo, parsed_by(_parse_zone), SubstituteIfInvalid(MALAYSIA)]

#: A date with a time. Without a UTC offset, it is local time.
Moment = Annotated[datetime, parsed_by(_parse_moment), SubstituteIfInvalid(datetime(2026, 1, 1, tzinfo=UTC))]


class WindowSettings(Section):
    """Recurring time window."""

    cron: Cron = Field(examples=['"0 7 * * mon-fri"'])
    """Start: minute, hour, day, month and weekday, in local time."""
    lasts: PositiveDuration = Field(alias="for", examples=["12h"])
    """Duration."""

    def build(self, zone: ZoneInfo) -> Recurring:
        """Return the window; *zone*: its time zone."""
        return Recurring(self.cron, self.lasts, zone)


def to_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return *moment* in UTC. A moment without an offset is local time in *zone*."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)
