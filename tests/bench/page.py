"""The status page of a thousand agencies: blocking of the event loop, and octets for each viewer."""

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
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.store.probing.history import History
from monitor.views.self_health import SelfHealthInputs
from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, serve
from probes.model.check import CheckScope
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult
from tests.bench.fleet import NOON, controls, delivered, findings, routes
from tests.bench.goal import Measured
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.subprocesses import run_in_subprocess
from tests.unit.alerts.people import SNAPSHOT

_AGENCIES = 1000
#: Agencies that are down, with an incident each.
_DOWN = 300
#: Agencies that change between two requests.
_CHANGED = 50
#: Runs recorded in one commit.
_COMMIT_SIZE = 1000
#: Requests the page like a browser, in a process of its own.
_VIEWER = """
import sys, urllib.request
asked = urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": "gzip"})
print(len(urllib.request.urlopen(asked).read()))
"""


def measure(rounds: int) -> Measured:
    """Request the page first and after changes, and the lists of agencies, incidents and notifications."""
    with run_mail_stub() as server:
        found = [run_in_subprocess(lambda: asyncio.run(_measure_page(server))) for _ in range(rounds)]
    return Measured(
        rounds={
            "page_held_ms": [max(each.first, each.again, each.listed) * 1000 for each in found],
            "page_bytes_gzip": [each.octets for each in found],
        },
        notes={
            "page: blocked by the first rendering, ms": found[0].first * 1000,
            "page: blocked by one after changes, ms": found[0].again * 1000,
            "page: blocked by the lists for programs, ms": found[0].listed * 1000,
            "page: CPU of the first rendering, ms": found[0].first_cpu * 1000,
            "page: CPU of one after changes, ms": found[0].again_cpu * 1000,
            "page: CPU of a look without changes, ms": found[0].idle_cpu * 1000,
        },
    )


def profiled() -> None:
    """Request the page under a profiler."""
    with run_mail_stub() as server:
        asyncio.run(_measure_page(server))


@dataclass(slots=True, kw_only=True)
class _PageCosts:
    """Octets, and seconds."""

    octets: int = 0
    first: float = 0.0
    again: float = 0.0
    listed: float = 0.0
    first_cpu: float = 0.0
    again_cpu: float = 0.0
    idle_cpu: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Backend:
    """The part of the service that the page needs."""

    status_reader: StatusReader
    history: History
    evaluator: HealthEvaluator
    codes: Sequence[str] = field(default_factory=list)

    async def change(self, agencies: Sequence[str]) -> None:
        """Record another failure on a route of each agency."""
        for number, code in enumerate(agencies):
            route = f"{code}/internal"
            run = replace(_refused(route), failure=_failure(f"4.7.{number}"))
            self.evaluator.record_run(run, NOON)
            await self.history.record_run(run, code, {})


async def _measure_page(server: MailStub) -> _PageCosts:
    made = _PageCosts()
    with tempfile.TemporaryDirectory() as directory:
        async with _open_backend(server, Path(directory)) as page_backend:
            source = cast(ServiceFacade, SimpleNamespace(status_reader=page_backend.status_reader))
            listener = open_port("127.0.0.1", 0)
            async with serve(portal(source, ["127.0.0.1"]), listener):
                url = listener_url(listener)
                # The first response also imports and connects.
                await _request(f"{url}/-/healthy")
                made.octets, made.first, made.first_cpu = await _request(f"{url}/fragment")
                await page_backend.change(page_backend.codes[:_CHANGED])
                # The page is cached for two seconds.
                await asyncio.sleep(2.1)
                _, made.again, made.again_cpu = await _request(f"{url}/fragment")
                await asyncio.sleep(2.1)
                _, _, made.idle_cpu = await _request(f"{url}/fragment")
                lists = [
                    await _request(f"{url}/api/v1/{listed}") for listed in ("agencies", "incidents", "notifications")
                ]
                made.listed = max(blocked for _, blocked, _ in lists)
    return made


async def _request(url: str) -> tuple[int, float, float]:
    """Return the octets, the longest block of the loop, and the CPU time."""
    quiet = asyncio.subprocess.PIPE
    viewer = await asyncio.create_subprocess_exec(sys.executable, "-c", _VIEWER, url, stdout=quiet)
    began = time.process_time()
    with _loop_work() as blocked:
        answer, _ = await asyncio.wait_for(viewer.communicate(), 60)
    return int(answer), max(blocked), time.process_time() - began


@contextmanager
def _loop_work() -> Iterator[list[float]]:
    """Record the CPU time of the loop's thread between two steps of an idle task.

    CPU time excludes other work on this machine.
    """
    blocked = [0.0]

    async def step() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.0005)
            blocked.append(time.thread_time() - before)

    stepping = asyncio.get_running_loop().create_task(step())
    try:
        yield blocked
    finally:
        stepping.cancel()


@asynccontextmanager
async def _open_backend(server: MailStub, directory: Path) -> AsyncIterator[_Backend]:
    watched = {**routes(server, _AGENCIES), **controls(server)}
    evaluator = HealthEvaluator(watched.values(), HealthPolicy())
    codes = sorted({route.agency for route in watched.values()} - {""})
    check_runs = {code: _check_runs(code) for code in codes}
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
        check_runner=SimpleNamespace(latest=lambda code: check_runs.get(code, {})),
        reporter=SimpleNamespace(manually_closed={}, site_statuses=lambda _: {}),
    )
    async with Database.open(directory) as database:
        store, history = SqlStore(database), History(database)
        await _fill(store, history, evaluator, watched, codes[:_DOWN])
        # As after a start: the latest runs are read, and all objects are frozen.
        before = History(database)
        await before.latest()
        gc.collect()
        gc.freeze()
        reader_of_status = StatusReader(
            store=store,
            history=before,
            days=DayRecords(database),
            gateway_pool=GatewayPool(()),
            clock=database.clock,
            runtime=cast(Callable[[], ProbingRuntime], lambda: runtime),
            self_health_inputs=SelfHealthInputs,
        )
        yield _Backend(status_reader=reader_of_status, history=before, evaluator=evaluator, codes=codes)


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
    for some in (runs[start : start + _COMMIT_SIZE] for start in range(0, len(runs), _COMMIT_SIZE)):
        await asyncio.gather(*(history.record_run(run, watched[run.route].agency, {}) for run in some))
    async with store.transaction() as uow:
        for code in down:
            event = Trigger(
                dedup_key=code, at=NOON, type=IncidentType.BOTH, began_at=NOON, policy=replace(SNAPSHOT, agency=code)
            )
            await uow.add_incidents([event])


def _check_runs(code: str) -> dict[str, CheckRun]:
    nowhere = CheckScope(agency=code, mailboxes=(), domains=())
    found = findings(f"jabatan-{code.lower()}.gov.my")
    return {kind: CheckRun(findings=tuple(each), at=NOON, check_scope=nowhere) for kind, each in found.items()}


def _refused(route: str) -> ProbeResult:
    return replace(delivered(route), outcome=Outcome.REJECTED, failure=_failure("5.7.1"), duration=timedelta(seconds=1))


def _failure(status: str) -> Failure:
    return Failure(phase=Phase.SUBMIT, party=Party.SENDER, reason="refused", code=554, status=status)
