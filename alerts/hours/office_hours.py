"""Office hours, in which an office answers its telephone and fax. Pure: the caller passes the time.

`monitor.config.agency.calendar` builds them from the configuration. `alerts.decide.gateway.next_action` delays
deliveries until they begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from alerts.hours.calendar import Calendar
from alerts.hours.wallclock import first_instant, last_instant

_DAY = timedelta(days=1)
#: Number of days in which a workday is searched. Holidays in Malaysia never last longer without a workday.
_SEARCH_DAYS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeHours:
    """The same hours on every workday of a calendar."""

    calendar: Calendar
    zone: ZoneInfo
    #: Starts and ends in local time, in order, without overlaps: two spans if the office closes at noon.
    spans: tuple[tuple[time, time], ...] = ((time(8), time(17)),)

    def is_open(self, at: datetime) -> bool:
        """Return whether the office is open."""
        return any(start <= at < end for start, end in self._spans_from(at))

    def first_open_time(self, at: datetime) -> datetime:
        """Return the first time from *at* on at which the office is open: *at* itself, or when it opens next.

        Without a workday within a month return *at* too, because the caller must not wait for ever.
        """
        openings = (max(start, at) for start, end in self._spans_from(at) if end > at)
        return next(openings, at)

    def next_opening(self, after: datetime) -> datetime | None:
        """Return the first start of an office day that is later than *after*; `None` without one within a month.

        Reopening after a break at noon does not count.
        """
        first = after.astimezone(self.zone).date()
        days = (first + number * _DAY for number in range(_SEARCH_DAYS))
        openings = (next((start for start, _ in self._spans_on(day)), None) for day in days)
        return next((start for start in openings if start is not None and start > after), None)

    def next_closing_time(self, at: datetime) -> datetime:
        """Return the end of the current or next office hours; *at* itself without office hours within a month."""
        return next((end for _, end in self._spans_from(at) if end > at), at)

    def end_of_next_workday(self, at: datetime) -> datetime:
        """Return the end of the first workday after the day of *at*; *at* itself without one within a month."""
        next_day = at.astimezone(self.zone).date() + _DAY
        for number in range(_SEARCH_DAYS):
            if spans := list(self._spans_on(next_day + number * _DAY)):
                return spans[-1][1]
        return at

    def _spans_from(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield start and end of the office hours from the day before *at* on, for a month."""
        first = at.astimezone(self.zone).date() - _DAY
        for number in range(_SEARCH_DAYS):
            yield from self._spans_on(first + number * _DAY)

    def _spans_on(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        if self.calendar.is_workday(day):
            for start, end in self.spans:
                yield (
                    first_instant(datetime.combine(day, start), self.zone),
                    last_instant(datetime.combine(day, end), self.zone),
                )
