"""The status page of a whole country: what the loop feels of those who look at it, and what each of them is sent."""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from alerts.engine.gateway_pool import GatewayPool
from alerts.model.event import Trigger
from alerts.model.notification import IncidentType
from monitor.config.model.registry import Agency, Registry
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.model.health import HealthPolicy
from monitor.model.route import MonitoredRoute
from monitor.planning.check_run import CheckRun
from monitor.service.facade import ServiceFacade
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.status_reader import StatusReader
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.store.probing.history import History
from monitor.views.self_health import SelfHealthInputs
from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, serve
from probes.model.check import CheckScope
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult
from tests.bench.apart import apart
from tests.bench.estate import NOON, controls, delivered, findings, routes
from tests.bench.goal import Measured
from tests.bench.light import Light, light
from tests.unit.alerts.people import BRIEF

_AGENCIES = 1000
#: Of them so many are down, with an incident each.
_DOWN = 300
#: Agencies that change between two looks.
_CHANGED = 50
#: Ends of runs that are written in one commit.
_AT_ONCE = 1000
#: Looks as a browser does, in a process of its own.
_VIEWER = """
import sys, urllib.request
asked = urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": "gzip"})
print(len(urllib.request.urlopen(asked).read()))
"""


def measure(rounds: int) -> Measured:
    """Look at the page for the first time, and again after changes; let programs list agencies, incidents and notices."""
    with light() as server:
        found = [apart(lambda: asyncio.run(_looks(server))) for _ in range(rounds)]
    return Measured(
        rounds={
            "page_held_ms": [max(each.first, each.again, each.listed) * 1000 for each in found],
            "page_bytes_gzip": [each.octets for each in found],
        },
        notes={
            "page: held by the first rendering, ms": found[0].first * 1000,
            "page: held by one after changes, ms": found[0].again * 1000,
            "page: held by the lists for programs, ms": found[0].listed * 1000,
            "page: CPU of the first rendering, ms": found[0].first_cpu * 1000,
            "page: CPU of one after changes, ms": found[0].again_cpu * 1000,
            "page: CPU of a look without changes, ms": found[0].idle_cpu * 1000,
        },
    )


def profiled() -> None:
    """Look for the first time and again, for a profiler around it."""
    with light() as server:
        asyncio.run(_looks(server))


@dataclass(slots=True, kw_only=True)
class _Looks:
    """What came of it: octets, and seconds."""

    octets: int = 0
    first: float = 0.0
    again: float = 0.0
    listed: float = 0.0
    first_cpu: float = 0.0
    again_cpu: float = 0.0
    idle_cpu: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Country:
    """The part of the service that the page needs."""

    status_reader: StatusReader
    history: History
    evaluator: HealthEvaluator
    codes: Sequence[str] = field(default_factory=list)

    async def change(self, agencies: Sequence[str]) -> None:
        """Let a route of each of these fail once more, and otherwise than before."""
        for number, code in enumerate(agencies):
            route = f"{code}/internal"
            run = replace(_refused(route), failure=_failure(f"4.7.{number}"))
            self.evaluator.record_run(run, NOON)
            await self.history.record_run(run, code, {})


async def _looks(server: Light) -> _Looks:
    made = _Looks()
    with tempfile.TemporaryDirectory() as directory:
        async with _country(server, Path(directory)) as country:
            source = cast(ServiceFacade, SimpleNamespace(status_reader=country.status_reader))
            listener = open_port("127.0.0.1", 0)
            async with serve(portal(source, ["127.0.0.1"]), listener):
                url = listener_url(listener)
                # The very first answer also imports and connects.
                await _look(f"{url}/-/healthy")
                made.octets, made.first, made.first_cpu = await _look(f"{url}/fragment")
                await country.change(country.codes[:_CHANGED])
                # The page is shared by all who look within two seconds.
                await asyncio.sleep(2.1)
                _, made.again, made.again_cpu = await _look(f"{url}/fragment")
                await asyncio.sleep(2.1)
                _, _, made.idle_cpu = await _look(f"{url}/fragment")
                lists = [await _look(f"{url}/api/v1/{listed}") for listed in ("agencies", "incidents", "notices")]
                made.listed = max(held for _, held, _ in lists)
    return made


