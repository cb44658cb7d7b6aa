"""Evaluator, pipeline, history and prober of many routes, joined as in `monitor.service.probing_runtime`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from alerts.model.event import Event
from alerts.model.incident import Incident
from alerts.persistence.clock import SystemClock
from monitor.bridge.incident_reporter import IncidentPolicies, IncidentReporter
from monitor.bridge.pipeline import ResultPipeline
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.metrics import Metrics
from monitor.model.health import HealthPolicy
from monitor.model.mail_provider import MailProvider, MailProviders
from monitor.model.route import MonitoredRoute
from monitor.probing.lag import LagMeter
from monitor.probing.prober import Prober
from monitor.runtime.gc_control import freeze_periodically
from monitor.store.backend.database import Database
from monitor.store.probing.history import History
from probes.kinds.roundtrip import KIND
from probes.model.result import ProbeResult
from tests.bench.trip import SIGNER
from tests.unit.alerts.people import SNAPSHOT

#: One provider with high limits: the default limit of a server would be measured otherwise.
_MAIL_PROVIDERS = MailProviders(
    (MailProvider(name="ringan", hosts=("127.0.0.1",), concurrency=1000, account_concurrency=1000),)
)


class RecordingMetrics(Metrics):
    """Metrics that also keep single values."""

    def __init__(self) -> None:
        super().__init__(version="bench", now=SystemClock().now)
        #: Start delay of each run in seconds.
        self.lags: list[float] = []
        self.outcomes: list[str] = []
        self.skipped = 0
        self.discarded = 0

    def count_skipped_runs(self, rounds: int) -> None:
        super().count_skipped_runs(rounds)
        self.skipped += rounds

    def count_discarded_run(self) -> None:
        super().count_discarded_run()
        self.discarded += 1

    def clear(self) -> None:
        """Clear the single values."""
        self.lags.clear()
        self.outcomes.clear()
        self.skipped = self.discarded = 0

    def record_schedule_lag(self, lag: timedelta) -> None:
        super().record_schedule_lag(lag)
        self.lags.append(lag.total_seconds())

    def record_run(
        self, result: ProbeResult, *, agency: str, direction: str, site: str, is_prompt: bool = True
    ) -> None:
        super().record_run(result, agency=agency, direction=direction, site=site, is_prompt=is_prompt)
        self.outcomes.append(result.outcome)


class _IgnoringAlerting:
    """Alerting that ignores events; none is expected."""

    async def submit(self, event: Event) -> Incident | None:
        return None


@dataclass(frozen=True, slots=True)
class Service:
    """The running parts."""

    prober: Prober
    evaluator: HealthEvaluator


@asynccontextmanager
async def service(routes: Mapping[str, MonitoredRoute], state: Path, metrics: Metrics) -> AsyncIterator[Service]:
    """Build the parts, with a store in *state*; the prober is not started."""
    clock, lag = SystemClock(), LagMeter()
    agencies = {route.agency for route in routes.values() if route.agency}
    for agency in (*agencies, ""):
        metrics.register_agency(agency, routes=[])
    async with Database.open(state) as database:
        history = History(database)
        reporter = IncidentReporter(
            policies=IncidentPolicies(agencies=dict.fromkeys(agencies, SNAPSHOT), monitoring_fault=lambda _: SNAPSHOT),
            alerting=_IgnoringAlerting(),
            open_incidents={},
            metrics=metrics,
            clock=clock,
            site="putrajaya",
        )
        evaluator = HealthEvaluator(routes.values(), HealthPolicy())
        prober = Prober(
            routes=routes,
            kind=KIND,
            signer=SIGNER,
            evaluator=evaluator,
            pipeline=ResultPipeline(
                evaluator=evaluator,
                routes=routes,
                history=history,
                reporter=reporter,
                metrics=metrics,
                clock=clock,
                site="putrajaya",
            ),
            history=history,
            metrics=metrics,
            clock=clock,
            known_tokens={},
            mail_providers=_MAIL_PROVIDERS,
            lag=lag,
        )
        works = (lag.keep_measuring(metrics), freeze_periodically(), reporter.run())
        background_tasks = [asyncio.create_task(work) for work in works]
        try:
            yield Service(prober, evaluator)
        finally:
            for task in background_tasks:
                task.cancel()
            await asyncio.gather(*background_tasks, return_exceptions=True)


@asynccontextmanager
async def run_prober(routes: Mapping[str, MonitoredRoute], metrics: Metrics) -> AsyncIterator[Service]:
    """Run the prober for the duration of the block."""
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as state:
        async with service(routes, Path(state), metrics) as it:
            probing = asyncio.create_task(it.prober.run())
            try:
                yield it
            finally:
                probing.cancel()
                await asyncio.gather(probing, return_exceptions=True)
