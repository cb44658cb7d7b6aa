"""When an office answers its telephone and stands beside its fax machine. Pure: the caller passes the time.

Of which state the calendar is, `monitor.config.agency.calendar` says; what waits for the opening, `alerts.decide.gateway.next_action`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from alerts.hours.calendar import Calendar
from alerts.hours.wallclock import first_showing, last_showing

_DAY = timedelta(days=1)
#: No office in Malaysia rests longer, whatever falls together.
_LONGEST_REST = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeHours:
    """Hours that come on every workday of a calendar."""

    calendar: Calendar
    zone: ZoneInfo
    #: From and until, local time, in order and apart.
    spans: tuple[tuple[time, time], ...] = ((time(8), time(17)),)

    def is_open(self, at: datetime) -> bool:
        """Return whether somebody is there at *at*."""
        return any(begins <= at < ends for begins, ends in self._around(at))

    def opening(self, at: datetime) -> datetime:
        """Return when somebody is there, *at* or later: *at* itself while the office is open.

        Also *at* itself when the calendar has no workday for a month: to wait for ever would be worse.
        """
        coming = (max(begins, at) for begins, ends in self._around(at) if ends > at)
        return next(coming, at)

    def next_opening(self, after: datetime) -> datetime | None:
        """Return when a workday begins next, later than *after*; `None` when none comes for a month."""
        first = after.astimezone(self.zone).date()
        days = (first + number * _DAY for number in range(_LONGEST_REST))
        opening = (next((begins for begins, _ in self._on(day)), None) for day in days)
        return next((begins for begins in opening if begins is not None and begins > after), None)

    def closing(self, at: datetime) -> datetime:
        """Return when the hours end that *at* is in, or that come next; *at* itself when none come for a month."""
        return next((ends for _, ends in self._around(at) if ends > at), at)

    def end_of_next_workday(self, at: datetime) -> datetime:
        """Return when the first workday after the day of *at* ends; *at* itself when none comes for a month."""
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
