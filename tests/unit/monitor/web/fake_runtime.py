"""Fake probing runtime with the routes of two agencies; the test sets the results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from monitor.model.health import Health
from monitor.model.route import MonitoredRoute
from monitor.probing.on_demand_run import OnDemandRun
from tests.unit.alerts.people import T0
from tests.unit.monitor.world import agency_routes


class FakeRuntime:
    """Implements what on-demand runs use of `ProbingRuntime`."""

    def __init__(self, codes: Sequence[str]) -> None:
        self.agencies: Mapping[str, Any] = dict.fromkeys(codes)
        #: Started runs, the newest last.
        self.runs: list[OnDemandRun] = []
        self.configuration: Any = self
        self.registry: Any = self
        self.prober: Any = self
        self.removed_routes: set[str] = set()
        self.healths: dict[str, Health] = {}
        #: Owner by agency, for agencies of another process.
        self.owners: dict[str, str] = {}
        self.shard: Any = self

    @property
    def owned(self) -> Collection[str]:
        return self.agencies.keys() - self.owners

    def owner(self, agency: str) -> str:
        return self.owners[agency]

    def evaluator_of(self, agency: str) -> Any:
        assert agency in self.agencies
        return self

    def routes_for(self, agency: str) -> Sequence[MonitoredRoute]:
        return [each for each in agency_routes(agency) if each.name not in self.removed_routes]

    def run_now(self, name: str) -> OnDemandRun:
        if name in self.removed_routes:
            raise KeyError(name)
        (route,) = (each for each in agency_routes(name.partition("/")[0]) if each.name == name)
        self.runs.append(OnDemandRun(route=route, requested_at=T0))
        return self.runs[-1]

    def route_health(self, name: str) -> Health:
        if name in self.removed_routes:
            raise KeyError(name)
        return self.healths.get(name, Health.UNKNOWN)

    def runtime(self) -> Any:
        return self
