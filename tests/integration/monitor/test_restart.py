"""Messages over a restart: two runs of the prober on one store, with real mail between them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from alerts.model.event import Event
from alerts.model.incident import Incident
from alerts.persistence.clock import SystemClock
from monitor.bridge.incident_reporter import IncidentPolicies, IncidentReporter
from monitor.bridge.pipeline import ResultPipeline
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.metrics import Metrics
from monitor.model.health import HealthPolicy
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.probing.prober import Prober
from monitor.runtime.plugins import ROUND_TRIP, probe_kinds
from monitor.store.backend.database import Database
from monitor.store.probing.history import History
from monitor.store.schema.tables import run
from pantau_lab.mail import Fault, LabNetwork, SystemPlan
from pantau_lab.mail.resources.tempo import FaultDelays
from probes.mail.token import TokenSigner
from probes.model.probe import Route, Timeouts
from probes.model.result import Outcome
from tests.unit.alerts.people import SNAPSHOT
from tests.unit.monitor.scrape import Scrape

CLOCK = SystemClock()
TIMEOUTS = Timeouts(session=timedelta(seconds=5), arrival=timedelta(seconds=1))
FREQUENT = ProbingPolicy(interval=timedelta(seconds=1), timeouts=TIMEOUTS, slow_threshold=timedelta(seconds=0.9))
#: Sends nothing: the run only receives what still arrives.
NO_PROBES = ProbingPolicy(interval=timedelta(days=1000), timeouts=TIMEOUTS)
#: Far longer than the deadline of a run, a restart and a stall of the machine.
SLOW_BY = timedelta(seconds=12)
#: Seconds until something must have happened.
WITHIN = 60


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield cast(list[Any], lines)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LabNetwork]:
    delays = FaultDelays(slow_by=SLOW_BY)
    plans = [
        SystemPlan.with_one_mailbox("JCM", "jabatan-contoh.gov.my", tempo=delays),
        SystemPlan.with_one_mailbox("rujukan-a", "rujukan-satu.gov.my", tempo=delays),
    ]
    async with LabNetwork(plans, folder=tmp_path) as running:
        yield running


class Alerts:
    """Alerting stand-in that records events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def submit(self, event: Event) -> Incident | None:
        self.events.append(event)
        return None


@dataclass
class ProberRun:
    """A running prober, from its start to its stop."""

    prober: Prober
    metrics: Metrics
    database: Database
    alerts: Alerts
    sample_messages: Mapping[str, bytes]
    began: datetime

    def value(self, name: str, **labels: str) -> float | None:
        return Scrape(self.metrics).value(name, **labels)

    def arrivals(self) -> dict[str, float | None]:
        return {kind: self.value("probe_arrivals_total", arrival=kind) for kind in ("late", "duplicate", "forged")}

    async def outcomes(self) -> list[str]:
        async with self.database.read() as connection:
            return list((await connection.execute(select(run.c.outcome))).scalars())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN):
            while not condition():  # noqa: ASYNC110 - a metric cannot be awaited
                await asyncio.sleep(0.05)

    async def has_ended(self, outcome: Outcome) -> None:
        async with asyncio.timeout(WITHIN):
            while outcome not in await self.outcomes():  # noqa: ASYNC110 - nor can the store
                await asyncio.sleep(0.05)


@asynccontextmanager
async def run_prober(directory: Path, network: LabNetwork, probing: ProbingPolicy) -> AsyncIterator[ProberRun]:
    """Start a prober on the store in *directory*; stop it at the end of the block, also during runs."""
    boxes = network.mailboxes()
    route = MonitoredRoute(
        route=Route(name="JCM/outbound/rujukan-a", sender=boxes["JCM"], recipient=boxes["rujukan-a"]),
        agency="JCM",
        direction=Direction.OUTBOUND,
        probing=probing,
    )
    routes = {route.name: route}
    sample_messages: dict[str, bytes] = {}
    began = CLOCK.now()
    async with Database.open(directory) as database:
        history, evaluator, alerts = History(database), HealthEvaluator([route], HealthPolicy()), Alerts()
        evaluator.restore(await history.healths())
        evaluator.restore_deferrals(await history.deferrals(CLOCK.now() - timedelta(hours=1)))
        metrics = Metrics(version="0", now=CLOCK.now)
        metrics.register_agency("JCM", routes=[route.name])
        reporter = IncidentReporter(
            policies=IncidentPolicies(agencies={"JCM": SNAPSHOT}, monitoring_fault=lambda _: SNAPSHOT),
            alerting=alerts,
            open_incidents={},
            metrics=metrics,
            clock=CLOCK,
            site="utama",
        )
        pipeline = ResultPipeline(
            evaluator=evaluator,
            routes=routes,
            history=history,
            reporter=reporter,
            metrics=metrics,
            clock=CLOCK,
            site="utama",
        )
        prober = Prober(
            routes=routes,
            kind=probe_kinds()[ROUND_TRIP],
            signer=TokenSigner(b"kunci-untuk-ujian-sahaja-32-okt!", "putrajaya-1"),
            evaluator=evaluator,
            pipeline=pipeline,
            history=history,
            metrics=metrics,
            clock=CLOCK,
            known_tokens=await history.tokens(CLOCK.now()),
            sample_messages=sample_messages,
        )
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in (prober.run(), reporter.run())]
            yield ProberRun(prober, metrics, database, alerts, sample_messages, began)
            for task in running:
                task.cancel()


