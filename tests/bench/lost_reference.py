"""Effect on other routes when one of two references loses all mail, at 80 % of the bare libraries' rate.

Times are an eighth of those of a service with an interval of a minute, and mail is lost for five intervals. So
hundreds of runs await evidence at a time, and half of the messages to references wait for their timeout.
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
from tests.bench.fleet import REFERENCES, fleet_routes
from tests.bench.goal import Measured
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.schedule import warm_up
from tests.bench.service import RecordingMetrics, run_prober
from tests.bench.subprocesses import run_in_subprocess
from tests.bench.throughput import library_rate

_LOAD = 0.8
_INTERVAL = timedelta(seconds=7.5)
_INTERVALS = 5
_TIMEOUTS = Timeouts(session=timedelta(seconds=4), arrival=timedelta(seconds=4))


def measure(_: int) -> Measured:
    """Run with both references, and then with one that loses mail."""
    with run_mail_stub() as server:
        watched = _watched(server, _LOAD * library_rate(server))
        stall, ratio, outcomes, down = run_in_subprocess(lambda: asyncio.run(_run(server, watched)))
    return Measured(
        rounds={"lost_reference_stall_ms": [stall * 1000], "lost_reference_runs_ratio": [ratio]},
        notes={
            "lost_reference: share of runs delivered": outcomes["delivered"] / max(1, sum(outcomes.values())),
            "lost_reference: share of runs lost": outcomes["lost"] / max(1, sum(outcomes.values())),
            "lost_reference: routes evaluated as down": down,
        },
    )


def profiled() -> None:
    """Run under a profiler."""
    with run_mail_stub() as server:
        asyncio.run(_run(server, _watched(server, _LOAD * library_rate(server))))


def _watched(server: MailStub, a_second: float) -> Mapping[str, MonitoredRoute]:
    return fleet_routes(server, a_second, _INTERVAL, _TIMEOUTS)


async def _run(server: MailStub, watched: Mapping[str, MonitoredRoute]) -> tuple[float, float, Counter[str], int]:
    """Return the longest stall, the share of due runs that ended, their outcomes, and the routes that are down."""
    metrics, interval = RecordingMetrics(), _INTERVAL.total_seconds()
    async with run_prober(watched, metrics) as service:
        await warm_up(metrics, len(watched))
        await asyncio.to_thread(server.lose_mail_to, REFERENCES[0])
        # Until the first runs have timed out.
        await asyncio.sleep(_TIMEOUTS.total.total_seconds())
        metrics.clear()
        began = time.perf_counter()
        with _longest_callback() as longest:
            await asyncio.sleep(_INTERVALS * interval)
        rounds = (time.perf_counter() - began) / interval
        down = sum(
            service.evaluator.route_health(name) is Health.DOWN for name, route in watched.items() if route.agency
        )
        return longest[0], len(metrics.outcomes) / (rounds * len(watched)), Counter(metrics.outcomes), down


@contextmanager
def _longest_callback() -> Iterator[list[float]]:
    """Record the longest time that one callback has blocked the event loop.

    The delay of the loop would also count the callbacks that were ready before.
    """
    # asyncio reports this only in its slow debug mode.
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
