"""What maintenance a calendar's file (iCalendar, RFC 5545) tells of, as an agency's document would say it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from icalendar import Calendar, Event

from monitor.config.files.duration import format_duration

#: In octets. A year of works is a tenth of it.
LARGEST_CALENDAR: Final = 256 * 1024
#: Taken from one file; each is a field of the form that saves them.
MOST_EVENTS: Final = 80
#: Zones, and in them the times of the year by which they go: each is reckoned out for decades, and a thousand take a minute.
_MOST_OF_ZONES: Final = 200
_OF_ZONES: Final = re.compile(rb"^BEGIN:(?:VTIMEZONE|STANDARD|DAYLIGHT)", re.IGNORECASE | re.MULTILINE)
#: How a long line goes on (RFC 5545 3.1).
_FOLD: Final = re.compile(rb"\r?\n[ \t]")
_LONGEST_TITLE: Final = 120
_HALF_A_YEAR: Final = timedelta(days=182)
#: What a cron expression can say of a rule. Where each week counts, it is of no account on which day weeks begin.
_SAYABLE: Final = frozenset({"FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "WKST"})
#: As cron names and numbers them.
_DAYS: Final = {"SU": "sun", "MO": "mon", "TU": "tue", "WE": "wed", "TH": "thu", "FR": "fri", "SA": "sat"}


class EventRefusal(StrEnum):
    """Why an event becomes no maintenance."""

    UNREADABLE = "unreadable"
    CANCELLED = "cancelled"
    OVER = "over"
    #: It lasts for no time, or nobody knows how long.
    NO_SPAN = "no_span"
    #: It comes again by a rule that cron has no words for.
    RULE = "rule"
    #: Some of its dates are left out, added or moved.
    EXCEPTIONS = "exceptions"
    #: It comes again by the clock of another zone.
    ZONE = "zone"
    #: It comes again from a later date on, and a rule of ours holds at once.
    LATER = "later"


class InvalidCalendarError(Exception):
    """The file is no calendar, or has too many events. `key` names the words for it."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvent:
    """An event of the file that becomes nothing."""

    title: str
    #: In local time; "": it does not say.
    begins: str
    why: EventRefusal


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarFile:
    """What was found in a file."""

    #: As the section `maintenance` has them; none twice.
    windows: tuple[Mapping[str, str], ...]
    refused: tuple[RefusedEvent, ...]


def read_calendar(octets: bytes, zone: ZoneInfo, now: datetime) -> CalendarFile:
    """Return what a file tells of, in local time of *zone*. Raise `InvalidCalendarError`."""
    if not octets:
        raise InvalidCalendarError("no_file")
    if len(_OF_ZONES.findall(_FOLD.sub(b"", octets))) > _MOST_OF_ZONES:
        raise InvalidCalendarError("no_calendar")
    try:
        events = [each for each in Calendar.from_ical(octets).walk("VEVENT") if isinstance(each, Event)]
    except Exception:  # noqa: BLE001 - a stranger's file, read by a library that raises what it meets
        raise InvalidCalendarError("no_calendar") from None
    if not events:
        raise InvalidCalendarError("no_events")
    if len(events) > MOST_EVENTS:
        raise InvalidCalendarError("many_events")
    # One date of a series is changed by an event of its own.
    changed = {str(event.get("UID", "")) for event in events if "RECURRENCE-ID" in event}
    windows: list[Mapping[str, str]] = []
    refused = []
    for event in events:
        found = _window(event, zone, now, changed)
        if isinstance(found, EventRefusal):
            refused.append(RefusedEvent(title=_title(event), begins=_begins(event, zone), why=found))
        elif found not in windows:
            windows.append(found)
    return CalendarFile(windows=tuple(windows), refused=tuple(refused))


def _window(event: Event, zone: ZoneInfo, now: datetime, changed: set[str]) -> Mapping[str, str] | EventRefusal:
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return EventRefusal.CANCELLED
    try:
        first, last = event.start, event.end
    except Exception:  # noqa: BLE001 - the same
        return EventRefusal.UNREADABLE
    begins, ends = _local(first, zone), _local(last, zone)
    if begins is None or ends is None:
        return EventRefusal.UNREADABLE
    if ends <= begins:
        return EventRefusal.NO_SPAN
    reason = _title(event)
    comes_again = "RRULE" in event
    if "RDATE" in event or "EXDATE" in event or (comes_again and str(event.get("UID", "")) in changed):
        return EventRefusal.EXCEPTIONS
    if not comes_again:
        if ends <= now:
            return EventRefusal.OVER
        return {"from": _written(begins), "until": _written(ends), "reason": reason}
    if not _same_clock(first, zone):
        return EventRefusal.ZONE
    rule, lasts = event["RRULE"], ends - begins
    cron = _cron(rule, begins) if isinstance(rule, Mapping) else None
    if cron is None:
        return EventRefusal.RULE
    if _comes_before(cron, lasts, begins, now):
        return EventRefusal.LATER
    return {"cron": cron, "for": format_duration(lasts), "reason": reason}


