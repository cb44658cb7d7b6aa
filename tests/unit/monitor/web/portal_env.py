"""A portal with users, and its own database."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from fastapi import FastAPI

from alerts.decide.silence import active_silence
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.notification import Language
from alerts.model.oncall import Override
from alerts.persistence.store import AuditEntry
from monitor.access.invitation_code import CodeKind
from monitor.access.role import Role
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.files.problem import Problem
from monitor.config.loading import Configuration, LoadCache, load, stored_source
from monitor.drills.plan import DrillPlans
from monitor.drills.runner import DrillRunner
from monitor.drills.sender import DrillSender
from monitor.metrics import Metrics
from monitor.model.document import EditSource, WrittenDocument
from monitor.service.access.administration import Administration
from monitor.service.access.authenticator import MAX_SESSION_TIME, Authenticator
from monitor.service.access.secret import SessionKey
from monitor.service.access.secret_store import SecretStore
from monitor.service.access.tokens import ProgramTokens
from monitor.service.access.wallboards import Wallboards
from monitor.service.days.monthly_reports import MonthlyReports
from monitor.service.declarations import DeclarationService
from monitor.service.oncall import OnCall
from monitor.service.operation_check import OperationCheck
from monitor.service.portal.agency_directory import AgencyDirectory
from monitor.service.portal.agency_editor import AgencyEditor
from monitor.service.portal.documents import DocumentWriter
from monitor.service.portal.idempotency import MAX_STORED, IdempotencyStore
from monitor.service.portal.mailbox_setup import MailboxSetups, SetupSettings
from monitor.service.portal.maintenance_notices import MaintenanceNotices
from monitor.service.portal.on_demand_runs import OnDemandRuns
from monitor.service.portal.rota_feed import RotaFeedService
from monitor.service.silences import Silencer
from monitor.service.sites.probe_requests import ProbeRequester
from monitor.store.admin.documents import Documents
from monitor.store.admin.idempotency import IdempotencyRecords
from monitor.store.admin.keyring import Keyring
from monitor.store.admin.maintenance_notices import MaintenanceNoticeRecords
from monitor.store.admin.rota_feeds import RotaFeeds
from monitor.store.admin.secrets import Secrets
from monitor.store.admin.tokens import TokenRecords
from monitor.store.admin.traces import AgencyTraces
from monitor.store.admin.users import SecondFactors, Users, WebSession
from monitor.store.admin.wallboards import WallboardLinks
from monitor.store.backend.database import Database
from monitor.store.engine.audit_log_pages import AuditLogPages
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.store.probing.history import History
from monitor.store.probing.probe_requests import ProbeRequests
from monitor.web.access.access_control import AccessControl
from monitor.web.access.tokens import token_pages
from monitor.web.access.users import user_pages
from monitor.web.access.wallboards import wallboard_pages
from monitor.web.agencies.agencies import agency_list_pages
from monitor.web.agencies.remove_agency import removal_pages
from monitor.web.agency.drills import drill_pages
from monitor.web.agency.history import history_pages
from monitor.web.agency.mailbox import mailbox_setup_pages
from monitor.web.agency.mailboxes import mailbox_pages
from monitor.web.agency.maintenance_notices import maintenance_notice_pages
from monitor.web.agency.monthly_report import monthly_report_pages
from monitor.web.agency.on_demand_runs import on_demand_run_pages
from monitor.web.agency.settings import settings_pages
from monitor.web.api.commands import incident_commands
from monitor.web.api.document import agency_documents
from monitor.web.api.mailbox_login import mailbox_logins
from monitor.web.api.maintenance_notices import maintenance_notice_routes
from monitor.web.api.oncall import override_routes
from monitor.web.api.silence import silence_routes
from monitor.web.audit_log import audit_log_pages
from monitor.web.duty.incident import incident_pages
from monitor.web.duty.rotas import rota_pages
from monitor.web.duty.tasks import task_pages
from monitor.web.portal import portal
from tests.integration.alerts.dispatcher_env import DispatcherEnv, ScriptedGateway
from tests.integration.monitor_only import agency, write_files
from tests.unit.alerts.people import SNAPSHOT, T0
from tests.unit.alerts.probe_runs import FakeProbeRuns
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.web.fake_runtime import FakeRuntime
from tests.unit.monitor.web.fake_service import FakeWorklist, Service
from tests.unit.monitor.web.setup_site import StaticSetupSite

KEY = urlsafe_b64encode(bytes(range(32))).decode()
PASSWORD = "kerusi rotan di beranda hujan"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
#: Configuration of a site when it is opened; loaded once.
_READ: list[Configuration] = []


class Clock:
    """Fixed clock that tests move."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> datetime:
        return self.at

    def move(self, by: timedelta) -> None:
        self.at += by


