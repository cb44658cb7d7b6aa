"""Maintenance windows imported from an iCalendar file (RFC 5545), in the format of an agency's document. Pure."""

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

#: Octets. A year of maintenance takes a tenth of it.
LARGEST_CALENDAR: Final = 256 * 1024
#: Limit of imported events; each is a field of the form that saves them.
MOST_EVENTS: Final = 80
#: Limit of time zones and their seasonal rules. Each rule is expanded over decades, and a thousand would take a minute.
_MOST_OF_ZONES: Final = 200
_OF_ZONES: Final = re.compile(rb"^BEGIN:(?:VTIMEZONE|STANDARD|DAYLIGHT)", re.IGNORECASE | re.MULTILINE)
#: Continuation of a folded line (RFC 5545 3.1).
_FOLD: Final = re.compile(rb"\r?\n[ \t]")
_LONGEST_TITLE: Final = 120
_HALF_A_YEAR: Final = timedelta(days=182)
#: Rule parts that cron expressions support. The first day of the week is irrelevant for rules that apply each week.
_SAYABLE: Final = frozenset({"FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "WKST"})
#: Names and numbers of weekdays in cron.
_DAYS: Final = {"SU": "sun", "MO": "mon", "TU": "tue", "WE": "wed", "TH": "thu", "FR": "fri", "SA": "sat"}


class EventRefusal(StrEnum):
    """Why an event cannot be imported."""

    UNREADABLE = "unreadable"
    CANCELLED = "cancelled"
    OVER = "over"
    #: It has no duration, or the duration is unknown.
    NO_SPAN = "no_span"
    #: It recurs by a rule that cron cannot express.
    RULE = "rule"
    #: Some of its dates are excluded, added or moved.
    EXCEPTIONS = "exceptions"
    #: It recurs in another time zone.
    ZONE = "zone"
    #: It recurs from a later date on, and our rules apply at once.
    LATER = "later"


class InvalidCalendarError(Exception):
    """The file is no calendar, or has too many events. `key` names the message."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvent:
    """An event that cannot be imported."""

    title: str
    #: Local time; "" if the event has none.
    starts_at: str
    reason: EventRefusal


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarFile:
    """Result of parsing a calendar file."""

    #: In the format of the section `maintenance`, without duplicates.
    windows: tuple[Mapping[str, str], ...]
    refused: tuple[RefusedEvent, ...]


def read_calendar(octets: bytes, zone: ZoneInfo, now: datetime) -> CalendarFile:
    """Parse a calendar file. Return its windows in local time of *zone*. Raise `InvalidCalendarError`."""
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
    # A separate event overrides one date of the series.
    changed = {str(event.get("UID", "")) for event in events if "RECURRENCE-ID" in event}
    windows: list[Mapping[str, str]] = []
    refused = []
    for event in events:
        found = _window(event, zone, now, changed)
        if isinstance(found, EventRefusal):
            refused.append(RefusedEvent(title=_title(event), starts_at=_begins(event, zone), reason=found))
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
    """Return *at* in *zone*. A date is its midnight, and a time without a zone is local."""
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
    """Whether the time zone of a series has the same offset as ours in summer and in winter."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        return True
    return all(day.utcoffset() == day.astimezone(zone).utcoffset() for day in (at, at + _HALF_A_YEAR))


def _comes_before(cron: str, lasts: timedelta, begins: datetime, now: datetime) -> bool:
    """Whether a cron rule would apply before the series begins."""
    try:
        first = next(CronSim(cron, now.astimezone(begins.tzinfo) - lasts))
    except (CronSimError, StopIteration, OverflowError):
        return True
    return first < begins


def _cron(rule: Mapping[str, Any], begins: datetime) -> str | None:
    """Return a recurrence rule as a cron expression; `None` if cron cannot express it."""
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
    """Return weekdays in cron format: "sun"; the second of a month "sat#2", the last "5L"; "?" if impossible."""
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
    """Return days of the month in cron format; "?" if cron cannot express them."""
    if dates == [-1]:
        return "L"
    return ",".join(str(each) for each in dates) if all(str(each).isdecimal() for each in dates) else "?"


def _title(event: Event) -> str:
    """Return the title of an event as one line without control characters."""
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
