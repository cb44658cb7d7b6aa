"""Composition root: builds all parts, runs them in one task group, and shuts down in order."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import NoReturn

import structlog

from alerts.documents.crest import Crest, InvalidCrestError
from alerts.engine.composer import WordingComposer
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.gateway_verifier import GatewayVerifier
from alerts.inbound.callback_handler import CallbackHandlers
from alerts.inbound.poller import Poller
from alerts.model.delivery import Notification
from alerts.model.incident import Incident
from alerts.model.notification import IssuingOffice
from alerts.model.number import number_prefix
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.audit.archive import Archive
from monitor.audit.chain import Chain
from monitor.audit.lifecycle import Lifecycle
from monitor.config.agency.letterhead import load_crest
from monitor.config.fields.listen import Listen
from monitor.config.loading import Configuration, ConfigurationError, LoadCache
from monitor.config.model.settings import Settings
from monitor.config.service.portal import PortalSettings
from monitor.evaluation.joint.freshness import STALE_AFTER
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.metrics import NO_AGENCY, Metrics
from monitor.planning.ownership import WHOLE, TakeoverPolicy
from monitor.runtime.clock import MachineClock
from monitor.runtime.descriptors import open_files_limit, raise_open_files_limit
from monitor.runtime.gc_control import freeze_periodically
from monitor.runtime.place import CONTROL_SOCKET, link_socket
from monitor.runtime.repeat import run_periodically
from monitor.runtime.resolver import separate_resolver
from monitor.runtime.systemd import ServiceManager
from monitor.runtime.token_key import token_key
from monitor.runtime.version import own_version
from monitor.service.access.administration import Administration
from monitor.service.access.authenticator import Authenticator
from monitor.service.access.openid import OpenIdLogin
from monitor.service.access.secret_store import SecretStore
from monitor.service.access.tokens import ProgramTokens
from monitor.service.access.wallboards import Wallboards
from monitor.service.alertmanager.intake import AlertIntake
from monitor.service.alertmanager.receiver import AlertReceiver
from monitor.service.alertmanager.sender import AlertSender
from monitor.service.days.statements import Statements
from monitor.service.days.timeline_recorder import LOOKS, TimelineRecorder
from monitor.service.declarations import DeclarationService
from monitor.service.facade import ServiceFacade
from monitor.service.gateways import build_lines, close_lines
from monitor.service.measurement import MailMeasurement
from monitor.service.oncall import OnCall
from monitor.service.open_incidents import PresentBriefs
from monitor.service.order_check import OrderCheck
from monitor.service.orphaned_incidents import OrphanedIncidentCloser
from monitor.service.paper.letters import Letters, office_hours
from monitor.service.paper.restore_guard import RestoreGuard
from monitor.service.per_configuration import PerConfiguration, contact_names, pin_book
from monitor.service.portal.agency_directory import AgencyDirectory
from monitor.service.portal.agency_editor import AgencyEditor
from monitor.service.portal.documents import DocumentWriter
from monitor.service.portal.idempotency import MOST_KEPT, IdempotencyStore
from monitor.service.portal.mailbox_setup import ConfiguredSite, MailboxSetups
from monitor.service.portal.maintenance_notices import MaintenanceNotices
from monitor.service.portal.on_demand_runs import OnDemandRuns
from monitor.service.portal.refresh_tokens import RefreshTokenRotation
from monitor.service.portal.rota_feed import RotaFeedService
from monitor.service.portal.worklist import Worklist
from monitor.service.probing_runtime import ProbingRuntime, RuntimeContext, keep_showing_mailboxes
from monitor.service.reloader import Reloader, needs_restart, read
from monitor.service.renamer import Renamer
from monitor.service.sharding import ShardManager
from monitor.service.silences import Silencer, first_verdict_muter, route_muter
from monitor.service.sites.continuity import SiteContinuity
from monitor.service.sites.document_applier import DocumentApplier
from monitor.service.sites.document_distributor import DocumentDistributor
from monitor.service.sites.heartbeat import SiteHeartbeatWriter
from monitor.service.sites.hub import Hub
from monitor.service.sites.probe_requests import ProbeRequester
from monitor.service.sites.replication_monitor import ReplicationMonitor
from monitor.service.sites.site_runs import SiteRunReporter
from monitor.service.sites.status_recorder import SiteStatusRecorder
from monitor.service.start_problem import port_problem, state_problem, store_problem
from monitor.service.status_reader import StatusReader
from monitor.store.admin.documents import Documents
from monitor.store.admin.idempotency import IdempotencyRecords
from monitor.store.admin.maintenance_notices import MaintenanceNoticeRecords
from monitor.store.admin.offers import Offers
from monitor.store.admin.renames import Renames
from monitor.store.admin.rota_feeds import RotaFeeds
from monitor.store.admin.secrets import Secrets
from monitor.store.admin.tokens import TokenRecords
from monitor.store.admin.traces import AgencyTraces
from monitor.store.admin.unopened import DocumentsAwayError
from monitor.store.admin.users import SecondFactors, Users
from monitor.store.admin.wallboards import WallboardLinks
from monitor.store.backend.database import Database, StoreInUseError, StoreUnusableError
from monitor.store.engine.audit_log import AuditLogPages
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.store.probing.history import History
from monitor.store.probing.probe_calls import ProbeRequests
from monitor.store.probing.processes import Processes
from monitor.store.probing.records import ConfigurationRecords
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.probing.site_runs import SiteRecords, SiteRunWriter
from monitor.store.probing.standings import SiteStatuses
from monitor.store.sites.link import SiteConnection
from monitor.views.overview import view_checks
from monitor.views.self_health import SelfHealthInputs
from monitor.views.site_report import SITES_SAY
from monitor.views.status_line import status_line
from monitor.watchdog.watchdog import Watchdog, store_opening
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
from monitor.web.api.maintenance_notices import advance_orders
from monitor.web.api.oncall import override_orders
from monitor.web.api.silence import silence_orders
from monitor.web.audit_log import audit_log_pages
from monitor.web.callbacks import callbacks
from monitor.web.command.access import secrets_of, tokens_of, users_of
from monitor.web.command.control import control, declarations, silences
from monitor.web.command.documents import documents
from monitor.web.command.drills import drills
from monitor.web.command.oncall import duties
from monitor.web.command.paper import paper
from monitor.web.command.records import records, statements
from monitor.web.command.renames import renames
from monitor.web.connection import connection_limits
from monitor.web.duty.incident import incident_pages
from monitor.web.duty.rotas import rota_pages
from monitor.web.duty.tasks import task_pages
from monitor.web.letters import letter_orders
from monitor.web.portal import portal
from monitor.web.serving import open_port, open_unix, serve, url_of
from probes.mail.token import TokenSigner

log = structlog.get_logger()

#: For results that wait for the database at a stop: longer than the time-out of a server.
_LAST_WRITES = timedelta(seconds=15)
#: The longest wait of the command line.
_OWN_WORK = timedelta(hours=1)
#: Interval of the status for systemd.
_STATUS_EVERY = timedelta(seconds=5)
#: Retry interval of what could not be stored.
_RENEWED = timedelta(seconds=30)
#: Interval for comparing documents with other processes, as last read by the process heartbeat.
_PACE = timedelta(seconds=5)
#: Interval of site heartbeats, and of reading the sites at the hub.
_BEATS_EVERY = timedelta(seconds=1)
#: A replication slot is lost after hours, and examining it costs both ends.
_WIRES = timedelta(minutes=1)
#: A failed run is evaluated at its site: the hub does not need it at once.
_TELLS_EVERY = timedelta(seconds=5)


class App:
    """The service. Created in a running loop."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """*path*: the settings file."""
        self._path = path
        self._environ = environ
        self._manager = ServiceManager(environ)
        #: The store's clock, once it is open.
        self._clock: Clock = MachineClock()
        self._metrics = Metrics(version=own_version(), now=self._now)
        self._renewals = RefreshTokenRotation()
        self._memory = LoadCache(rotations=self._renewals.rotation)
        self._pins = PerConfiguration(self._configuration, pin_book)
        self._briefs = PerConfiguration(self._configuration, PresentBriefs)
        self._stopping = asyncio.Event()
        self._reload_wanted = asyncio.Event()
        #: Set when another process has taken this one's name on the store.
        self._ousted: StoreInUseError | None = None

    def stop(self) -> None:
        """Request `run` to end."""
        self._stopping.set()

    def want_reload(self) -> None:
        """Request a reload of the configuration (SIGHUP)."""
        self._reload_wanted.set()

    async def run(self) -> None:
        """Run until `stop` is called, or until another process takes this one's name on the store.

        Raise `ConfigurationError`, `StoreInUseError`, `StoreUnusableError`, `StoreTooNewError`, `StoreBarredError`, or
        `OSError` when a port is not available; everything that was started is stopped.
        """
        raise_open_files_limit()
        async with AsyncExitStack() as life:
            life.enter_context(separate_resolver())
            with self._manager.starting():
                self._manager.status("Reading the configuration")
                try:
                    configuration = await read(self._path, self._environ, self._memory)
                except ConfigurationError:
                    self._manager.status("The configuration cannot be used; `pantau check` lists what is wrong with it")
                    raise
                except DocumentsAwayError as away:
                    await self._give_up(away)
                await life.enter_async_context(self._built(configuration))
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(loop) for loop in self._loops()]
                # Its ports are open, the store is locked, and the schedule is planned.
                self._manager.ready()
                await self._stopping.wait()
                self._manager.stopping()
                for task in running:
                    task.cancel()
        log.info("stopped")
        if self._ousted is not None:
            raise self._ousted

    async def _give_up(self, away: DocumentsAwayError) -> NoReturn:
        """Examine out-of-band alerts and end: the agencies are in the database, which is unavailable."""
        try:
            settings_alone = await read(self._path, self._environ, LoadCache(), ())
        except ConfigurationError:  # Documents may be missing that define the contacts of a drill.
            raise StoreUnusableError(str(away)) from None
        async with store_opening(settings_alone, self._path.parent, self._metrics.watchdog, self._clock):
            raise StoreUnusableError(str(away)) from None

    def _loops(self) -> Iterable[Coroutine[object, object, object]]:
        history = self._around.history
        return (
            self._dispatcher.run(),
            self._poller.run(),
            self._verifier.run(),
            # All probes and checks: prober, check runner, and their reporters.
            self._reloader.keep_watching(),
            self._reloader.keep_reloading(self._reload_wanted),
            self._reloader.retirement.keep_closing(),
            self._watchdog.run(),
            self._duty.keep_counting(),
            self._letters.keep_in_order(),
            self._leaver.keep_closing(),
            self._alert_teller.keep_telling(),
            history.keep_writing(),
            Retention(self._database, self._configuration().settings.site).keep_disposing(self._keep, self._clock),
            self._chain.keep(),
            self._restorer.keep(),
            keep_showing_mailboxes(self._metrics, self._runtime),
            self._around.lag.keep_measuring(self._metrics),
            run_periodically("refresh tokens", self._renewals.catch_up, _RENEWED),
            freeze_periodically(),
            self._keep_name(),
            *([self._sharing.keep()] if self._sharing else []),
            *(
                [run_periodically("probe requests", self._caller.answer, _BEATS_EVERY)]
                if self._database.is_shared
                else []
            ),
            run_periodically("day timelines", self._daybook.look, LOOKS),
            run_periodically("document polling", self._keep_pace, _PACE),
            run_periodically("service status", self._tell_status, _STATUS_EVERY),
            *(run_periodically("site statuses", each, _BEATS_EVERY) for each in self._sites),
            *(run_periodically("replication monitor", each.look, _WIRES) for each in self._wires),
            *([run_periodically("document distributor", self._offering.look, _PACE)] if self._offering else []),
            *([run_periodically("document applier", self._taker.take, _PACE)] if self._taker else []),
            *(
                [run_periodically("site status recorder", self._witness.look, _TELLS_EVERY)]
                if self._told.others
                else []
            ),
            *([run_periodically("site run reporter", self._telling.tell, _TELLS_EVERY)] if self._telling else []),
        )

    @asynccontextmanager
    async def _built(self, configuration: Configuration) -> AsyncIterator[None]:
        settings = configuration.settings
        server = None if settings.store is None else settings.store.build()
        async with AsyncExitStack() as stack:
            opening = partial(store_opening, configuration, self._path.parent, self._metrics.watchdog, self._clock)
            self._manager.status("Opening the store; one of an older version is brought up to date first")
            async with opening():
                if (problem := state_problem(self._path, settings.state_dir)) is not None:
                    raise StoreUnusableError(str(problem))
                try:
                    opened = Database.open(settings.state_dir, server, name=_prober(settings))
                    database = await stack.enter_async_context(opened)
                except StoreUnusableError as error:
                    raise StoreUnusableError(str(store_problem(self._path, error))) from None
            self._clock = database.clock
            database.presence.on_change = lambda there: self._metrics.store_judged(there=there)
            self._metrics.store_judged(there=True)
            # Ports first: a service without metrics should not probe.
            faces = [self._opened(("listen",), settings.listen)]
            stack.callback(faces[0].close)
            faces.append(self._opened(("callbacks", "listen"), settings.callbacks.listen))
            stack.callback(faces[1].close)
            socket_file = settings.state_dir / CONTROL_SOCKET
            stack.callback(socket_file.unlink, missing_ok=True)
            faces.append(open_unix(socket_file))
            stack.callback(faces[2].close)
            self._leave_signpost(stack, socket_file)
            try:
                await self._build(configuration, database)
            except StoreUnavailable as away:
                # The database can be opened and read but not written: a full disk. For out-of-band alerts that is the
                # same.
                async with opening():
                    raise StoreUnusableError(f"the store cannot be used: {away}") from None
            # After all requests have ended, and while the store is still locked.
            stack.push_async_exit(self._farewell)
            stack.push_async_callback(self._close_lines)
            await self._serve(stack, faces)
            log.info("started", portal=url_of(faces[0]), callbacks=url_of(faces[1]), state_dir=str(settings.state_dir))
            yield

    def _opened(self, key: tuple[str, ...], listen: Listen) -> socket.socket:
        try:
            return open_port(listen.host, listen.port)
        except OSError as error:
            raise OSError(str(port_problem(self._path, key, listen, error, self._environ))) from error

    def _leave_signpost(self, stack: AsyncExitStack, socket_file: Path) -> None:
        """Link the control socket for clients that cannot read the configuration."""
        try:
            link = link_socket(socket_file, self._environ)
        except OSError as error:
            log.warning("control socket is not linked; commands need the configuration or --socket", reason=str(error))
            return
        if link is not None:
            stack.callback(link.unlink, missing_ok=True)

    async def _build(self, configuration: Configuration, database: Database) -> None:
        self._awaiting_restart = PerConfiguration(
            self._configuration, lambda now: [p.key for p in needs_restart(configuration, now, self._path)]
        )
        settings = configuration.settings
        store = SqlStore(database)
        standings = SiteStatuses(database, settings.site)
        history = History(database, standings)
        processes = Processes(database, _prober(settings))
        self._database = database
        service = f"pantau@{_prober(settings)}"
        self._lifecycle = Lifecycle(store, self._clock, service)
        self._chain = Chain(database, self._metrics, self._clock, service)
        self._pool = GatewayPool(build_lines(settings, self._path.parent))
        self._composer = WordingComposer(configuration.wording, self._may_release, self._operator, self._crest)
        self._muter = first_verdict_muter(
            route_muter(lambda agency: self._runtime().troubled(agency)),
            lambda: self._restorer.sees_first_since,
            lambda agency: self._runtime().is_unseen(agency),
        )
        self._restorer = RestoreGuard(
            store=store,
            state=settings.state_dir,
            clock=self._clock,
            service=service,
            pool=self._pool,
            prefixes=lambda: {
                number_prefix(code) for code in (NO_AGENCY, *(self._memory.in_force or configuration.registry).agencies)
            },
            metrics=self._metrics,
            let_go=self._look_again,
        )
        self._dispatcher = Dispatcher(
            store=store,
            pool=self._pool,
            composer=self._composer,
            clock=self._clock,
            observer=self._metrics,
            owner=_owner(settings) if database.is_shared else None,
            muter=self._muter,
            rests=self._rests,
            brief=self._present_brief,
            note_page=self._restorer.note_page,
        )
        self._watchdog = Watchdog(
            database=database,
            store=store,
            pool=self._pool,
            dispatcher=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            runtime=self._runtime,
            processes=processes,
            name=_prober(settings),
            directory=self._path.parent,
            manager=self._manager,
            wording=configuration.wording,
        )
        self._measuring = MailMeasurement(runtime=self._runtime, history=history, clock=self._clock)
        self._desks = CallbackHandlers(
            dispatcher=self._dispatcher,
            store=store,
            wording=configuration.wording,
            pins=self._pins,
            clock=self._clock,
            drills=self._watchdog.exerciser,
            measuring=self._measuring,
        )
        self._poller = Poller(store=store, pool=self._pool, desks=self._desks, clock=self._clock, rests=self._rests)
        self._verifier = GatewayVerifier(pool=self._pool, clock=self._clock, observer=self._metrics, rests=self._rests)
        self._around = RuntimeContext(
            signer=TokenSigner(token_key(settings.state_dir), _prober(settings), began=self._clock.now()),
            store=store,
            history=history,
            alerting=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            is_read=database.is_shared,
            continuous_since=lambda: processes.continuous_since,
        )
        self._continuity = SiteContinuity(
            processes,
            standings,
            self._clock,
            site=settings.site,
            stale_after=_stale_after(settings),
            lag=self._around.lag,
            runtime=self._runtime,
        )
        self._sites = self._with_other_sites(settings, standings)
        members = _members(settings)
        self._wires = [ReplicationMonitor(members, self._metrics, notifies=settings.notifies)] if members else []
        self._offering = (
            DocumentDistributor(members, self._metrics, configuration=self._configuration, is_ours=self._speaks_for_all)
            if members
            else None
        )
        self._told = SiteRecords(database, settings.site, settings.hub.sites if settings.hub else ())
        self._witness = SiteStatusRecorder(
            store,
            self._clock,
            says=self._sites_say,
            write=partial(self._lifecycle.told, service, SITES_SAY),
        )
        self._telling = (
            SiteRunReporter(SiteRunWriter(database, settings.site), self._clock) if database.is_shared else None
        )
        self._duty = OnCall(
            store=store,
            metrics=self._metrics,
            clock=self._clock,
            configuration=self._configuration,
        )
        self._letters = Letters(
            store=store,
            pool=self._pool,
            dispatcher=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            hours=lambda agency: office_hours(self._configuration(), agency),
        )
        self._leaver = OrphanedIncidentCloser(
            store=store,
            alerting=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            known=lambda: self._reloader.watched,
        )
        self._days = DayRecords(database)
        self._daybook = TimelineRecorder(records=self._days, store=store, clock=self._clock, runtime=self._runtime)
        self._caller = ProbeRequester(
            ProbeRequests(database),
            self._lifecycle,
            self._runtime,
            self._clock,
            members=members,
            looks=database.is_shared,
        )
        await self._daybook.begin(await processes.last_beat())
        await self._continuity.begin()
        self._alert_teller = AlertSender(
            store=store,
            metrics=self._metrics,
            clock=self._clock,
            settings=lambda: self._configuration().settings,
            muter=self._muter,
        )
        # Before anything is written that an older copy lacks.
        await self._restorer.look()
        # The first write: a database that rejects writes is unusable.
        await self._lifecycle.started(version=own_version(), user=f"uid {os.getuid()}")
        self._documents = Documents(database)
        self._reloader = Reloader(
            self._path,
            self._environ,
            around=self._around,
            records=ConfigurationRecords(database),
            documents=self._documents,
            lifecycle=self._lifecycle,
            pool=self._pool,
            dispatcher=self._dispatcher,
            memory=self._memory,
            manager=self._manager,
            processes=processes if database.is_shared else None,
            follow=self._duty.follow,
        )
        self._sharing = (
            ShardManager(
                name=_prober(settings),
                processes=processes,
                history=history,
                reloader=self._reloader,
                around=self._around,
                # One clock for all processes: two machines may differ by more than a takeover timeout.
                clock=database.clock,
                policy=TakeoverPolicy(within=settings.probing.takeover_timeout),
                take_over=self._dispatcher.take_over,
            )
            if database.is_shared and settings.probing.sharding
            else None
        )
        share = await self._sharing.begin() if self._sharing else WHOLE
        agencies = configuration.registry.agencies
        owned = share.of(agencies)
        # Load first: the result is frozen with all else that stays, or collecting it would block the loop.
        await history.latest(owned if len(owned) < len(agencies) else None)
        await self._reloader.begin(configuration, share)

    def _speaks_for_all(self) -> bool:
        """Return whether this process does the tasks that one process does for all on the store."""
        return self._sharing is None or self._sharing.speaks_for_all

    def _sites_say(self, agency: str) -> Mapping[str, SiteStatus | None]:
        # Another process of the hub writes the agencies that it probes.
        runtime = self._runtime()
        return runtime.consensus.says(agency) if agency in runtime.owned else {}

    def _with_other_sites(
        self, settings: Settings, standings: SiteStatuses
    ) -> Sequence[Callable[[], Awaitable[object]]]:
        """Return the tasks of each second for other sites: for the hub of this site, and for the sites of this hub."""
        if not self._database.is_shared:
            return []
        does: list[Callable[[], Awaitable[object]]] = [
            SiteHeartbeatWriter(
                standings,
                self._clock,
                owes=lambda: self._around.history.owes,
                look=self._continuity.look,
                stale_after=_stale_after(settings),
                # One writer is enough: each write is logged, sent and applied at the hub.
                is_ours=self._speaks_for_all,
            ).beat
        ]
        if settings.hub is not None and settings.hub.sites:
            hub = Hub(
                standings,
                self._clock,
                site=settings.site,
                sites=settings.hub.sites.keys(),
                stale_after=settings.hub.stale_after,
                quorum=settings.hub.build(settings.site),
                consensus=lambda: self._runtime().consensus,
                metrics=self._metrics,
                speak=self._speak,
            )
            does.append(hub.listen)
        return does

    async def _serve(self, stack: AsyncExitStack, faces: Sequence[socket.socket]) -> None:
        board = StatusReader(
            store=self._around.store,
            history=self._around.history,
            days=self._days,
            pool=self._pool,
            clock=self._clock,
            runtime=self._runtime,
            signs=self._signs,
            told=self._told,
        )
        check = OrderCheck(store=self._around.store, clock=self._clock, measure=self._measuring.measure)
        facade = ServiceFacade(
            store=self._around.store,
            board=board,
            dispatcher=self._dispatcher,
            desks=self._desks,
            pool=self._pool,
            composer=self._composer,
            metrics=self._metrics,
            clock=self._clock,
            runtime=self._runtime,
            reload=self._reloader.reload,
            check=check,
            away=self._watchdog.store_away,
            ailments=self._watchdog.ailments,
        )
        door = self._configuration().settings.portal
        hosts = ["localhost", "127.0.0.1", "[::1]", faces[0].getsockname()[0], *([door.host] if door else [])]
        users = Users(self._database)
        secrets = Secrets(self._database)
        safe = SecretStore(secrets, self._clock, door.keyring() if door else None)
        await safe.look()
        self._renewals.open(secrets, safe, self._clock)
        factors = SecondFactors(self._database)
        authenticator = (
            Authenticator(
                users,
                self._clock,
                agencies=self._agencies,
                factors=factors,
                safe=safe,
                required=frozenset(door.second_factor),
            )
            if door
            else None
        )
        administration = Administration(
            users,
            self._clock,
            agencies=self._agencies,
            factors=factors,
            changed=authenticator.forget if authenticator else _nothing,
        )
        feeds = RotaFeedService(RotaFeeds(self._database), self._duty, users, self._clock)
        walls = Wallboards(WallboardLinks(self._database), self._clock, agencies=self._agencies)
        tokens = ProgramTokens(TokenRecords(self._database), self._clock, agencies=self._agencies)
        access_control = AccessControl(
            authenticator,
            tokens,
            walls=walls,
            is_secure=door is not None and door.is_secure,
            scrapers=door.metrics_networks if door else (),
        )
        archive = Archive(
            database=self._database,
            history=self._around.history,
            clock=self._clock,
            wording=lambda: self._configuration().wording,
            keep=self._keep,
            sites=board.testimonies,
        )
        receiver = AlertReceiver(
            dispatcher=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            settings=lambda: self._configuration().settings,
            # Each holds a connection: the portal's other clients keep three quarters.
            intake=AlertIntake(connection_limits(open_files_limit()).in_all // 4),
        )
        silencer = Silencer(self._around.store, self._dispatcher, self._clock, self._can_be_silent)
        declarer = DeclarationService(
            store=self._around.store,
            dispatcher=self._dispatcher,
            clock=self._clock,
            known=self._agencies,
            brief=self._brief,
            zone=lambda: self._configuration().settings.time_zone,
            muter=self._muter,
            check=check,
        )
        writer = DocumentWriter(self._path, self._environ, self._documents, self._clock, safe=safe, memory=self._memory)
        self._taker = (
            DocumentApplier(
                Offers(self._database),
                writer,
                self._clock,
                configuration=self._configuration,
                reload=self._reloader.reload,
                is_ours=self._speaks_for_all,
            )
            if self._database.is_shared
            else None
        )
        editor = AgencyEditor(writer, self._documents, self._configuration, self._reloader.reload)
        monthly = Statements(
            store=self._around.store,
            days=self._days,
            drills=Drills(self._database),
            lifecycle=self._lifecycle,
            clock=self._clock,
            configuration=self._configuration,
            checks=lambda agency: view_checks(self._runtime().inspector.latest(agency)),
            probed_by=lambda agency: self._runtime().probed_by(agency),
        )
        advance = MaintenanceNotices(
            records=MaintenanceNoticeRecords(self._database),
            lifecycle=self._lifecycle,
            clock=self._clock,
            configuration=self._configuration,
            crest=self._crest,
        )
        orders = control(
            facade,
            records(archive),
            drills(self._watchdog.driller, self._rests),
            duties(self._duty),
            silences(silencer),
            declarations(declarer),
            letter_orders(self._letters),
            paper(self._restorer),
            statements(monthly),
            users_of(administration),
            tokens_of(tokens),
            documents(writer, self._reloader.reload),
            secrets_of(safe),
            renames(
                Renamer(
                    renames=Renames(self._database, self._configuration().settings.site),
                    reloader=self._reloader,
                    store=self._around.store,
                    history=self._around.history,
                    clock=self._clock,
                )
            ),
        )
        openid = self._openid(door, authenticator, users) if door and authenticator else None
        roll = AgencyDirectory(
            editor,
            self._documents,
            AgencyTraces(self._database),
            administration,
            letters=self._letters.letters,
            drills=Drills(self._database).under_way,
        )
        names = PerConfiguration(self._configuration, contact_names)
        worklist = Worklist(
            store=self._around.store,
            composer=self._composer,
            clock=self._clock,
            muter=self._muter,
            begin=self._measuring.begin,
            called=lambda user: names().get(user, frozenset()),
        )
        setups = MailboxSetups(self._lifecycle, self._clock, ConfiguredSite(self._configuration))
        pages = [
            partial(user_pages, administration),
            partial(token_pages, tokens),
            partial(task_pages, worklist, declarer, silencer),
            partial(incident_pages, facade, worklist, declarer),
            partial(agency_list_pages, editor, roll),
            partial(removal_pages, editor, roll),
            partial(settings_pages, editor, self._clock),
            partial(maintenance_notice_pages, advance),
            partial(mailbox_setup_pages, setups, editor),
            partial(history_pages, facade, self._around.history.transits),
            partial(monthly_report_pages, monthly),
            partial(drill_pages, self._watchdog.driller, self._rests),
            partial(mailbox_pages, editor, self._clock),
            partial(on_demand_run_pages, OnDemandRuns(self._lifecycle, self._clock, self._runtime), self._caller),
            partial(audit_log_pages, AuditLogPages(self._database), users),
            partial(wallboard_pages, walls, self._clock),
            partial(rota_pages, self._duty, feeds),
        ]
        seen = portal(
            facade,
            hosts,
            self._letters,
            self._duty,
            receiver,
            access_control=access_control,
            pages=pages,
            openid=openid,
            once=IdempotencyStore(IdempotencyRecords(self._database, most=MOST_KEPT), self._clock, self._lifecycle),
            parts=[
                incident_commands(facade, declarer),
                silence_orders(silencer),
                advance_orders(advance),
                override_orders(self._duty),
                agency_documents(editor),
                mailbox_logins(editor),
            ],
            site=self._configuration().settings.named_site,
        )
        certificate = (door.certificate, door.key) if door and door.certificate and door.key else None
        proxies = door.trusted_proxies if door else ()
        past = door.metrics_networks if door else ()
        await stack.enter_async_context(serve(seen, faces[0], certificate=certificate, proxies=proxies, past_them=past))
        await stack.enter_async_context(serve(callbacks(facade), faces[1]))
        # The control socket has no time-out: purging years of records takes minutes.
        await stack.enter_async_context(serve(orders, faces[2], answering=_OWN_WORK))

    def _signs(self) -> SelfHealthInputs:
        """Return the state of this process."""
        watchdog, metrics = self._watchdog, self._metrics.watchdog
        has_hub = self._telling is not None and self._telling.has_hub
        return SelfHealthInputs(
            away=watchdog.store_away(),
            ailments=watchdog.ailments(),
            paper_held_since=self._restorer.held_since,
            is_under_way=metrics.cycled_at is not None and metrics.audited_at is not None,
            refused_at=self._metrics.refused_at,
            awaiting_restart=self._awaiting_restart(),
            departed={each.number: each.closes_at for each in self._leaver.departed},
            deserted=self._duty.deserted,
            monitor_only=self._rests() and not has_hub,
            for_hub=self._rests() and has_hub,
            is_unheard=self._telling is not None and not self._telling.is_heard,
            ailing_sites=self._runtime().consensus.ailing_sites(),
            short_of_sites_since=self._runtime().consensus.short_of_sites_since(),
        )

    async def _tell_status(self) -> None:
        self._manager.status(
            status_line(
                self._signs(),
                agencies=len(self._configuration().registry.agencies),
                routes=len(self._runtime().routes),
                open_incidents=self._metrics.open_incidents,
            )
        )

    async def _keep_pace(self) -> None:
        await self._reloader.keep_pace(self._watchdog.pulse.peers)

    def _openid(self, door: PortalSettings, authenticator: Authenticator, users: Users) -> OpenIdLogin | None:
        settings = door.openid
        if settings is None or door.address is None:
            return None
        client = settings.build(door.address)
        return OpenIdLogin(client, settings.name, authenticator, users, self._clock)

    def _agencies(self) -> Sequence[str]:
        return list(self._configuration().registry.agencies)

    def _brief(self, agency: str) -> PolicySnapshot:
        """Return the policy of an agency's incident."""
        return self._briefs().of_agency(agency)

    def _present_brief(self, incident: Incident) -> PolicySnapshot | None:
        """Return the policy of an incident that opened now; `None`: its agency was removed."""
        return self._briefs().of(incident.policy)

    def _can_be_silent(self) -> Mapping[str, str]:
        """Return the agencies and routes that may be silenced, with the agency's code."""
        routes = {route.name: route.agency for route in self._configuration().registry.routes}
        return routes | {code: code for code in self._configuration().registry.agencies}

    async def _farewell(self, failure: type[BaseException] | None, *_: object) -> None:
        """Write that the service stops in order, if it does."""
        if failure is not None:
            return
        await self._watchdog.pulse.stop()
        try:
            await self._around.history.drain(_LAST_WRITES)
            await self._daybook.look()
            await self._lifecycle.stopped()
        # The stop then looks like a crash in the audit log, without further effect.
        except StoreUnavailable as away:
            log.warning("stop could not be recorded in the audit log", reason=str(away))
        except Exception:
            log.exception("stop could not be recorded in the audit log")

    async def _keep_name(self) -> None:
        try:
            await self._database.keep_name()
        except StoreInUseError as error:
            log.warning("stopping: another process has this process name", reason=str(error))
            self._ousted = error
            self.stop()

    async def _close_lines(self) -> None:
        await close_lines(self._pool)
        await self._reloader.retirement.close()

    # -- interface of the parts ----------------------------------------------------------------------------------

    def _now(self) -> datetime:
        return self._clock.now()

    def _look_again(self) -> None:
        self._dispatcher.poke()

    def _runtime(self) -> ProbingRuntime:
        return self._reloader.runtime

    async def _speak(self) -> None:
        await self._runtime().pipeline.speak()

    def _configuration(self) -> Configuration:
        return self._reloader.runtime.configuration

    def _rests(self) -> bool:
        """Return whether nobody is notified of anything."""
        return not self._configuration().settings.notifies

    def _may_release(self, notice: Notification) -> bool:
        # An office has its agency's code as its short name.
        return self._pins().has(notice.facts.office.short, notice.person)

    def _operator(self) -> IssuingOffice:
        return self._configuration().settings.noc.build_office()

    def _crest(self, office: str) -> Crest | None:
        """Return an agency's crest from its file; a letter without one is valid."""
        agency = self._configuration().registry.agencies.get(office)
        if agency is None or agency.letterhead.crest is None:
            return None
        try:
            return load_crest(agency.letterhead.crest)
        except InvalidCrestError as bad:
            log.warning("crest cannot be used; letter is printed without it", agency=office, reason=str(bad))
            return None

    def _keep(self) -> RetentionPolicy:
        return self._configuration().settings.retention.build()


def _nothing() -> None:
    """Do nothing: there are no sessions."""


def _members(settings: Settings) -> Sequence[SiteConnection]:
    """Return the sites of this hub; empty if it is none."""
    if settings.hub is None or settings.store is None:
        return []
    store = settings.store.build()
    each = settings.hub.sites.items()
    return [SiteConnection(site=name, server=one.build(), hub=settings.site, store=store) for name, one in each]


def _stale_after(settings: Settings) -> timedelta:
    return STALE_AFTER if settings.hub is None else settings.hub.stale_after


def _prober(settings: Settings) -> str:
    return settings.process_name


def _owner(settings: Settings) -> str:
    """Return this engine's name among those on the store, new at each start."""
    return f"{_prober(settings)}/{token_hex(4)}"
