"""Ten thousand routes, at 80 % of what the bare libraries reach: how late runs start, and how much of a core it takes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from statistics import quantiles

from monitor.model.route import MonitoredRoute
from tests.bench.apart import apart
from tests.bench.estate import controls, probed_every, routes
from tests.bench.goal import Measured
from tests.bench.light import Light, light
from tests.bench.service import Watchful, at_work
from tests.bench.throughput import carried
from tests.bench.trip import cpu

_AGENCIES = 1000
_LOAD = 0.8
#: Until every mailbox has been opened (two thousand sign-ins), in seconds.
_WARM_UP = 60.0
#: Until what became due meanwhile has been caught up with, where so little room is left: some minutes of it are no steady state.
_CATCH_UP = 240.0
#: What is late by less, in seconds, has caught up.
_ON_TIME = 0.05
#: One figure for each stretch.
_STRETCH = 5.0


def measure(rounds: int) -> Measured:
    """Let the service run, and look at it for so many stretches of time."""
    with light() as server:
        carries = carried(server)
        watched = _watched(server, _AGENCIES, _LOAD * carries)
        stretches, outcomes = apart(lambda: asyncio.run(_run(watched, rounds)))
    return Measured(
        rounds={
            "lag_p99_ms": [lag * 1000 for lag, _, _ in stretches],
            "lag_load": [count / _STRETCH / carries for _, _, count in stretches],
            "scheduler_core": [cores for _, cores, _ in stretches],
        },
        notes={
            "schedule: bare libraries, trips a minute": carries * 60,
            "schedule: runs a minute": sum(count for _, _, count in stretches) * 60 / (_STRETCH * rounds),
            "schedule: of them delivered": outcomes["delivered"] / max(1, sum(outcomes.values())),
        },
    )


def profiled() -> None:
    """Let it run for a while, for a profiler around it."""
    with light() as server:
        watched = _watched(server, _AGENCIES // 5, _AGENCIES / 30)
        asyncio.run(_run(watched, 2))


def _watched(server: Light, agencies: int, a_second: float) -> Mapping[str, MonitoredRoute]:
    watched = {**routes(server, agencies), **controls(server)}
    return probed_every(timedelta(seconds=len(watched) / a_second), watched)


async def _run(
    watched: Mapping[str, MonitoredRoute], stretches: int
) -> tuple[list[tuple[float, float, int]], Counter[str]]:
    metrics = Watchful()
    async with at_work(watched, metrics):
        await warm_up(metrics, len(watched) // 12, within=_CATCH_UP)
        return [await _stretch(metrics) for _ in range(stretches)], Counter(metrics.outcomes)


async def _stretch(metrics: Watchful) -> tuple[float, float, int]:
    """Return how late 99 of 100 runs started at most, the cores in use, and the number of runs."""
    metrics.lags.clear()
    used, began = cpu(), time.perf_counter()
    await asyncio.sleep(_STRETCH)
    cores = (cpu() - used) / (time.perf_counter() - began)
    return quantiles(metrics.lags, n=100)[-1], cores, len(metrics.lags)


async def warm_up(metrics: Watchful, runs: int, *, within: float = _WARM_UP) -> None:
    """Wait until so many runs have ended and the service has caught up, and forget all that was.

    On a machine that is too busy to catch up *within* so many seconds, wait no longer.
    """
    await _until(lambda: len(metrics.outcomes) > runs)
    await _caught_up(metrics, within)
    metrics.clear()


async def _caught_up(metrics: Watchful, within: float) -> None:
    """Wait until nothing that is due waits, neither in the loop nor in the schedule: its start made it late."""
    loop, quiet = asyncio.get_running_loop(), 0
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while quiet < 20:
                due, begun = loop.time() + 0.05, len(metrics.lags)
                await asyncio.sleep(0.05)
                late = max([loop.time() - due, *metrics.lags[begun:]])
                quiet = quiet + 1 if late < _ON_TIME else 0


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2 * _WARM_UP):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
