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

from monitor.model.translatable import translatable

#: Maximum number of window occurrences that a search examines, so that it ends even if maintenance never ends.
_MAX_STEPS = 1000


class InvalidCronError(ValueError):
    """The text is not a cron expression, or never matches."""


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
        """Return the first occurrence that ends after *at*; it may have begun before *at*. `None`: there is none."""


@dataclass(frozen=True, slots=True)
class OneTimeWindow:
    """A window that occurs once."""

    occurrence: WindowOccurrence

    def next_occurrence(self, at: datetime) -> WindowOccurrence | None:
        return self.occurrence if at < self.occurrence.ends_at else None


@dataclass(slots=True)
class Recurring:
    """A window that begins when a five-field cron expression matches in the zone's local time, as in Debian's cron."""

    cron: str
    duration: timedelta
    zone: ZoneInfo
    reason: str = ""
    #: The latest result, and the time from which it is valid. It is kept, because thousands of routes share one window.
    _cached: tuple[datetime, WindowOccurrence] | None = field(default=None, compare=False, repr=False)

    def next_occurrence(self, at: datetime) -> WindowOccurrence | None:
        if self._cached is not None:
            valid_from, occurrence = self._cached
            if valid_from <= at < occurrence.ends_at:
                return occurrence
        try:
            # An occurrence that ends after *at* starts after *at* minus the duration.
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
            translatable("has {count} fields and not five: minute hour day month weekday", count=len(cron.split()))
        )
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise InvalidCronError(
            translatable("is no cron expression ({error})", error=translatable(str(error).lower()))
        ) from None
    except (StopIteration, OverflowError):
        raise InvalidCronError("never comes") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Active hours of a route: inside one of its active windows, if it has any, and outside of all maintenance."""

    #: Empty: the route is always active, except during maintenance.
    active_windows: Sequence[Window] = ()
    maintenance: Sequence[Window] = ()

    def next_active_at(self, at: datetime) -> datetime | None:
        """Return the first active time from *at* on; `None` without any."""
        if not self.active_windows and not self.maintenance:
            return at
        for _ in range(_MAX_STEPS):
            if (current_maintenance := self.maintenance_at(at)) is not None:
                at = current_maintenance.ends_at
                continue
            if not self.active_windows:
                return at
            occurrences = [found for window in self.active_windows if (found := window.next_occurrence(at)) is not None]
            if not occurrences:
                return None
            start = min(occurrence.starts_at for occurrence in occurrences)
            if start <= at:
                return at
            at = start
        return None

    def maintenance_at(self, at: datetime) -> WindowOccurrence | None:
        """Return the maintenance at *at*, or the one that ends last if there are several; `None` without any."""
        return self.maintenance_during(at, at)

    def maintenance_during(self, begins: datetime, ends: datetime) -> WindowOccurrence | None:
        """Return the maintenance that overlaps the time from *begins* to *ends*; of several, the one that ends last."""
        candidates: Iterable[WindowOccurrence | None] = (window.next_occurrence(begins) for window in self.maintenance)
        overlapping = [
            occurrence for occurrence in candidates if occurrence is not None and occurrence.starts_at <= ends
        ]
        return max(overlapping, key=lambda occurrence: occurrence.ends_at, default=None)

    def longest_active_day(self, since: datetime) -> timedelta:
        """Return the active time of the most active day of the 35 days (five weeks) from *since* on.

        Maintenance is ignored.
        """
        day = timedelta(days=1)
        if not self.active_windows:
            return day
        return max(
            _covered(self.active_windows, since + day * number, since + day * (number + 1)) for number in range(35)
        )


#: Active at any time.
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
    for _ in range(_MAX_STEPS):
        occurrences = [
            found for window in windows if (found := window.next_occurrence(at)) is not None and found.starts_at < ends
        ]
        if not occurrences or at >= ends:
            return covered
        first = min(occurrences, key=lambda occurrence: occurrence.starts_at)
        start = max(at, first.starts_at)
        # Count up to the end of this occurrence. The rest of an overlapping one is counted in the next step.
        end = min(ends, first.ends_at)
        covered, at = covered + (end - start), end
    return covered