class FakeOverrides:
    """Fake of the on-call service that keeps overrides in memory."""

    def __init__(self) -> None:
        self.made: list[Override] = []

    async def overrides(self) -> list[Override]:
        return self.made

    async def add(self, *, rota: str, person: str, begins: str, ends: str, by: str) -> Override:
        contact = Contact(key=person, name=person.capitalize(), language=Language.MALAY, addresses=())
        first = datetime.fromisoformat(begins) if begins else T0
        made = Override(
            id=len(self.made) + 1,
            rota=rota,
            contact=contact,
            starts_at=first,
            ends_at=datetime.fromisoformat(ends),
            by=by,
            made_at=T0,
        )
        self.made.append(made)
        return made

    async def contacts_affected_by(self, override: Override) -> list[Contact]:
        return [override.contact]

    async def remove(self, number: int, _by: str) -> Override:
        gone = next(each for each in self.made if each.id == number)
        self.made.remove(gone)
        return gone


class Site:
    """The documents of JCM and MDC in the database; nothing probes these agencies."""

    def __init__(self, directory: Path, database: Database, clock: Clock, secret_store: SecretStore) -> None:
        self.settings = write_files(directory) / "pantau.yaml"
        self.documents = Documents(database)
        self.memory = LoadCache()
        self.writer = DocumentWriter(
            self.settings, {}, self.documents, clock, secret_store=secret_store, load_cache=self.memory
        )
        self.editor = AgencyEditor(self.writer, self.documents, lambda: self.configuration, self._reload)
        self.configuration: Configuration
        #: Actors of the reloads, and the problems that the next reload returns.
        self.reloads: list[str] = []
        self.problems: Sequence[Problem] = ()
        self.is_monitor_only = False

    async def open(self) -> None:
        """Write the agencies' documents, and load them once for all tests."""
        await self.write(JCM=agency("JCM"), MDC=agency("MDC"))
        if not _READ:
            await self.apply_documents()
            _READ.append(self.configuration)
        [self.configuration] = _READ

    async def apply_documents(self) -> None:
        """Load the documents in the database as a reload does."""
        sources = [stored_source(each.document) for each in (await self.documents.latest()).values() if each.document]
        self.configuration = load(self.settings, {}, documents=sources).require_configuration()

    async def write(self, **texts: str | None) -> None:
        """Write documents as `pantau apply` does; `None` removes the agency."""
        wanted = [WrittenDocument(agency=code, name=f"{code.lower()}.yaml", text=t) for code, t in texts.items() if t]
        gone = [code for code, text in texts.items() if text is None]
        present = await self.documents.latest()
        await self.documents.write(present, wanted, gone, edit_source=EditSource.FILES, by="Ravi", now=T0)

    async def text(self, code: str = "JCM") -> str:
        """Return an agency's document in the database."""
        return (await self.documents.latest())[code].text or ""

    async def _reload(self, by: str) -> Sequence[Problem]:
        self.reloads.append(by)
        return self.problems


