"""Outcomes of runs when twice as many are due as the bare libraries reach."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from monitor.model.health import Health
from monitor.model.route import MonitoredRoute
from tests.bench.fleet import PROBING, fleet_routes
from tests.bench.goal import Measured
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.schedule import warm_up
from tests.bench.service import RecordingMetrics, run_prober
from tests.bench.subprocesses import run_in_subprocess
from tests.bench.throughput import library_rate

_LOAD = 2
_INTERVAL = timedelta(seconds=12)
_PERIOD = 8.0


def measure(rounds: int) -> Measured:
    """Overload the service and record several periods."""
    with run_mail_stub() as server:
        library_trips_a_second = library_rate(server)
        periods, down, seconds = run_in_subprocess(
            lambda: asyncio.run(_run(_watched(server, library_trips_a_second), rounds))
        )
    made = sum(sum(outcomes.values()) for outcomes, _, _ in periods)
    return Measured(
        rounds={
            "overload_delivered_ratio": [
                outcomes["delivered"] / max(1, sum(outcomes.values())) for outcomes, _, _ in periods
            ],
            "overload_down": [down],
        },
        notes={
            "overload: runs made / what the bare libraries reach": made / (seconds * library_trips_a_second),
            "overload: rounds skipped a run": sum(skipped for _, skipped, _ in periods) / max(1, made),
            "overload: runs discarded": sum(discarded for _, _, discarded in periods) / max(1, made),
        },
    )


def profiled() -> None:
    """Run under a profiler."""
    with run_mail_stub() as server:
        asyncio.run(_run(_watched(server, library_rate(server)), 2))


def _watched(server: MailStub, library_trips_a_second: float) -> Mapping[str, MonitoredRoute]:
    return fleet_routes(server, _LOAD * library_trips_a_second, _INTERVAL, PROBING.timeouts)


async def _run(
    watched: Mapping[str, MonitoredRoute], periods: int
) -> tuple[list[tuple[Counter[str], int, int]], int, float]:
    """Return outcomes, skipped rounds and discarded runs of each period, the routes that are down, and the time."""
    metrics, loop, found = RecordingMetrics(), asyncio.get_running_loop(), []
    async with run_prober(watched, metrics) as service:
        await warm_up(metrics, len(watched) // 4)
        began = loop.time()
        for _ in range(periods):
            await asyncio.sleep(_PERIOD)
            found.append((Counter(metrics.outcomes), metrics.skipped, metrics.discarded))
            metrics.clear()
        down = sum(service.evaluator.route_health(name) is Health.DOWN for name in watched)
        return found, down, loop.time() - began
