"""Ten thousand routes a minute: how late runs start, and how much of a core it takes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import quantiles

from monitor.garbage import set_aside
from tests.bench.apart import apart
from tests.bench.estate import PROBING, controls, routes
from tests.bench.goal import Measured
from tests.bench.light import Light, light
from tests.bench.service import Watchful, service
from tests.bench.trip import cpu

_AGENCIES = 1000
#: Until every mailbox has been opened: two thousand sign-ins.
_WARM_UP = 40.0
#: One figure for each stretch.
_STRETCH = 5.0


def measure(rounds: int) -> Measured:
    """Let the service run, and look at it for so many stretches of time."""
    with light() as server:
        stretches, outcomes = apart(lambda: asyncio.run(_run(server, rounds)))
    runs = sum(count for _, _, count in stretches)
    return Measured(
        rounds={
            "lag_p99_ms": [lag * 1000 for lag, _, _ in stretches],
            "scheduler_core": [cores for _, cores, _ in stretches],
        },
        notes={
            "schedule: runs a minute": runs * 60 / (_STRETCH * rounds),
            "schedule: of them delivered": outcomes["delivered"] / max(1, sum(outcomes.values())),
        },
    )


def profiled() -> None:
    """Let it run for a while, for a profiler around it."""
    with light() as server:
        asyncio.run(_run(server, 2, agencies=200))


async def _run(
    server: Light, stretches: int, agencies: int = _AGENCIES
) -> tuple[list[tuple[float, float, int]], Counter[str]]:
    watched = {**routes(server, agencies), **controls(server)}
    metrics = Watchful()
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as state:
        async with service(watched, Path(state), metrics) as prober:
            probing = asyncio.create_task(prober.run())
            try:
                await _until(lambda: len(metrics.outcomes) > len(watched) / PROBING.interval.total_seconds() * 5)
                await _calm()
                # As the service does a minute after its start.
                set_aside()
                metrics.outcomes.clear()
                return [await _stretch(metrics) for _ in range(stretches)], Counter(metrics.outcomes)
            finally:
                probing.cancel()
                await asyncio.gather(probing, return_exceptions=True)


async def _stretch(metrics: Watchful) -> tuple[float, float, int]:
    """Return how late 99 of 100 runs started at most, the cores in use, and the number of runs."""
    metrics.lags.clear()
    used, began = cpu(), time.perf_counter()
    await asyncio.sleep(_STRETCH)
    cores = (cpu() - used) / (time.perf_counter() - began)
    return quantiles(metrics.lags, n=100)[-1], cores, len(metrics.lags)


async def _calm() -> None:
    """Wait until the loop has nothing to catch up with; on a machine that is too busy for that, only for a while."""
    loop, quiet = asyncio.get_running_loop(), 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_WARM_UP):
            while quiet < 20:
                due = loop.time() + 0.05
                await asyncio.sleep(0.05)
                quiet = quiet + 1 if loop.time() - due < 0.02 else 0


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WARM_UP):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
