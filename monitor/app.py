"""Composition root: builds all parts of the service, runs them in one task group, and shuts down in order.

A *hub* is an installation that combines the statuses of several *sites* and notifies people; a site only probes. A
*runtime* is the set of objects that probe and evaluate by one configuration; a reload replaces it. *Out-of-band alerts*
call the operations centre (NOC) without the database. A *shared* database is on a PostgreSQL server, where several
processes may use it; each process has a name on it, and with sharding *owns* (probes and records) a part of the
agencies, its *shard*. An *orphaned* incident is open although its agency was removed from the configuration. A *route*
is a pair of mailboxes.
"""

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
from monitor.audit.chain import ChainMonitor
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.agency.letterhead import load_crest
from monitor.config.fields.listen import Listen
from monitor.config.loading import Configuration, ConfigurationError, LoadCache
from monitor.config.model.settings import Settings
from monitor.config.service.portal import PortalSettings
from monitor.evaluation.joint.freshness import STALE_AFTER
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.metrics import NO_AGENCY, Metrics
from monitor.planning.ownership import UNSHARDED, TakeoverPolicy
from monitor.runtime.clock import MachineClock
from monitor.runtime.control_socket import CONTROL_SOCKET, link_socket
from monitor.runtime.descriptors import open_files_limit, raise_open_files_limit
from monitor.runtime.gc_control import freeze_periodically
from monitor.runtime.repeat import run_periodically
from monitor.runtime.resolver import separate_resolver
from monitor.runtime.systemd import ServiceManager
from monitor.runtime.token_key import token_key
from monitor.runtime.version import installed_version
from monitor.service.access.administration import Administration
from monitor.service.access.authenticator import Authenticator
from monitor.service.access.openid import OpenIdLogin
from monitor.service.access.secret_store import SecretStore
from monitor.service.access.tokens import ProgramTokens
from monitor.service.access.wallboards import Wallboards
from monitor.service.alertmanager.intake import AlertIntake
from monitor.service.alertmanager.receiver import AlertReceiver
from monitor.service.alertmanager.sender import AlertSender
from monitor.service.days.monthly_reports import MonthlyReports
from monitor.service.days.timeline_recorder import RECORD_INTERVAL, TimelineRecorder
from monitor.service.declarations import DeclarationService
from monitor.service.facade import ServiceFacade
from monitor.service.gateways import build_gateways, close_gateways
from monitor.service.measurement import MailMeasurement
from monitor.service.oncall import OnCall
from monitor.service.open_incidents import CurrentPolicies
from monitor.service.operation_check import OperationCheck
from monitor.service.orphaned_incidents import OrphanedIncidentCloser
from monitor.service.paper.letters import Letters, office_hours
from monitor.service.paper.restore_guard import RestoreGuard
from monitor.service.per_configuration import PerConfiguration, build_pin_store, contact_names
from monitor.service.portal.agency_directory import AgencyDirectory
from monitor.service.portal.agency_editor import AgencyEditor
from monitor.service.portal.documents import DocumentWriter
from monitor.service.portal.idempotency import MAX_STORED, IdempotencyStore
from monitor.service.portal.mailbox_setup import CurrentSetupSettings, MailboxSetups
from monitor.service.portal.maintenance_notices import MaintenanceNotices
from monitor.service.portal.on_demand_runs import OnDemandRuns
from monitor.service.portal.refresh_tokens import RefreshTokenRotation
from monitor.service.portal.rota_feed import RotaFeedService
from monitor.service.portal.worklist import Worklist
from monitor.service.probing_runtime import ProbingRuntime, RuntimeContext, export_mailbox_metrics
from monitor.service.reloader import Reloader, needs_restart, read
from monitor.service.renamer import Renamer
from monitor.service.sharding import ShardManager
from monitor.service.silences import Silencer, restored_store_silence_lookup, route_silence_lookup
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
from monitor.store.admin.desired_documents import DesiredDocuments
from monitor.store.admin.documents import Documents
from monitor.store.admin.idempotency import IdempotencyRecords
from monitor.store.admin.maintenance_notices import MaintenanceNoticeRecords
from monitor.store.admin.renames import Renames
from monitor.store.admin.rota_feeds import RotaFeeds
from monitor.store.admin.secrets import Secrets
from monitor.store.admin.tokens import TokenRecords
from monitor.store.admin.traces import AgencyTraces
from monitor.store.admin.unopened import StoreUnreadableError
from monitor.store.admin.users import SecondFactors, Users
from monitor.store.admin.wallboards import WallboardLinks
from monitor.store.backend.database import Database, StoreInUseError, StoreUnusableError
from monitor.store.engine.audit_log_pages import AuditLogPages
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.store.probing.history import History
from monitor.store.probing.probe_requests import ProbeRequests
from monitor.store.probing.processes import Processes
from monitor.store.probing.records import ConfigurationRecords
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.probing.site_runs import SiteRecords, SiteRunWriter
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.sites.link import SiteConnection
from monitor.views.overview import view_checks
from monitor.views.self_health import SelfHealthInputs
from monitor.views.site_report import SITES_EVENT
from monitor.views.status_line import status_line
from monitor.watchdog.watchdog import Watchdog, alert_on_failed_opening
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
from monitor.web.callbacks import callbacks
from monitor.web.command.access import secret_commands, token_commands, user_commands
from monitor.web.command.control import control, declaration_commands, silence_commands
from monitor.web.command.documents import document_commands
from monitor.web.command.drills import drill_commands
from monitor.web.command.oncall import on_call_commands
from monitor.web.command.paper import paper_commands
from monitor.web.command.records import monthly_report_commands, record_commands
from monitor.web.command.renames import rename_commands
from monitor.web.connection import connection_limits
from monitor.web.duty.incident import incident_pages
from monitor.web.duty.rotas import rota_pages
from monitor.web.duty.tasks import task_pages
from monitor.web.letters import letter_commands
from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, open_unix, serve
from probes.mail.token import TokenSigner

