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

from monitor.model.lazy_text import said

#: Steps between two windows after which a third is considered impossible.
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

    def holds(self, at: datetime) -> bool:
        """Whether *at* is inside."""
        return self.starts_at <= at < self.ends_at


class Window(Protocol):
    """A window of time."""

    def following(self, at: datetime) -> WindowOccurrence | None:
        """Return the first occurrence that ends after *at*, which may have begun; `None` without any."""


@dataclass(frozen=True, slots=True)
class OneTimeWindow:
    """A window that occurs once."""

    stretch: WindowOccurrence

    def following(self, at: datetime) -> WindowOccurrence | None:
        return self.stretch if at < self.stretch.ends_at else None


@dataclass(slots=True)
class Recurring:
    """A window that begins whenever a five-field cron expression matches, in local time (Debian's cron)."""

    cron: str
    duration: timedelta
    zone: ZoneInfo
    reason: str = ""
    #: Cached answer, and since when it is valid: thousands of routes ask for the same.
    _known: tuple[datetime, WindowOccurrence] | None = field(default=None, compare=False, repr=False)

    def following(self, at: datetime) -> WindowOccurrence | None:
        if self._known is not None and self._known[0] <= at < self._known[1].ends_at:
            return self._known[1]
        try:
            begins = next(CronSim(self.cron, (at - self.duration).astimezone(self.zone))).astimezone(UTC)
        except (StopIteration, OverflowError):
            return None
        found = WindowOccurrence(begins, begins + self.duration, self.reason)
        self._known = (at, found)
        return found


def check_cron(cron: str) -> None:
    """Raise `InvalidCronError` with the reason unless *cron* has five fields and matches at some time."""
    if len(cron.split()) != 5:
        raise InvalidCronError(
            said("has {count} fields and not five: minute hour day month weekday", count=len(cron.split()))
        )
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise InvalidCronError(said("is no cron expression ({error})", error=said(str(error).lower()))) from None
    except (StopIteration, OverflowError):
        raise InvalidCronError("never comes") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Active hours of a route: inside one of its windows, if it has any, and outside of all maintenance."""

    when: Sequence[Window] = ()
    maintenance: Sequence[Window] = ()

    def opens(self, at: datetime) -> datetime | None:
        """Return the first active time from *at* on; `None` without any."""
        if not self.when and not self.maintenance:
            return at
        for _ in range(_STEPS):
            if (closed := self.closed_by(at)) is not None:
                at = closed.ends_at
                continue
            if not self.when:
                return at
            stretches = [found for window in self.when if (found := window.following(at)) is not None]
            if not stretches:
                return None
            begins = min(stretch.starts_at for stretch in stretches)
            if begins <= at:
                return at
            at = begins
        return None

    def closed_by(self, at: datetime) -> WindowOccurrence | None:
        """Return the maintenance at *at*, of several the one that ends last."""
        return self.closed_during(at, at)

    def closed_during(self, begins: datetime, ends: datetime) -> WindowOccurrence | None:
        """Return a maintenance that overlaps the span from *begins* to *ends*; `None` without any."""
        following: Iterable[WindowOccurrence | None] = (window.following(begins) for window in self.maintenance)
        touched = [stretch for stretch in following if stretch is not None and stretch.starts_at <= ends]
        return max(touched, key=lambda stretch: stretch.ends_at, default=None)

    def busiest_day(self, since: datetime) -> timedelta:
        """Return the longest active time within 24 hours among five weeks' days from *since* on."""
        day = timedelta(days=1)
        if not self.when:
            return day
        return max(_covered(self.when, since + day * number, since + day * (number + 1)) for number in range(35))


#: At any time.
ALWAYS = Hours()


def next_to_begin(following: Callable[[datetime], WindowOccurrence | None], after: datetime) -> WindowOccurrence | None:
    """Return the first occurrence that begins after *after*; *following* is `Window.following`, of non-overlapping ones."""
    found = following(after)
    return following(found.ends_at) if found is not None and found.starts_at <= after else found


def _covered(windows: Sequence[Window], begins: datetime, ends: datetime) -> timedelta:
    """Return the part of the time from *begins* to *ends* that is in any of *windows*."""
    whole, at = timedelta(0), begins
    for _ in range(_STEPS):
        stretches = [
            found for window in windows if (found := window.following(at)) is not None and found.starts_at < ends
        ]
        if not stretches or at >= ends:
            return whole
        first = min(stretches, key=lambda stretch: stretch.starts_at)
        start = max(at, first.starts_at)
        # Up to the end of the present occurrence; another overlapping one is counted in the next step.
        end = min(ends, first.ends_at)
        whole, at = whole + (end - start), end
    return whole
