"""Hub and sites of the demo on this machine: each site has a PostgreSQL, and links to the hub and the mail systems."""

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
from pantau_lab.sites.cluster import HUB_USER, OWNER, DemoCluster, make_home, remove_home
from pantau_lab.sites.link import SiteLinks, TcpLink

#: Names of the sites. A demo with fewer sites takes the first ones.
SITES = ("johor", "kuching", "ipoh", "melaka", "labuan")
#: Name of the hub among the sites.
HUB_SITE = "pusat"
#: Number of sites, including the hub, that must report the same before staff are notified.
QUORUM = 2
#: State directory of a service, as in its settings.
_STATE = "state"
#: Age of a site's last report from which it no longer counts. It is short enough to watch, and long enough for a machine
#: with two busy cores.
_STALE_AFTER = "10s"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSite:
    """Site other than the hub."""

    name: str
    #: Directory of the service's files.
    directory: Path
    #: PostgreSQL server of the site.
    cluster: DemoCluster
    #: Link from the hub to `cluster`.
    hub_link: TcpLink
    #: File with the hub's client certificate for `cluster`, and its key.
    certificate: Path
    #: Address and port of the service's portal.
    portal: str
    #: Address and port for callbacks, which a site never receives.
    callbacks: str

    @property
    def url(self) -> str:
        """URL of the status page."""
        return f"http://{self.portal}"

    @property
    def settings(self) -> Path:
        """Settings file of the service, which `MultiSiteDemo.connect_mail` writes."""
        return self.directory / "pantau.yaml"

    def store_from_hub(self) -> PostgresServer:
        """Return the connection settings with which the hub reaches the site's store over `hub_link`."""
        return PostgresServer(
            host="127.0.0.1",
            port=self.hub_link.port,
            database="pantau",
            user=HUB_USER,
            password=self.cluster.passwords[HUB_USER],
            tls=True,
            ca_file=self.cluster.ca_file,
            cert_file=self.certificate,
            key_file=self.certificate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiSiteDemo:
    """Hub and sites with running PostgreSQL servers, before their services start and the sites `join` the hub."""

    #: Directory of the hub's service.
    directory: Path
    #: PostgreSQL server of the hub.
    hub: DemoCluster
    #: Sites other than the hub.
    sites: Sequence[DemoSite]
    #: Opens a link to a port.
    _add_link: Callable[[int], TcpLink]

    @property
    def pages(self) -> Mapping[str, str]:
        """URLs of the sites' status pages, by site name."""
        return {each.name: each.url for each in self.sites}

    def hub_settings(self) -> Mapping[str, Any]:
        """Return the settings that only a hub needs, in addition to those of a single service; write their secret files."""
        for each in self.sites:
            _write_secret(self.directory, each.name, each.cluster.passwords[HUB_USER])
        return {
            "site": HUB_SITE,
            "process_name": HUB_SITE,
            "store": _store_settings(self.directory, self.hub),
            "hub": {
                "quorum": QUORUM,
                "stale_after": _STALE_AFTER,
                "sites": {each.name: _site_settings(each) for each in self.sites},
            },
        }

    def connect_mail(self, network: LabNetwork) -> Mapping[str, SiteLinks]:
        """Open each site's links to the mail systems, and write its configuration; return all links, by site name."""
        return {each.name: self._connect_site(each, network) for each in self.sites}

    def _connect_site(self, site: DemoSite, network: LabNetwork) -> SiteLinks:
        # Only the mail systems themselves connect to each other's MX port.
        user_ports: Sequence[Port] = [port for port in Port if port is not Port.MX]
        mail = {
            name: {port: self._add_link(system.port(port)) for port in user_ports}
            for name, system in network.systems.items()
        }
        write_site(
            site.directory,
            network,
            lambda name, port: mail[name][port].port,
            settings={
                "site": site.name,
                "process_name": site.name,
                "listen": site.portal,
                "callbacks": {"listen": site.callbacks},
                "store": _store_settings(site.directory, site.cluster),
            },
        )
        return SiteLinks(hub=site.hub_link, mail={name: list(links.values()) for name, links in mail.items()})

    def share_key(self) -> None:
        """Copy the hub's key that signs probe messages to each site.

        All sites use the same mailboxes, and recognise each other's messages by the key.
        """
        key = token_key(self.directory / _STATE)
        for each in self.sites:
            file = each.directory / _STATE / KEY_FILE
            file.parent.mkdir(mode=0o700)
            file.touch(mode=0o600)
            file.write_bytes(key)

    async def join(self) -> None:
        """Let all sites join the hub, as `pantau site add` does. `joining.add` raises `SiteRefusedError`."""
        for each in self.sites:
            server, store = each.store_from_hub(), self.hub.store
            await asyncio.to_thread(
                joining.add, SiteConnection(site=each.name, server=server, hub=HUB_SITE, store=store)
            )
            detail = {"site": each.name, "at": server.host}
            await journal.write(store, "site joined", by="pantau demo", detail=detail)


@asynccontextmanager
async def multi_site_demo(directory: Path, names: Sequence[str], programs: Path) -> AsyncIterator[MultiSiteDemo]:
    """Run PostgreSQL servers for the hub and the sites, with links from the hub to the sites, until the end of the block.

    *names*: names of the sites; *programs*: directory of PostgreSQL's programs. Raise `OSError` if a server does not start.
    """
    home = make_home(directory)
    async with AsyncExitStack() as stack:
        stack.callback(remove_home, directory)
        hub, *clusters = await _start(
            [DemoCluster(directory=home / name, programs=programs) for name in (HUB_SITE, *names)], stack
        )
        add_link = await stack.enter_async_context(_open_links())
        sites = []
        for name, cluster in zip(names, clusters, strict=True):
            (directory / name).mkdir(mode=0o700)
            portal, callbacks = (f"127.0.0.1:{port}" for port in stack.enter_context(claimed(2)))
            sites.append(
                DemoSite(
                    name=name,
                    directory=directory / name,
                    cluster=cluster,
                    hub_link=add_link(cluster.port),
                    certificate=cluster.hub_certificate(),
                    portal=portal,
                    callbacks=callbacks,
                )
            )
        yield MultiSiteDemo(directory=directory, hub=hub, sites=sites, _add_link=add_link)


async def _start(clusters: Sequence[DemoCluster], stack: AsyncExitStack) -> Sequence[DemoCluster]:
    """Start the servers, which end with *stack*. Start them concurrently: each waits for its disk half of the time."""
    # Each server enters the stack as soon as it runs, so that it also ends if the start of another is cancelled.
    results = await asyncio.gather(
        *(stack.enter_async_context(each.open()) for each in clusters), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result
    for cluster in clusters:
        await asyncio.to_thread(cluster.create_tables)
    return clusters


@asynccontextmanager
async def _open_links() -> AsyncIterator[Callable[[int], TcpLink]]:
    """Yield a function that opens a link to a port. The links are closed at the end of the block."""
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        links = stack.enter_context(ExitStack())

        def add_link(target_port: int) -> TcpLink:
            link = TcpLink(target_port, tasks)
            links.callback(link.close)
            return link

        try:
            yield add_link
        finally:
            # Close without passing the caller's error to the task group, which would wrap it in an exception group.
            await stack.aclose()


def _site_settings(site: DemoSite) -> Mapping[str, Any]:
    server = site.store_from_hub()
    return {
        "url": f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}",
        "password_file": f"secrets/{site.name}",
        "cert_file": str(server.cert_file),
        "key_file": str(server.key_file),
        "ca_file": str(server.ca_file),
    }


def _store_settings(directory: Path, cluster: DemoCluster) -> Mapping[str, Any]:
    server = cluster.store
    _write_secret(directory, "store", cluster.passwords[OWNER])
    return {
        "url": f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}",
        "password_file": "secrets/store",
    }


def _write_secret(directory: Path, name: str, secret: str) -> None:
    (directory / "secrets").mkdir(exist_ok=True, mode=0o700)
    write_private(directory / "secrets" / name, f"{secret}\n")
