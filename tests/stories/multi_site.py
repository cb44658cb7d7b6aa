"""A hub and sites, each with its own PostgreSQL, mail systems and services, in separate processes.

The hub is a site too. A site's PostgreSQL replicates over a wire (`tests.real.slow_link`); its services are local.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import yaml

from monitor.bridge.incident_reporter import SITE_FAULT_PREFIX
from monitor.planning.ownership import owners
from monitor.runtime.token_key import token_key
from monitor.store.backend.postgres import PostgresServer
from monitor.store.sites.joining import add
from monitor.store.sites.link import SiteConnection
from pantau_lab.config_files import Timing
from pantau_lab.environment import DemoEnvironment, demo_environment
from pantau_lab.mail import Fault
from pantau_lab.serving import claimed
from pantau_lab.world import FictionalAgency
from tests.real.sitecluster import CALLER, PASSWORD, SiteCluster, SiteWorld, site_world
from tests.stories.running_service import FAST_TIMING, RunningService

#: Name of the hub.
HUB = "pusat"
#: Maximum age of a vote. When the process with a site's heartbeat dies, another takes over some six seconds later;
#: and a busy machine may stand still for as long.
STALE_AFTER = "15s"
#: A refusal fails at once; nothing else is a fault, however busy the machine is.
UNHURRIED = replace(
    FAST_TIMING, interval="8s", session_timeout="8s", arrival_timeout="25s", slow_threshold="20s", deferral_timeout="8s"
)
#: Few, because each costs every site a run; and one way, so that an outage does not change its type.
_ROUTES = ({"direction": "internal"}, {"direction": "outbound", "reference": "rujukan-a"})
#: Settings that a site does not need, because it notifies nobody.
_TELLS = (
    *("gateways", "contacts", "rotas", "noc", "drills", "out_of_band", "heartbeat", "alertmanager"),
    *("escalation", "recipients", "announcement"),
)
#: Each outage and each recovery is one SMS, so that all notifications can be listed.
_BY_SMS = {"after": "0s", "channels": ["sms"]}


@dataclass(slots=True, kw_only=True)
class Site:
    """One site: its mail systems, and its services by name."""

    name: str
    world: DemoEnvironment
    services: dict[str, RunningService]

    @property
    def any(self) -> RunningService:
        """One of its running services."""
        return next(each for each in self.services.values() if each.service and each.service.returncode is None)

    @property
    def alive(self) -> Sequence[RunningService]:
        """Its running services."""
        return [each for each in self.services.values() if each.service and each.service.returncode is None]

    async def break_(self, *agencies: FictionalAgency) -> None:
        """Break mail of agencies, as this site sees it."""
        for agency in agencies:
            await self.world.network.systems[agency.code].break_(Fault.REFUSE)

    async def repair(self, *agencies: FictionalAgency) -> None:
        """Repair mail of agencies."""
        for agency in agencies:
            await self.world.network.systems[agency.code].repair()

    async def sees(self, agency: FictionalAgency, *, is_down: bool) -> None:
        """Wait until this site has evaluated the agency as up or down."""

        async def judged() -> bool:
            healths = set((await self.any.health(agency.code)).values())
            return "down" in healths if is_down else healths == {"up"}

        await self.any.until(judged, f"{self.name} sees {agency.code} {'down' if is_down else 'up'}")

    def probes(self, agency: FictionalAgency) -> str:
        """Return the service that probes an agency while all are alive."""
        return owners([agency.code], self.services.keys())[agency.code]

    async def metric(self, name: str) -> Mapping[str, float]:
        """Return the values of a metric with one label, by that label, from one of its services.

        At most about once a second, because each scrape renders all metrics.
        """
        await asyncio.sleep(0.8)
        async with self.any.web() as client:
            shown = (await client.get("/metrics")).text
        found = re.findall(rf'^{name}{{\w+="(\w+)"}} (\S+)$', shown, re.MULTILINE)
        return {label: float(value) for label, value in found}

    async def start(self) -> None:
        """Start those of its services that do not run."""
        dead = [each for each in self.services.values() if each not in self.alive]
        await asyncio.gather(*(each.start() for each in dead))

    async def kill(self) -> None:
        """Kill all of them at once."""
        await asyncio.gather(*(each.kill() for each in self.alive))

    async def stop(self) -> None:
        """Stop all of them properly."""
        await asyncio.gather(*(each.stop() for each in self.services.values()))


@dataclass(slots=True, kw_only=True)
class MultiSite:
    """The hub and the sites, by name."""

    clusters: SiteWorld
    places: dict[str, Site]

    @property
    def hub(self) -> Site:
        """The hub, which is also a site."""
        return self.places[HUB]

    def cluster(self, site: str) -> SiteCluster:
        """Return a site's PostgreSQL."""
        return self.clusters.sites[site]

    async def until_fresh(self, **votes: bool) -> None:
        """Wait until sites have a vote or none."""

        async def shown() -> bool:
            fresh = await self.hub.metric("pantau_site_fresh")
            return all(fresh.get(site) == is_so for site, is_so in votes.items())

        await self.hub.any.until(shown, f"sites have a vote: {votes}")

    async def replication(self) -> Mapping[str, str]:
        """Return the replication state of each site, as the hub shows it."""
        async with self.hub.any.web() as client:
            shown = (await client.get("/metrics")).text
        return dict(re.findall(r'^pantau_site_replication_state{site="(\w+)",state="(\w+)"} 1.0$', shown, re.MULTILINE))

    @asynccontextmanager
    async def staying_fresh(self, *sites: str) -> AsyncIterator[None]:
        """Check that *sites* keep their vote during the block."""

        async def look() -> None:
            while True:
                with suppress(httpx.HTTPError):
                    fresh = await self.hub.metric("pantau_site_fresh")
                    lost.extend(site for site in sites if not fresh[site])

        lost: list[str] = []
        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
        assert lost == [], "had no vote for a while"

    def incidents(self) -> Mapping[str, str]:
        """Return the state of each incident, by its number."""
        asked = "SELECT number, state FROM incident WHERE dedup_key NOT LIKE 'ours/%'"
        return dict(self.clusters.hub.order(asked))

    async def until_says(self, agency: FictionalAgency, **wanted: str) -> None:
        """Wait until sites report this of an agency, as the hub's service that probes it shows it."""

        async def shown() -> bool:
            async with service.web() as client:
                answer = (await client.get(f"/api/v1/agencies/{agency.code}")).raise_for_status().json()
            return {each["site"]: each["says"] for each in answer["sites"]} == wanted

        service = self.hub.services[self.hub.probes(agency)]
        await service.until(shown, f"of {agency.code} is said {wanted}")

    async def until_evidence(self, incident: str, *sites: str) -> None:
        """Wait until the hub has the failed runs of *sites* during an incident, the hub's own first."""

        async def shown() -> bool:
            async with self.hub.any.web() as client:
                answer = (await client.get(f"/api/v1/incidents/{incident}/sites")).raise_for_status().json()
            return [each["site"] for each in answer if each["last_failures"]] == [*sites]

        await self.hub.any.until(shown, f"{sites} have shown what failed of {incident}")

    async def until_offset(self, site: str, wanted: timedelta) -> None:
        """Wait until a site's clock differs so much from the hub's, as the hub shows it."""

        async def shown() -> bool:
            behind = await self.hub.metric("pantau_site_clock_offset_seconds")
            return abs(behind[site] - wanted.total_seconds()) < 10

        await self.hub.any.until(shown, f"the clock of {site} is {wanted} behind")

    async def until_told_of_site(self, site: str, *, is_over: bool) -> None:
        """Wait until the NOC has an incident about a site, or until all of them are over."""
        asked = f"SELECT state = 'resolved' FROM incident WHERE dedup_key = '{SITE_FAULT_PREFIX}{site}'"

        async def told() -> bool:
            over = [row[0] for row in self.clusters.hub.order(asked)]
            return bool(over) and all(over) == is_over

        await self.hub.any.until(told, f"the NOC is told of {site}: {is_over}")

    def unexpected(self) -> list[str]:
        """Return every message that was not expected: at a site, or to anybody but the NOC at the hub.

        A provider's receipt that does not reach a dead hub is expected.
        """
        phones = [phone for place in self.places.values() for phone in place.world.carrier.phones.values()]
        noc = self.hub.any.noc
        return [line for phone in phones if phone is not noc for line in phone.unexpected()]


