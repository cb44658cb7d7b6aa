"""Timeline of a day: the state of an agency's mail in each of its 1,440 minutes. Pure.

A day begins at midnight in Malaysia, which has no clock changes: every day has as many minutes. A minute has one state,
and marking is idempotent and commutative: the state with precedence stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from alerts.wording.moment import MALAYSIA

#: Per day.
MINUTES = 24 * 60

_MINUTE = timedelta(minutes=1)


class MinuteState(StrEnum):
    """State of an agency's mail in one minute. A later member outweighs earlier ones."""

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
#: Stored letters. A letter never changes its meaning: days are kept for years.
_LETTERS = "-hmwdsrbx"
_SENDING, _RECEIVING = _STATES.index(MinuteState.NO_SENDING), _STATES.index(MinuteState.NO_RECEIVING)


def _joined(one: int, other: int) -> int:
    """Return the state of a minute with two marks, by their indices in `_STATES`."""
    if {one, other} == {_SENDING, _RECEIVING}:
        return _STATES.index(MinuteState.NO_MAIL)
    return max(one, other)


#: By marked state: the result for each present state.
_MARKED = tuple(bytes(_joined(there, state) for there in range(256)) for state in range(len(_STATES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSpan:
    """A state between two times, including the minutes of both."""

    state: MinuteState
    starts_at: datetime
    until: datetime


class DayTimeline:
    """The minutes of one day, unmarked at first."""

    __slots__ = ("_minutes",)

    def __init__(self, written: str = "") -> None:
        """Parse the format of `str`. An unknown state, from a later version, counts as no data."""
        self._minutes = bytearray(MINUTES)
        at = 0
        for letter, length in re.findall(r"(.)(\d+)", written):
            end = min(at + int(length), MINUTES)
            self._minutes[at:end] = bytes([max(_LETTERS.find(letter), 0)]) * (end - at)
            at = end

    def __str__(self) -> str:
        """Return the stored format: "-480w615s30", each state with its number of minutes."""
        return "".join(f"{_LETTERS[state]}{end - begin}" for state, begin, end in self._runs())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DayTimeline) and self._minutes == other._minutes

    __hash__ = None  # type: ignore[assignment]  # it changes

    def mark(self, state: MinuteState, begin: int, end: int) -> None:
        """Mark the minutes from *begin* up to *end*, exclusive."""
        self._mark(_STATES.index(state), begin, end)

    def add(self, other: DayTimeline) -> None:
        """Add the marks of another timeline of the same day."""
        for state, begin, end in other._runs():
            self._mark(state, begin, end)

    def counts(self, end: int = MINUTES) -> Mapping[MinuteState, int]:
        """Return the number of minutes in each state, up to *end*, exclusive."""
        return {state: self._minutes.count(number, 0, end) for number, state in enumerate(MinuteState)}

    def last(self) -> tuple[MinuteState, int] | None:
        """Return the last marked minute with its state; `None` without any."""
        watched = self._minutes.rstrip(b"\0")
        return (_STATES[watched[-1]], len(watched) - 1) if watched else None

    def runs(self) -> Iterator[tuple[MinuteState, int, int]]:
        """Yield each state with its first minute and the one after its last, up to the last mark."""
        return ((_STATES[state], begin, end) for state, begin, end in self._runs())

    def _mark(self, state: int, begin: int, end: int) -> None:
        self._minutes[begin:end] = self._minutes[begin:end].translate(_MARKED[state])

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        for match in re.finditer(rb"(.)\1*", self._minutes.rstrip(b"\0"), re.DOTALL):
            yield match[0][0], match.start(), match.end()


def day_of(at: datetime) -> date:
    """Return the day of a time."""
    return at.astimezone(MALAYSIA).date()


def moment_of(day: date, minute: int) -> datetime:
    """Return the start of a minute."""
    return datetime.combine(day, time(), MALAYSIA) + minute * _MINUTE


def minute_of(at: datetime) -> int:
    """Return the minute of the day, from 0."""
    local = at.astimezone(MALAYSIA)
    return local.hour * 60 + local.minute


def cut(marks: Iterable[TimelineSpan]) -> Iterator[tuple[date, MinuteState, int, int]]:
    """Yield the parts of *marks* by day: first minute, and the one after the last."""
    for mark in marks:
        first, last = day_of(mark.starts_at), day_of(mark.until)
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            begin = minute_of(mark.starts_at) if day == first else 0
            end = minute_of(mark.until) + 1 if day == last else MINUTES
            yield day, mark.state, begin, end
