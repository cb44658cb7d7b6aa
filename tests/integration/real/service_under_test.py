"""The service with real mail systems, from its schedule to the incidents and metrics that it reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from alerts.model.event import Event, Resolve, Trigger
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.persistence.clock import SystemClock
from monitor.config.loading import Configuration
from monitor.metrics import Metrics
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction, ProbingPolicy
from monitor.service.probing_runtime import ProbingRuntime, RuntimeContext, make_runtime
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.probe import Timeouts
from tests.unit.monitor.config.ministry import Ministry
from tests.unit.monitor.scrape import Scrape

CODE = "JCONTOH"
SENDING, RECEIVING, BOTH = (
    f"{CODE}: {matter}" for matter in (IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH)
)
DEGRADED = f"{CODE}: {IncidentType.DEGRADED}"
#: Incidents that may be reported before, while not all broken routes have been run.
_BEFORE = {SENDING: {DEGRADED}, RECEIVING: {DEGRADED}, BOTH: {DEGRADED, SENDING, RECEIVING}}
#: As short as two busy cores allow. A message takes some tens of milliseconds.
_PROBING = ProbingPolicy(
    interval=timedelta(seconds=1),
    retry_interval=timedelta(seconds=0.4),
    timeouts=Timeouts(session=timedelta(seconds=4), arrival=timedelta(seconds=3)),
    slow_threshold=timedelta(seconds=3),
    deferral_timeout=timedelta(seconds=0.5),
    health=HealthPolicy(failure_threshold=2, success_threshold=2),
)
#: As in production, control routes are repeated much sooner than failed routes.
_CONTROL = replace(_PROBING, retry_interval=timedelta(seconds=0.05))
#: Seconds; a busy machine may need another run.
_WITHIN = 90.0


class RecordingAlerting:
    """Stand-in for the dispatcher that records reported incidents."""

    def __init__(self) -> None:
        self.reports: list[str] = []
        self.open: set[str] = set()

    async def open_keys(self, _: SqlStore) -> Collection[str]:
        """Return the open dedup keys. The runtime reads them once a minute and reports missing ones again."""
        return {*self.open}

    async def submit(self, event: Event) -> Incident | None:
        assert isinstance(event, Trigger | Resolve)
        what = event.type if isinstance(event, Trigger) else "over"
        self.reports.append(f"{event.dedup_key}: {what}")
        (self.open.add if isinstance(event, Trigger) else self.open.discard)(event.dedup_key)
        return None


@dataclass(slots=True, kw_only=True)
class ServiceUnderTest:
    """The running service, its metrics and reports."""

    runtime: ProbingRuntime
    history: History
    metrics: Metrics
    alerting: RecordingAlerting

    async def expect_incident(self, expected: str, down: Collection[Direction]) -> None:
        """Wait until this incident is reported and exactly these directions are shown as down."""
        await self._wait_until(lambda: expected in self.alerting.reports, f"told {expected}")
        await self._wait_until(lambda: self._down() == {*down}, f"down {down}")
        if not expected.startswith(CODE):
            # A monitoring fault does not count against the agency later either.
            await self._all_routes_run()
            assert self._down() == {*down}, await self.report()
        *before, last = self.alerting.reports
        assert last == expected, await self.report()
        assert {*before} <= _BEFORE.get(expected, set()), await self.report()
        self.alerting.reports.clear()

    async def wait_until_up(self) -> None:
        """Wait until every route is up. First messages of servers are late; incidents from that are over."""
        await self._wait_until(lambda: self._all_up() and not self.alerting.open, "everything is up")
        self.alerting.reports.clear()

    async def expect_recovery(self, *expected: str) -> None:
        """Wait until every route is up, and exactly these reports were made since the last call."""
        await self._wait_until(self._all_up, "everything is up")
        await self._wait_until(lambda: len(self.alerting.reports) >= len(expected), f"told {expected}")
        assert self.alerting.reports == [*expected], await self.report()
        self.alerting.reports.clear()

    def _down(self) -> set[Direction]:
        scrape = Scrape(self.metrics)
        of_agency = (d for d in Direction if d is not Direction.CONTROL)
        return {d for d in of_agency if scrape.value("mail_up", agency=CODE, direction=str(d)) == 0}

    def _all_up(self) -> bool:
        evaluator = self.runtime.evaluator
        healths = {evaluator.route_health(name) for name in self.runtime.routes}
        return healths == {Health.UP} and not evaluator.source_troubles(datetime.now(UTC))

    async def _all_routes_run(self) -> None:
        """Wait until every route has been run once more."""
        began, waiting = datetime.now(UTC), set(self.runtime.routes)
        try:
            async with asyncio.timeout(_WITHIN):
                while waiting:
                    latest = await self.history.latest()
                    waiting -= {name for name, run in latest.items() if run.started_at >= began}
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not run in {_WITHIN} s: {waiting}\n{await self.report()}") from None

    async def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(_WITHIN):
                while not condition():  # noqa: ASYNC110 - health cannot be awaited
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not within {_WITHIN} s: {what}\n{await self.report()}") from None

    async def report(self) -> str:
        """Return the state of the service, for the message of a failed assertion."""
        own = self.runtime.evaluator.source_troubles(datetime.now(UTC))
        lines = [
            f"heard: {self.alerting.reports}",
            f"down: {self._down()}",
            f"ours: {[str(suspect) for suspect in own]}",
        ]
        for name, run in (await self.history.latest()).items():
            health, why = (
                self.runtime.evaluator.route_health(name),
                run.failure and (run.failure.reason, run.failure.detail),
            )
            lines.append(f"{name}: {health}; last run at {run.started_at:%M:%S.%f}: {run.outcome} {why}")
        return "\n".join(lines)


@asynccontextmanager
async def service_under_test(
    directory: Path, agency: Mailbox, reference_a: Mailbox, reference_b: Mailbox
) -> AsyncIterator[ServiceUnderTest]:
    """Monitor an agency with one mailbox, and two references, until the end of the block."""
    mailboxes = {f"{CODE}/utama": agency, "rujukan-a": reference_a, "rujukan-b": reference_b}
    configuration = _configuration(directory, {name: replace(box, name=name) for name, box in mailboxes.items()})
    clock, alerting = SystemClock(), RecordingAlerting()
    async with Database.open(directory / "state") as database:
        context = RuntimeContext(
            signer=TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1"),
            store=SqlStore(database),
            history=History(database),
            alerting=alerting,
            metrics=Metrics(version="0", now=clock.now),
            clock=clock,
        )
        with patch("monitor.service.probing_runtime._detected_keys", alerting.open_keys):
            runtime = await make_runtime(configuration, context)
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(each) for each in (runtime.prober.run(), runtime.reporter.run())]
            yield ServiceUnderTest(runtime=runtime, history=context.history, metrics=context.metrics, alerting=alerting)
            for each in working:
                each.cancel()


def _configuration(directory: Path, mailboxes: Mapping[str, Mailbox]) -> Configuration:
    """Return a ministry's configuration with these mailboxes and shorter intervals than files permit."""
    ministry = Ministry(directory)
    ministry.edit(
        "pantau",
        "state_dir: state\n",
        "state_dir: state\nprobing: {failure_threshold: 2, success_threshold: 2}\nflapping: {window: 1s}\n",
    )
    configuration = ministry.load().require_configuration()
    routes = [
        replace(
            each,
            probing=_CONTROL if each.direction is Direction.CONTROL else _PROBING,
            route=replace(
                each.route, sender=mailboxes[each.route.sender.name], recipient=mailboxes[each.route.recipient.name]
            ),
        )
        for each in configuration.registry.routes
    ]
    return replace(configuration, registry=replace(configuration.registry, routes=tuple(routes)))
