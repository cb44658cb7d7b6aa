"""Schedule of routes: which are due, and when the next one is. Pure: the caller passes the time.

Each run is due at a fixed phase of its route's interval, plus or minus a jitter. So a slow run or a suspension of the
process does not shift other runs, and two sites do not probe at the same times. A run that is late by more than
`TOLERANCE` is skipped, so that a suspension is not followed by a burst; the route runs at its next regular time. A
requested run is never skipped.
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

#: A run that would start later than this after its due time is skipped: the process was suspended, or the clock was set
#: forward. Load delays runs by far less.
TOLERANCE = timedelta(seconds=5)
#: The jitter: a run is earlier or later than its phase by up to this share of the interval, at most `MAX_JITTER`.
JITTER = 0.1
MAX_JITTER = timedelta(seconds=30)
#: The first run after the beginning of active hours comes within this time. It does not come at once, because active
#: hours begin for many routes at the same time.
HOURS_SPREAD = timedelta(seconds=60)
#: After a skipped run, a route with a long interval runs within this time.
CATCH_UP = timedelta(minutes=10)

#: A route that is taken over from another process runs at once if it is late by at most this: the time in which a dead
#: process is detected.
TAKEOVER_TOLERANCE = timedelta(seconds=10)
#: The first runs of routes that are later than `TAKEOVER_TOLERANCE` are spread over this time for each of them.
TAKEOVER_SPREAD = timedelta(seconds=2)


@dataclass(slots=True)
class _Entry:
    interval: timedelta
    hours: Hours
    #: Hash of the seed and the route's name. It determines the phase, and is the seed of the jitter.
    seed_hash: int
    #: Due time of the planned run, or of the run in flight.
    due: datetime
    #: Whether the planned run was requested, so that it is not skipped.
    is_requested: bool = False
    is_running: bool = False
    #: Due time of a further run that was requested while one is in flight.
    requested_at: datetime | None = None
    #: Whether a person requested the run and waits for it; active hours do not apply then.
    is_on_demand: bool = False
    #: Skipped runs since the last one that started.
    skipped: int = 0

    @property
    def priority(self) -> int:
        """Priority of a due run: a requested one counts as much as two skipped ones."""
        return self.skipped + 2 * self.is_requested


@dataclass(slots=True)
class Schedule:
    """Due times of all routes (or checks), by name. At most one run of each is in flight."""

    #: Name of the process, so that the same routes have other phases at another site.
    seed: str = ""
    _entries: dict[str, _Entry] = field(default_factory=dict)
    #: Heap of (due time, name) of the planned runs. A pair is outdated, and ignored, if the route has another due time.
    _heap: list[tuple[datetime, str]] = field(default_factory=list)
    #: Due runs that have not started: a heap by priority and due time, from which runs start; and a queue by due time,
    #: from which late runs are skipped.
    _ready: list[tuple[int, datetime, str]] = field(default_factory=list)
    _overdue: deque[tuple[datetime, str]] = field(default_factory=deque)
    #: Skipped runs that `take_skipped` has not returned yet.
    _skipped: int = 0
    #: `now` of the last call of `due`.
    _latest: datetime = _EPOCH

    def add(self, name: str, interval: timedelta, now: datetime, hours: Hours = ALWAYS) -> None:
        """Add a route. Its first run comes at its phase: within one interval, plus or minus the jitter."""
        seed_hash = crc32(name.encode(), crc32(self.seed.encode()))
        entry = self._entries[name] = _Entry(interval=interval, hours=hours, seed_hash=seed_hash, due=now)
        self._plan_ahead(name, entry, now)

    def resume(self, last_runs: Mapping[str, datetime], now: datetime) -> None:
        """Plan the next run of each route an interval after its last run in another process (*last_runs*).

        Runs that are later than `TAKEOVER_TOLERANCE` are spread. Otherwise all routes of a process would run at once
        after an outage of the database, and mail providers limit the rate.
        """
        last_run_at = {name: at for name, at in last_runs.items() if name in self._entries}
        # A last run in the future was stored by a process whose clock was ahead, perhaps by days.
        dues = {name: min(at, now) + self._entries[name].interval for name, at in last_run_at.items()}
        overdue_count = sum(now - due > TAKEOVER_TOLERANCE for due in dues.values())
        for name, planned in dues.items():
            entry, due = self._entries[name], max(planned, now)
            if now - planned > TAKEOVER_TOLERANCE:
                # The hash must differ from that of the phase. Otherwise the next regular run would follow at once.
                due += min(entry.interval * (overdue_count / len(dues)), overdue_count * TAKEOVER_SPREAD) * _fraction(
                    crc32(b"late", entry.seed_hash)
                )
            if entry.is_requested or entry.is_running:
                self.advance(name, due)
            else:
                self._plan_within_hours(name, entry, due, is_requested=planned <= now)

    def remove(self, name: str) -> None:
        """Remove a route."""
        self._entries.pop(name, None)

    def change(self, name: str, interval: timedelta, now: datetime, hours: Hours = ALWAYS) -> None:
        """Change a route's interval and hours.

        A run in flight continues, and a requested run stays requested. The planned run is not postponed, except by the
        hours: repeated changes must not keep a route from running.
        """
        entry = self._entries.get(name)
        if entry is None or (entry.interval, entry.hours) == (interval, hours):
            return
        entry.interval, entry.hours = interval, hours
        if entry.is_running or entry.due <= now:
            return
        requested_due = entry.due if entry.is_requested else None
        self._plan_within_hours(name, entry, min(entry.due, _next_time(entry, now)))
        if requested_due is not None:
            self.advance(name, requested_due)

    def due(self, now: datetime, max_runs: int | None = None) -> list[str]:
        """Return the routes to start now, at most *max_runs*, and mark them as running.

        Requested runs and routes with skipped runs come first, then the routes that have been due the longest. So every
        route runs even under constant overload: with twice as many routes as can run, each runs every other time.
        """
        self._handle_clock_step(now)
        self._collect_due(now)
        names: list[str] = []
        while self._ready and (max_runs is None or len(names) < max_runs):
            _, due, name = heapq.heappop(self._ready)
            entry = self._find_waiting(name, due)
            if entry is None:
                continue
            if entry.hours.next_active_at(now) != now and not entry.is_on_demand:
                self._plan_after_skip(name, entry, now)  # Its active hours ended while it was due.
                continue
            entry.is_running, entry.skipped, entry.is_on_demand = True, 0, False
            names.append(name)
        return names

    def take_skipped(self) -> int:
        """Return how many runs were skipped since the last call."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    def _collect_due(self, now: datetime) -> None:
        """Move due runs to the priority queue, and skip those that are late."""
        while self._heap and self._heap[0][0] <= now:
            due, name = heapq.heappop(self._heap)
            if (entry := self._find_waiting(name, due)) is not None:
                heapq.heappush(self._ready, (-entry.priority, due, name))
                self._overdue.append((due, name))
        while self._overdue and now - self._overdue[0][0] > TOLERANCE:
            due, name = self._overdue.popleft()
            entry = self._find_waiting(name, due)
            if entry is not None and not entry.is_requested:
                entry.skipped += 1
                self._skipped += 1
                self._plan_after_skip(name, entry, now)

    def _find_waiting(self, name: str, due: datetime) -> _Entry | None:
        """Return the entry of a route that is due at this time and not running."""
        entry = self._entries.get(name)
        return None if entry is None or entry.is_running or entry.due != due else entry

    def due_at(self, name: str) -> datetime:
        """Return when the run in flight was due. Raise `KeyError` for an unknown route."""
        return self._entries[name].due

    def plan_next(self, name: str, now: datetime) -> None:
        """Plan the next run of a route whose run has finished, or did not start."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.is_running = False
        requested_at, entry.requested_at = entry.requested_at, None
        self._plan_ahead(name, entry, now)
        if requested_at is not None:
            self.advance(name, max(now, requested_at))
        if entry.is_on_demand:
            self._plan(name, entry, now, is_requested=True)

    def request_now(self, name: str, now: datetime) -> None:
        """Run a route now, or as soon as its run in flight has finished.

        Active hours do not apply, because a person who repairs a mail system wants to see whether it works.
        """
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.is_on_demand = True
        if not entry.is_running:
            self._plan(name, entry, now, is_requested=True)

    def advance(self, name: str, at: datetime) -> None:
        """Bring a route's next run forward to *at*, or to the beginning of its active hours. Never postpone it."""
        entry = self._entries.get(name)
        if entry is None:
            return
        if entry.is_running:
            entry.requested_at = min(entry.requested_at or at, at)
        elif at >= entry.due:
            entry.is_requested = True  # The planned run comes before *at*. It keeps its time and gets the priority.
            if entry.due <= self._latest:
                heapq.heappush(self._ready, (-entry.priority, entry.due, name))
        elif (opens := entry.hours.next_active_at(at)) is not None and opens < entry.due:
            self._plan(name, entry, opens, is_requested=True)

    def advance_within(self, name: str, span: timedelta, now: datetime) -> None:
        """Bring a route's next run forward to within *span*, spread by a hash: the caller may do so for thousands."""
        if (entry := self._entries.get(name)) is not None:
            self.advance(name, now + span * _fraction(crc32(b"again", entry.seed_hash)))

    def next_due(self) -> datetime | None:
        """Return when the next run is due, which may be in the past; `None` if nothing is planned."""
        while self._ready:
            _, due, name = self._ready[0]
            if self._find_waiting(name, due) is not None:
                return due
            heapq.heappop(self._ready)
        while self._heap:
            due, name = self._heap[0]
            if self._find_waiting(name, due) is not None:
                return due
            heapq.heappop(self._heap)
        return None

    def _handle_clock_step(self, now: datetime) -> None:
        """Plan all routes anew when the clock was set back, because the planned times may be hours away."""
        set_back_by, self._latest = self._latest - now, now
        if set_back_by <= TOLERANCE:
            return
        self._heap.clear()
        self._ready.clear()
        self._overdue.clear()
        for name, entry in self._entries.items():
            if entry.requested_at is not None:
                entry.requested_at -= set_back_by
            if entry.is_running:
                continue
            requested_due = entry.due - set_back_by if entry.is_requested else None
            self._plan_ahead(name, entry, now)
            if requested_due is not None:
                self.advance(name, requested_due)

    def _plan_after_skip(self, name: str, entry: _Entry, now: datetime) -> None:
        """Plan the run after a skipped one: at its regular time, or within `CATCH_UP`."""
        due = _next_time(entry, now)
        if due - now > CATCH_UP:
            due = now + CATCH_UP * _fraction(entry.seed_hash)
        self._plan_within_hours(name, entry, due)

    def _plan_ahead(self, name: str, entry: _Entry, now: datetime) -> None:
        """Plan the next regular run."""
        self._plan_within_hours(name, entry, _next_time(entry, now))

    def _plan_within_hours(self, name: str, entry: _Entry, due: datetime, *, is_requested: bool = False) -> None:
        opens = entry.hours.next_active_at(due)
        if opens is None:
            return  # The configuration check rejects a route without active hours.
        if opens != due:
            spread_start = opens + min(entry.interval, HOURS_SPREAD) * _fraction(entry.seed_hash)
            due = spread_start if entry.hours.next_active_at(spread_start) == spread_start else opens
        self._plan(name, entry, due, is_requested=is_requested)

    def _plan(self, name: str, entry: _Entry, due: datetime, *, is_requested: bool) -> None:
        entry.due, entry.is_requested = due, is_requested
        heapq.heappush(self._heap, (due, name))


def _next_time(entry: _Entry, now: datetime) -> datetime:
    """Return the first due time after *now*."""
    phase = _EPOCH + entry.interval * _fraction(entry.seed_hash)
    # Intervals are numbered from the first phase after `_EPOCH`. The jitter may move the run of the current interval
    # after *now*.
    interval_number = (now - phase) // entry.interval
    while (due := phase + interval_number * entry.interval + _jitter(entry, interval_number)) <= now:
        interval_number += 1
    return due


def _jitter(entry: _Entry, interval_number: int) -> timedelta:
    maximum = min(entry.interval * JITTER, MAX_JITTER)
    return maximum * (2 * _fraction(crc32(interval_number.to_bytes(8, "big", signed=True), entry.seed_hash)) - 1)


def _fraction(hash_value: int) -> float:
    """Return a hash as a fraction of one."""
    return (hash_value % 10_000) / 10_000