@asynccontextmanager
async def multi_site(
    directory: Path,
    sites: Sequence[str],
    agencies: Sequence[FictionalAgency],
    *,
    processes: int,
    timing: Timing = UNHURRIED,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> AsyncIterator[MultiSite]:
    """Start a hub and *sites* that have joined it, with *processes* each; stop all at the end of the block.

    Their quorum is two. *environment*: additional variables of a site's PostgreSQL and services.
    """
    with site_world(*sites, environment=environment or {}) as clusters:
        secret = directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        joined = {name: _join(clusters, name) for name in sites}
        there = {name: _settings_of(server, secret) for name, server in joined.items()}
        async with AsyncExitStack() as stack:
            places: dict[str, Site] = {}
            for name in (*sites, HUB):
                (directory / name).mkdir()
                world = await stack.enter_async_context(
                    demo_environment(directory / name, timing=timing, agencies=agencies)
                )
                own: dict[str, Any] = {"site": name, "store": _store_of(clusters.stores.get(name, clusters.store))}
                if name == HUB:
                    own["hub"] = {"quorum": 2, "stale_after": STALE_AFTER, "sites": there}
                else:
                    own["mode"] = "monitor_only"
                ports = stack.enter_context(claimed(2 * processes))
                places[name] = _place(name, world, own, _names(name, agencies, processes), ports)
                for service in places[name].services.values():
                    service.environment = (environment or {}).get(name, {})
            here = MultiSite(clusters=clusters, places=places)
            try:
                # The sites first: a hub that runs for a while reports a silent site to the NOC.
                for name in (*sites, HUB):
                    await places[name].start()
                yield here
            finally:
                for place in places.values():
                    await place.stop()


def _join(clusters: SiteWorld, name: str) -> PostgresServer:
    server = clusters.sites[name].reached()
    assert add(SiteConnection(site=name, server=server, hub=HUB, store=clusters.store))
    return server


def _settings_of(server: PostgresServer, secret: Path) -> Mapping[str, str]:
    return {
        "url": f"postgresql://{CALLER}@{server.host}:{server.port}/{server.database}",
        "password_file": str(secret),
        "cert_file": str(server.cert_file),
        "key_file": str(server.key_file),
        "ca_file": str(server.ca_file),
    }


def _store_of(server: PostgresServer) -> Mapping[str, object]:
    return {"url": f"postgresql://{server.user}@:{server.port}/{server.database}?host={server.host}", "tls": False}


def _names(site: str, agencies: Sequence[FictionalAgency], processes: int) -> Sequence[str]:
    """Return names of a site's processes such that each probes some of the agencies."""
    codes = [agency.code for agency in agencies]
    for first in count(1):
        names = [f"{site}-{number}" for number in range(first, first + processes)]
        if len({*owners(codes, names).values()}) == min(processes, len(codes)):
            return names
    raise AssertionError


def _place(name: str, world: DemoEnvironment, own: Mapping[str, Any], names: Sequence[str], ports: list[int]) -> Site:
    def less(document: dict[str, Any]) -> None:
        if "agency" in document:
            document["routes"] = [*_ROUTES]
        if name != HUB:
            for key in _TELLS:
                document.pop(key, None)
            return
        document.pop("announcement", None)
        for part in (document, document.get("noc")):
            if part and (escalation := part.get("escalation")):
                who = escalation["steps"][0]["contacts"]
                part["escalation"] = {"steps": [_BY_SMS | {"contacts": who}]}

    for agency in (world.settings.parent / "agencies").glob("*.yaml"):
        _edit(agency, less)
    settings = yaml.safe_load(world.settings.read_text()) | own
    less(settings)
    for phone in world.carrier.phones.values():
        phone.keys.clear()
    # One key signs all tokens of a site, because its services see each other's mail in the same mailboxes.
    directory, services = world.settings.parent, dict[str, RunningService]()
    key = token_key(directory / f"state-{names[0]}")
    for each in names:
        place, state = directory / each, directory / f"state-{each}"
        for path in (place, state):
            path.mkdir(exist_ok=True, mode=0o700)
        (state / "token.key").write_bytes(key)
        listen, callbacks = (f"127.0.0.1:{ports.pop()}" for _ in range(2))
        settings |= {"process_name": each, "state_dir": state.name, "listen": listen}
        settings |= {"callbacks": {"listen": callbacks, "public_url": f"http://{callbacks}"}}
        file = directory / f"{each}.yaml"
        file.write_text(yaml.safe_dump(settings))
        services[each] = RunningService(
            world=replace(world, settings=file, url=f"http://{listen}"),
            directory=place,
            program=("tests.stories.short_leases",),
        )
    return Site(name=name, world=world, services=services)


def _edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = yaml.safe_load(file.read_text())
    change(document)
    file.write_text(yaml.safe_dump(document))
