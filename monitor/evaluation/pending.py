"""Index of pending runs by the evidence they need. No clock, no I/O.

While a reference is deaf thousands of runs are pending; to attribute all of them at each result would stop the service.
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
    """A pending run."""

    started_at: datetime
    wants: Sequence[EvidenceNeed]
    #: End of the wait.
    until: datetime
    #: It requests evidence, because it contradicts the current health.
    asks: bool


#: Starts of runs with their routes, in order.
_Line = list[tuple[datetime, str]]


@dataclass(slots=True)
class Pending:
    """All pending runs of all routes."""

    _runs: dict[str, Sequence[PendingRun]] = field(default_factory=dict)
    _waiting: dict[EvidenceNeed, _Line] = field(default_factory=dict)
    _asking: dict[EvidenceNeed, _Line] = field(default_factory=dict)
    #: Ends of waits. May contain runs that are final already.
    _ends: _Line = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self._runs.values()))

    def put(self, route: str, runs: Sequence[PendingRun]) -> None:
        """Replace the pending runs of a route."""
        before = self._runs.pop(route, ())
        if runs:
            self._runs[route] = runs
        for run in before:
            for line in self._lines(run):
                del line[bisect_left(line, (run.started_at, route))]
        for run in runs:
            for line in self._lines(run):
                insort(line, (run.started_at, route))
            if run not in before:
                heapq.heappush(self._ends, (run.until, route))

    def touched(self, changes: Iterable[ProofChange]) -> set[str]:
        """Return the routes with a run that the changes may decide."""
        found: set[str] = set()
        for change in changes:
            line = self._waiting.get(change.want, ())
            first = bisect_left(line, change.first, key=itemgetter(0))
            last = bisect_right(line, change.last, key=itemgetter(0))
            found.update(route for _, route in line[first:last])
        return found

    def ended(self, now: datetime) -> set[str]:
        """Return the routes with a run whose wait has ended since the last call."""
        found: set[str] = set()
        while self._ends and self._ends[0][0] < now:
            _, route = heapq.heappop(self._ends)
            if route in self._runs:
                found.add(route)
        return found

    def newest(self, want: EvidenceNeed) -> datetime | None:
        """Return the latest start of the runs that request this evidence."""
        line = self._asking.get(want)
        return line[-1][0] if line else None

    def _lines(self, run: PendingRun) -> Iterable[_Line]:
        for want in run.wants:
            yield self._waiting.setdefault(want, [])
            if run.asks:
                yield self._asking.setdefault(want, [])
