"""Index of pending runs by the evidence that their attribution needs. No clock, no I/O.

A failed run is pending until evidence shows whether our own side (network, reference mailboxes) caused the failure.
While a reference mailbox receives nothing, thousands of runs are pending. Attributing all of them after each result
would block the service. So only the runs are attributed that a change of evidence may decide.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter

from monitor.evaluation.evidence import EvidenceNeed, ProofChange


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRun:
    """A failed run that is not attributed yet."""

    started_at: datetime
    needs: Sequence[EvidenceNeed]
    #: When the run is attributed without the evidence.
    deadline: datetime
    #: A control run must give the evidence soon, because the run contradicts its route's health.
    is_urgent: bool


#: Start and route of each run, sorted.
_Index = list[tuple[datetime, str]]


@dataclass(slots=True)
class Pending:
    """Pending runs of all routes."""

    _runs: dict[str, Sequence[PendingRun]] = field(default_factory=dict)
    _by_need: dict[EvidenceNeed, _Index] = field(default_factory=dict)
    _urgent: dict[EvidenceNeed, _Index] = field(default_factory=dict)
    #: Heap of deadlines with their routes; may contain runs that are final already.
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

    def routes_affected_by(self, changes: Iterable[ProofChange]) -> set[str]:
        """Return the routes with a run that *changes* of evidence may decide."""
        routes: set[str] = set()
        for change in changes:
            index = self._by_need.get(change.need, ())
            first = bisect_left(index, change.first, key=itemgetter(0))
            last = bisect_right(index, change.last, key=itemgetter(0))
            routes.update(route for _, route in index[first:last])
        return routes

    def take_expired_routes(self, now: datetime) -> set[str]:
        """Return the routes with a run whose deadline has passed since the last call."""
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
