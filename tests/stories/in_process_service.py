"""The real service in this process with the demo environment, seen through its metrics."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from monitor.app import App
from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.config_files import Timing
from pantau_lab.environment import DemoEnvironment, demo_environment
from pantau_lab.mail import Fault, MailSystem
from pantau_lab.mail.resources.tempo import FaultDelays
from pantau_lab.world import AGENCIES, FictionalAgency

AGENCY = AGENCIES[0].code
NEIGHBOUR = AGENCIES[1].code
#: As fast as two busy cores allow: these tests examine single runs.
FASTEST_TIMING = Timing(
    interval="2s",
    session_timeout="2s",
    arrival_timeout="2s",
    slow_threshold="2s",
    retry_interval="1s",
    deferral_timeout="4s",
    tempo=FaultDelays(slow_by=timedelta(seconds=3)),
)
#: In seconds. A run takes longer, and a route runs every two seconds.
_SCRAPE_INTERVAL = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """The metrics of one moment."""

    text: str = field(repr=False)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of exactly one series, `None` when it is absent; other labels are ignored."""
        found = self.all(name, **labels)
        assert len(found) < 2, f"{name} {labels} is more than one series"
        return next(iter(found.values()), None)

    def all(self, name: str, **labels: str) -> dict[frozenset[tuple[str, str]], float]:
        """Return the values of a metric's series with these labels, by all their labels."""
        # Only these lines: parsing all takes longer than the service takes to write them.
        lines = re.findall(rf"^pantau_{name}[ {{].*\n", self.text, re.MULTILINE)
        samples = (one for family in text_string_to_metric_families("".join(lines)) for one in family.samples)
        return {frozenset(one.labels.items()): one.value for one in samples if labels.items() <= one.labels.items()}

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series with these labels."""
        return sum(self.all(name, **labels).values())


@dataclass(slots=True, kw_only=True)
class InProcessService:
    """The service and its demo environment."""

    world: DemoEnvironment
    client: httpx.AsyncClient = field(repr=False)

    @property
    def agency(self) -> MailSystem:
        """The mail system of the first agency."""
        return self.world.network.systems[AGENCY]

    @property
    def address(self) -> str:
        """The address of its mailbox."""
        return f"pantau@{self.agency.domain}"

    async def break_(self, fault: Fault) -> None:
        """Break the mail of the first agency."""
        await self.agency.break_(fault)

    async def scrape(self) -> Scraped:
        """Read `/metrics` once."""
        return Scraped(text=(await self.client.get(f"{self.world.url}/metrics")).raise_for_status().text)

    async def when(self, true: Callable[[Scraped], bool], what: str) -> Scraped:
        """Scrape until *true* holds; return that scrape."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not true(scraped := await self.scrape()):  # noqa: ASYNC110 - it is asked as Prometheus asks
                    await asyncio.sleep(_SCRAPE_INTERVAL)
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE:.0f} s: {what}") from None
        return scraped

    async def until(self, name: str, at_least: float, **labels: str) -> Scraped:
        """Scrape until the sum of a metric's series has reached a value."""
        return await self.when(
            lambda scraped: scraped.total(name, **labels) >= at_least, f"{name} {labels} is {at_least:g}"
        )


@asynccontextmanager
async def in_process_service(
    directory: Path,
    *,
    agencies: Sequence[FictionalAgency] = AGENCIES[:1],
    routes: Sequence[Mapping[str, str]] | None = None,
    timing: Timing = FASTEST_TIMING,
) -> AsyncIterator[InProcessService]:
    """Run the demo environment and the service that monitors its *agencies*; stop both at the end of the block.

    *routes*: routes of the agencies, as in their files; default: all.
    """
    async with demo_environment(directory, timing=timing, agencies=agencies) as world:
        for file in (directory / "agencies").glob("*.yaml"):
            if routes is not None:
                file.write_text(f"{file.read_text()}routes: {json.dumps(routes)}\n")
        app = App(world.settings, {})
        async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            tasks.create_task(app.run())
            env = InProcessService(world=world, client=client)
            try:
                await _wait_until_ready(env)
                yield env
            finally:
                app.stop()


async def _wait_until_ready(env: InProcessService) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if (await env.client.get(f"{env.world.url}/-/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)
