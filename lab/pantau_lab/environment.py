"""Running environment of the demo: mail systems, carrier, fax service, and a socket for commands that break mail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, HTTPException

from monitor.web.serving import open_unix
from monitor.web.serving import serve as serve_on
from pantau_lab.carrier.api import app as carrier_app
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.config_files import DEMO, ProviderAccess, Timing, write
from pantau_lab.faxservice.api import app as fax_app
from pantau_lab.faxservice.service import FaxService
from pantau_lab.mail import Fault, LabNetwork, SystemPlan
from pantau_lab.outbox import Outbox
from pantau_lab.serving import claimed, serve
from pantau_lab.sites.link import HUB, SiteLinks
from pantau_lab.world import AGENCIES, NOC, REFERENCES, FictionalAgency


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoEnvironment:
    """Running environment of the demo."""

    network: LabNetwork
    carrier: Carrier
    fax_service: FaxService
    outbox: Outbox
    #: URL of the portal, at which the service is to listen.
    url: str
    #: Settings file of the service that is to run in this environment.
    settings: Path
    #: Links of each site by its name. The code that starts the sites adds them; empty without sites.
    site_links: dict[str, SiteLinks] = field(default_factory=dict)


def command_socket(directory: Path) -> Path:
    """Return the path of the socket for commands that break and repair the mail."""
    return directory / "lab.sock"


@asynccontextmanager
async def demo_environment(
    directory: Path,
    *,
    listen: str | None = None,
    timing: Timing = DEMO,
    agencies: Sequence[FictionalAgency] = AGENCIES,
    signs_in: bool = False,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> AsyncIterator[DemoEnvironment]:
    """Run the environment during the block, and write the service's configuration to *directory*.

    *listen*: listening address of the service ("127.0.0.1:8080"); by default on a reserved port of this machine.
    *agencies*: the agencies to include. *signs_in*: whether the portal requires sign-in. *settings*: additional
    settings of the service.
    """
    plans = [
        *(SystemPlan.with_one_mailbox(a.code, a.domain, tempo=timing.tempo) for a in agencies),
        *(SystemPlan.with_one_mailbox(r.key, r.domain, tempo=timing.tempo) for r in REFERENCES),
    ]
    site_links: dict[str, SiteLinks] = {}
    outbox = Outbox(directory / "outbox", lambda: datetime.now(UTC))
    carrier, fax_service = _carrier(outbox, agencies), _fax_service(outbox, agencies)
    async with AsyncExitStack() as stack:
        portal, callbacks = (f"127.0.0.1:{port}" for port in stack.enter_context(claimed(2)))
        listen = listen or portal
        if timing.replies == "webhook":
            carrier.incoming_url = f"http://{callbacks}/callbacks/sms/sms"
        network = await stack.enter_async_context(LabNetwork(plans, folder=directory))
        carrier_url = await stack.enter_async_context(serve(carrier_app(carrier)))
        fax_url = await stack.enter_async_context(serve(fax_app(fax_service)))
        stack.callback(command_socket(directory).unlink, missing_ok=True)
        await stack.enter_async_context(
            serve_on(_command_app(network, site_links), open_unix(command_socket(directory)))
        )
        providers = ProviderAccess(
            carrier_url=carrier_url,
            account_sid=carrier.account_sid,
            auth_token=carrier.auth_token,
            from_number=next(iter(carrier.senders)),
            fax_url=fax_url,
            project_id=fax_service.project_id,
            key_id=fax_service.key_id,
            key_secret=fax_service.key_secret,
            fax_from_number="+60300000000",
        )
        written = write(
            directory,
            network,
            providers,
            timing,
            listen=listen,
            callbacks=callbacks,
            agencies=agencies,
            signs_in=signs_in,
            settings=settings,
        )
        yield DemoEnvironment(
            network=network,
            carrier=carrier,
            fax_service=fax_service,
            outbox=outbox,
            url=f"http://{listen}",
            settings=written,
            site_links=site_links,
        )


def _carrier(outbox: Outbox, agencies: Sequence[FictionalAgency]) -> Carrier:
    carrier = Carrier(step=timedelta(seconds=0.5), on_sms=outbox.sms, on_call=outbox.call)
    for person in (NOC, *(person for each in agencies for person in (each.duty, each.deputy))):
        carrier.phone(
            person.number,
            owner=person.name,
            # Each menu of a call uses one entry, so this is enough for all calls of a demo.
            keys=list(person.keys) * 50,
            answers_after=timedelta(seconds=1),
            presses_after=timedelta(seconds=1),
        )
    return carrier


def _fax_service(outbox: Outbox, agencies: Sequence[FictionalAgency]) -> FaxService:
    fax_service = FaxService(step=timedelta(seconds=1), on_fax=outbox.fax)
    for agency in agencies:
        fax_service.machine(agency.recipient.fax, owner=agency.recipient.organisation)
    return fax_service


def _command_app(network: LabNetwork, site_links: Mapping[str, SiteLinks]) -> FastAPI:
    """Return the ASGI app of the command socket, for which `pantau demo` is the client."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def find(name: str) -> str:
        return _match_name(name, network.systems, "there is no")

    def find_site(name: str) -> str:
        if not site_links:
            raise HTTPException(404, "this demo has no sites; end it and start one that has: make run SITES=3")
        return _match_name(name, site_links, "there is no site")

    @app.post("/systems/{name}/break/{fault}")
    async def break_(name: str, fault: Fault) -> str:
        system = find(name)
        await network.systems[system].break_(fault)
        return system

    @app.post("/systems/{name}/repair")
    async def repair(name: str) -> str:
        system = find(name)
        await network.systems[system].repair()
        return system

    # The names are in the query, because a typed name with a slash, such as "johor/JCM", would change the path.
    @app.post("/disconnect")
    async def disconnect(site: str, system: str | None = None) -> str:
        site_name, system_name = find_site(site), None if system is None else find(system)
        if not site_links[site_name].disconnect(system_name):
            return f"{site_name} is disconnected from {system_name or HUB} already"
        return f"{site_name} is disconnected from {system_name or HUB} now"

    @app.post("/reconnect")
    async def reconnect(site: str, system: str | None = None) -> str:
        site_name, system_name = find_site(site), None if system is None else find(system)
        if reconnected := site_links[site_name].reconnect(system_name):
            return f"{site_name} is reconnected to {', '.join(reconnected)}"
        return f"{site_name} is not disconnected from {system_name or 'anything'}"

    return app


def _match_name(name: str, known: Iterable[str], message_start: str) -> str:
    """Return the name in *known* that equals *name* except for case. Raise `HTTPException` if there is none."""
    names = {each.lower(): each for each in known}
    if name.lower() not in names:
        raise HTTPException(404, f"{message_start} {name}; there are {', '.join(names.values())}")
    return names[name.lower()]
