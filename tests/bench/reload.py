"""CPU of a start with two thousand agencies, and of a reload after one edit, with the loop's delay."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from alerts.persistence.clock import SystemClock
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.loading import LoadCache
from monitor.metrics import Metrics
from monitor.runtime.gc_control import freeze_heap
from monitor.runtime.systemd import ServiceManager
from monitor.service.probing_runtime import RuntimeContext
from monitor.service.reloader import Reloader, read
from monitor.store.admin.documents import Documents
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.records import ConfigurationRecords
from tests.bench.fleet import files
from tests.bench.goal import Measured
from tests.bench.loop_delay import measure_loop_delay
from tests.bench.subprocesses import run_in_subprocess
from tests.bench.trip import SIGNER, cpu
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.monitor.cli.office import ENVIRON

_AGENCIES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProcessTimes:
    """Times of one process in seconds."""

    start: float
    reloads: Sequence[float]
    stalls: Sequence[float]


def measure(rounds: int) -> Measured:
    """Start several processes, and reload several times in each."""
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as directory:
        settings = files(Path(directory), _AGENCIES)
        measured = [run_in_subprocess(lambda: asyncio.run(_measure_process(settings, rounds))) for _ in range(rounds)]
    return Measured(
        rounds={
            "start_cpu_seconds": [life.start for life in measured],
            "reload_cpu_seconds": [seconds for life in measured for seconds in life.reloads],
        },
        notes={
            "reload: the longest that the loop stood still, ms": max(max(life.stalls) for life in measured) * 1000,
            "reload: the same, median of the reloads, ms": median(s for life in measured for s in life.stalls) * 1000,
        },
    )


def profiled() -> None:
    """Start and reload under a profiler."""
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as directory:
        asyncio.run(_measure_process(files(Path(directory), _AGENCIES // 10), 1))


async def _measure_process(settings: Path, rounds: int) -> _ProcessTimes:
    began, memory = cpu(), LoadCache()
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as state:
        configuration = await read(settings, ENVIRON, memory)
        async with Database.open(Path(state)) as database:
            reloader = _reloader(database, settings, memory)
            await reloader.begin(configuration)
            start = cpu() - began
            # Like the running service.
            freeze_heap()
            reloads, stalls = [], []
            for number in range(rounds):
                began = cpu()
                with measure_loop_delay() as late:
                    await _edit_and_reload(reloader, settings, number)
                reloads.append(cpu() - began)
                stalls.append(max(late))
    return _ProcessTimes(start=start, reloads=reloads, stalls=stalls)


async def _edit_and_reload(reloader: Reloader, settings: Path, number: int) -> None:
    file = settings.parent / "agencies" / "jaah.yaml"
    window = f'maintenance: [{{cron: "{number} 2 * * sun", for: 2h, reason: Sandaran}}]\n'
    text = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith("maintenance")]
    file.write_text("".join(text) + window)
    assert await reloader.reload("bangku") == []


def _reloader(database: Database, settings: Path, memory: LoadCache) -> Reloader:
    engine_env, clock, store = DispatcherEnv(database), SystemClock(), SqlStore(database)
    runtime_context = RuntimeContext(
        signer=SIGNER,
        store=store,
        history=History(database),
        alerting=engine_env.dispatcher,
        metrics=Metrics(version="bench", now=clock.now),
        clock=clock,
    )
    return Reloader(
        settings,
        ENVIRON,
        context=runtime_context,
        records=ConfigurationRecords(database),
        documents=Documents(database),
        lifecycle=LifecycleRecorder(store, clock, "pantau@bangku"),
        pool=engine_env.pool,
        dispatcher=engine_env.dispatcher,
        load_cache=memory,
        manager=ServiceManager({}),
    )
