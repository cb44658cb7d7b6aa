"""Twice as many runs as the bare libraries reach: how those end that are made."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from monitor.model.health import Health
from monitor.model.route import MonitoredRoute
from tests.bench.apart import apart
from tests.bench.estate import PROBING, estate
from tests.bench.goal import Measured
from tests.bench.light import Light, light
from tests.bench.schedule import warm_up
from tests.bench.service import Watchful, at_work
from tests.bench.throughput import carried

_LOAD = 2
_INTERVAL = timedelta(seconds=12)
_STRETCH = 8.0


def measure(rounds: int) -> Measured:
    """Let the service run with too much to do, and look at it for so many stretches of time."""
    with light() as server:
        carries = carried(server)
        stretches, down, seconds = apart(lambda: asyncio.run(_run(_watched(server, carries), rounds)))
    made = sum(sum(outcomes.values()) for outcomes, _, _ in stretches)
    return Measured(
        rounds={
            "overload_delivered_ratio": [
                outcomes["delivered"] / max(1, sum(outcomes.values())) for outcomes, _, _ in stretches
            ],
            "overload_down": [down],
        },
        notes={
            "overload: runs made / what the bare libraries reach": made / (seconds * carries),
            "overload: rounds let go a run": sum(skipped for _, skipped, _ in stretches) / max(1, made),
            "overload: runs not believed": sum(disbelieved for _, _, disbelieved in stretches) / max(1, made),
        },
    )


def profiled() -> None:
    """Let it run, for a profiler around it."""
    with light() as server:
        asyncio.run(_run(_watched(server, carried(server)), 2))


def _watched(server: Light, carries: float) -> Mapping[str, MonitoredRoute]:
    return estate(server, _LOAD * carries, _INTERVAL, PROBING.timeouts)


async def _run(
    watched: Mapping[str, MonitoredRoute], stretches: int
) -> tuple[list[tuple[Counter[str], int, int]], int, float]:
    """Return of each stretch how runs ended, the rounds let go and the runs not believed; and who is held to be down."""
    metrics, loop, found = Watchful(), asyncio.get_running_loop(), []
    async with at_work(watched, metrics) as service:
        await warm_up(metrics, len(watched) // 4)
        began = loop.time()
        for _ in range(stretches):
            await asyncio.sleep(_STRETCH)
            found.append((Counter(metrics.outcomes), metrics.skipped, metrics.disbelieved))
            metrics.clear()
        down = sum(service.evaluator.route_health(name) is Health.DOWN for name in watched)
        return found, down, loop.time() - began
