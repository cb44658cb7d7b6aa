"""Measurement of an agency's mail for an operation that states whether mail works, such as marking a false alarm.

A *route* is mail from one mailbox to another; a *run* is one probe message on it. The newest runs of the agency's
routes count. Routes whose newest run is old are run first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from alerts.decide.contradiction import LatestArrivals
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from monitor.evaluation.evidence import ARRIVED
from monitor.evaluation.incident_type import PASSING, TYPE_DIRECTIONS
from monitor.model.route import Direction, MonitoredRoute
from monitor.probing.on_demand_run import OnDemandRun
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.probing.history import History
from probes.model.result import Outcome, ProbeResult

#: Maximum time that an operation waits for new runs. Most messages arrive in this time; runs that fail take longer.
MAX_WAIT: Final = timedelta(seconds=6)
#: A run that began this recently is not repeated.
FRESH_PERIOD: Final = timedelta(minutes=1)
#: Maximum number of agencies whose routes are run for one operation.
MAX_AGENCIES: Final = 20
#: The direction of mail that fails in an incident of each type.
_DIRECTION_OF: Final[Mapping[IncidentType, Direction]] = {
    incident_type: direction
    for incident_type in (IncidentType.SENDING, IncidentType.RECEIVING)
    for direction in TYPE_DIRECTIONS[incident_type]
}


class MailMeasurement:
    """Measurement of the directions (to or from an agency) in which the newest message arrived."""

    def __init__(
        self, *, runtime: Callable[[], ProbingRuntime], history: History, clock: Clock, timeout: timedelta = MAX_WAIT
    ) -> None:
        self._runtime = runtime
        self._history = history
        self._clock = clock
        self._timeout = timeout
        #: Runs in progress that were started for an operation, by route.
        self._runs: dict[str, OnDemandRun] = {}

    def begin(self, agencies: Collection[str]) -> Sequence[OnDemandRun]:
        """Start runs of the routes of *agencies*; return the runs in progress of these routes.

        Leave out routes whose latest run is fresh, and agencies that another process probes.
        """
        runtime, now = self._runtime(), self._clock.now()
        self._runs = {name: run for name, run in self._runs.items() if not run.is_finished}
        for agency in [each for each in agencies if each in runtime.owned][:MAX_AGENCIES]:
            for route in {each.name for routes in self._routes_by_type(agency).values() for each in routes}:
                latest = self._history.known().get(route)
                is_fresh = latest is not None and abs(now - latest.started_at) < FRESH_PERIOD
                if not is_fresh and route not in self._runs:
                    # The route may just have been removed from the configuration.
                    with suppress(KeyError):
                        self._runs[route] = runtime.prober.run_now(route)
        return [run for run in self._runs.values() if run.route.agency in agencies]

    async def measure(self, agency: str) -> LatestArrivals:
        """Run the routes of an agency, wait until the runs or the timeout end, and return its entry of `newest`."""
        runs = self.begin([agency])
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout.total_seconds()):
                for run in runs:
                    await run.finished.wait()
        return (await self.newest([agency]))[agency]

    async def newest(self, agencies: Collection[str]) -> Mapping[str, LatestArrivals]:
        """Return, by agency and incident type, the start of the newest run if its message arrived.

        A type is missing if the message did not arrive. Raise `StoreUnavailable`. If several sites probe an agency, the
        time is the present, and a type is missing unless mail arrives by their joint status.
        """
        # The newest run may be a run of another process, or older than the start of this process.
        await self._history.refresh_latest(agencies)
        return {agency: self._latest_arrivals(agency) for agency in agencies}

    def _latest_arrivals(self, agency: str) -> LatestArrivals:
        runtime, known = self._runtime(), self._history.known()
        if (joint_status := runtime.reporter.joint_status(agency)) is not None:
            # The joint status counts, because one site's message may arrive although another site's fails.
            working = [
                incident_type
                for incident_type, direction in _DIRECTION_OF.items()
                if joint_status.directions.get(direction) in PASSING
            ]
            return dict.fromkeys(working, self._clock.now())
        arrivals: dict[IncidentType, datetime] = {}
        for incident_type, routes in self._routes_by_type(agency).items():
            latest = _newest(known[each.name] for each in routes if each.name in known)
            if latest is not None and latest.outcome in ARRIVED:
                arrivals[incident_type] = latest.started_at
        return arrivals

    def _routes_by_type(self, agency: str) -> Mapping[IncidentType, Sequence[MonitoredRoute]]:
        """Return the routes that show whether sending or receiving works, by the incident type of its failure.

        A type without routes of its direction has the agency's internal routes.
        """
        routes = self._runtime().configuration.registry.routes_for(agency)
        internal = [route for route in routes if route.direction is Direction.INTERNAL]
        return {
            incident_type: [route for route in routes if route.direction is _DIRECTION_OF[incident_type]] or internal
            for incident_type in _DIRECTION_OF
        }


def _newest(runs: Iterable[ProbeResult]) -> ProbeResult | None:
    conclusive = (run for run in runs if run.outcome is not Outcome.INCONCLUSIVE)
    return max(conclusive, key=lambda run: run.started_at, default=None)
