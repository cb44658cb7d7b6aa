"""A scrape of a thousand agencies over HTTP, and the delay of the event loop."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import cast

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from monitor.metrics import Metrics
from monitor.service.facade import ServiceFacade
from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, serve
from tests.bench.fleet import fill, routes
from tests.bench.goal import Measured
from tests.bench.loop_delay import measure_loop_delay
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.subprocesses import run_in_subprocess

_AGENCIES = 1000
#: Reads like Prometheus, in a process of its own: a thread would block the loop.
_READER = """
import sys, time, urllib.request
began = time.perf_counter()
octets = len(urllib.request.urlopen(sys.argv[1]).read())
print(octets, time.perf_counter() - began)
"""


def measure(rounds: int) -> Measured:
    """Scrape several times, and render as much with prometheus-client."""
    with run_mail_stub() as server:
        found = run_in_subprocess(lambda: asyncio.run(_scrapes(server, rounds)))
    octets = found[0][0]
    return Measured(
        rounds={
            "scrape_bytes": [octets for octets, _, _ in found],
            "scrape_seconds": [seconds for _, seconds, _ in found],
            "loop_stall_ms": [stall * 1000 for _, _, stall in found],
        },
        notes={"scrape: prometheus-client for as many octets, s": run_in_subprocess(lambda: _library_seconds(octets))},
    )


def profiled() -> None:
    """Render under a profiler."""
    with run_mail_stub() as server:
        metrics = _filled_metrics(server)
    for _ in range(20):
        metrics.render()


class _MetricsFacade:
    """The part of the service that a scrape needs."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics.pieces
        #: The page is not requested.
        self.status_reader = None


async def _scrapes(server: MailStub, rounds: int) -> list[tuple[int, float, float]]:
    metrics = _filled_metrics(server)
    listener = open_port("127.0.0.1", 0)
    async with serve(portal(cast(ServiceFacade, _MetricsFacade(metrics)), ["127.0.0.1"]), listener):
        # The first scrape also imports and connects.
        return [await _scrape(f"{listener_url(listener)}/metrics") for _ in range(rounds + 1)][1:]


async def _scrape(url: str) -> tuple[int, float, float]:
    """Return the octets, the time, and the longest delay of the loop."""
    quiet = asyncio.subprocess.PIPE
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", _READER, url, stdout=quiet)
    with measure_loop_delay() as late:
        answer, _ = await asyncio.wait_for(reader.communicate(), 30)
    octets, seconds = answer.split()
    return int(octets), float(seconds), max(late)


def _filled_metrics(server: MailStub) -> Metrics:
    metrics = Metrics(version="bench", now=lambda: datetime.now(UTC))
    fill(metrics, routes(server, _AGENCIES))
    return metrics


def _library_seconds(octets: int) -> float:
    """Return the time of prometheus-client for as many octets of similar series; a tenth is measured."""
    registry = CollectorRegistry()
    gauge = Gauge("pantau_probe_phase_duration_seconds", "How long.", ["agency", "route", "phase"], registry=registry)
    line = len(
        b'pantau_probe_phase_duration_seconds{agency="JCM0000",route="JCM0000/outbound/rujukan-a",phase="transit"} 0.0738\n'
    )
    for number in range(octets // line // 10):
        gauge.labels("JCM0000", f"JCM{number:04}/outbound/rujukan-a", "transit").set(0.0738)
    began = time.perf_counter()
    generate_latest(registry)
    return (time.perf_counter() - began) * 10
