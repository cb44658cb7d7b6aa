"""What becomes of messages over a restart: two lives of the prober on one store, and real mail between them."""

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
from tests.unit.alerts.people import BRIEF
from tests.unit.monitor.scrape import Scrape

CLOCK = SystemClock()
PATIENCE = Timeouts(session=timedelta(seconds=5), arrival=timedelta(seconds=1))
OFTEN = ProbingPolicy(interval=timedelta(seconds=1), timeouts=PATIENCE, slow_threshold=timedelta(seconds=0.9))
#: Nothing is sent in a life that only looks at what still comes.
NEVER = ProbingPolicy(interval=timedelta(days=1000), timeouts=PATIENCE)
#: Far longer than the deadline of a run, than a restart takes, and than a machine stands still.
SLOW_BY = timedelta(seconds=12)
#: In seconds, for what must come.
WITHIN = 60


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield cast(list[Any], lines)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LabNetwork]:
    tempo = FaultDelays(slow_by=SLOW_BY)
    plans = [
        SystemPlan.with_one_mailbox("JCM", "jabatan-contoh.gov.my", tempo=tempo),
        SystemPlan.with_one_mailbox("rujukan-a", "rujukan-satu.gov.my", tempo=tempo),
    ]
    async with LabNetwork(plans, folder=tmp_path) as running:
        yield running


class Alerts:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    async def submit(self, event: Event) -> Incident | None:
        self.heard.append(event)
        return None


@dataclass
class Life:
    """A prober at work, from one start to the next stop."""

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
            while not condition():  # noqa: ASYNC110 - metrics are asked, they do not tell
                await asyncio.sleep(0.05)

    async def has_ended(self, outcome: Outcome) -> None:
        async with asyncio.timeout(WITHIN):
            while outcome not in await self.outcomes():  # noqa: ASYNC110 - so is the store
                await asyncio.sleep(0.05)


@asynccontextmanager
async def life(directory: Path, network: LabNetwork, probing: ProbingPolicy) -> AsyncIterator[Life]:
    """Start on the store in *directory*, and stop at the end of the block, whatever is under way."""
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
            policies=IncidentPolicies(agencies={"JCM": BRIEF}, monitoring_fault=lambda _: BRIEF),
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
            yield Life(prober, metrics, database, alerts, sample_messages, began)
            for task in running:
                task.cancel()


@pytest.mark.falsegreen
async def test_mail_that_comes_after_the_next_start_is_late_and_nothing_is_lost_by_a_stop(
    tmp_path: Path, network: LabNetwork, logs: list[Any]
) -> None:
    """Defect: A restart turns mail in transit into lost mail or an alarm.

    Pantau: Tokens are stored; later mail is late, with its route.
    """
    state, system = tmp_path / "state", network.systems["JCM"]
    await system.break_(Fault.SLOW)
    async with life(state, network, OFTEN) as first:
        await first.has_ended(Outcome.LOST)
        # Another is on its way, and its run will not see its end.
        before = system.queued
        async with asyncio.timeout(WITHIN):
            while system.queued == before or len(await first.outcomes()) >= system.queued:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        assert first.arrivals() == {"late": 0, "duplicate": 0, "forged": 0}
    on_their_way = system.queued
    await system.repair()

    async with life(state, network, NEVER) as second:
        ended = await second.outcomes()
        await second.until(lambda: second.arrivals()["late"] == on_their_way)
        await network.emptied()
        assert second.arrivals() == {"late": on_their_way, "duplicate": 0, "forged": 0}
        # It is known which way it went and how long that took: longer than the slow system holds it back.
        assert second.value("mail_transit_seconds_count", direction="outbound") == on_their_way
        assert second.value("mail_transit_seconds_bucket", direction="outbound", le="5.0") == 0
        # What was cut off by the stop has no end, is not lost, and alarms nobody.
        assert ended == await second.outcomes()
        assert len(ended) < on_their_way
        assert second.alerts.heard == []
    late = [line for line in logs if line.get("arrival") == "late"]
    assert {(line["route"], line["direction"]) for line in late} == {("JCM/outbound/rujukan-a", "outbound")}

    async with life(state, network, NEVER) as third:
        # What has come late is not waited for again: a second copy would be a duplicate.
        known = await History(third.database).tokens(CLOCK.now())
        assert [sent.has_arrived for sent in known.values()] == [True] * on_their_way


@pytest.mark.falsegreen
@pytest.mark.parametrize("stood_still", [False, True])
async def test_a_second_copy_and_a_forgery_are_told_apart_after_the_next_start(
    tmp_path: Path, network: LabNetwork, monkeypatch: pytest.MonkeyPatch, *, stood_still: bool
) -> None:
    """Defect: After a restart a copy or a forgery counts as the message.

    Pantau: Both are recognised as before.
    """
    believed = {Outcome.DELIVERED: not stood_still}
    monkeypatch.setattr("monitor.probing.prober.is_valid", lambda run, *_: believed.get(run.outcome, True))
    state, system = tmp_path / "state", network.systems["rujukan-a"]
    address = network.mailboxes()["rujukan-a"].address
    async with life(state, network, OFTEN) as first:
        # Mail that came while we stood still came all the same.
        await first.has_ended(Outcome.INCONCLUSIVE if stood_still else Outcome.DELIVERED)
        # The stop cuts off no mail: it would come late, and no run whose mail came: the copy would be late then.
        await network.systems["JCM"].break_(Fault.FULL)
        await first.has_ended(Outcome.DEFERRED)
        # Nor what a run has given up that a busy machine was too slow for: it is on its way, and in no mailbox yet.
        await network.emptied()
        await first.until(lambda: system.messages(address) == 0)
        content = first.sample_messages["JCM"]
    # Whatever their case: letters of tokens have none.
    forged = re.sub(
        rb"[0-9A-Za-z_-]{24,}", lambda match: match[0][:-1] + (b"b" if match[0][-1:] in b"aA" else b"a"), content
    )
    await system.put(address, content)
    await system.put(address, forged)

    async with life(state, network, NEVER) as second:
        await second.until(lambda: second.arrivals() == {"late": 0, "duplicate": 1, "forged": 1})
        assert second.value("mail_transit_seconds_count", direction="outbound") == 0
        # The forgery may be somebody's mail: it is left alone.
        async with asyncio.timeout(WITHIN):
            while system.messages(address) != 1:  # noqa: ASYNC110 - so is the mailbox
                await asyncio.sleep(0.05)


async def test_a_server_that_puts_us_off_is_not_given_its_budget_anew_by_a_restart(
    tmp_path: Path, network: LabNetwork
) -> None:
    state = tmp_path / "state"
    await network.systems["JCM"].break_(Fault.FULL)
    async with life(state, network, OFTEN) as first:
        began = CLOCK.now()
        await first.has_ended(Outcome.DEFERRED)
    async with life(state, network, OFTEN) as second:
        deferrals = await History(second.database).deferrals(began - timedelta(minutes=1))
        await second.until(
            lambda: second.prober._evaluator._trackers["JCM/outbound/rujukan-a"].deferred_since is not None
        )
        ((name, since),) = deferrals.items()
        assert name == "JCM/outbound/rujukan-a"
        assert since < second.began
        assert second.prober._evaluator._trackers[name].deferred_since == since
