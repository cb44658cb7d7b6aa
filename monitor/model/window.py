"""Time windows of probes: active hours and maintenance. Pure: the caller passes the time.

A window occurs once, or repeatedly by a cron expression in a time zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from monitor.model.lazy_text import lazy_text

#: Limit of window occurrences that a search examines: it ends although windows and maintenance never leave a gap.
_STEPS = 1000


class InvalidCronError(ValueError):
    """The text is no cron expression, or one that never matches."""


@dataclass(frozen=True, slots=True)
class WindowOccurrence:
    """One occurrence of a window."""

    starts_at: datetime
    #: Exclusive.
    ends_at: datetime
    reason: str = ""

    def contains(self, at: datetime) -> bool:
        """Whether *at* is inside."""
        return self.starts_at <= at < self.ends_at


class Window(Protocol):
    """A window of time."""

    def next_occurrence(self, at: datetime) -> WindowOccurrence | None:
        """Return the first occurrence that ends after *at*, which may have begun; `None` without any."""


@dataclass(frozen=True, slots=True)
class OneTimeWindow:
    """A window that occurs once."""

    occurrence: WindowOccurrence

    def next_occurrence(self, at: datetime) -> WindowOccurrence | None:
        return self.occurrence if at < self.occurrence.ends_at else None


@dataclass(slots=True)
class Recurring:
    """A window that begins whenever a five-field cron expression matches in the zone's local time, as in Debian's cron."""

    cron: str
    duration: timedelta
    zone: ZoneInfo
    reason: str = ""
    #: The latest result, and from when on it is valid. Thousands of routes share one window.
    _cached: tuple[datetime, WindowOccurrence] | None = field(default=None, compare=False, repr=False)

    def next_occurrence(self, at: datetime) -> WindowOccurrence | None:
        if self._cached is not None and self._cached[0] <= at < self._cached[1].ends_at:
            return self._cached[1]
        try:
            start = next(CronSim(self.cron, (at - self.duration).astimezone(self.zone))).astimezone(UTC)
        except (StopIteration, OverflowError):
            return None
        occurrence = WindowOccurrence(start, start + self.duration, self.reason)
        self._cached = (at, occurrence)
        return occurrence


def check_cron(cron: str) -> None:
    """Raise `InvalidCronError` with the reason unless *cron* has five fields and matches at some time."""
    if len(cron.split()) != 5:
        raise InvalidCronError(
            lazy_text("has {count} fields and not five: minute hour day month weekday", count=len(cron.split()))
        )
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise InvalidCronError(
            lazy_text("is no cron expression ({error})", error=lazy_text(str(error).lower()))
        ) from None
    except (StopIteration, OverflowError):
        raise InvalidCronError("never comes") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Active hours of a route: inside one of its windows, if it has any, and outside of all maintenance."""

    #: Empty: always active, except for maintenance.
    when: Sequence[Window] = ()
    maintenance: Sequence[Window] = ()

    def next_active_at(self, at: datetime) -> datetime | None:
        """Return the first active time from *at* on; `None` without any."""
        if not self.when and not self.maintenance:
            return at
        for _ in range(_STEPS):
            if (current_maintenance := self.maintenance_at(at)) is not None:
                at = current_maintenance.ends_at
                continue
            if not self.when:
                return at
            occurrences = [found for window in self.when if (found := window.next_occurrence(at)) is not None]
            if not occurrences:
                return None
            start = min(occurrence.starts_at for occurrence in occurrences)
            if start <= at:
                return at
            at = start
        return None

    def maintenance_at(self, at: datetime) -> WindowOccurrence | None:
        """Return the maintenance at *at*, of several the one that ends last."""
        return self.maintenance_during(at, at)

    def maintenance_during(self, begins: datetime, ends: datetime) -> WindowOccurrence | None:
        """Return a maintenance that overlaps the span from *begins* to *ends*; `None` without any."""
        candidates: Iterable[WindowOccurrence | None] = (window.next_occurrence(begins) for window in self.maintenance)
        overlapping = [
            occurrence for occurrence in candidates if occurrence is not None and occurrence.starts_at <= ends
        ]
        return max(overlapping, key=lambda occurrence: occurrence.ends_at, default=None)

    def longest_active_day(self, since: datetime) -> timedelta:
        """Return the longest active time of a day, among the 35 days from *since* on."""
        day = timedelta(days=1)
        if not self.when:
            return day
        return max(_covered(self.when, since + day * number, since + day * (number + 1)) for number in range(35))


#: At any time.
ALWAYS = Hours()


def next_to_begin(
    next_occurrence: Callable[[datetime], WindowOccurrence | None], after: datetime
) -> WindowOccurrence | None:
    """Return the first occurrence that begins after *after*.

    *next_occurrence*: `Window.next_occurrence` of a window whose occurrences do not overlap.
    """
    occurrence = next_occurrence(after)
    if occurrence is not None and occurrence.starts_at <= after:
        return next_occurrence(occurrence.ends_at)
    return occurrence


def _covered(windows: Sequence[Window], begins: datetime, ends: datetime) -> timedelta:
    """Return the part of the time from *begins* to *ends* that is in any of *windows*."""
    covered, at = timedelta(0), begins
    for _ in range(_STEPS):
        occurrences = [
            found for window in windows if (found := window.next_occurrence(at)) is not None and found.starts_at < ends
        ]
        if not occurrences or at >= ends:
            return covered
        first = min(occurrences, key=lambda occurrence: occurrence.starts_at)
        start = max(at, first.starts_at)
        # Up to the end of the present occurrence; another overlapping one is counted in the next step.
        end = min(ends, first.ends_at)
        covered, at = covered + (end - start), end
    return covered
