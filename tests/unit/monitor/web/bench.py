"""Routes of two agencies that somebody tests, and what comes of it as the test says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from monitor.model.health import Health
from monitor.model.route import MonitoredRoute
from monitor.probing.on_demand_run import OnDemandRun
from tests.unit.alerts.people import T0
from tests.unit.monitor.trial import agency_routes


class Bench:
    """A watch, as far as trials ask it."""

    def __init__(self, codes: Sequence[str]) -> None:
        self.agencies: Mapping[str, Any] = dict.fromkeys(codes)
        #: What was begun, the newest last.
        self.trials: list[OnDemandRun] = []
        self.configuration: Any = self
        self.registry: Any = self
        self.prober: Any = self
        self.released: set[str] = set()
        self.healths: dict[str, Health] = {}
        #: Those that another process watches, and its name.
        self.elsewhere: dict[str, str] = {}
        self.shard: Any = self

    @property
    def owned(self) -> Collection[str]:
        return self.agencies.keys() - self.elsewhere

    def owner(self, agency: str) -> str:
        return self.elsewhere[agency]

    def evaluator_of(self, agency: str) -> Any:
        assert agency in self.agencies
        return self

    def routes_for(self, agency: str) -> Sequence[MonitoredRoute]:
        return [each for each in agency_routes(agency) if each.name not in self.released]

    def run_now(self, name: str) -> OnDemandRun:
        if name in self.released:
            raise KeyError(name)
        (route,) = (each for each in agency_routes(name.partition("/")[0]) if each.name == name)
        self.trials.append(OnDemandRun(route=route, requested_at=T0))
        return self.trials[-1]

    def route_health(self, name: str) -> Health:
        if name in self.released:
            raise KeyError(name)
        return self.healths.get(name, Health.UNKNOWN)

    def runtime(self) -> Any:
        return self
