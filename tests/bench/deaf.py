"""One of two references loses all mail, at 80 % of what the bare libraries reach: what the others notice of it.

Spans are an eighth of those of a service with an interval of a minute: deaf for five intervals. So hundreds of runs wait
for a proof at a time, which are weighed when it comes; and half of all that is sent to a reference waits for its deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from monitor.model.health import Health
from monitor.model.route import MonitoredRoute
from probes.model.probe import Timeouts
from tests.bench.apart import apart
from tests.bench.estate import REFERENCES, estate
from tests.bench.goal import Measured
from tests.bench.light import Light, light
from tests.bench.schedule import warm_up
from tests.bench.service import Watchful, at_work
from tests.bench.throughput import carried

_LOAD = 0.8
_INTERVAL = timedelta(seconds=7.5)
_INTERVALS = 5
_PATIENCE = Timeouts(session=timedelta(seconds=4), arrival=timedelta(seconds=4))


def measure(_: int) -> Measured:
    """Let it run with both references, and then with one that is deaf."""
    with light() as server:
        watched = _watched(server, _LOAD * carried(server))
        stall, ratio, outcomes, down = apart(lambda: asyncio.run(_run(server, watched)))
    return Measured(
        rounds={"deaf_loop_stall_ms": [stall * 1000], "deaf_runs_ratio": [ratio]},
        notes={
            "deaf: of the runs, delivered": outcomes["delivered"] / max(1, sum(outcomes.values())),
            "deaf: of the runs, lost": outcomes["lost"] / max(1, sum(outcomes.values())),
            "deaf: routes that are held to be down": down,
        },
    )


def profiled() -> None:
    """Let it run, for a profiler around it."""
    with light() as server:
        asyncio.run(_run(server, _watched(server, _LOAD * carried(server))))


def _watched(server: Light, a_second: float) -> Mapping[str, MonitoredRoute]:
    return estate(server, a_second, _INTERVAL, _PATIENCE)


async def _run(server: Light, watched: Mapping[str, MonitoredRoute]) -> tuple[float, float, Counter[str], int]:
    """Return the longest stall, the share of the runs that were due which ended, how they did, and who is down."""
    metrics, interval = Watchful(), _INTERVAL.total_seconds()
    async with at_work(watched, metrics) as service:
        await warm_up(metrics, len(watched))
        await asyncio.to_thread(server.lose_mail_to, REFERENCES[0])
        # Until the first have been given up.
        await asyncio.sleep(_PATIENCE.total.total_seconds())
        metrics.clear()
        began = time.perf_counter()
        with _stalls() as longest:
            await asyncio.sleep(_INTERVALS * interval)
        rounds = (time.perf_counter() - began) / interval
        down = sum(
            service.evaluator.route_health(name) is Health.DOWN for name, route in watched.items() if route.agency
        )
        return longest[0], len(metrics.outcomes) / (rounds * len(watched)), Counter(metrics.outcomes), down


@contextmanager
def _stalls() -> Iterator[list[float]]:
    """Note the longest that one callback, or one turn of one task, has held the loop.

    Not how late the loop comes back: at this load a dozen others are ready before whoever is due, each for a moment.
    """
    # asyncio tells of it in no other way, but at the price of its debug mode.
    handle: Any = asyncio.Handle
    longest, run = [0.0], handle._run

    def timed(self: asyncio.Handle) -> None:
        began = time.perf_counter()
        run(self)
        longest[0] = max(longest[0], time.perf_counter() - began)

    handle._run = timed
    try:
        yield longest
    finally:
        handle._run = run
