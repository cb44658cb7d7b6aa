"""A hub and sites on this machine: each with a PostgreSQL of its own, and wires of its own to the hub and to the mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.runtime.token_key import KEY_FILE, token_key
from monitor.store.backend.postgres import PostgresServer
from monitor.store.sites import joining, journal
from monitor.store.sites.link import SiteConnection
from pantau_lab.config_files import write_site
from pantau_lab.mail import LabNetwork, Port
from pantau_lab.seed.login import write_private
from pantau_lab.serving import claimed
from pantau_lab.sites.cluster import CALLER, OWNER, DemoCluster, make_home, remove_home
from pantau_lab.sites.link import SiteLinks, TcpLink

#: What the sites are called, in the order in which they are there; and the hub.
SITES = ("johor", "kuching", "ipoh", "melaka", "labuan")
HUB_SITE = "pusat"
#: So many must say the same; the hub is one of them.
QUORUM = 2
#: As the settings have it.
_STATE = "state"
#: Soon enough to watch, and two busy cores do not make a site look cut off.
_STALE_AFTER = "10s"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSite:
    """A site."""

    name: str
    #: Where its service keeps its files.
    directory: Path
    cluster: DemoCluster
    #: From the hub to its PostgreSQL.
    wire: TcpLink
    #: What the hub shows there, with the key.
    certificate: Path
    #: Where its service listens: its pages, and what it has no use for.
    portal: str
    callbacks: str

    @property
    def url(self) -> str:
        """Where its pages are."""
        return f"http://{self.portal}"

    @property
    def settings(self) -> Path:
        """What its service reads, once `MultiSiteDemo.open` has written it."""
        return self.directory / "pantau.yaml"

    def reached(self) -> PostgresServer:
        """Return its store as the hub comes to it: over the wire."""
        return PostgresServer(
            host="127.0.0.1",
            port=self.wire.port,
            database="pantau",
            user=CALLER,
            password=self.cluster.passwords[CALLER],
            tls=True,
            ca_file=self.cluster.ca_file,
            cert_file=self.certificate,
            key_file=self.certificate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiSiteDemo:
    """A hub, and sites that have not joined it yet."""

    directory: Path
    hub: DemoCluster
    outposts: Sequence[DemoSite]
    _wrap_transport: Callable[[int], TcpLink]

    @property
    def pages(self) -> Mapping[str, str]:
        """Where each site's are, by its name."""
        return {each.name: each.url for each in self.outposts}

    def hub_settings(self) -> Mapping[str, Any]:
        """Return what the hub's settings say beside those of a service that is alone; write the secrets that they name."""
        for each in self.outposts:
            _secret(self.directory, each.name, each.cluster.passwords[CALLER])
        return {
            "site": HUB_SITE,
            "process_name": HUB_SITE,
            "store": _store(self.directory, self.hub),
            "hub": {
                "quorum": QUORUM,
                "stale_after": _STALE_AFTER,
                "sites": {each.name: _member(each) for each in self.outposts},
            },
        }

    def open(self, network: LabNetwork) -> Mapping[str, SiteLinks]:
        """Lay each site's wires to the mail, and write what its service reads; return all wires, by site."""
        return {each.name: self._open(each, network) for each in self.outposts}

    def _open(self, outpost: DemoSite, network: LabNetwork) -> SiteLinks:
        used: Sequence[Port] = [port for port in Port if port is not Port.MX]
        mail = {
            name: {port: self._wrap_transport(system.port(port)) for port in used}
            for name, system in network.systems.items()
        }
        write_site(
            outpost.directory,
            network,
            lambda name, port: mail[name][port].port,
            settings={
                "site": outpost.name,
                "process_name": outpost.name,
                "listen": outpost.portal,
                "callbacks": {"listen": outpost.callbacks},
                "store": _store(outpost.directory, outpost.cluster),
            },
        )
        return SiteLinks(hub=outpost.wire, mail={name: list(wires.values()) for name, wires in mail.items()})

    def share_key(self) -> None:
        """Give each site the key that the hub signs probes with: they use the same mailboxes, and know each other's mail by it."""
        key = token_key(self.directory / _STATE)
        for each in self.outposts:
            file = each.directory / _STATE / KEY_FILE
            file.parent.mkdir(mode=0o700)
            file.touch(mode=0o600)
            file.write_bytes(key)

    async def join(self) -> None:
        """Let all sites join the hub, as `pantau site add` does. Raise `SiteRefusedError`."""
        for each in self.outposts:
            server, store = each.reached(), self.hub.store
            await asyncio.to_thread(
                joining.add, SiteConnection(site=each.name, server=server, hub=HUB_SITE, store=store)
            )
            detail = {"site": each.name, "at": server.host}
            await journal.write(store, "site joined", by="pantau demo", detail=detail)


