"""A hub and a site, each a real service with a PostgreSQL of its own behind a wire: what both say is told, and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.store.backend.postgres import PostgresServer
from monitor.store.sites.joining import MemberSite, add
from pantau_lab.mail import Fault
from tests.real.sitecluster import CALLER, PASSWORD, SiteWorld, site_world
from tests.stories.theatre import JCM, Theatre, theatre

pytestmark = [pytest.mark.real, pytest.mark.site]

#: What a site has no need of: nobody is told there.
_TELLS = {
    "gateways",
    "contacts",
    "rotas",
    "noc",
    "drills",
    "lifeline",
    "heartbeat",
    "alertmanager",
    "escalation",
    "recipients",
}


def edited(change: Callable[[dict[str, Any]], object], file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    change(document)
    file.write_text(yaml.safe_dump(document))


def store_of(server: PostgresServer) -> dict[str, Any]:
    return {"url": f"postgresql://{server.user}@:{server.port}/{server.database}?host={server.host}", "tls": False}


class Nation:
    """The hub's service and the site's, each with mail systems of its own, called the same."""

    def __init__(self, world: SiteWorld, hub: Theatre, johor: Theatre) -> None:
        self.world, self.hub, self.johor = world, hub, johor

    async def break_(self, at: Theatre) -> None:
        await at.world.network.systems[JCM.code].break_(Fault.REFUSE)

    async def repair(self, at: Theatre) -> None:
        await at.world.network.systems[JCM.code].repair()

    async def is_down(self, at: Theatre) -> bool:
        return "down" in (await at.health()).values()

    async def shows(self, series: str) -> bool:
        async with self.hub.web() as client:
            return series in (await client.get("/metrics")).text.splitlines()

    async def has_evidence_of_both(self) -> bool:
        sites = await self.hub.get("/incidents/JCM-01/sites")
        return [each["site"] for each in sites if each["last_failures"]] == ["pusat", "johor"]

    async def until_fresh(self, *, is_so: bool) -> None:
        series = f'pantau_site_fresh{{site="johor"}} {is_so:d}.0'
        await self.hub.until(lambda: self.shows(series), f"johor has a vote: {is_so}")


@asynccontextmanager
async def nation(directory: Path) -> AsyncIterator[Nation]:
    """Start a hub and a site that has joined it; end both with the block."""
    with site_world("johor") as world:
        cluster = world.sites["johor"]
        file, secret = cluster.certificate(), directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        there: dict[str, Any] = {
            "url": f"postgresql://{CALLER}@{cluster.host}:{cluster.port}/pantau",
            "password_file": str(secret),
            "cert_file": str(file),
            "key_file": str(file),
            "ca_file": str(cluster.ca_file),
        }

        def as_hub(settings: Path) -> None:
            hub = {"quorum": 2, "fresh_for": "5s", "sites": {"johor": there}}
            edited(lambda all_: all_.update(site="pusat", store=store_of(world.store), hub=hub), settings)

        def as_site(settings: Path) -> None:
            def change(all_: dict[str, Any]) -> None:
                for key in _TELLS:
                    all_.pop(key, None)
                all_.update(mode="watch", site="johor", store=store_of(world.stores["johor"]))

            edited(change, settings)
            for agency in (settings.parent / "agencies").glob("*.yaml"):
                edited(lambda document: [document.pop(key, None) for key in _TELLS], agency)

        server = cluster.reached(file)
        assert add(MemberSite(site="johor", server=server, hub="pusat", store=world.store))
        places = [directory / name for name in ("pusat", "johor")]
        for place in places:
            place.mkdir()
        # The site first: a hub that has been there for a while tells the NOC of one that it does not hear.
        async with theatre(places[1], prepare=as_site) as johor, theatre(places[0], prepare=as_hub) as hub:
            hub.duty.keys = ["1"]
            yield Nation(world, hub, johor)


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid():
        pytest.fail("needs root: a site is cut off in a network namespace of its own")


async def test_what_a_hub_and_a_site_say_together_is_told_once_and_a_cut_wire_raises_nothing(tmp_path: Path) -> None:
    async with nation(tmp_path) as here:
        hub, johor = here.hub, here.johor
        await hub.everybody_is_up()
        await johor.everybody_is_up()
        await here.until_fresh(is_so=True)
        assert await here.shows('pantau_site_replication{site="johor",state="works"} 1.0')

        # Mail fails as the hub sees it: a cable there, for all that is known.
        await here.break_(hub)
        await hub.until(lambda: here.is_down(hub), "it is down as the hub sees it")
        assert await hub.get("/incidents?agency=JCM") == []

        # And as the site does.
        await here.break_(johor)
        await hub.duty.expect_sms("RM0 JCM ICT: AMARAN", "keluar dan masuk gagal", "Ruj JCM-01")
        assert johor.world.carrier.unexpected() == []
        assert [phone.inbox for phone in johor.world.carrier.phones.values() if phone.inbox] == []

        # What failed there is evidence here, and what was delivered there stays there.
        await hub.until(here.has_evidence_of_both, "both have shown what failed")
        assert here.world.hub.order("SELECT DISTINCT site, outcome = 'delivered' FROM site_run") == [("johor", False)]

        # The wire is cut, and the site repaired meanwhile; the NOC hears of the wire.
        here.world.sites["johor"].cut()
        await here.until_fresh(is_so=False)
        await hub.noc.expect_sms("johor")
        await here.repair(johor)
        await johor.everybody_is_up()
        assert [each["state"] for each in await hub.get("/incidents?agency=JCM")] == ["acknowledged"]

        # It is back, and says what is so now; then the hub sees it, too.
        here.world.sites["johor"].mend()
        await here.until_fresh(is_so=True)
        await hub.noc.expect_sms("PULIH", "johor")
        await here.repair(hub)
        await hub.duty.expect_sms("PULIH", "JCM-01")
        assert len(await hub.get("/incidents?agency=JCM")) == 1
