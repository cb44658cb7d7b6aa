"""One scrape of a whole country over real HTTP, and what the event loop feels of it."""

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
from tests.bench.apart import apart
from tests.bench.estate import fill, routes
from tests.bench.goal import Measured
from tests.bench.light import Light, light
from tests.bench.ticking import ticking

_AGENCIES = 1000
#: Reads as Prometheus does, in a process of its own: a thread would hold up the loop by its own work.
_READER = """
import sys, time, urllib.request
began = time.perf_counter()
octets = len(urllib.request.urlopen(sys.argv[1]).read())
print(octets, time.perf_counter() - began)
"""


def measure(rounds: int) -> Measured:
    """Scrape so many times; and let prometheus-client render as many lines."""
    with light() as server:
        found = apart(lambda: asyncio.run(_scrapes(server, rounds)))
    octets = found[0][0]
    return Measured(
        rounds={
            "scrape_bytes": [octets for octets, _, _ in found],
            "scrape_seconds": [seconds for _, seconds, _ in found],
            "loop_stall_ms": [stall * 1000 for _, _, stall in found],
        },
        notes={"scrape: prometheus-client for as many octets, s": apart(lambda: _library(octets))},
    )


def profiled() -> None:
    """Render, for a profiler around it."""
    with light() as server:
        metrics = _full(server)
    for _ in range(20):
        metrics.render()


class _Only:
    """The part of the service that a scrape needs."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics.pieces
        #: Nobody looks at the page.
        self.status_reader = None


async def _scrapes(server: Light, rounds: int) -> list[tuple[int, float, float]]:
    metrics = _full(server)
    listener = open_port("127.0.0.1", 0)
    async with serve(portal(cast(ServiceFacade, _Only(metrics)), ["127.0.0.1"]), listener):
        # The first one also imports and connects.
        return [await _scrape(f"{listener_url(listener)}/metrics") for _ in range(rounds + 1)][1:]


async def _scrape(url: str) -> tuple[int, float, float]:
    """Return how many octets came, how long it took, and how long the loop stood still at most."""
    quiet = asyncio.subprocess.PIPE
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", _READER, url, stdout=quiet)
    with ticking() as late:
        answer, _ = await asyncio.wait_for(reader.communicate(), 30)
    octets, seconds = answer.split()
    return int(octets), float(seconds), max(late)


def _full(server: Light) -> Metrics:
    metrics = Metrics(version="bench", now=lambda: datetime.now(UTC))
    fill(metrics, routes(server, _AGENCIES))
    return metrics


def _library(octets: int) -> float:
    """Return how long prometheus-client takes to render so many octets in series like ours; a tenth is measured."""
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
