"""Decide which routes are due, and when to wake. Pure: the caller passes the time.

Absolute times: each run of a route is due at its own phase of the interval, a little earlier or later from one to
the next, so a slow run or a pause does not shift the others, and two sites do not march in step. After a pause nothing is
caught up in a burst: a time that was missed by more than `TOLERANCE` is let go, and the route is run at its own next
time. Only a look that was asked for is still wanted then.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zlib import crc32

from monitor.model.window import ALWAYS, Hours

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)

#: A run that starts later than this was missed: the process stood still, or the clock was set forward. What a busy loop
#: is late stays far below it.
TOLERANCE = timedelta(seconds=5)
#: A run comes so much of the interval earlier or later than its phase, and no more than so long.
JITTER = 0.1
JITTER_AT_MOST = timedelta(seconds=30)
#: When the hours of a route begin, its first run comes within this; not at once, because they begin for many.
SOON = timedelta(seconds=60)
#: What is run a few times a day is not let go until its next time, but run within this after a pause.
CATCH_UP = timedelta(minutes=10)

#: What others have run until now and is late by no more than this is run at once: they died, and nobody knew for so long.
TAKES_OVER = timedelta(seconds=10)
#: What is later than that is made up for within so long for each route of it: of a few at once.
MADE_UP = timedelta(seconds=2)


@dataclass(slots=True)
class _Entry:
    interval: timedelta
    hours: Hours
    #: Of the route's name and the schedule's: where in the interval it runs, and how that varies.
    mark: int
    due: datetime
    #: The run that is due was asked for.
    urgent: bool = False
    running: bool = False
    #: A look that was asked for while the route was running.
    wanted: datetime | None = None
    #: Somebody wants a run and looks on: whatever the hours.
    ordered: bool = False
    #: Runs that were let go since the last that was begun.
    skipped: int = 0

    @property
    def rank(self) -> int:
        """What goes first has the highest: a look that was asked for, but not before who has been left out time and again."""
        return self.skipped + 2 * self.urgent


@dataclass(slots=True)
class Schedule:
    """When each route is to be probed. At most one run of a route is in flight."""

    #: What tells this schedule's times from those of another site with the same routes.
    seed: str = ""
    _entries: dict[str, _Entry] = field(default_factory=dict)
    #: (due, name); entries that no longer match their route's due time are skipped.
    _heap: list[tuple[datetime, str]] = field(default_factory=list)
    #: What has come due and was not started, by rank, and in the order in which it came due.
    _ripe: list[tuple[int, datetime, str]] = field(default_factory=list)
    _overdue: deque[tuple[datetime, str]] = field(default_factory=deque)
    #: Runs that were let go and not told yet.
    _let_go: int = 0
    #: The latest time that was heard.
    _heard: datetime = _EPOCH

    def add(self, name: str, interval: timedelta, now: datetime, hours: Hours = ALWAYS) -> None:
        """Plan a route. Its first run comes at its own phase: within one interval, give or take the jitter."""
        mark = crc32(name.encode(), crc32(self.seed.encode()))
        entry = self._entries[name] = _Entry(interval=interval, hours=hours, mark=mark, due=now)
        self._plan_ahead(name, entry, now)

    def resume(self, last_runs: Mapping[str, datetime], now: datetime) -> None:
        """Run routes that were run elsewhere an interval after their *last_runs* there, and from then on at their own phase.

        What has been due for longer than a takeover is made up for no faster than it would have been run: of a whole share, as
        after a store that was away, all would come at once, and providers count what they get in a minute.
        """
        known = {name: at for name, at in last_runs.items() if name in self._entries}
        # None was run later than now: a clock was ahead there, perhaps by days.
        dues = {name: min(at, now) + self._entries[name].interval for name, at in known.items()}
        late = sum(now - due > TAKES_OVER for due in dues.values())
        for name, planned in dues.items():
            entry, due = self._entries[name], max(planned, now)
            if now - planned > TAKES_OVER:
                # By another lot than its phase, or both would come close together.
                due += min(entry.interval * (late / len(dues)), late * MADE_UP) * _share(crc32(b"late", entry.mark))
            if entry.urgent or entry.running:
                self.look_again(name, due)
            else:
                self._plan_within_hours(name, entry, due, urgent=planned <= now)

    def remove(self, name: str) -> None:
        """Forget a route."""
        self._entries.pop(name, None)

    def change(self, name: str, interval: timedelta, now: datetime, hours: Hours = ALWAYS) -> None:
        """Plan a route otherwise from now on.

        Its run under way goes on, a look that was asked for is still wanted, and the run that is planned is not put
        off, but by its hours: whoever changes the interval over and over would keep it from being run at all.
        """
        entry = self._entries.get(name)
        if entry is None or (entry.interval, entry.hours) == (interval, hours):
            return
        entry.interval, entry.hours = interval, hours
        if entry.running or entry.due <= now:
            return
        asked_for = entry.due if entry.urgent else None
        self._plan_within_hours(name, entry, min(entry.due, _next_time(entry, now)))
        if asked_for is not None:
            self.look_again(name, asked_for)

    def due(self, now: datetime, room: int | None = None) -> list[str]:
        """Return the routes to start now, as many as there is room for, and mark them as running.

        Looks that were asked for go first, then what was let go before, then what has been due the longest.
        So where there is never room for all, each comes to be run: with twice as many routes every other time.
        """
        self._hear(now)
        self._ripen(now)
        names: list[str] = []
        while self._ripe and (room is None or len(names) < room):
            _, due, name = heapq.heappop(self._ripe)
            entry = self._waiting(name, due)
            if entry is None:
                continue
            if entry.hours.opens(now) != now and not entry.ordered:
                self._plan_missed(name, entry, now)  # Its hours ended while it was due.
                continue
            entry.running, entry.skipped, entry.ordered = True, 0, False
            names.append(name)
        return names

    def let_go(self) -> int:
        """Return how many runs were let go since this was last asked: it came to none in time."""
        told, self._let_go = self._let_go, 0
        return told

    def _ripen(self, now: datetime) -> None:
        """Let go what has been due for too long, and rank what has come due."""
        while self._heap and self._heap[0][0] <= now:
            due, name = heapq.heappop(self._heap)
            if (entry := self._waiting(name, due)) is not None:
                heapq.heappush(self._ripe, (-entry.rank, due, name))
                self._overdue.append((due, name))
        while self._overdue and now - self._overdue[0][0] > TOLERANCE:
            due, name = self._overdue.popleft()
            entry = self._waiting(name, due)
            if entry is not None and not entry.urgent:
                entry.skipped += 1
                self._let_go += 1
                self._plan_missed(name, entry, now)

    def _waiting(self, name: str, due: datetime) -> _Entry | None:
        """Return the entry of a route that waits for this time."""
        entry = self._entries.get(name)
        return None if entry is None or entry.running or entry.due != due else entry

    def due_at(self, name: str) -> datetime:
        """Return when the run that is under way was due. Raise `KeyError` for a route that is not planned."""
        return self._entries[name].due

    def finished(self, name: str, now: datetime) -> None:
        """Plan the next run of a route whose run has ended, or was not started after all."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.running = False
        wanted, entry.wanted = entry.wanted, None
        self._plan_ahead(name, entry, now)
        if wanted is not None:
            self.look_again(name, max(now, wanted))
        if entry.ordered:
            self._plan(name, entry, now, urgent=True)

    def order(self, name: str, now: datetime) -> None:
        """Let a route be run now, for somebody who looks on, or as soon as its run under way is over.

        Outside of its hours, too: whoever works on it wants to see whether it works.
        """
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.ordered = True
        if not entry.running:
            self._plan(name, entry, now, urgent=True)

    def look_again(self, name: str, at: datetime) -> None:
        """Bring a route's next run forward to *at*, or to when its hours begin; never put it off."""
        entry = self._entries.get(name)
        if entry is None:
            return
        if entry.running:
            entry.wanted = min(entry.wanted or at, at)
        elif at >= entry.due:
            entry.urgent = True  # The run that is planned is the look.
            if entry.due <= self._heard:
                heapq.heappush(self._ripe, (-entry.rank, entry.due, name))
        elif (opens := entry.hours.opens(at)) is not None and opens < entry.due:
            self._plan(name, entry, opens, urgent=True)

    def look_within(self, name: str, span: timedelta, now: datetime) -> None:
        """Bring a route's next run forward to within *span*, each route to another time of it: thousands may be looked at."""
        if (entry := self._entries.get(name)) is not None:
            self.look_again(name, now + span * _share(crc32(b"again", entry.mark)))

    def wake(self) -> datetime | None:
        """Return when the next route is due, or has been while there was no room; `None` if nothing is planned."""
        while self._ripe:
            _, due, name = self._ripe[0]
            if self._waiting(name, due) is not None:
                return due
            heapq.heappop(self._ripe)
        while self._heap:
            due, name = self._heap[0]
            if self._waiting(name, due) is not None:
                return due
            heapq.heappop(self._heap)
        return None

    def _hear(self, now: datetime) -> None:
        """Plan everything anew when the clock was set back: what was planned may be hours away now."""
        back, self._heard = self._heard - now, now
        if back <= TOLERANCE:
            return
        self._heap.clear()
        self._ripe.clear()
        self._overdue.clear()
        for name, entry in self._entries.items():
            if entry.wanted is not None:
                entry.wanted -= back
            if entry.running:
                continue
            asked_for = entry.due - back if entry.urgent else None
            self._plan_ahead(name, entry, now)
            if asked_for is not None:
                self.look_again(name, asked_for)

    def _plan_missed(self, name: str, entry: _Entry, now: datetime) -> None:
        due = _next_time(entry, now)
        if due - now > CATCH_UP:
            due = now + CATCH_UP * _share(entry.mark)
        self._plan_within_hours(name, entry, due)

    def _plan_ahead(self, name: str, entry: _Entry, now: datetime) -> None:
        self._plan_within_hours(name, entry, _next_time(entry, now))

    def _plan_within_hours(self, name: str, entry: _Entry, due: datetime, *, urgent: bool = False) -> None:
        opens = entry.hours.opens(due)
        if opens is None:
            return  # It will never be run again; the check of the configuration does not let that happen.
        if opens != due:
            soon = opens + min(entry.interval, SOON) * _share(entry.mark)
            due = soon if entry.hours.opens(soon) == soon else opens
        self._plan(name, entry, due, urgent=urgent)

    def _plan(self, name: str, entry: _Entry, due: datetime, *, urgent: bool) -> None:
        entry.due, entry.urgent = due, urgent
        heapq.heappush(self._heap, (due, name))


def _next_time(entry: _Entry, now: datetime) -> datetime:
    """Return the first time of a run that is after *now*."""
    phase = _EPOCH + entry.interval * _share(entry.mark)
    # The run before may still be to come, when it is one of the later ones.
    number = (now - phase) // entry.interval
    while (due := phase + number * entry.interval + _jitter(entry, number)) <= now:
        number += 1
    return due


def _jitter(entry: _Entry, number: int) -> timedelta:
    most = min(entry.interval * JITTER, JITTER_AT_MOST)
    return most * (2 * _share(crc32(number.to_bytes(8, "big", signed=True), entry.mark)) - 1)


def _share(mark: int) -> float:
    """Return a mark as a part of one."""
    return (mark % 10_000) / 10_000
