"""A start with two thousand agencies, and a reload after one of them was edited: the CPU, and what the loop feels of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from alerts.persistence.clock import SystemClock
from monitor.audit.lifecycle import Lifecycle
from monitor.config.loading import LoadCache
from monitor.metrics import Metrics
from monitor.runtime.gc_control import freeze_heap
from monitor.runtime.systemd import ServiceManager
from monitor.service.probing_runtime import RuntimeContext
from monitor.service.reloader import Reloader, read
from monitor.store.admin.documents import Documents
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.records import ConfigurationRecords
from tests.bench.apart import apart
from tests.bench.estate import files
from tests.bench.goal import Measured
from tests.bench.ticking import ticking
from tests.bench.trip import SIGNER, cpu
from tests.integration.alerts.station import Station
from tests.unit.monitor.cli.office import ENVIRON

_AGENCIES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Life:
    """What one process measured, in seconds."""

    start: float
    reloads: Sequence[float]
    stalls: Sequence[float]


def measure(rounds: int) -> Measured:
    """Start in so many processes, and reload in each of them as often."""
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as directory:
        settings = files(Path(directory), _AGENCIES)
        lives = [apart(lambda: asyncio.run(_life(settings, rounds))) for _ in range(rounds)]
    return Measured(
        rounds={
            "start_cpu_seconds": [life.start for life in lives],
            "reload_cpu_seconds": [seconds for life in lives for seconds in life.reloads],
        },
        notes={
            "reload: the longest that the loop stood still, ms": max(max(life.stalls) for life in lives) * 1000,
            "reload: the same, median of the reloads, ms": median(s for life in lives for s in life.stalls) * 1000,
        },
    )


def profiled() -> None:
    """Start and reload, for a profiler around it."""
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as directory:
        asyncio.run(_life(files(Path(directory), _AGENCIES // 10), 1))


async def _life(settings: Path, rounds: int) -> _Life:
    began, memory = cpu(), LoadCache()
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as state:
        configuration = await read(settings, ENVIRON, memory)
        async with Database.open(Path(state)) as database:
            reloader = _reloader(database, settings, memory)
            await reloader.begin(configuration)
            start = cpu() - began
            # As the service does once it is at work.
            freeze_heap()
            reloads, stalls = [], []
            for number in range(rounds):
                began = cpu()
                with ticking() as late:
                    await _edit_and_reload(reloader, settings, number)
                reloads.append(cpu() - began)
                stalls.append(max(late))
    return _Life(start=start, reloads=reloads, stalls=stalls)


async def _edit_and_reload(reloader: Reloader, settings: Path, number: int) -> None:
    file = settings.parent / "agencies" / "jaah.yaml"
    window = f'maintenance: [{{cron: "{number} 2 * * sun", for: 2h, reason: Sandaran}}]\n'
    text = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith("maintenance")]
    file.write_text("".join(text) + window)
    assert await reloader.reload("bangku") == []


def _reloader(database: Database, settings: Path, memory: LoadCache) -> Reloader:
    station, clock, store = Station(database), SystemClock(), SqlStore(database)
    around = RuntimeContext(
        signer=SIGNER,
        store=store,
        history=History(database),
        alerting=station.dispatcher,
        metrics=Metrics(version="bench", now=clock.now),
        clock=clock,
    )
    return Reloader(
        settings,
        ENVIRON,
        context=around,
        records=ConfigurationRecords(database),
        documents=Documents(database),
        lifecycle=Lifecycle(store, clock, "pantau@bangku"),
        pool=station.pool,
        dispatcher=station.dispatcher,
        memory=memory,
        manager=ServiceManager({}),
    )
