"""World probed over time: real schedule and evaluator, as the prober joins them, with simulated runs."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from monitor.model.route import MonitoredRoute
from monitor.planning.schedule import Schedule
from probes.model.result import Party, ProbeResult
from tests.unit.monitor.world import Fault, World


def by_turns(*faults: Fault | None) -> Fault:
    """Return a fault that applies these in turn, one per run of a route; `None`: no fault."""
    runs: dict[str, int] = defaultdict(int)

    def fault(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
        # A run queries the fault for its recipient first, then for its sender.
        asked, runs[of.name] = runs[of.name], runs[of.name] + 1
        ends = len({of.route.sender.name, of.route.recipient.name})
        now = faults[(asked // (2 if ends == 1 else 1)) % len(faults)]
        return now(of, at, party) if now else None

    return fault


@dataclass
class ScheduledWorld:
    """World over time; `run_for` advances it."""

    world: World
    #: Start times of each route.
    runs: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    _schedule: Schedule = field(default_factory=lambda: Schedule("utama"))
    _under_way: list[tuple[datetime, int, ProbeResult]] = field(default_factory=list)
    _number: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._routes = {route.name: route for route in self.world.routes}
        for route in self.world.routes:
            self._schedule.add(route.name, route.probing.interval, self.now)

    @property
    def now(self) -> datetime:
        return self.world.now

    def run_for(self, span: timedelta) -> ScheduledWorld:
        """Advance by *span*."""
        until = self.now + span
        while (at := self._next()) <= until:
            self.world.now = max(self.now, at)
            self._end()
            for name in self._schedule.due(self.now):
                self.runs[name].append(self.now)
                result = self.world.result(self._routes[name], self.now)
                heapq.heappush(self._under_way, (self.now + result.duration, next(self._number), result))
        self.world.now = until
        return self

    def runs_within(self, span: timedelta, routes: Sequence[MonitoredRoute]) -> list[int]:
        """Advance by *span* and return the number of runs of each route."""
        began = self.now
        self.run_for(span)
        return [sum(at >= began for at in self.runs[route.name]) for route in routes]

    def _next(self) -> datetime:
        wake = self._schedule.next_due()
        return min(at for at in (wake, self._under_way[0][0] if self._under_way else None) if at is not None)

    def _end(self) -> None:
        while self._under_way and self._under_way[0][0] <= self.now:
            _, _, result = heapq.heappop(self._under_way)
            self.world.evaluator.record_run(result, self.now)
            self._schedule.plan_next(result.route, self.now)
            for name, at in self.world.evaluator.routes_to_run_soon(result.route, self.now).items():
                self._schedule.advance(name, at)
