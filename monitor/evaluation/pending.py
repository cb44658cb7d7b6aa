"""Index of pending runs by the evidence that their attribution needs. No clock, no I/O.

A failed run is pending until evidence shows whether our own side (network, reference mailboxes) caused the failure.
While a reference mailbox receives nothing, thousands of runs are pending. Attributing all of them after each result
would block the service. With this index, only those runs are attributed that a change of evidence may decide.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter

from monitor.evaluation.evidence import EvidenceChange, EvidenceNeed


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRun:
    """A failed run that is not attributed yet."""

    started_at: datetime
    #: Evidence that the attribution needs.
    needs: Sequence[EvidenceNeed]
    #: After this time the run is attributed without the evidence.
    deadline: datetime
    #: Whether a control run (between two reference mailboxes) must give the evidence soon, because this run contradicts
    #: its route's health.
    is_urgent: bool


#: Start (or deadline) and route name of each run, sorted.
_Index = list[tuple[datetime, str]]


@dataclass(slots=True)
class PendingRuns:
    """Pending runs of all routes, indexed by route, needed evidence and deadline."""

    _runs: dict[str, Sequence[PendingRun]] = field(default_factory=dict)
    _by_need: dict[EvidenceNeed, _Index] = field(default_factory=dict)
    #: The same as `_by_need`, but only urgent runs.
    _urgent: dict[EvidenceNeed, _Index] = field(default_factory=dict)
    #: Heap of deadlines with their routes. It may contain deadlines of runs that are not pending any more.
    _deadlines: _Index = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self._runs.values()))

    def set_runs(self, route: str, runs: Sequence[PendingRun]) -> None:
        """Replace the pending runs of a route."""
        before = self._runs.pop(route, ())
        if runs:
            self._runs[route] = runs
        for run in before:
            for index in self._indexes(run):
                del index[bisect_left(index, (run.started_at, route))]
        for run in runs:
            for index in self._indexes(run):
                insort(index, (run.started_at, route))
            if run not in before:
                heapq.heappush(self._deadlines, (run.deadline, route))

    def routes_affected_by(self, changes: Iterable[EvidenceChange]) -> set[str]:
        """Return the routes with a pending run that one of *changes* may decide."""
        routes: set[str] = set()
        for change in changes:
            index = self._by_need.get(change.need, ())
            first = bisect_left(index, change.first, key=itemgetter(0))
            last = bisect_right(index, change.last, key=itemgetter(0))
            routes.update(route for _, route in index[first:last])
        return routes

    def take_expired_routes(self, now: datetime) -> set[str]:
        """Return the routes with a pending run whose deadline has passed since the last call."""
        routes: set[str] = set()
        while self._deadlines and self._deadlines[0][0] < now:
            _, route = heapq.heappop(self._deadlines)
            if route in self._runs:
                routes.add(route)
        return routes

    def latest_urgent_start(self, need: EvidenceNeed) -> datetime | None:
        """Return the latest start of the urgent runs that need this evidence."""
        index = self._urgent.get(need)
        return index[-1][0] if index else None

    def _indexes(self, run: PendingRun) -> Iterable[_Index]:
        for need in run.needs:
            yield self._by_need.setdefault(need, [])
            if run.is_urgent:
                yield self._urgent.setdefault(need, [])
