"""Running environment of the demo: mail systems, carrier, fax service, and a socket for commands that break the mail."""

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
from pantau_lab.config_files import DEMO, StandIns, Timing, write
from pantau_lab.faxservice.api import app as fax_app
from pantau_lab.faxservice.service import FaxService
from pantau_lab.mail import Fault, LabNetwork, SystemPlan
from pantau_lab.outbox import Outbox
from pantau_lab.serving import claimed, serve
from pantau_lab.sites.link import HUB, SiteLinks
from pantau_lab.world import AGENCIES, NOC, REFERENCES, FictionalAgency


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoEnvironment:
    """Running environment."""

    network: LabNetwork
    carrier: Carrier
    fax_service: FaxService
    outbox: Outbox
    #: URL of the portal, at which the service is to listen.
    url: str
    #: Settings file of the service that is to run in this environment.
    settings: Path
    #: Links of each site by its name, which the code that starts the sites adds; empty without sites.
    wires: dict[str, SiteLinks] = field(default_factory=dict)


def lever(directory: Path) -> Path:
    """Return the path of the socket for commands that break and repair the mail."""
    return directory / "lab.sock"


@asynccontextmanager
async def stage(
    directory: Path,
    *,
    listen: str | None = None,
    timing: Timing = DEMO,
    agencies: Sequence[FictionalAgency] = AGENCIES,
    signs_in: bool = False,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> AsyncIterator[DemoEnvironment]:
    """Run the environment during the block, and write the service's configuration to *directory*.

    *listen*: listening address of the service ("127.0.0.1:8080"); by default a reserved port, like that for callbacks.
    *agencies*: the agencies to include. *signs_in*: whether the portal requires sign-in. *settings*: additional settings of
    the service.
    """
    plans = [
        *(SystemPlan.with_one_mailbox(a.code, a.domain, tempo=timing.tempo) for a in agencies),
        *(SystemPlan.with_one_mailbox(r.key, r.domain, tempo=timing.tempo) for r in REFERENCES),
    ]
    wires: dict[str, SiteLinks] = {}
    outbox = Outbox(directory / "outbox", lambda: datetime.now(UTC))
    phones, machines = _carrier(outbox, agencies), _fax_service(outbox, agencies)
    async with AsyncExitStack() as stack:
        portal, callbacks = (f"127.0.0.1:{port}" for port in stack.enter_context(claimed(2)))
        listen = listen or portal
        if timing.replies == "webhook":
            phones.incoming_url = f"http://{callbacks}/callbacks/sms/sms"
        network = await stack.enter_async_context(LabNetwork(plans, folder=directory))
        carrier_url = await stack.enter_async_context(serve(carrier_app(phones)))
        fax_url = await stack.enter_async_context(serve(fax_app(machines)))
        stack.callback(lever(directory).unlink, missing_ok=True)
        await stack.enter_async_context(serve_on(_lever(network, wires), open_unix(lever(directory))))
        providers = StandIns(
            carrier_url=carrier_url,
            account_sid=phones.account_sid,
            auth_token=phones.auth_token,
            caller=next(iter(phones.senders)),
            fax_url=fax_url,
            project_id=machines.project_id,
            key_id=machines.key_id,
            key_secret=machines.key_secret,
            fax_caller="+60300000000",
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
            carrier=phones,
            fax_service=machines,
            outbox=outbox,
            url=f"http://{listen}",
            settings=written,
            wires=wires,
        )


def _carrier(outbox: Outbox, agencies: Sequence[FictionalAgency]) -> Carrier:
    phones = Carrier(step=timedelta(seconds=0.5), on_sms=outbox.sms, on_call=outbox.call)
    for person in (NOC, *(p for a in agencies for p in (a.duty, a.deputy))):
        phones.phone(
            person.number,
            owner=person.name,
            # Each menu of a call uses one entry, so this is enough for all calls of a demo.
            keys=list(person.keys) * 50,
            answers_after=timedelta(seconds=1),
            presses_after=timedelta(seconds=1),
        )
    return phones


def _fax_service(outbox: Outbox, agencies: Sequence[FictionalAgency]) -> FaxService:
    machines = FaxService(step=timedelta(seconds=1), on_fax=outbox.fax)
    for agency in agencies:
        machines.machine(agency.recipient.fax, owner=agency.recipient.organisation)
    return machines


def _lever(network: LabNetwork, wires: Mapping[str, SiteLinks]) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def find(name: str) -> str:
        return _found(name, network.systems, "there is no")

    def find_site(name: str) -> str:
        if not wires:
            raise HTTPException(404, "this demo has no sites; end it and start one that has: make run SITES=3")
        return _found(name, wires, "there is no site")

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
        known, to = find_site(site), None if system is None else find(system)
        if not wires[known].disconnect(to):
            return f"{known} is disconnected from {to or HUB} already"
        return f"{known} is disconnected from {to or HUB} now"

    @app.post("/reconnect")
    async def reconnect(site: str, system: str | None = None) -> str:
        known, to = find_site(site), None if system is None else find(system)
        if joined := wires[known].reconnect(to):
            return f"{known} is reconnected to {', '.join(joined)}"
        return f"{known} is not disconnected from {to or 'anything'}"

    return app


def _found(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the name in *known* that equals *name* except for case. Raise `HTTPException` with *otherwise* if none does."""
    names = {each.lower(): each for each in known}
    if name.lower() not in names:
        raise HTTPException(404, f"{otherwise} {name}; there are {', '.join(names.values())}")
    return names[name.lower()]