@dataclass
class PortalEnv:
    """The portal under test and its services."""

    app: FastAPI
    users: Users
    authenticator: Authenticator
    administration: Administration
    tokens: ProgramTokens
    station: DispatcherEnv
    clock: Clock
    database: Database
    site: Site
    runtime: FakeRuntime
    probe_requester: ProbeRequester
    mailbox_setups: MailboxSetups
    wallboards: Wallboards
    factors: SecondFactors
    on_call: OnCall
    drill_runner: DrillRunner
    stack: AsyncExitStack

    def other_portal(self, *, keys: Sequence[str] = (KEY,)) -> FastAPI:
        """Return the portal of another Pantau with the same database."""
        secret_store = SecretStore(Secrets(self.database), self.clock, Keyring(*keys) if keys else None)
        authenticator = Authenticator(
            self.users, self.clock, agencies=tuple, factors=self.factors, secret_store=secret_store
        )
        service: Any = Service(codes=("JCM", "MDC"))
        return portal(service, ["localhost"], service, access_control=AccessControl(authenticator))

    def browser(self, app: FastAPI | None = None, **headers: str) -> httpx.AsyncClient:
        """Return a client that keeps its cookies."""
        transport = httpx.ASGITransport(app=app or self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers={**SAME_ORIGIN, **headers})

    async def invite(self, name: str, *roles: str, way: CodeKind = CodeKind.LETTER) -> str:
        """Create a user, and return the invitation code."""
        await self.administration.add(name, f"{name.capitalize()} Contoh", roles, by="Ujian")
        return (await self.administration.invite(name, way, by="Ujian")).code

    async def session_for(self, name: str, *roles: str) -> httpx.AsyncClient:
        """Create a user with a session in the database, and return a client with its cookie."""
        user = await self.administration.add(name, f"{name.capitalize()} Contoh", roles, by="Ujian")
        key, now = SessionKey.new(), self.clock.now()
        session = WebSession(
            digest=key.digest,
            user=user,
            started_at=now,
            seen_at=now,
            ends_at=now + MAX_SESSION_TIME,
            address="127.0.0.1",
        )
        await self.users.start_session(session, AuditEntry(at=now, actor=user.by, event="signed in"))
        browser = await self.stack.enter_async_context(self.browser())
        browser.cookies.set("pantau", key.text, domain="localhost.local")
        return browser

    async def program(self, *roles: str, name: str = "konsol", **headers: str) -> httpx.AsyncClient:
        """Create a token, and return a client that sends it."""
        made = await self.tokens.create(name, roles, timedelta(days=90), by="Ujian")
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        shown = {"Authorization": f"Bearer {made.secret.text}", **headers}
        return await self.stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=shown)
        )

    async def signed_in(self, name: str, *roles: str) -> httpx.AsyncClient:
        """Create a user who accepts the invitation, and return the signed-in client."""
        code = await self.invite(name, *roles)
        browser = await self.stack.enter_async_context(self.browser())
        answer = await browser.post("/welcome", data={"name": name, "code": code, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return browser


@cache
def configured() -> Configuration:
    """Return the sample configuration with the agencies of these tests, and a rota shared with MDC."""
    with TemporaryDirectory() as directory:
        office = IssuingOffice(Path(directory))
        for file in (office.config, *office.directory.glob("agencies/*.yaml")):
            file.write_text(file.read_text().replace("MPCONTOH", "MDC").replace("JCONTOH", "JCM"))
        shared, majlis = office.config.read_text(), office.directory / "agencies" / "majlis-contoh.yaml"
        for line in ("rotas:", "  pusat-operasi:", "    layers: [{every: weekly"):
            shared = shared.replace(f"# {line}", line, 1)
        office.config.write_text(shared)
        step = "contacts: [pegawai-bertugas], channels: [voice, sms]}"
        majlis.write_text(majlis.read_text().replace(step, f"rotas: [pusat-operasi], {step}"))
        return load(office.config, {**ENVIRON, "PANTAU_MDC_PASSWORD": "kata-laluan-contoh"}).require_configuration()


@asynccontextmanager
async def open_portal(
    directory: Path,
    service: Any = None,
    *,
    worklist: Any = None,
    secure: bool = False,
    runtime: FakeRuntime | None = None,
    second_factor_roles: AbstractSet[Role] = frozenset(),
    keys: Sequence[str] = (KEY,),
    setup_site: SetupSettings | None = None,
) -> AsyncIterator[PortalEnv]:
    """Open the portal of *service*.

    *runtime*: fake runtime of on-demand runs. *second_factor_roles*: roles that require a second factor. *setup_site*:
    settings of the guided mailbox setup.
    """
    clock, codes = Clock(), ("JCM", "MDC")
    service = service or Service(codes=codes)
    async with Database.open(directory) as database, AsyncExitStack() as stack:
        users = Users(database)
        wallboards = Wallboards(WallboardLinks(database), clock, agencies=lambda: codes)
        factors = SecondFactors(database)
        secret_store = SecretStore(Secrets(database), clock, Keyring(*keys) if keys else None)
        authenticator = Authenticator(
            users,
            clock,
            agencies=lambda: codes,
            factors=factors,
            secret_store=secret_store,
            second_factor_roles=second_factor_roles,
        )
        administration = Administration(
            users, clock, agencies=lambda: codes, factors=factors, on_change=authenticator.clear_cache
        )
        tokens = ProgramTokens(TokenRecords(database), clock, agencies=lambda: codes)
        access_control = AccessControl(authenticator, tokens, wallboards=wallboards, is_secure=secure)
        worklist = worklist or FakeWorklist(service)
        runtime = runtime or FakeRuntime(codes)
        lifecycle = LifecycleRecorder(SqlStore(database), clock, "pantau@ujian")
        on_demand = OnDemandRuns(lifecycle, clock, runtime.runtime)
        probe_requester = ProbeRequester(
            ProbeRequests(database), lifecycle, runtime.runtime, clock, has_other_processes=False
        )
        metrics = Metrics(version="1", now=clock.now)
        for code in codes:
            metrics.register_agency(code, routes=())
        on_call = OnCall(store=SqlStore(database), metrics=metrics, clock=clock, configuration=configured)
        pool = GatewayPool([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=ScriptedGateway())])
        drills = Drills(database)
        drill_runner = DrillRunner(
            drills=drills,
            store=SqlStore(database),
            pool=pool,
            sender=DrillSender(drills=drills, pool=pool, wording=configured().wording, metrics=metrics, clock=clock),
            current_plan=lambda: DrillPlans().make(configured()),
            metrics=metrics,
            clock=clock,
        )
        monthly_report_service = MonthlyReports(
            store=SqlStore(database),
            days=DayRecords(database),
            drills=drills,
            lifecycle=LifecycleRecorder(SqlStore(database), clock, "pantau@ujian"),
            clock=clock,
            configuration=configured,
            checks=lambda _: (),
        )
        site = Site(directory / "site", database, clock, secret_store)
        await site.open()
        notices = MaintenanceNotices(
            records=MaintenanceNoticeRecords(database),
            lifecycle=lifecycle,
            clock=clock,
            configuration=lambda: site.configuration,
            crest=lambda _: None,
        )
        mailbox_setups = MailboxSetups(lifecycle, clock, setup_site or StaticSetupSite())
        directory_service = AgencyDirectory(
            site.editor,
            site.documents,
            AgencyTraces(database),
            administration,
            letters=service.letters,
            drills=drills.under_way,
        )
        pages = [
            partial(user_pages, administration),
            partial(token_pages, tokens),
            partial(task_pages, worklist, worklist, worklist),
            partial(incident_pages, service, worklist, worklist),
            partial(agency_list_pages, site.editor, directory_service),
            partial(removal_pages, site.editor, directory_service),
            partial(settings_pages, site.editor, clock),
            partial(maintenance_notice_pages, notices),
            partial(mailbox_setup_pages, mailbox_setups, site.editor),
            partial(history_pages, service, History(database).transits),
            partial(monthly_report_pages, monthly_report_service),
            partial(drill_pages, drill_runner, lambda: site.is_monitor_only),
            partial(mailbox_pages, site.editor, clock),
            partial(on_demand_run_pages, on_demand, probe_requester),
            partial(audit_log_pages, AuditLogPages(database), users),
            partial(wallboard_pages, wallboards, clock),
            partial(rota_pages, on_call, RotaFeedService(RotaFeeds(database), on_call, users, clock)),
        ]
        station = DispatcherEnv(database)
        silencer = Silencer(
            SqlStore(database),
            station.dispatcher,
            clock,
            lambda: {**{each: each for each in codes}, "JCM/internal": "JCM"},
        )
        declaration_service = DeclarationService(
            store=SqlStore(database),
            dispatcher=station.dispatcher,
            clock=clock,
            agencies=lambda: codes,
            policy=lambda code: replace(SNAPSHOT, agency=code),
            zone=lambda: ZoneInfo("Asia/Kuala_Lumpur"),
            silence_lookup=active_silence,
            operation_check=OperationCheck(store=SqlStore(database), clock=clock, measure_mail=FakeProbeRuns().measure),
        )
        fake_overrides: Any = FakeOverrides()
        parts = [
            incident_commands(service, declaration_service),
            silence_routes(silencer),
            maintenance_notice_routes(notices),
            override_routes(fake_overrides),
            agency_documents(site.editor),
            mailbox_logins(site.editor),
        ]
        idempotency_store = IdempotencyStore(IdempotencyRecords(database, most=MAX_STORED), clock, lifecycle)
        app = portal(
            service,
            ["localhost"],
            service,
            access_control=access_control,
            pages=pages,
            idempotency=idempotency_store,
            api_routers=parts,
        )
        yield PortalEnv(
            app=app,
            users=users,
            authenticator=authenticator,
            administration=administration,
            tokens=tokens,
            station=station,
            clock=clock,
            database=database,
            site=site,
            runtime=runtime,
            probe_requester=probe_requester,
            mailbox_setups=mailbox_setups,
            wallboards=wallboards,
            factors=factors,
            on_call=on_call,
            drill_runner=drill_runner,
            stack=stack,
        )
