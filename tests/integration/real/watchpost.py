"""The service at work on real mail systems, from its schedule to what the alerting side and Prometheus are told."""

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
from monitor.store.engine.ledger import SqlStore
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
#: What may be told of the agency a moment before: of the routes that are broken, not all have been run by then.
_BEFORE = {SENDING: {DEGRADED}, RECEIVING: {DEGRADED}, BOTH: {DEGRADED, SENDING, RECEIVING}}
#: As short as two busy cores allow: a message takes some tens of milliseconds.
_PROBING = ProbingPolicy(
    interval=timedelta(seconds=1),
    retry_interval=timedelta(seconds=0.4),
    timeouts=Timeouts(session=timedelta(seconds=4), arrival=timedelta(seconds=3)),
    slow_threshold=timedelta(seconds=3),
    deferral_timeout=timedelta(seconds=0.5),
    health=HealthPolicy(failure_threshold=2, success_threshold=2),
)
#: As in earnest, the proof that we ourselves are well comes much sooner than the next look at what has failed.
_CONTROL = replace(_PROBING, retry_interval=timedelta(seconds=0.05))
#: In seconds; on a machine that stalls a run more or less is needed.
_WITHIN = 90.0


class Ear:
    """Stands where the dispatcher does, and notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.open: set[str] = set()

    async def open_keys(self, _: SqlStore) -> Collection[str]:
        """Return what is open, as the store would know: the watch asks once a minute, and tells again what is not."""
        return {*self.open}

    async def submit(self, event: Event) -> Incident | None:
        assert isinstance(event, Trigger | Resolve)
        what = event.type if isinstance(event, Trigger) else "over"
        self.heard.append(f"{event.dedup_key}: {what}")
        (self.open.add if isinstance(event, Trigger) else self.open.discard)(event.dedup_key)
        return None


@dataclass(slots=True, kw_only=True)
class Watchpost:
    """The watch, and what it says."""

    runtime: ProbingRuntime
    history: History
    metrics: Metrics
    ear: Ear

    async def is_told(self, expected: str, down: Collection[Direction]) -> None:
        """Wait until this was told since the last time and these directions are shown as down, and nothing else is."""
        await self._until(lambda: expected in self.ear.heard, f"told {expected}")
        await self._until(lambda: self._down() == {*down}, f"down {down}")
        if not expected.startswith(CODE):
            # What is ours is not held against the agency later either.
            await self._everything_runs()
            assert self._down() == {*down}, await self.report()
        *before, last = self.ear.heard
        assert last == expected, await self.report()
        assert {*before} <= _BEFORE.get(expected, set()), await self.report()
        self.ear.heard.clear()

    async def is_warm(self) -> None:
        """Wait until everything is proven to work. Servers are late with their first messages; what that led to is over."""
        await self._until(lambda: self._all_up() and not self.ear.open, "everything is up")
        self.ear.heard.clear()

    async def is_well(self, *expected: str) -> None:
        """Wait until everything is proven to work, and exactly this was told since the last time."""
        await self._until(self._all_up, "everything is up")
        await self._until(lambda: len(self.ear.heard) >= len(expected), f"told {expected}")
        assert self.ear.heard == [*expected], await self.report()
        self.ear.heard.clear()

    def _down(self) -> set[Direction]:
        scrape = Scrape(self.metrics)
        agencys = (d for d in Direction if d is not Direction.CONTROL)
        return {d for d in agencys if scrape.value("mail_up", agency=CODE, direction=str(d)) == 0}

    def _all_up(self) -> bool:
        evaluator = self.runtime.evaluator
        healths = {evaluator.route_health(name) for name in self.runtime.routes}
        return healths == {Health.UP} and not evaluator.own_troubles(datetime.now(UTC))

    async def _everything_runs(self) -> None:
        """Wait until every route has been run once more from now on."""
        began, waiting = datetime.now(UTC), set(self.runtime.routes)
        try:
            async with asyncio.timeout(_WITHIN):
                while waiting:
                    latest = await self.history.latest()
                    waiting -= {name for name, run in latest.items() if run.started_at >= began}
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not run in {_WITHIN} s: {waiting}\n{await self.report()}") from None

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(_WITHIN):
                while not true():  # noqa: ASYNC110 - the judge is asked, it does not tell
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not within {_WITHIN} s: {what}\n{await self.report()}") from None

    async def report(self) -> str:
        """Return how things stand, for whoever has to find out why a test fails."""
        own = self.runtime.evaluator.own_troubles(datetime.now(UTC))
        lines = [f"heard: {self.ear.heard}", f"down: {self._down()}", f"ours: {[str(suspect) for suspect in own]}"]
        for name, run in (await self.history.latest()).items():
            health, why = (
                self.runtime.evaluator.route_health(name),
                run.failure and (run.failure.reason, run.failure.detail),
            )
            lines.append(f"{name}: {health}; last run at {run.started_at:%M:%S.%f}: {run.outcome} {why}")
        return "\n".join(lines)


@asynccontextmanager
async def watchpost(
    directory: Path, agency: Mailbox, reference_a: Mailbox, reference_b: Mailbox
) -> AsyncIterator[Watchpost]:
    """Watch an agency with one mailbox, and two references, until the end of the block."""
    mailboxes = {f"{CODE}/utama": agency, "rujukan-a": reference_a, "rujukan-b": reference_b}
    configuration = _configuration(directory, {name: replace(box, name=name) for name, box in mailboxes.items()})
    clock, ear = SystemClock(), Ear()
    async with Database.open(directory / "state") as database:
        around = RuntimeContext(
            signer=TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1"),
            store=SqlStore(database),
            history=History(database),
            alerting=ear,
            metrics=Metrics(version="0", now=clock.now),
            clock=clock,
        )
        with patch("monitor.service.probing_runtime._detected_keys", ear.open_keys):
            runtime = await make_runtime(configuration, around)
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(each) for each in (runtime.prober.run(), runtime.reporter.run())]
            yield Watchpost(runtime=runtime, history=around.history, metrics=around.metrics, ear=ear)
            for each in working:
                each.cancel()


def _configuration(directory: Path, mailboxes: Mapping[str, Mailbox]) -> Configuration:
    """Return a ministry's configuration, with these mailboxes in it and faster than its files could say."""
    ministry = Ministry(directory)
    ministry.edit(
        "pantau",
        "state_dir: state\n",
        "state_dir: state\nprobing: {failure_threshold: 2, success_threshold: 2}\nflapping: {window: 1s}\n",
    )
    configuration = ministry.load().accepted()
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
