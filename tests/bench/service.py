"""The real judge, pipeline, history and prober over an estate, as `monitor.watch` joins them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from alerts.clock import SystemClock
from alerts.event import Event
from alerts.incident import Incident
from monitor.judging.health import HealthPolicy
from monitor.judging.judge import Judge
from monitor.metrics import Metrics
from monitor.pipeline import Briefs, Pipeline
from monitor.probing.prober import Prober
from monitor.probing.provider import Provider, Providers
from monitor.probing.route import WatchedRoute
from monitor.store.database import Database
from monitor.store.history import History
from probes.kinds.roundtrip import KIND
from probes.result import ProbeResult
from tests.bench.trip import SIGNER
from tests.unit.alerts.people import BRIEF

#: One provider runs all of it: the usual room of a single server would be what is measured.
_PROVIDERS = Providers((Provider(name="ringan", hosts=("127.0.0.1",), concurrency=1000),))


class Watchful(Metrics):
    """The metrics, and what they do not keep one by one."""

    def __init__(self) -> None:
        super().__init__(version="bench", now=SystemClock().now)
        #: How late each run was started, in seconds.
        self.lags: list[float] = []
        self.outcomes: list[str] = []

    def schedule_lagged(self, lag: timedelta) -> None:
        super().schedule_lagged(lag)
        self.lags.append(lag.total_seconds())

    def probe_finished(self, result: ProbeResult, *, agency: str, direction: str, site: str) -> None:
        super().probe_finished(result, agency=agency, direction=direction, site=site)
        self.outcomes.append(result.outcome)


class _Nobody:
    """Hears what is told, which is nothing while nothing breaks."""

    async def submit(self, event: Event) -> Incident | None:
        return None


@asynccontextmanager
async def service(routes: Mapping[str, WatchedRoute], state: Path, metrics: Metrics) -> AsyncIterator[Prober]:
    """Build it, with its store in *state*; the prober is not started."""
    clock = SystemClock()
    agencies = {route.agency for route in routes.values() if route.agency}
    for agency in (*agencies, ""):
        metrics.watch_agency(agency, routes=[])
    async with Database.open(state) as database:
        history = History(database)
        judge = Judge(routes.values(), HealthPolicy())
        yield Prober(
            routes=routes,
            kind=KIND,
            signer=SIGNER,
            judge=judge,
            pipeline=Pipeline(
                judge=judge,
                routes=routes,
                briefs=Briefs(agencies=dict.fromkeys(agencies, BRIEF), ours=lambda _: BRIEF),
                history=history,
                alerting=_Nobody(),
                metrics=metrics,
                clock=clock,
                site="putrajaya",
                open_incidents={},
            ),
            history=history,
            metrics=metrics,
            clock=clock,
            known_tokens={},
            providers=_PROVIDERS,
        )
