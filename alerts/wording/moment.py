"""Dates, times and durations in the notation of official letters.

Malay follows Pekeliling Perkhidmatan and PP 13/2005: "24 November 2026", "2.15 petang", "12.15 tgh". English texts use
the dot too: "2.15 pm". All times are aware datetimes, shown in Malaysian time.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from alerts.model.notification import Language

#: Asia/Kuala_Lumpur is UTC+8 without daylight saving since 1982. A fixed offset needs no tz database, which a small
#: container may lack; a test compares both.
MALAYSIA = timezone(timedelta(hours=8), "MYT")

#: Names of the months, and of the weekdays.
_CALENDAR_NAMES = {
    Language.MALAY: (
        "Januari Februari Mac April Mei Jun Julai Ogos September Oktober November Disember",
        "Isnin Selasa Rabu Khamis Jumaat Sabtu Ahad",
    ),
    Language.ENGLISH: (
        "January February March April May June July August September October November December",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    ),
}
MONTHS = {language: tuple(months.split()) for language, (months, _) in _CALENDAR_NAMES.items()}
WEEKDAYS = {language: tuple(weekdays.split()) for language, (_, weekdays) in _CALENDAR_NAMES.items()}

#: Malay parts of the day, as abbreviated in an SMS.
_SHORT_PARTS_OF_DAY = {"pagi": "pg", "tengah hari": "tgh", "petang": "ptg", "malam": "mlm", "tengah malam": "mlm"}

#: (days, hours, minutes) as (singular, plural). Malay has no plural ending.
_UNITS = {
    Language.MALAY: (("hari", "hari"), ("jam", "jam"), ("minit", "minit")),
    Language.ENGLISH: (("day", "days"), ("hour", "hours"), ("minute", "minutes")),
}
_UNDER_A_MINUTE = {Language.MALAY: "kurang daripada 1 minit", Language.ENGLISH: "less than 1 minute"}


def local(at: datetime) -> datetime:
    """Return *at* in Malaysian time. Raise `ValueError` for a naive datetime."""
    if at.tzinfo is None:
        raise ValueError("a naive datetime has no local time; give it a time zone")
    return at.astimezone(MALAYSIA)


def date(at: datetime, language: Language) -> str:
    """Return "24 November 2026"."""
    day = local(at)
    return f"{day.day} {MONTHS[language][day.month - 1]} {day.year}"


def weekday(at: datetime, language: Language) -> str:
    """Return "Selasa" or "Tuesday"."""
    return WEEKDAYS[language][local(at).weekday()]


def part_of_day(at: datetime) -> str:
    """Return "pagi", "tengah hari", "petang", "malam" or, at midnight, "tengah malam"."""
    time = local(at)
    if (time.hour, time.minute) == (0, 0):
        return "tengah malam"
    for before, part in ((12, "pagi"), (13, "tengah hari"), (19, "petang")):
        if time.hour < before:
            return part
    return "malam"


def clock(at: datetime, language: Language) -> str:
    """Return "2.15 petang" or "2.15 pm". At 12.00 English has "noon" or "midnight" instead of am or pm."""
    time = local(at)
    if language is Language.MALAY:
        return f"{_twelve_hour_clock(time)} {part_of_day(at)}"
    if time.minute == 0 and time.hour in {0, 12}:
        return f"12.00 {'noon' if time.hour else 'midnight'}"
    return f"{_twelve_hour_clock(time)} {_am_or_pm(time)}"


def stamp(at: datetime, language: Language) -> str:
    """Return "24/11, 2.15 ptg" for an SMS.

    The comma and the space before "ptg" are required: "2.15ptg" looks like a link to phones and filters.
    """
    time = local(at)
    part = _SHORT_PARTS_OF_DAY[part_of_day(at)] if language is Language.MALAY else _am_or_pm(time)
    return f"{time.day}/{time.month}, {_twelve_hour_clock(time)} {part}"


def span(start: datetime, end: datetime, language: Language) -> str:
    """Return "24/11, 2.15 ptg-2.20 ptg" for an SMS. The end has a date only if it is on another day."""
    start_text, end_text = stamp(start, language), stamp(end, language)
    day, _, clock_time = end_text.partition(", ")
    return f"{start_text}-{clock_time if start_text.startswith(f'{day}, ') else end_text}"


def duration_text(start: datetime, end: datetime, language: Language) -> str:
    """Return "3 jam 25 minit", without zero parts.

    Seconds are dropped from both times first, so that the duration matches the printed times.
    """
    span = end.replace(second=0, microsecond=0) - start.replace(second=0, microsecond=0)
    minutes = span // timedelta(minutes=1)
    if minutes < 1:
        return _UNDER_A_MINUTE[language]
    amounts = (minutes // 1440, minutes // 60 % 24, minutes % 60)
    return " ".join(
        f"{amount} {one if amount == 1 else many}"
        for amount, (one, many) in zip(amounts, _UNITS[language], strict=True)
        if amount
    )


def _twelve_hour_clock(time: datetime) -> str:
    return f"{time.hour % 12 or 12}.{time.minute:02}"


def _am_or_pm(time: datetime) -> str:
    return "am" if time.hour < 12 else "pm"