async def _look(url: str) -> tuple[int, float, float]:
    """Return how many octets came, how long the loop was held at most, and what it cost us."""
    quiet = asyncio.subprocess.PIPE
    viewer = await asyncio.create_subprocess_exec(sys.executable, "-c", _VIEWER, url, stdout=quiet)
    began = time.process_time()
    with _turns() as held:
        answer, _ = await asyncio.wait_for(viewer.communicate(), 60)
    return int(answer), max(held), time.process_time() - began


@contextmanager
def _turns() -> Iterator[list[float]]:
    """Note what the loop's thread works between two turns of somebody who only wants a turn.

    Its CPU and not the time: whoever else is busy on this machine is no work of ours.
    """
    held = [0.0]

    async def turn() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.0005)
            held.append(time.thread_time() - before)

    turning = asyncio.get_running_loop().create_task(turn())
    try:
        yield held
    finally:
        turning.cancel()


@asynccontextmanager
async def _country(server: Light, directory: Path) -> AsyncIterator[_Country]:
    watched = {**routes(server, _AGENCIES), **controls(server)}
    evaluator = HealthEvaluator(watched.values(), HealthPolicy())
    codes = sorted({route.agency for route in watched.values()} - {""})
    inspections = {code: _inspections(code) for code in codes}
    agencies = {code: SimpleNamespace(name=f"Jabatan {code} Malaysia", domains=[f"{code}.gov.my"]) for code in codes}
    runtime = SimpleNamespace(
        configuration=SimpleNamespace(
            registry=Registry(agencies=cast(Mapping[str, Agency], agencies), routes=tuple(watched.values()))
        ),
        routes=watched,
        evaluator=evaluator,
        evaluator_of=lambda _: evaluator,
        owned={*codes},
        probed_by=lambda _: "",
        peer_evaluator=SimpleNamespace(routes={}),
        check_runner=SimpleNamespace(latest=lambda code: inspections.get(code, {})),
        reporter=SimpleNamespace(closed_by_hand={}, site_statuses=lambda _: {}),
    )
    async with Database.open(directory) as database:
        store, history = SqlStore(database), History(database)
        await _fill(store, history, evaluator, watched, codes[:_DOWN])
        # As after a start: what ended before was read from the store, and is set aside with all that has come to stay.
        before = History(database)
        await before.latest()
        gc.collect()
        gc.freeze()
        board = StatusReader(
            store=store,
            history=before,
            days=DayRecords(database),
            gateway_pool=GatewayPool(()),
            clock=database.clock,
            runtime=cast(Callable[[], ProbingRuntime], lambda: runtime),
            self_health_inputs=SelfHealthInputs,
        )
        yield _Country(status_reader=board, history=before, evaluator=evaluator, codes=codes)


async def _fill(
    store: SqlStore,
    history: History,
    evaluator: HealthEvaluator,
    watched: Mapping[str, MonitoredRoute],
    down: Collection[str],
) -> None:
    runs = [_refused(name) if route.agency in down else delivered(name) for name, route in watched.items()]
    for run in runs:
        evaluator.record_run(run, NOON)
    for some in (runs[start : start + _AT_ONCE] for start in range(0, len(runs), _AT_ONCE)):
        await asyncio.gather(*(history.record_run(run, watched[run.route].agency, {}) for run in some))
    async with store.transaction() as uow:
        for code in down:
            event = Trigger(
                dedup_key=code, at=NOON, type=IncidentType.BOTH, began_at=NOON, policy=replace(BRIEF, agency=code)
            )
            await uow.add_incidents([event])


def _inspections(code: str) -> dict[str, CheckRun]:
    nowhere = CheckScope(agency=code, mailboxes=(), domains=())
    found = findings(f"jabatan-{code.lower()}.gov.my")
    return {kind: CheckRun(findings=tuple(each), at=NOON, check_scope=nowhere) for kind, each in found.items()}


def _refused(route: str) -> ProbeResult:
    return replace(delivered(route), outcome=Outcome.REJECTED, failure=_failure("5.7.1"), duration=timedelta(seconds=1))


def _failure(status: str) -> Failure:
    return Failure(phase=Phase.SUBMIT, party=Party.SENDER, reason="refused", code=554, status=status)
