"""Import of maintenance windows from an iCalendar file (RFC 5545) in the format of an agency's document. No I/O.

The document is the YAML configuration of an agency. A window is a period ("from", "until"), or recurs by a cron
expression and a duration ("cron", "for").
"""

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

#: Maximum size of a file in octets: ten times the size of a calendar with a year of maintenance.
MAX_CALENDAR: Final = 256 * 1024
#: Maximum number of imported events. The form that saves them has a field for each event.
MAX_EVENTS: Final = 80
#: Maximum number of time zones and their rules (standard and daylight saving time) together in a file. The calendar
#: library expands each rule over decades, so a thousand rules take a minute.
_MAX_ZONE_RULES: Final = 200
_ZONE_RULE: Final = re.compile(rb"^BEGIN:(?:VTIMEZONE|STANDARD|DAYLIGHT)", re.IGNORECASE | re.MULTILINE)
#: Continuation of a folded line (RFC 5545 3.1).
_LINE_FOLD: Final = re.compile(rb"\r?\n[ \t]")
_MAX_TITLE_LENGTH: Final = 120
#: Time after which a time zone with daylight saving time has its other UTC offset.
_HALF_A_YEAR: Final = timedelta(days=182)
#: Parts of a recurrence rule (RFC 5545 3.3.10) that can be converted to a cron expression. WKST, the first day of the
#: week, has no effect on a rule whose interval is 1.
_SUPPORTED_PARTS: Final = frozenset({"FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "WKST"})
#: Weekdays in cron format. The position of a weekday is its number in cron.
_DAYS: Final = {"SU": "sun", "MO": "mon", "TU": "tue", "WE": "wed", "TH": "thu", "FR": "fri", "SA": "sat"}


class EventRefusal(StrEnum):
    """Why an event cannot be imported."""

    UNREADABLE = "unreadable"
    CANCELLED = "cancelled"
    #: The event has ended.
    OVER = "over"
    #: The event has no duration, or ends before it starts.
    NO_SPAN = "no_span"
    #: The event recurs by a rule that cron cannot express.
    RULE = "rule"
    #: Some dates of the event are excluded, added or moved.
    EXCEPTIONS = "exceptions"
    #: The event recurs in a time zone with another UTC offset than the agency's.
    ZONE = "zone"
    #: The series of events starts later, but a window with a cron expression would apply at once.
    LATER = "later"


class InvalidCalendarError(Exception):
    """The file is not a calendar, or it has no events or too many. `key` is the key of the error text."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvent:
    """An event that cannot be imported."""

    title: str
    #: Local time, such as "2026-12-01 22:00"; "" if the event has none.
    starts_at: str
    reason: EventRefusal


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarFile:
    """Result of parsing a calendar file."""

    #: Windows in the format of the section `maintenance` of a document, without duplicates.
    windows: tuple[Mapping[str, str], ...]
    refused: tuple[RefusedEvent, ...]


def read_calendar(content: bytes, zone: ZoneInfo, now: datetime) -> CalendarFile:
    """Parse a calendar file. Return its windows in local time of *zone*. Raise `InvalidCalendarError`."""
    if not content:
        raise InvalidCalendarError("no_file")
    # The rules of time zones may be in folded lines, so unfold the lines before counting.
    if len(_ZONE_RULE.findall(_LINE_FOLD.sub(b"", content))) > _MAX_ZONE_RULES:
        raise InvalidCalendarError("no_calendar")
    try:
        events = [each for each in Calendar.from_ical(content).walk("VEVENT") if isinstance(each, Event)]
    except Exception:  # noqa: BLE001 - the library raises many types for an invalid file
        raise InvalidCalendarError("no_calendar") from None
    if not events:
        raise InvalidCalendarError("no_events")
    if len(events) > MAX_EVENTS:
        raise InvalidCalendarError("many_events")
    # An event with RECURRENCE-ID overrides one date of the series that has the same UID.
    changed_series = {str(event.get("UID", "")) for event in events if "RECURRENCE-ID" in event}
    windows: list[Mapping[str, str]] = []
    refused = []
    for event in events:
        window_or_refusal = _window(event, zone, now, changed_series)
        if isinstance(window_or_refusal, EventRefusal):
            refused.append(
                RefusedEvent(title=_title(event), starts_at=_start_text(event, zone), reason=window_or_refusal)
            )
        elif window_or_refusal not in windows:
            windows.append(window_or_refusal)
    return CalendarFile(windows=tuple(windows), refused=tuple(refused))


def _window(event: Event, zone: ZoneInfo, now: datetime, changed_series: set[str]) -> Mapping[str, str] | EventRefusal:
    """Return the window of an event, or why the event is refused. *changed_series*: UIDs of series with exceptions."""
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return EventRefusal.CANCELLED
    try:
        event_start, event_end = event.start, event.end
    except Exception:  # noqa: BLE001 - the library raises many types
        return EventRefusal.UNREADABLE
    start, end = _to_zone(event_start, zone), _to_zone(event_end, zone)
    if start is None or end is None:
        return EventRefusal.UNREADABLE
    if end <= start:
        return EventRefusal.NO_SPAN
    reason = _title(event)
    is_recurring = "RRULE" in event
    if "RDATE" in event or "EXDATE" in event or (is_recurring and str(event.get("UID", "")) in changed_series):
        return EventRefusal.EXCEPTIONS
    if not is_recurring:
        if end <= now:
            return EventRefusal.OVER
        return {"from": _format_time(start), "until": _format_time(end), "reason": reason}
    if not _has_same_offset(event_start, zone):
        return EventRefusal.ZONE
    rule, duration = event["RRULE"], end - start
    cron = _cron_expression(rule, start) if isinstance(rule, Mapping) else None
    if cron is None:
        return EventRefusal.RULE
    if _applies_before(cron, duration, start, now):
        return EventRefusal.LATER
    return {"cron": cron, "for": format_duration(duration), "reason": reason}


def _to_zone(moment: Any, zone: ZoneInfo) -> datetime | None:
    """Return *moment* as a time in *zone*; `None` if *moment* is neither a date nor a time, or is out of range.

    A date stands for midnight in *zone*, and a time without a time zone for a time in *zone*.
    """
    try:
        match moment:
            case datetime() if moment.tzinfo is not None:
                return moment.astimezone(zone)
            case datetime():
                return moment.replace(tzinfo=zone)
            case date():
                return datetime.combine(moment, time(), zone)
    except (OverflowError, ValueError):
        pass
    return None


def _has_same_offset(moment: Any, zone: ZoneInfo) -> bool:
    """Whether the time zone of *moment* has the same UTC offset as *zone*, at *moment* and half a year later."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return True
    return all(day.utcoffset() == day.astimezone(zone).utcoffset() for day in (moment, moment + _HALF_A_YEAR))


def _applies_before(cron: str, duration: timedelta, start: datetime, now: datetime) -> bool:
    """Whether a window with this cron expression would apply between now and *start*, the start of the series."""
    try:
        # An occurrence that began less than *duration* ago would still apply now.
        first_occurrence = next(CronSim(cron, now.astimezone(start.tzinfo) - duration))
    except (CronSimError, StopIteration, OverflowError):
        return True
    return first_occurrence < start


def _cron_expression(rule: Mapping[str, Any], start: datetime) -> str | None:
    """Return a recurrence rule as a cron expression; `None` if cron cannot express the rule.

    *start*: the first event of the series, from which the rule takes the missing day and the time.
    """
    parts = {name: list(value) if isinstance(value, list | tuple) else [value] for name, value in rule.items()}
    if set(parts) - _SUPPORTED_PARTS or parts.get("INTERVAL", [1]) != [1]:
        return None
    weekdays, month_days = [str(each).upper() for each in parts.get("BYDAY", ())], parts.get("BYMONTHDAY", [])
    match str(parts.get("FREQ", [""])[0]).upper(), bool(weekdays), bool(month_days):
        case "DAILY", False, False:
            day_fields = "* * *"
        case (("DAILY" | "WEEKLY"), True, False):
            day_fields = f"* * {_weekdays(weekdays, numbered=False)}"
        case "WEEKLY", False, False:
            day_fields = f"* * {list(_DAYS.values())[start.isoweekday() % 7]}"
        case "MONTHLY", True, False:
            day_fields = f"* * {_weekdays(weekdays, numbered=True)}"
        case "MONTHLY", False, True:
            day_fields = f"{_month_days(month_days)} * *"
        case "MONTHLY", False, False:
            day_fields = f"{start.day} * *"
        case "YEARLY", False, False:
            day_fields = f"{start.day} {start.month} *"
        case _:
            return None
    return None if "?" in day_fields else f"{start.minute} {start.hour} {day_fields}"


def _weekdays(weekdays: list[str], *, numbered: bool) -> str:
    """Return weekdays in cron format; "?" if cron cannot express them.

    *numbered*: whether the weekdays may have a number in the month. Examples: "SU" becomes "sun" (every Sunday); "2SA"
    becomes "sat#2" (the second Saturday of a month); "-1FR" becomes "5L" (the last Friday of a month).
    """
    result = []
    for each in weekdays:
        number, day = each[:-2], each[-2:]
        if day not in _DAYS or (number and not numbered):
            return "?"
        match number.removeprefix("+"):
            case "":
                result.append(_DAYS[day])
            case "1" | "2" | "3" | "4" | "5":
                result.append(f"{_DAYS[day]}#{number.removeprefix('+')}")
            case "-1":
                result.append(f"{list(_DAYS).index(day)}L")
            case _:
                return "?"
    return ",".join(result)


def _month_days(month_days: list[Any]) -> str:
    """Return days of the month in cron format; "?" if cron cannot express them. "L" is the last day of a month."""
    if month_days == [-1]:
        return "L"
    return ",".join(str(each) for each in month_days) if all(str(each).isdecimal() for each in month_days) else "?"


def _title(event: Event) -> str:
    """Return the title of an event as one line without control characters; without one, "maintenance" in Malay."""
    title = " ".join("".join(c if c.isprintable() else " " for c in str(event.get("SUMMARY", ""))).split())
    return title[:_MAX_TITLE_LENGTH].strip() or "Penyelenggaraan"


def _start_text(event: Event, zone: ZoneInfo) -> str:
    try:
        moment = _to_zone(event.start, zone)
    except Exception:  # noqa: BLE001 - the library raises many types
        return ""
    return "" if moment is None else _format_time(moment)


def _format_time(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "seconds" if moment.second else "minutes")
