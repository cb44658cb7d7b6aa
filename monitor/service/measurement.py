"""Measurement of an agency's mail for an operation that states its health: the newest runs, repeated if they are old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from alerts.decide.contradiction import Delivered
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from monitor.evaluation.evidence import ARRIVED
from monitor.evaluation.incident_type import WAYS, WORKS
from monitor.model.route import Direction, MonitoredRoute
from monitor.probing.on_demand_run import OnDemandRun
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.probing.history import History
from probes.model.result import Outcome, ProbeResult

#: How long an operation waits for new runs. A failing run takes longer than one that arrives, and is not awaited.
PATIENCE: Final = timedelta(seconds=6)
#: A run that began this recently is not repeated.
FRESH: Final = timedelta(minutes=1)
#: Maximum of agencies whose routes are run for one operation.
MOST: Final = 20
_OF: Final[Mapping[IncidentType, Direction]] = {
    matter: way for matter in (IncidentType.SENDING, IncidentType.RECEIVING) for way in WAYS[matter]
}


class MailMeasurement:
    """Returns the directions in which the newest message of an agency arrived."""

    def __init__(
        self, *, runtime: Callable[[], ProbingRuntime], history: History, clock: Clock, patience: timedelta = PATIENCE
    ) -> None:
        self._runtime = runtime
        self._history = history
        self._clock = clock
        self._patience = patience
        #: Runs that were begun for an operation, by route.
        self._trials: dict[str, OnDemandRun] = {}

    def begin(self, agencies: Collection[str]) -> Sequence[OnDemandRun]:
        """Run the routes of *agencies* that this process probes, except those with a fresh run."""
        runtime, now = self._runtime(), self._clock.now()
        self._trials = {name: each for name, each in self._trials.items() if not each.is_over}
        for agency in [each for each in agencies if each in runtime.owned][:MOST]:
            for route in {each.name for routes in self._by_way(agency).values() for each in routes}:
                newest = self._history.known().get(route)
                is_fresh = newest is not None and abs(now - newest.started_at) < FRESH
                if not is_fresh and route not in self._trials:
                    # A route that has just left the configuration is not there.
                    with suppress(KeyError):
                        self._trials[route] = runtime.prober.run_now(route)
        return [each for each in self._trials.values() if each.route.agency in agencies]

    async def measure(self, agency: str) -> Delivered:
        """Run the routes of an agency, wait for a while until they end, and return the result of the newest runs."""
        trials = self.begin([agency])
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience.total_seconds()):
                for each in trials:
                    await each.over.wait()
        return (await self.newest([agency]))[agency]

    async def newest(self, agencies: Collection[str]) -> Mapping[str, Delivered]:
        """Return, by agency and direction, when the newest run began if its message arrived.

        Raise `StoreUnavailable`.
        """
        # In another process, or before the start.
        await self._history.look_up(agencies)
        return {agency: self._delivered(agency) for agency in agencies}

    def _delivered(self, agency: str) -> Delivered:
        runtime, known = self._runtime(), self._history.known()
        if (together := runtime.consensus.together(agency)) is not None:
            # Mail that arrives at one site may fail at another.
            works = [way for way, direction in _OF.items() if together.directions.get(direction) in WORKS]
            return dict.fromkeys(works, self._clock.now())
        found: dict[IncidentType, datetime] = {}
        for way, routes in self._by_way(agency).items():
            newest = _newest(known[each.name] for each in routes if each.name in known)
            if newest is not None and newest.outcome in ARRIVED:
                found[way] = newest.started_at
        return found

    def _by_way(self, agency: str) -> Mapping[IncidentType, Sequence[MonitoredRoute]]:
        """Return the routes that show a direction: internal routes only if there are no others."""
        routes = self._runtime().configuration.registry.routes_of(agency)
        inside = [each for each in routes if each.direction is Direction.INTERNAL]
        return {way: [each for each in routes if each.direction is _OF[way]] or inside for way in _OF}


def _newest(runs: Iterable[ProbeResult]) -> ProbeResult | None:
    told = (run for run in runs if run.outcome is not Outcome.INCONCLUSIVE)
    return max(told, key=lambda run: run.started_at, default=None)
