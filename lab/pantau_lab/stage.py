"""The fictional world at work: mail systems, a carrier with phones, a fax service, and a lever to break the mail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi import FastAPI, HTTPException

from monitor.web.serving import open_unix
from monitor.web.serving import serve as serve_on
from pantau_lab.carrier.api import app as carrier_app
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.faxservice.api import app as fax_app
from pantau_lab.faxservice.service import FaxService
from pantau_lab.mail import Fault, LabNetwork, SystemPlan
from pantau_lab.outbox import Outbox
from pantau_lab.scenery import DEMO, StandIns, Timing, write
from pantau_lab.serving import claimed, serve
from pantau_lab.world import AGENCIES, NOC, REFERENCES, FictionalAgency


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The world, running."""

    network: LabNetwork
    carrier: Carrier
    fax_service: FaxService
    outbox: Outbox
    #: Where the service is to listen: its portal.
    url: str
    #: Of the service that is to run against it.
    settings: Path


def lever(directory: Path) -> Path:
    """Return the socket by which the mail is broken and repaired."""
    return directory / "lab.sock"


@asynccontextmanager
async def stage(
    directory: Path,
    *,
    listen: str | None = None,
    timing: Timing = DEMO,
    agencies: Sequence[FictionalAgency] = AGENCIES,
    signs_in: bool = False,
) -> AsyncIterator[Stage]:
    """Run the world for as long as the block lasts, with the service's configuration written below *directory*.

    *listen*: where the service is to listen ("127.0.0.1:8080"), by default on a port that is kept for it, as the one for
    callbacks is. *agencies*: the part of the world that is there. *signs_in*: whether people sign in to the portal.
    """
    plans = [
        *(SystemPlan.with_one_mailbox(a.code, a.domain, tempo=timing.tempo) for a in agencies),
        *(SystemPlan.with_one_mailbox(r.key, r.domain, tempo=timing.tempo) for r in REFERENCES),
    ]
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
        await stack.enter_async_context(serve_on(_lever(network), open_unix(lever(directory))))
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
        settings = write(
            directory,
            network,
            providers,
            timing,
            listen=listen,
            callbacks=callbacks,
            agencies=agencies,
            signs_in=signs_in,
        )
        yield Stage(
            network=network,
            carrier=phones,
            fax_service=machines,
            outbox=outbox,
            url=f"http://{listen}",
            settings=settings,
        )


def _carrier(outbox: Outbox, agencies: Sequence[FictionalAgency]) -> Carrier:
    phones = Carrier(step=timedelta(seconds=0.5), on_sms=outbox.sms, on_call=outbox.call)
    for person in (NOC, *(p for a in agencies for p in (a.duty, a.deputy))):
        phones.phone(
            person.number,
            owner=person.name,
            # Enough for as many calls as a demo makes; each menu heard takes one.
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


def _lever(network: LabNetwork) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def find(name: str) -> str:
        known = {each.lower(): each for each in network.systems}
        if name.lower() not in known:
            raise HTTPException(404, f"there is no {name}; there are {', '.join(network.systems)}")
        return known[name.lower()]

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

    return app