def _local(at: Any, zone: ZoneInfo) -> datetime | None:
    """Return *at* by the clock of *zone*; a day begins at midnight, and what names no zone is local."""
    try:
        match at:
            case datetime() if at.tzinfo is not None:
                return at.astimezone(zone)
            case datetime():
                return at.replace(tzinfo=zone)
            case date():
                return datetime.combine(at, time(), zone)
    except (OverflowError, ValueError):
        pass
    return None


def _same_clock(at: Any, zone: ZoneInfo) -> bool:
    """Whether the clock that a series goes by shows what ours does, in summer and in winter."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        return True
    return all(day.utcoffset() == day.astimezone(zone).utcoffset() for day in (at, at + _HALF_A_YEAR))


def _comes_before(cron: str, lasts: timedelta, begins: datetime, now: datetime) -> bool:
    """Whether a rule of ours would hold before the series begins."""
    try:
        first = next(CronSim(cron, now.astimezone(begins.tzinfo) - lasts))
    except (CronSimError, StopIteration, OverflowError):
        return True
    return first < begins


def _cron(rule: Mapping[str, Any], begins: datetime) -> str | None:
    """Return a rule as cron says it; `None`: it cannot."""
    said = {name: list(value) if isinstance(value, list | tuple) else [value] for name, value in rule.items()}
    if set(said) - _SAYABLE or said.get("INTERVAL", [1]) != [1]:
        return None
    days, dates = [str(each).upper() for each in said.get("BYDAY", ())], said.get("BYMONTHDAY", [])
    match str(said.get("FREQ", [""])[0]).upper(), bool(days), bool(dates):
        case "DAILY", False, False:
            on = "* * *"
        case (("DAILY" | "WEEKLY"), True, False):
            on = f"* * {_weekdays(days, numbered=False)}"
        case "WEEKLY", False, False:
            on = f"* * {list(_DAYS.values())[begins.isoweekday() % 7]}"
        case "MONTHLY", True, False:
            on = f"* * {_weekdays(days, numbered=True)}"
        case "MONTHLY", False, True:
            on = f"{_dates(dates)} * *"
        case "MONTHLY", False, False:
            on = f"{begins.day} * *"
        case "YEARLY", False, False:
            on = f"{begins.day} {begins.month} *"
        case _:
            return None
    return None if "?" in on else f"{begins.minute} {begins.hour} {on}"


def _weekdays(days: list[str], *, numbered: bool) -> str:
    """Return weekdays as cron lists them: "sun", of a month the second "sat#2" or the last "5L"; "?": it cannot."""
    found = []
    for each in days:
        number, day = each[:-2], each[-2:]
        if day not in _DAYS or (number and not numbered):
            return "?"
        match number.removeprefix("+"):
            case "":
                found.append(_DAYS[day])
            case "1" | "2" | "3" | "4" | "5":
                found.append(f"{_DAYS[day]}#{number.removeprefix('+')}")
            case "-1":
                found.append(f"{list(_DAYS).index(day)}L")
            case _:
                return "?"
    return ",".join(found)


def _dates(dates: list[Any]) -> str:
    """Return days of a month as cron lists them; "?": it cannot."""
    if dates == [-1]:
        return "L"
    return ",".join(str(each) for each in dates) if all(str(each).isdecimal() for each in dates) else "?"


def _title(event: Event) -> str:
    """Return what an event is called, on one line that any terminal may show."""
    written = " ".join("".join(c if c.isprintable() else " " for c in str(event.get("SUMMARY", ""))).split())
    return written[:_LONGEST_TITLE].strip() or "Penyelenggaraan"


def _begins(event: Event, zone: ZoneInfo) -> str:
    try:
        at = _local(event.start, zone)
    except Exception:  # noqa: BLE001 - the same
        return ""
    return "" if at is None else _written(at)


def _written(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(" ", "seconds" if at.second else "minutes")
