"""Decide which routes are due, and when to wake. Pure: the caller passes the time.

Absolute times: a route is due at its own phase of the interval, spread by its name, so a slow run or a pause does
not shift the others. After a pause nothing is caught up in a burst: a missed time is one run, not many.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zlib import crc32

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Entry:
    interval: timedelta
    offset: timedelta
    due: datetime
    running: bool = False
    #: A look that was asked for while the route was running.
    wanted: datetime | None = None


@dataclass(slots=True)
class Schedule:
    """When each route is to be probed. At most one run of a route is in flight."""

    _entries: dict[str, _Entry] = field(default_factory=dict)
    #: (due, name); entries that no longer match their route's due time are skipped.
    _heap: list[tuple[datetime, str]] = field(default_factory=list)

    def add(self, name: str, interval: timedelta, now: datetime) -> None:
        """Plan a route. Its first run comes within one interval, at its own phase."""
        offset = interval * (crc32(name.encode()) % 10_000) / 10_000
        entry = _Entry(interval=interval, offset=offset, due=now)
        self._entries[name] = entry
        self._plan(name, _next(entry, now))

    def remove(self, name: str) -> None:
        """Forget a route."""
        self._entries.pop(name, None)

    def due(self, now: datetime) -> list[str]:
        """Return the routes to start now, and mark them as running."""
        names = []
        while self._heap and self._heap[0][0] <= now:
            due, name = heapq.heappop(self._heap)
            entry = self._entries.get(name)
            if entry is None or entry.running or entry.due != due:
                continue
            entry.running = True
            names.append(name)
        return names

    def finished(self, name: str, now: datetime) -> None:
        """Plan the next run of a route whose run has ended."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.running = False
        due = _next(entry, now)
        if entry.wanted is not None:
            due, entry.wanted = min(due, max(now, entry.wanted)), None
        self._plan(name, due)

    def look_again(self, name: str, at: datetime) -> None:
        """Bring a route's next run forward to *at*; never put it off."""
        entry = self._entries.get(name)
        if entry is None:
            return
        if entry.running:
            entry.wanted = min(entry.wanted or at, at)
        elif at < entry.due:
            self._plan(name, at)

    def wake(self) -> datetime | None:
        """Return when the next route is due; `None` if nothing is planned."""
        while self._heap:
            due, name = self._heap[0]
            entry = self._entries.get(name)
            if entry is not None and not entry.running and entry.due == due:
                return due
            heapq.heappop(self._heap)
        return None

    def _plan(self, name: str, due: datetime) -> None:
        self._entries[name].due = due
        heapq.heappush(self._heap, (due, name))


def _next(entry: _Entry, now: datetime) -> datetime:
    """Return the next moment after *now* that is at the route's phase of the interval."""
    rounds = (now - _EPOCH - entry.offset) // entry.interval + 1
    return _EPOCH + entry.offset + rounds * entry.interval
