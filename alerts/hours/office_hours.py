"""Office hours, in which an office answers its telephone and fax. Pure: the caller passes the time.

`monitor.config.agency.calendar` selects the state; `alerts.decide.gateway.next_action` delays deliveries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from alerts.hours.calendar import Calendar
from alerts.hours.wallclock import first_showing, last_showing

_DAY = timedelta(days=1)
#: Days. No sequence of holidays in Malaysia is longer.
_LONGEST_REST = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeHours:
    """Hours of every workday of a calendar."""

    calendar: Calendar
    zone: ZoneInfo
    #: Start and end, local time, in order and disjoint.
    spans: tuple[tuple[time, time], ...] = ((time(8), time(17)),)

    def is_open(self, at: datetime) -> bool:
        """Return whether the office is open."""
        return any(begins <= at < ends for begins, ends in self._around(at))

    def opening(self, at: datetime) -> datetime:
        """Return when the office is open, *at* or later.

        Returns *at* itself when the calendar has no workday for a month: to wait for ever would be worse.
        """
        coming = (max(begins, at) for begins, ends in self._around(at) if ends > at)
        return next(coming, at)

    def next_opening(self, after: datetime) -> datetime | None:
        """Return the next opening after *after*; `None` when there is none for a month."""
        first = after.astimezone(self.zone).date()
        days = (first + number * _DAY for number in range(_LONGEST_REST))
        opening = (next((begins for begins, _ in self._on(day)), None) for day in days)
        return next((begins for begins in opening if begins is not None and begins > after), None)

    def closing(self, at: datetime) -> datetime:
        """Return the end of the current or next office hours; *at* itself when there are none for a month."""
        return next((ends for _, ends in self._around(at) if ends > at), at)

    def end_of_next_workday(self, at: datetime) -> datetime:
        """Return the end of the first workday after the day of *at*; *at* itself when there is none for a month."""
        following = at.astimezone(self.zone).date() + _DAY
        for number in range(_LONGEST_REST):
            if spans := list(self._on(following + number * _DAY)):
                return spans[-1][1]
        return at

    def _around(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        first = at.astimezone(self.zone).date() - _DAY
        for number in range(_LONGEST_REST):
            yield from self._on(first + number * _DAY)

    def _on(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        if self.calendar.is_workday(day):
            for begins, ends in self.spans:
                yield (
                    first_showing(datetime.combine(day, begins), self.zone),
                    last_showing(datetime.combine(day, ends), self.zone),
                )