log = structlog.get_logger()

#: Time limit for writing buffered run results at a stop. It is longer than the timeout of a database server.
_DRAIN_TIMEOUT = timedelta(seconds=15)
#: Limit for one request of the command line on the control socket: purging years of records takes minutes.
_CONTROL_TIMEOUT = timedelta(hours=1)
#: Interval of the status line for systemd.
_STATUS_INTERVAL = timedelta(seconds=5)
#: Retry interval for new refresh tokens that could not be stored.
_REFRESH_TOKEN_RETRY = timedelta(seconds=30)
#: Interval for comparing agency documents: with the other processes on the database, and between hub and sites.
_DOCUMENT_POLL_INTERVAL = timedelta(seconds=5)
#: Interval of site heartbeats, and of reading the sites at the hub.
_SITE_INTERVAL = timedelta(seconds=1)
#: Interval of replication checks. A slot is lost only after hours, and a check costs both servers.
_REPLICATION_INTERVAL = timedelta(minutes=1)
#: Interval of run reports to the hub. A failed run is evaluated at its site, so the hub does not need it at once.
_SITE_REPORT_INTERVAL = timedelta(seconds=5)


class App:
    """The service. Create it in a running event loop."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """Take the settings file from *path*, and overrides and secrets from *environ*."""
        self._settings_file = path
        self._environ = environ
        self._manager = ServiceManager(environ)
        #: The machine's clock until the database is open, then the database's clock.
        self._clock: Clock = MachineClock()
        self._metrics = Metrics(version=installed_version(), now=self._now)
        self._refresh_tokens = RefreshTokenRotation()
        self._load_cache = LoadCache(rotations=self._refresh_tokens.rotation)
        self._pins = PerConfiguration(self._configuration, build_pin_store)
        self._open_incident_policies = PerConfiguration(self._configuration, CurrentPolicies)
        self._stopping = asyncio.Event()
        self._reload_requested = asyncio.Event()
        #: Set when another process has taken this process's name on the database.
        self._name_conflict: StoreInUseError | None = None

    def stop(self) -> None:
        """Request `run` to end."""
        self._stopping.set()

    def request_reload(self) -> None:
        """Request a reload of the configuration (SIGHUP)."""
        self._reload_requested.set()

    async def run(self) -> None:
        """Run until `stop` is called, or until another process takes this process's name on the database.

        Raise `ConfigurationError`, `StoreInUseError`, `StoreUnusableError`, `StoreTooNewError`, `StoreBlockedError`, or
        `OSError` when a port is not available. Before an error is raised, everything that was started is stopped.
        """
        raise_open_files_limit()
        async with AsyncExitStack() as stack:
            stack.enter_context(separate_resolver())
            with self._manager.starting():
                self._manager.status("Reading the configuration")
                try:
                    configuration = await read(self._settings_file, self._environ, self._load_cache)
                except ConfigurationError:
                    self._manager.status("The configuration cannot be used; `pantau check` lists what is wrong with it")
                    raise
                except StoreUnreadableError as error:
                    await self._alert_out_of_band(error)
                await stack.enter_async_context(self._running_service(configuration))
            async with asyncio.TaskGroup() as tasks:
                running_tasks = [tasks.create_task(loop) for loop in self._background_tasks()]
                # The ports are open, the process name is locked, and the first runs are scheduled.
                self._manager.ready()
                await self._stopping.wait()
                self._manager.stopping()
                for task in running_tasks:
                    task.cancel()
        log.info("stopped")
        if self._name_conflict is not None:
            raise self._name_conflict

    async def _alert_out_of_band(self, unavailable: StoreUnreadableError) -> NoReturn:
        """Send out-of-band alerts if they are due, and raise `StoreUnusableError`.

        The agency documents are in the database, which is unavailable, so only the settings file is read.
        """
        try:
            settings_only = await read(self._settings_file, self._environ, LoadCache(), documents=())
        except ConfigurationError:
            # Without the agency documents the settings may be invalid: drills may name contacts of an agency.
            raise StoreUnusableError(str(unavailable)) from None
        async with alert_on_failed_opening(
            settings_only, self._settings_file.parent, self._metrics.watchdog, self._clock
        ):
            raise StoreUnusableError(str(unavailable)) from None

    def _background_tasks(self) -> Iterable[Coroutine[object, object, object]]:
        """Return the loops of all parts, each of which runs until it is cancelled."""
        history = self._runtime_context.history
        return (
            self._dispatcher.run(),
            self._poller.run(),
            self._verifier.run(),
            # Runs all probes and checks: prober, check runner, and their reporters.
            self._reloader.run(),
            self._reloader.reload_on_signal(self._reload_requested),
            self._reloader.replaced_gateways.keep_closing(),
            self._watchdog.run(),
            self._on_call.keep_exporting_metrics(),
            self._letters.run(),
            self._orphan_closer.keep_closing(),
            self._alert_sender.run(),
            history.keep_writing(),
            Retention(self._database, self._configuration().settings.site).keep_deleting_expired(
                self._retention_policy, self._clock
            ),
            self._chain.run(),
            self._restore_guard.run(),
            export_mailbox_metrics(self._metrics, self._runtime),
            self._runtime_context.lag.keep_measuring(self._metrics),
            run_periodically("refresh tokens", self._refresh_tokens.catch_up, _REFRESH_TOKEN_RETRY),
            freeze_periodically(),
            self._hold_process_name(),
            *([self._shard_manager.run()] if self._shard_manager else []),
            *(
                [run_periodically("probe requests", self._probe_requester.execute, _SITE_INTERVAL)]
                if self._database.is_shared
                else []
            ),
            run_periodically("day timelines", self._timeline_recorder.record, RECORD_INTERVAL),
            run_periodically("document polling", self._poll_documents, _DOCUMENT_POLL_INTERVAL),
            run_periodically("service status", self._report_status, _STATUS_INTERVAL),
            *(run_periodically("site statuses", each, _SITE_INTERVAL) for each in self._site_tasks),
            *(
                run_periodically("replication monitor", each.check, _REPLICATION_INTERVAL)
                for each in self._replication_monitors
            ),
            *(
                [
                    run_periodically(
                        "document distributor", self._document_distributor.distribute, _DOCUMENT_POLL_INTERVAL
                    )
                ]
                if self._document_distributor
                else []
            ),
            *(
                [run_periodically("document applier", self._document_applier.apply, _DOCUMENT_POLL_INTERVAL)]
                if self._document_applier
                else []
            ),
            *(
                [run_periodically("site status recorder", self._site_status_recorder.record, _SITE_REPORT_INTERVAL)]
                if self._site_records.others
                else []
            ),
            *(
                [run_periodically("site run reporter", self._site_run_reporter.publish, _SITE_REPORT_INTERVAL)]
                if self._site_run_reporter
                else []
            ),
        )

    @asynccontextmanager
    async def _running_service(self, configuration: Configuration) -> AsyncIterator[None]:
        """Open the database and the ports, build all parts and serve; close everything at the end of the block."""
        settings = configuration.settings
        server = None if settings.store is None else settings.store.build()
        async with AsyncExitStack() as stack:
            watch_store_opening = partial(
                alert_on_failed_opening, configuration, self._settings_file.parent, self._metrics.watchdog, self._clock
            )
            self._manager.status("Opening the store; one of an older version is brought up to date first")
            async with watch_store_opening():
                if (problem := state_problem(self._settings_file, settings.state_dir)) is not None:
                    raise StoreUnusableError(str(problem))
                try:
                    opened_database = Database.open(settings.state_dir, server, name=_process_name(settings))
                    database = await stack.enter_async_context(opened_database)
                except StoreUnusableError as error:
                    raise StoreUnusableError(str(store_problem(self._settings_file, error))) from None
            self._clock = database.clock
            database.availability.on_change = lambda is_available: self._metrics.set_store_up(available=is_available)
            self._metrics.set_store_up(available=True)
            # Open the ports before the first probe: a service that cannot export its metrics should not probe.
            portal_listener = self._open_listener(("listen",), settings.listen)
            stack.callback(portal_listener.close)
            callbacks_listener = self._open_listener(("callbacks", "listen"), settings.callbacks.listen)
            stack.callback(callbacks_listener.close)
            socket_file = settings.state_dir / CONTROL_SOCKET
            stack.callback(socket_file.unlink, missing_ok=True)
            control_listener = open_unix(socket_file)
            stack.callback(control_listener.close)
            self._link_control_socket(stack, socket_file)
            try:
                await self._build_parts(configuration, database)
            except StoreUnavailable as error:
                # The database can be read but not written, as with a full disk. Out-of-band alerts treat it as
                # unavailable.
                async with watch_store_opening():
                    raise StoreUnusableError(f"the store cannot be used: {error}") from None
            # The stack runs this after all requests have ended and before the process name is released.
            stack.push_async_exit(self._record_stop)
            stack.push_async_callback(self._close_gateways)
            await self._serve(stack, portal_listener, callbacks_listener, control_listener)
            log.info(
                "started",
                portal=listener_url(portal_listener),
                callbacks=listener_url(callbacks_listener),
                state_dir=str(settings.state_dir),
            )
            yield

    def _open_listener(self, key: tuple[str, ...], listen: Listen) -> socket.socket:
        try:
            return open_port(listen.host, listen.port)
        except OSError as error:
            raise OSError(str(port_problem(self._settings_file, key, listen, error, self._environ))) from error

    def _link_control_socket(self, stack: AsyncExitStack, socket_file: Path) -> None:
        """Link the control socket for clients that cannot read the configuration."""
        try:
            link = link_socket(socket_file, self._environ)
        except OSError as error:
            log.warning("control socket is not linked; commands need the configuration or --socket", reason=str(error))
            return
        if link is not None:
            stack.callback(link.unlink, missing_ok=True)

    async def _build_parts(self, configuration: Configuration, database: Database) -> None:
        """Build all parts except those that serve requests, and plan the first runs."""
        self._awaiting_restart = PerConfiguration(
            self._configuration,
            lambda current: [each.key for each in needs_restart(configuration, current, self._settings_file)],
        )
        settings = configuration.settings
        store = SqlStore(database)
        site_statuses = SiteStatuses(database, settings.site)
        history = History(database, site_statuses)
        processes = Processes(database, _process_name(settings))
        self._database = database
        service = f"pantau@{_process_name(settings)}"
        self._lifecycle = LifecycleRecorder(store, self._clock, service)
        self._chain = ChainMonitor(database, self._metrics, self._clock, service)
        self._pool = GatewayPool(build_gateways(settings, self._settings_file.parent))
        self._composer = WordingComposer(
            configuration.wording, self._may_release, self._noc_office, self._load_agency_crest
        )
        self._silence_lookup = restored_store_silence_lookup(
            route_silence_lookup(lambda agency: self._runtime().failing_routes(agency)),
            lambda: self._restore_guard.awaits_runs_since,
            lambda agency: self._runtime().is_unevaluated(agency),
        )
        self._restore_guard = RestoreGuard(
            store=store,
            state=settings.state_dir,
            clock=self._clock,
            service=service,
            pool=self._pool,
            # Prefixes of incident numbers.
            prefixes=lambda: {
                number_prefix(code)
                for code in (NO_AGENCY, *(self._load_cache.active_registry or configuration.registry).agencies)
            },
            metrics=self._metrics,
            on_resume=self._wake_dispatcher,
        )
        self._dispatcher = Dispatcher(
            store=store,
            pool=self._pool,
            composer=self._composer,
            clock=self._clock,
            observer=self._metrics,
            owner=_lease_owner(settings) if database.is_shared else None,
            silence_lookup=self._silence_lookup,
            is_monitor_only=self._is_monitor_only,
            policy_for=self._current_policy,
            record_page=self._restore_guard.record_page,
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
            name=_process_name(settings),
            directory=self._settings_file.parent,
            manager=self._manager,
            wording=configuration.wording,
        )
        self._mail_measurement = MailMeasurement(runtime=self._runtime, history=history, clock=self._clock)
        self._callback_handlers = CallbackHandlers(
            dispatcher=self._dispatcher,
            store=store,
            wording=configuration.wording,
            pins=self._pins,
            clock=self._clock,
            drills=self._watchdog.drill_sender,
            measuring=self._mail_measurement,
        )
        self._poller = Poller(
            store=store,
            pool=self._pool,
            callback_handlers=self._callback_handlers,
            clock=self._clock,
            is_monitor_only=self._is_monitor_only,
        )
        self._verifier = GatewayVerifier(
            pool=self._pool, clock=self._clock, observer=self._metrics, is_monitor_only=self._is_monitor_only
        )
        self._runtime_context = RuntimeContext(
            signer=TokenSigner(
                token_key(settings.state_dir), _process_name(settings), process_started_at=self._clock.now()
            ),
            store=store,
            history=history,
            alerting=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            is_read_by_hub=database.is_shared,
            continuous_since=lambda: processes.continuous_since,
        )
        self._continuity = SiteContinuity(
            processes,
            site_statuses,
            self._clock,
            site=settings.site,
            stale_after=_stale_after(settings),
            lag=self._runtime_context.lag,
            runtime=self._runtime,
        )
        self._site_tasks = self._build_site_tasks(settings, site_statuses)
        site_connections = _site_connections(settings)
        self._replication_monitors = (
            [ReplicationMonitor(site_connections, self._metrics, notifies=settings.notifies)]
            if site_connections
            else []
        )
        self._document_distributor = (
            DocumentDistributor(
                site_connections, self._metrics, configuration=self._configuration, is_leader=self._is_leader
            )
            if site_connections
            else None
        )
        self._site_records = SiteRecords(database, settings.site, settings.hub.sites if settings.hub else ())
        self._site_status_recorder = SiteStatusRecorder(
            store,
            self._clock,
            site_statuses=self._site_statuses,
            write_entry=partial(self._lifecycle.record, service, SITES_EVENT),
        )
        self._site_run_reporter = (
            SiteRunReporter(SiteRunWriter(database, settings.site), self._clock) if database.is_shared else None
        )
        self._on_call = OnCall(
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
        self._orphan_closer = OrphanedIncidentCloser(
            store=store,
            alerting=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            agencies=lambda: self._reloader.monitored_agencies,
        )
        self._days = DayRecords(database)
        self._timeline_recorder = TimelineRecorder(
            records=self._days, store=store, clock=self._clock, runtime=self._runtime
        )
        self._probe_requester = ProbeRequester(
            ProbeRequests(database),
            self._lifecycle,
            self._runtime,
            self._clock,
            connections=site_connections,
            has_other_processes=database.is_shared,
        )
        await self._timeline_recorder.begin(await processes.last_heartbeat())
        await self._continuity.begin()
        self._alert_sender = AlertSender(
            store=store,
            metrics=self._metrics,
            clock=self._clock,
            settings=lambda: self._configuration().settings,
            silence_lookup=self._silence_lookup,
        )
        # Detect a restored backup before the first write: a long time without writes is one of its signs.
        await self._restore_guard.check()
        # This is the first write: it raises if the database rejects writes.
        await self._lifecycle.record_start(version=installed_version(), user=f"uid {os.getuid()}")
        self._documents = Documents(database)
        self._reloader = Reloader(
            self._settings_file,
            self._environ,
            context=self._runtime_context,
            records=ConfigurationRecords(database),
            documents=self._documents,
            lifecycle=self._lifecycle,
            pool=self._pool,
            dispatcher=self._dispatcher,
            load_cache=self._load_cache,
            manager=self._manager,
            processes=processes if database.is_shared else None,
            adapt_overrides=self._on_call.adapt_overrides,
        )
        self._shard_manager = (
            ShardManager(
                name=_process_name(settings),
                processes=processes,
                history=history,
                reloader=self._reloader,
                context=self._runtime_context,
                # One clock for all processes: two machines may differ by more than a takeover timeout.
                clock=database.clock,
                policy=TakeoverPolicy(timeout=settings.probing.takeover_timeout),
                take_over_notifications=self._dispatcher.take_over,
            )
            if database.is_shared and settings.probing.sharding
            else None
        )
        shard = await self._shard_manager.begin() if self._shard_manager else UNSHARDED
        agencies = configuration.registry.agencies
        owned = shard.owned(agencies)
        # Load the latest runs now, so that the periodic `gc.freeze` includes them: a garbage collection that visits
        # them would block the loop.
        await history.latest(owned if len(owned) < len(agencies) else None)
        await self._reloader.begin(configuration, shard)

    def _is_leader(self) -> bool:
        """Return whether this process does the tasks that only one process on the database may do."""
        return self._shard_manager is None or self._shard_manager.is_leader

    def _site_statuses(self, agency: str) -> Mapping[str, SiteStatus | None]:
        """Return what each site reports of an agency; empty if another process of the hub owns that agency."""
        runtime = self._runtime()
        return runtime.reporter.site_statuses(agency) if agency in runtime.owned else {}

    def _build_site_tasks(
        self, settings: Settings, site_statuses: SiteStatuses
    ) -> Sequence[Callable[[], Awaitable[object]]]:
        """Return the tasks that run each second: a site's heartbeat for its hub, and a hub's poll of its sites."""
        if not self._database.is_shared:
            return []
        tasks: list[Callable[[], Awaitable[object]]] = [
            SiteHeartbeatWriter(
                site_statuses,
                self._clock,
                has_unwritten=lambda: self._runtime_context.history.has_unwritten,
                check_continuity=self._continuity.check,
                stale_after=_stale_after(settings),
                # Only one process writes: each write is logged in the WAL, sent to the hub and applied there.
                is_leader=self._is_leader,
            ).write
        ]
        if settings.hub is not None and settings.hub.sites:
            hub = Hub(
                site_statuses,
                self._clock,
                site=settings.site,
                sites=settings.hub.sites.keys(),
                stale_after=settings.hub.stale_after,
                quorum=settings.hub.build(settings.site),
                reporter=lambda: self._runtime().reporter,
                metrics=self._metrics,
                publish_own=self._publish_status,
            )
            tasks.append(hub.poll)
        return tasks

    async def _serve(
        self,
        stack: AsyncExitStack,
        portal_listener: socket.socket,
        callbacks_listener: socket.socket,
        control_listener: socket.socket,
    ) -> None:
        """Build the web applications, and serve the portal, the gateway providers' callbacks and the control socket."""
        status_reader = StatusReader(
            store=self._runtime_context.store,
            history=self._runtime_context.history,
            days=self._days,
            gateway_pool=self._pool,
            clock=self._clock,
            runtime=self._runtime,
            self_health_inputs=self._self_health_inputs,
            site_records=self._site_records,
        )
        check = OperationCheck(
            store=self._runtime_context.store, clock=self._clock, measure_mail=self._mail_measurement.measure
        )
        facade = ServiceFacade(
            store=self._runtime_context.store,
            status_reader=status_reader,
            dispatcher=self._dispatcher,
            callback_handlers=self._callback_handlers,
            pool=self._pool,
            composer=self._composer,
            metrics=self._metrics,
            clock=self._clock,
            runtime=self._runtime,
            reload=self._reloader.reload,
            operation_check=check,
            store_outage=self._watchdog.store_outage,
            liveness_failures=self._watchdog.liveness_failures,
        )
        portal_settings = self._configuration().settings.portal
        hosts = [
            "localhost",
            "127.0.0.1",
            "[::1]",
            portal_listener.getsockname()[0],
            *([portal_settings.host] if portal_settings else []),
        ]
        users = Users(self._database)
        secrets = Secrets(self._database)
        secret_store = SecretStore(secrets, self._clock, portal_settings.keyring() if portal_settings else None)
        await secret_store.log_unreadable()
        self._refresh_tokens.open(secrets, secret_store, self._clock)
        second_factors = SecondFactors(self._database)
        authenticator = (
            Authenticator(
                users,
                self._clock,
                agencies=self._agency_codes,
                factors=second_factors,
                secret_store=secret_store,
                second_factor_roles=frozenset(portal_settings.second_factor),
            )
            if portal_settings
            else None
        )
        administration = Administration(
            users,
            self._clock,
            agencies=self._agency_codes,
            factors=second_factors,
            on_change=authenticator.clear_cache if authenticator else _do_nothing,
        )
        rota_feeds = RotaFeedService(RotaFeeds(self._database), self._on_call, users, self._clock)
        wallboards = Wallboards(WallboardLinks(self._database), self._clock, agencies=self._agency_codes)
        tokens = ProgramTokens(TokenRecords(self._database), self._clock, agencies=self._agency_codes)
        access_control = AccessControl(
            authenticator,
            tokens,
            wallboards=wallboards,
            is_secure=portal_settings is not None and portal_settings.is_secure,
            metrics_networks=portal_settings.metrics_networks if portal_settings else (),
        )
        archive = Archive(
            database=self._database,
            history=self._runtime_context.history,
            clock=self._clock,
            wording=lambda: self._configuration().wording,
            retention=self._retention_policy,
            sites=status_reader.site_incident_data,
        )
        receiver = AlertReceiver(
            dispatcher=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            settings=lambda: self._configuration().settings,
            # Each delivery occupies a connection, so three quarters stay free for other clients of the portal.
            intake=AlertIntake(connection_limits(open_files_limit()).total // 4),
        )
        silencer = Silencer(self._runtime_context.store, self._dispatcher, self._clock, self._silenceable_targets)
        declarations_service = DeclarationService(
            store=self._runtime_context.store,
            dispatcher=self._dispatcher,
            clock=self._clock,
            agencies=self._agency_codes,
            policy=self._policy,
            zone=lambda: self._configuration().settings.time_zone,
            silence_lookup=self._silence_lookup,
            operation_check=check,
        )
        writer = DocumentWriter(
            self._settings_file,
            self._environ,
            self._documents,
            self._clock,
            secret_store=secret_store,
            load_cache=self._load_cache,
        )
        self._document_applier = (
            DocumentApplier(
                DesiredDocuments(self._database),
                writer,
                self._clock,
                configuration=self._configuration,
                reload=self._reloader.reload,
                is_leader=self._is_leader,
            )
            if self._database.is_shared
            else None
        )
        editor = AgencyEditor(writer, self._documents, self._configuration, self._reloader.reload)
        monthly_reports = MonthlyReports(
            store=self._runtime_context.store,
            days=self._days,
            drills=Drills(self._database),
            lifecycle=self._lifecycle,
            clock=self._clock,
            configuration=self._configuration,
            checks=lambda agency: view_checks(self._runtime().check_runner.latest(agency)),
            probed_by=lambda agency: self._runtime().probed_by(agency),
        )
        maintenance_notices = MaintenanceNotices(
            records=MaintenanceNoticeRecords(self._database),
            lifecycle=self._lifecycle,
            clock=self._clock,
            configuration=self._configuration,
            crest=self._load_agency_crest,
        )
        control_app = control(
            facade,
            record_commands(archive),
            drill_commands(self._watchdog.drill_runner, self._is_monitor_only),
            on_call_commands(self._on_call),
            silence_commands(silencer),
            declaration_commands(declarations_service),
            letter_commands(self._letters),
            paper_commands(self._restore_guard),
            monthly_report_commands(monthly_reports),
            user_commands(administration),
            token_commands(tokens),
            document_commands(writer, self._reloader.reload),
            secret_commands(secret_store),
            rename_commands(
                Renamer(
                    renames=Renames(self._database, self._configuration().settings.site),
                    reloader=self._reloader,
                    store=self._runtime_context.store,
                    history=self._runtime_context.history,
                    clock=self._clock,
                )
            ),
        )
        openid = (
            self._build_openid_login(portal_settings, authenticator, users)
            if portal_settings and authenticator
            else None
        )
        agency_directory = AgencyDirectory(
            editor,
            self._documents,
            AgencyTraces(self._database),
            administration,
            letters=self._letters.letters,
            drills=Drills(self._database).under_way,
        )
        contacts_of_user = PerConfiguration(self._configuration, contact_names)
        worklist = Worklist(
            store=self._runtime_context.store,
            composer=self._composer,
            clock=self._clock,
            silence_lookup=self._silence_lookup,
            begin_measurement=self._mail_measurement.begin,
            contact_names=lambda user: contacts_of_user().get(user, frozenset()),
        )
        mailbox_setups = MailboxSetups(self._lifecycle, self._clock, CurrentSetupSettings(self._configuration))
        pages = [
            partial(user_pages, administration),
            partial(token_pages, tokens),
            partial(task_pages, worklist, declarations_service, silencer),
            partial(incident_pages, facade, worklist, declarations_service),
            partial(agency_list_pages, editor, agency_directory),
            partial(removal_pages, editor, agency_directory),
            partial(settings_pages, editor, self._clock),
            partial(maintenance_notice_pages, maintenance_notices),
            partial(mailbox_setup_pages, mailbox_setups, editor),
            partial(history_pages, facade, self._runtime_context.history.transits),
            partial(monthly_report_pages, monthly_reports),
            partial(drill_pages, self._watchdog.drill_runner, self._is_monitor_only),
            partial(mailbox_pages, editor, self._clock),
            partial(
                on_demand_run_pages, OnDemandRuns(self._lifecycle, self._clock, self._runtime), self._probe_requester
            ),
            partial(audit_log_pages, AuditLogPages(self._database), users),
            partial(wallboard_pages, wallboards, self._clock),
            partial(rota_pages, self._on_call, rota_feeds),
        ]
        portal_app = portal(
            facade,
            hosts,
            self._letters,
            self._on_call,
            receiver,
            access_control=access_control,
            pages=pages,
            openid=openid,
            idempotency=IdempotencyStore(
                IdempotencyRecords(self._database, most=MAX_STORED), self._clock, self._lifecycle
            ),
            api_routers=[
                incident_commands(facade, declarations_service),
                silence_routes(silencer),
                maintenance_notice_routes(maintenance_notices),
                override_routes(self._on_call),
                agency_documents(editor),
                mailbox_logins(editor),
            ],
            site=self._configuration().settings.displayed_site,
        )
        certificate = (
            (portal_settings.certificate, portal_settings.key)
            if portal_settings and portal_settings.certificate and portal_settings.key
            else None
        )
        proxies = portal_settings.trusted_proxies if portal_settings else ()
        metrics_networks = portal_settings.metrics_networks if portal_settings else ()
        await stack.enter_async_context(
            serve(
                portal_app,
                portal_listener,
                certificate=certificate,
                trusted_proxies=proxies,
                direct_clients=metrics_networks,
            )
        )
        await stack.enter_async_context(serve(callbacks(facade), callbacks_listener))
        await stack.enter_async_context(serve(control_app, control_listener, response_timeout=_CONTROL_TIMEOUT))

    def _self_health_inputs(self) -> SelfHealthInputs:
        """Return the state from which the health of this process is derived."""
        watchdog, metrics = self._watchdog, self._metrics.watchdog
        has_hub = self._site_run_reporter is not None and self._site_run_reporter.has_hub
        return SelfHealthInputs(
            store_outage=watchdog.store_outage(),
            liveness_failures=watchdog.liveness_failures(),
            paper_paused_since=self._restore_guard.paused_since,
            # The dispatcher has finished a cycle, and the watchdog an audit of overdue actions.
            has_started=metrics.cycled_at is not None and metrics.audited_at is not None,
            config_rejected_at=self._metrics.config_rejected_at,
            awaiting_restart=self._awaiting_restart(),
            orphaned_incidents={each.number: each.closes_at for each in self._orphan_closer.orphaned},
            empty_rotas=self._on_call.empty_rotas,
            # A site that a hub reads notifies nobody, because the hub does.
            monitor_only=self._is_monitor_only() and not has_hub,
            for_hub=self._is_monitor_only() and has_hub,
            is_hub_disconnected=self._site_run_reporter is not None and not self._site_run_reporter.is_read,
            failing_sites=self._runtime().reporter.faulty_sites(),
            quorum_lost_since=self._runtime().reporter.quorum_missing_since(),
        )

    async def _report_status(self) -> None:
        self._manager.status(
            status_line(
                self._self_health_inputs(),
                agencies=len(self._configuration().registry.agencies),
                routes=len(self._runtime().routes),
                open_incidents=self._metrics.open_incidents,
            )
        )

    async def _poll_documents(self) -> None:
        await self._reloader.follow_documents(self._watchdog.process_heartbeat.peers)

    def _build_openid_login(
        self, portal_settings: PortalSettings, authenticator: Authenticator, users: Users
    ) -> OpenIdLogin | None:
        settings = portal_settings.openid
        if settings is None or portal_settings.address is None:
            return None
        client = settings.build(portal_settings.address)
        return OpenIdLogin(client, settings.name, authenticator, users, self._clock)

    def _agency_codes(self) -> Sequence[str]:
        return list(self._configuration().registry.agencies)

    def _policy(self, agency: str) -> PolicySnapshot:
        """Return the policy for a new incident of *agency*."""
        return self._open_incident_policies().agency_policy(agency)

    def _current_policy(self, incident: Incident) -> PolicySnapshot | None:
        """Return the policy that *incident* would get if it opened now; `None` if its agency was removed."""
        return self._open_incident_policies().find_current(incident.policy)

    def _silenceable_targets(self) -> Mapping[str, str]:
        """Return the agency's code by the name of each route and agency that may be silenced."""
        routes = {route.name: route.agency for route in self._configuration().registry.routes}
        return routes | {code: code for code in self._configuration().registry.agencies}

    async def _record_stop(self, failure: type[BaseException] | None, *_: object) -> None:
        """Record an orderly stop in the audit log. After a *failure* nothing is recorded."""
        if failure is not None:
            return
        await self._watchdog.process_heartbeat.stop()
        try:
            await self._runtime_context.history.drain(_DRAIN_TIMEOUT)
            await self._timeline_recorder.record()
            await self._lifecycle.record_stop()
        # An unrecorded stop looks like a crash in the audit log, and has no other effect.
        except StoreUnavailable as error:
            log.warning("stop could not be recorded in the audit log", reason=str(error))
        except Exception:
            log.exception("stop could not be recorded in the audit log")

    async def _hold_process_name(self) -> None:
        try:
            await self._database.keep_process_name()
        except StoreInUseError as error:
            log.warning("stopping: another process has this process name", reason=str(error))
            self._name_conflict = error
            self.stop()

    async def _close_gateways(self) -> None:
        await close_gateways(self._pool)
        await self._reloader.replaced_gateways.close()

    # -- callables that the parts receive ------------------------------------------------------------------------

    def _now(self) -> datetime:
        return self._clock.now()

    def _wake_dispatcher(self) -> None:
        self._dispatcher.wake()

    def _runtime(self) -> ProbingRuntime:
        return self._reloader.runtime

    async def _publish_status(self) -> None:
        await self._runtime().pipeline.report_pending()

    def _configuration(self) -> Configuration:
        return self._reloader.runtime.configuration

    def _is_monitor_only(self) -> bool:
        """Return whether the service only monitors and notifies nobody."""
        return not self._configuration().settings.notifies

    def _may_release(self, notification: Notification) -> bool:
        # `office.short` is the agency's code. Only a person with a PIN can release an announcement by telephone.
        return self._pins().has_pin(notification.facts.office.short, notification.person)

    def _noc_office(self) -> IssuingOffice:
        return self._configuration().settings.noc.build_office()

    def _load_agency_crest(self, office: str) -> Crest | None:
        """Return an agency's crest from its file; a letter without one is valid."""
        agency = self._configuration().registry.agencies.get(office)
        if agency is None or agency.letterhead.crest is None:
            return None
        try:
            return load_crest(agency.letterhead.crest)
        except InvalidCrestError as error:
            log.warning("crest cannot be used; letter is printed without it", agency=office, reason=str(error))
            return None

    def _retention_policy(self) -> RetentionPolicy:
        return self._configuration().settings.retention.build()


def _do_nothing() -> None:
    """Do nothing. This replaces clearing the session cache in a portal without sign-in, which has no sessions."""


def _site_connections(settings: Settings) -> Sequence[SiteConnection]:
    """Return the connections to the sites of this hub; empty if the service is no hub."""
    if settings.hub is None or settings.store is None:
        return []
    store = settings.store.build()
    return [
        SiteConnection(site=name, server=site.build(), hub=settings.site, store=store)
        for name, site in settings.hub.sites.items()
    ]


def _stale_after(settings: Settings) -> timedelta:
    """Return the age from which the latest heartbeat of a site makes its statuses stale."""
    return STALE_AFTER if settings.hub is None else settings.hub.stale_after


def _process_name(settings: Settings) -> str:
    return settings.process_name


def _lease_owner(settings: Settings) -> str:
    """Return the name under which this process leases incidents; it is new at each start."""
    return f"{_process_name(settings)}/{token_hex(4)}"
