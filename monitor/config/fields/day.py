"""Days and times of the day as they are configured."""

from __future__ import annotations

from datetime import date, time
from typing import Annotated

from pydantic import BeforeValidator

from monitor.config.files.section import Blank, wrong


def _day(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise wrong(f"'{text}' is no day", "year-month-day: 2026-12-01") from None


def _time(text: object) -> object:
    return _clock(text) if isinstance(text, str) else text


def _clock(text: str) -> time:
    try:
        at = time.fromisoformat(text.strip())
    except ValueError:
        at = None
    if at is None or at.tzinfo is not None or (at.second, at.microsecond) != (0, 0) or ":" not in text:
        raise wrong(f"'{text}' is no time of the day", "08:00, or 17:30")
    return at


def _span(text: object) -> object:
    if not isinstance(text, str):
        return text
    begins, dash, ends = text.partition("-")
    if not dash:
        raise wrong(f"'{text}' is no part of a day", "08:00-17:00")
    span = _clock(begins), _clock(ends)
    if span[0] >= span[1]:
        raise wrong(f"'{text}' ends before it begins", "08:00-17:00")
    return span


#: A day of the calendar.
Day = Annotated[date, BeforeValidator(_day), Blank(date(2026, 1, 1))]

#: A time as a clock on the wall shows it, to the minute.
TimeOfDay = Annotated[time, BeforeValidator(_time), Blank(time(8))]

#: From one time of a day to a later one.
DaySpan = Annotated[tuple[time, time], BeforeValidator(_span), Blank((time(8), time(17)))]