@asynccontextmanager
async def country(directory: Path, names: Sequence[str], programs: Path) -> AsyncIterator[MultiSiteDemo]:
    """Run the PostgreSQLs of a hub and of sites of these *names*, and the wires between them, for as long as the block lasts.

    *programs*: where the server's are. Raise `OSError` when one does not start.
    """
    home = make_home(directory)
    async with AsyncExitStack() as stack:
        stack.callback(remove_home, directory)
        hub, *clusters = await _started(
            [DemoCluster(directory=home / name, programs=programs) for name in (HUB_SITE, *names)], stack
        )
        wrap_transport = await stack.enter_async_context(_wires())
        outposts = []
        for name, cluster in zip(names, clusters, strict=True):
            (directory / name).mkdir(mode=0o700)
            portal, callbacks = (f"127.0.0.1:{port}" for port in stack.enter_context(claimed(2)))
            outposts.append(
                DemoSite(
                    name=name,
                    directory=directory / name,
                    cluster=cluster,
                    wire=wrap_transport(cluster.port),
                    certificate=cluster.caller_certificate(),
                    portal=portal,
                    callbacks=callbacks,
                )
            )
        yield MultiSiteDemo(directory=directory, hub=hub, outposts=outposts, _wrap_transport=wrap_transport)


async def _started(clusters: Sequence[DemoCluster], stack: AsyncExitStack) -> Sequence[DemoCluster]:
    """Start all at once: each waits for its disk half of the time. They end with *stack*."""
    # Each is on the stack as soon as it runs: also when whoever waits for the others gives up.
    begun = await asyncio.gather(*(stack.enter_async_context(each.open()) for each in clusters), return_exceptions=True)
    for each in begun:
        if isinstance(each, BaseException):
            raise each
    for cluster in clusters:
        await asyncio.to_thread(cluster.lay_tables)
    return clusters


@asynccontextmanager
async def _wires() -> AsyncIterator[Callable[[int], TcpLink]]:
    """Give what lays wires, which are gone at the end of the block."""
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        laid = stack.enter_context(ExitStack())

        def wrap_transport(end: int) -> TcpLink:
            wire = TcpLink(end, tasks)
            laid.callback(wire.close)
            return wire

        try:
            yield wrap_transport
        finally:
            # Without a word of the caller's error, which the group would wrap into a group of one.
            await stack.aclose()


def _member(outpost: DemoSite) -> Mapping[str, Any]:
    there = outpost.reached()
    return {
        "url": f"postgresql://{there.user}@{there.host}:{there.port}/{there.database}",
        "password_file": f"secrets/{outpost.name}",
        "cert_file": str(there.cert_file),
        "key_file": str(there.key_file),
        "ca_file": str(there.ca_file),
    }


def _store(directory: Path, cluster: DemoCluster) -> Mapping[str, Any]:
    there = cluster.store
    _secret(directory, "store", cluster.passwords[OWNER])
    return {
        "url": f"postgresql://{there.user}@{there.host}:{there.port}/{there.database}",
        "password_file": "secrets/store",
    }


def _secret(directory: Path, name: str, secret: str) -> None:
    (directory / "secrets").mkdir(exist_ok=True, mode=0o700)
    write_private(directory / "secrets" / name, f"{secret}\n")