@pytest.mark.falsegreen
async def test_mail_arriving_after_restart_is_late_and_none_is_lost(
    tmp_path: Path, network: LabNetwork, logs: list[Any]
) -> None:
    """Defect: A restart turns mail in transit into lost mail or an alarm.

    Pantau: Tokens are stored; later mail is late, with its route.
    """
    state, system = tmp_path / "state", network.systems["JCM"]
    await system.break_(Fault.SLOW)
    async with run_prober(state, network, FREQUENT) as first:
        await first.has_ended(Outcome.LOST)
        # Another message is in transit, and its run will be interrupted.
        before = system.queued
        async with asyncio.timeout(WITHIN):
            while system.queued == before or len(await first.outcomes()) >= system.queued:  # noqa: ASYNC110 - the queue cannot be awaited
                await asyncio.sleep(0.05)
        assert first.arrivals() == {"late": 0, "duplicate": 0, "forged": 0}
    in_transit = system.queued
    await system.repair()

    async with run_prober(state, network, NO_PROBES) as second:
        ended = await second.outcomes()
        await second.until(lambda: second.arrivals()["late"] == in_transit)
        await network.wait_until_empty()
        assert second.arrivals() == {"late": in_transit, "duplicate": 0, "forged": 0}
        # Direction and duration are known; the duration is longer than the delay of the slow system.
        assert second.value("mail_transit_seconds_count", direction="outbound") == in_transit
        assert second.value("mail_transit_seconds_bucket", direction="outbound", le="5.0") == 0
        # Interrupted runs have no outcome: no mail counts as lost, and nothing is reported.
        assert ended == await second.outcomes()
        assert len(ended) < in_transit
        assert second.alerts.events == []
    late = [line for line in logs if line.get("arrival") == "late"]
    assert {(line["route"], line["direction"]) for line in late} == {("JCM/outbound/rujukan-a", "outbound")}

    async with run_prober(state, network, NO_PROBES) as third:
        # Late mail is not awaited again: a second copy would be a duplicate.
        known = await History(third.database).tokens(CLOCK.now())
        assert [sent.has_arrived for sent in known.values()] == [True] * in_transit


@pytest.mark.falsegreen
@pytest.mark.parametrize("suspended", [False, True])
async def test_duplicate_and_forgery_are_distinguished_after_restart(
    tmp_path: Path, network: LabNetwork, monkeypatch: pytest.MonkeyPatch, *, suspended: bool
) -> None:
    """Defect: After a restart a copy or a forgery counts as the message.

    Pantau: Both are recognised as before.
    """
    valid = {Outcome.DELIVERED: not suspended}
    monkeypatch.setattr("monitor.probing.prober.is_valid", lambda run, *_: valid.get(run.outcome, True))
    state, system = tmp_path / "state", network.systems["rujukan-a"]
    address = network.mailboxes()["rujukan-a"].address
    async with run_prober(state, network, FREQUENT) as first:
        # Mail that arrived during the suspension counts as arrived.
        await first.has_ended(Outcome.INCONCLUSIVE if suspended else Outcome.DELIVERED)
        # The stop interrupts no delivery and no run with arrived mail: mail or the copy would then be late.
        await network.systems["JCM"].break_(Fault.FULL)
        await first.has_ended(Outcome.DEFERRED)
        # Nor mail in transit that a run on a busy machine has given up.
        await network.wait_until_empty()
        await first.until(lambda: system.message_count(address) == 0)
        content = first.sample_messages["JCM"]
    # Tokens are case-insensitive.
    forged = re.sub(
        rb"[0-9A-Za-z_-]{24,}", lambda match: match[0][:-1] + (b"b" if match[0][-1:] in b"aA" else b"a"), content
    )
    await system.put(address, content)
    await system.put(address, forged)

    async with run_prober(state, network, NO_PROBES) as second:
        await second.until(lambda: second.arrivals() == {"late": 0, "duplicate": 1, "forged": 1})
        assert second.value("mail_transit_seconds_count", direction="outbound") == 0
        # The forgery may be somebody's mail: it is not deleted.
        async with asyncio.timeout(WITHIN):
            while system.message_count(address) != 1:  # noqa: ASYNC110 - the mailbox cannot be awaited
                await asyncio.sleep(0.05)


async def test_deferral_start_time_is_kept_over_restart(tmp_path: Path, network: LabNetwork) -> None:
    state = tmp_path / "state"
    await network.systems["JCM"].break_(Fault.FULL)
    async with run_prober(state, network, FREQUENT) as first:
        began = CLOCK.now()
        await first.has_ended(Outcome.DEFERRED)
    async with run_prober(state, network, FREQUENT) as second:
        deferrals = await History(second.database).deferrals(began - timedelta(minutes=1))
        await second.until(
            lambda: second.prober._evaluator._trackers["JCM/outbound/rujukan-a"].deferred_since is not None
        )
        ((name, since),) = deferrals.items()
        assert name == "JCM/outbound/rujukan-a"
        assert since < second.began
        assert second.prober._evaluator._trackers[name].deferred_since == since
