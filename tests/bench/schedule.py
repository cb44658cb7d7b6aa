"""Start delay and CPU of runs of ten thousand routes, at 80 % of the bare libraries' rate."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from statistics import quantiles

from monitor.model.route import MonitoredRoute
from tests.bench.fleet import controls, probed_every, routes
from tests.bench.goal import Measured
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.service import RecordingMetrics, run_prober
from tests.bench.subprocesses import run_in_subprocess
from tests.bench.throughput import library_rate
from tests.bench.trip import cpu

_AGENCIES = 1000
_LOAD = 0.8
#: Time in seconds to open every mailbox, with two thousand sign-ins.
_WARM_UP = 60.0
#: Time in seconds to catch up with runs that became due meanwhile.
_CATCH_UP = 240.0
#: Delay in seconds below which the schedule has caught up.
_ON_TIME = 0.05
#: Period of each figure, in seconds.
_PERIOD = 5.0


def measure(rounds: int) -> Measured:
    """Run the service and record several periods."""
    with run_mail_stub() as server:
        library_trips_a_second = library_rate(server)
        watched = _watched(server, _AGENCIES, _LOAD * library_trips_a_second)
        periods, outcomes = run_in_subprocess(lambda: asyncio.run(_run(watched, rounds)))
    return Measured(
        rounds={
            "lag_p99_ms": [lag * 1000 for lag, _, _ in periods],
            "lag_load": [count / _PERIOD / library_trips_a_second for _, _, count in periods],
            "scheduler_core": [cores for _, cores, _ in periods],
        },
        notes={
            "schedule: bare libraries, trips a minute": library_trips_a_second * 60,
            "schedule: runs a minute": sum(count for _, _, count in periods) * 60 / (_PERIOD * rounds),
            "schedule: of them delivered": outcomes["delivered"] / max(1, sum(outcomes.values())),
        },
    )


def profiled() -> None:
    """Run under a profiler."""
    with run_mail_stub() as server:
        watched = _watched(server, _AGENCIES // 5, _AGENCIES / 30)
        asyncio.run(_run(watched, 2))


def _watched(server: MailStub, agencies: int, a_second: float) -> Mapping[str, MonitoredRoute]:
    watched = {**routes(server, agencies), **controls(server)}
    return probed_every(timedelta(seconds=len(watched) / a_second), watched)


async def _run(
    watched: Mapping[str, MonitoredRoute], periods: int
) -> tuple[list[tuple[float, float, int]], Counter[str]]:
    metrics = RecordingMetrics()
    async with run_prober(watched, metrics):
        await warm_up(metrics, len(watched) // 12, within=_CATCH_UP)
        return [await _measure_period(metrics) for _ in range(periods)], Counter(metrics.outcomes)


async def _measure_period(metrics: RecordingMetrics) -> tuple[float, float, int]:
    """Return the 99th percentile of the start delay, the cores in use, and the number of runs."""
    metrics.lags.clear()
    used, began = cpu(), time.perf_counter()
    await asyncio.sleep(_PERIOD)
    cores = (cpu() - used) / (time.perf_counter() - began)
    return quantiles(metrics.lags, n=100)[-1], cores, len(metrics.lags)


async def warm_up(metrics: RecordingMetrics, runs: int, *, within: float = _WARM_UP) -> None:
    """Wait until *runs* have ended and the schedule has caught up, and clear the metrics.

    After *within* seconds, on a machine that is too busy, stop waiting.
    """
    await _until(lambda: len(metrics.outcomes) > runs)
    await _caught_up(metrics, within)
    metrics.clear()


async def _caught_up(metrics: RecordingMetrics, within: float) -> None:
    """Wait until nothing due waits in the loop or in the schedule."""
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
        while not condition():  # noqa: ASYNC110 - metrics have no event
            await asyncio.sleep(0.1)
