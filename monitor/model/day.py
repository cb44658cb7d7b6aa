"""Timeline of a day: the state of an agency's mail in each of its 1,440 minutes. Pure.

A day begins at midnight in Malaysia, which has no daylight saving time, so all days have equally many minutes. A minute
that is marked twice has the state with precedence (see `MinuteState`), regardless of the order of the marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from alerts.wording.moment import MALAYSIA

#: Minutes per day.
MINUTES = 24 * 60

_MINUTE = timedelta(minutes=1)


class MinuteState(StrEnum):
    """State of an agency's mail in one minute. A later member has precedence over earlier ones."""

    #: Nothing was measured: Pantau did not run, or had a monitoring fault; or the minute is in the future.
    NO_DATA = "no_data"
    #: Outside of the hours in which the agency is probed.
    OFF_HOURS = "off_hours"
    #: In a maintenance window.
    MAINTENANCE = "maintenance"
    #: Every direction worked.
    UP = "up"
    #: Mail was slow, or failed on some routes.
    DEGRADED = "degraded"
    #: Sending failed, as measured or declared.
    NO_SENDING = "no_sending"
    #: Receiving failed, as measured or declared.
    NO_RECEIVING = "no_receiving"
    #: Sending and receiving failed.
    NO_MAIL = "no_mail"
    #: An outage that a person marked as a false alarm.
    FALSE_ALARM = "false_alarm"


_STATES = tuple(MinuteState)
#: Letter of each state in the stored format, in the order of `MinuteState`. A letter never changes its meaning, because
#: days are stored for years.
_STATE_LETTERS = "-hmwdsrbx"
_SENDING, _RECEIVING = _STATES.index(MinuteState.NO_SENDING), _STATES.index(MinuteState.NO_RECEIVING)


def _combined_state(one: int, other: int) -> int:
    """Return the state of a minute with two marks, by their indices in `_STATES`."""
    if {one, other} == {_SENDING, _RECEIVING}:
        return _STATES.index(MinuteState.NO_MAIL)
    return max(one, other)


#: By index of the marked state: a table for `bytes.translate` from the present state to the combined one.
_COMBINED = tuple(
    bytes(_combined_state(present_state, state) for present_state in range(256)) for state in range(len(_STATES))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSpan:
    """A state between two times, including the minutes of both."""

    state: MinuteState
    starts_at: datetime
    until: datetime


class DayTimeline:
    """The states of the minutes of one day. An unmarked minute has no data."""

    __slots__ = ("_minutes",)

    def __init__(self, text: str = "") -> None:
        """Parse the stored format (`__str__`). An unknown state, from a later version, counts as no data."""
        #: One octet per minute: the index of its state in `_STATES`; 0 is unmarked.
        self._minutes = bytearray(MINUTES)
        minute = 0
        for letter, length in re.findall(r"(.)(\d+)", text):
            end = min(minute + int(length), MINUTES)
            self._minutes[minute:end] = bytes([max(_STATE_LETTERS.find(letter), 0)]) * (end - minute)
            minute = end

    def __str__(self) -> str:
        """Return the stored format: "-480w615s30", each state with its number of minutes."""
        return "".join(f"{_STATE_LETTERS[state]}{end - begin}" for state, begin, end in self._runs())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DayTimeline) and self._minutes == other._minutes

    __hash__ = None  # type: ignore[assignment]  # mutable

    def mark(self, state: MinuteState, begin: int, end: int) -> None:
        """Mark the minutes from *begin* up to *end*, exclusive."""
        self._mark(_STATES.index(state), begin, end)

    def add(self, other: DayTimeline) -> None:
        """Add the marks of another timeline of the same day."""
        for state, begin, end in other._runs():
            self._mark(state, begin, end)

    def counts(self, end: int = MINUTES) -> Mapping[MinuteState, int]:
        """Return the number of minutes in each state, up to *end*, exclusive."""
        return {state: self._minutes.count(index, 0, end) for index, state in enumerate(_STATES)}

    def last_marked(self) -> tuple[MinuteState, int] | None:
        """Return the state of the last marked minute, and the minute's number; `None` if none is marked."""
        marked = self._minutes.rstrip(b"\0")
        return (_STATES[marked[-1]], len(marked) - 1) if marked else None

    def runs(self) -> Iterator[tuple[MinuteState, int, int]]:
        """Yield each sequence of equal states up to the last mark: state, first minute, and the minute after it."""
        return ((_STATES[state], begin, end) for state, begin, end in self._runs())

    def _mark(self, state: int, begin: int, end: int) -> None:
        self._minutes[begin:end] = self._minutes[begin:end].translate(_COMBINED[state])

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        for match in re.finditer(rb"(.)\1*", self._minutes.rstrip(b"\0"), re.DOTALL):
            yield match[0][0], match.start(), match.end()


def day_of(at: datetime) -> date:
    """Return the Malaysian day of a time."""
    return at.astimezone(MALAYSIA).date()


def time_of(day: date, minute: int) -> datetime:
    """Return the start of a minute of *day*, numbered from 0."""
    return datetime.combine(day, time(), MALAYSIA) + minute * _MINUTE


def minute_of(at: datetime) -> int:
    """Return the number of the minute in its Malaysian day, from 0."""
    local = at.astimezone(MALAYSIA)
    return local.hour * 60 + local.minute


def split_by_day(spans: Iterable[TimelineSpan]) -> Iterator[tuple[date, MinuteState, int, int]]:
    """Yield the parts of *spans* on each day: day, state, first minute, and the minute after the last."""
    for span in spans:
        first, last = day_of(span.starts_at), day_of(span.until)
        for offset in range((last - first).days + 1):
            day = first + timedelta(days=offset)
            begin = minute_of(span.starts_at) if day == first else 0
            end = minute_of(span.until) + 1 if day == last else MINUTES
            yield day, span.state, begin, end
