"""Owner of the current configuration: it reads a new one on request, and applies it to the runtime and the gateways.

The *documents* (configurations) of the agencies are files or rows of the database. In the database, each change of a
document increases their *revision*. The *shard* of a process is the set of agencies that it probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn

import structlog

from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.persistence.store import StoreUnavailable
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.bridge.incident_policy import agency_of, dedup_key_of, process_of
from monitor.bridge.incident_reporter import MONITORING_FAULT_PREFIX
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import AgencySource, Configuration, ConfigurationError, LoadCache, load
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.config.validation.duplicate import detect_renames
from monitor.planning.ownership import ABANDONED_AFTER, UNSHARDED, Shard
from monitor.probing.mailbox_cleaner import MailboxCleaner
from monitor.runtime.gc_control import gc_paused
from monitor.runtime.repeat import run_periodically
from monitor.runtime.systemd import ServiceManager
from monitor.service.gateways import ReplacedGateways, build_gateways, close_gateways
from monitor.service.open_incidents import policy_changes
from monitor.service.probing_runtime import (
    ProbingRuntime,
    RuntimeContext,
    apply_change,
    find_unresolvable_incidents,
    make_runtime,
    prepare_change,
)
from monitor.store.admin.documents import Documents
from monitor.store.engine.listing import IncidentFilter
from monitor.store.probing.processes import Process, Processes
from monitor.store.probing.records import ConfigurationRecords

log = structlog.get_logger()

#: Maximum number of agencies that this process gains at once: thousands would block the event loop for so long that the
#: other processes consider this one dead.
_MAX_GAINED = 1000
#: Maximum number of open incidents for which the effect of an edit is reported.
_MAX_EXAMINED = 200
#: Rejection of a reload to monitor-only mode, in which nobody is notified: a mistake in a file must not stop
#: notifications during an outage.
_MODE_CHANGE_REJECTED = (
    "a reload cannot stop notifications: people are notified as before, and the old configuration stays active"
)
_MODE_CHANGE_REMEDY = "mode: notify; or restart the service, if nobody is to be notified any more"


async def read(
    path: Path, environ: Mapping[str, str], load_cache: LoadCache, documents: Sequence[AgencySource] | None = None
) -> Configuration:
    """Read the configuration. Raise `ConfigurationError`, or `StoreUnavailable` if documents cannot be read.

    *load_cache*: cache of the previous read. *documents*: the documents of all agencies; `None`: read them from their
    configured source.
    """
    with gc_paused():
        loaded = await asyncio.to_thread(partial(load, path, environ, cache=load_cache, documents=documents))
    return loaded.require_configuration()


class Reloader:
    """Owner of the current configuration and its runtime. Call `begin` first."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        *,
        context: RuntimeContext,
        records: ConfigurationRecords,
        documents: Documents,
        lifecycle: LifecycleRecorder,
        pool: GatewayPool,
        dispatcher: Dispatcher,
        load_cache: LoadCache,
        manager: ServiceManager,
        processes: Processes | None = None,
        adapt_overrides: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """*path*: the settings file. *load_cache*: cache with which the configuration for `begin` was read.

        *records* stores the applied agencies. *documents*: the agencies' documents in the database. *lifecycle* writes
        audit entries. *manager* informs systemd of reloads. *processes*: records of the processes on a shared database;
        `None`: the database is not shared.
        *adapt_overrides*: adapts overrides (temporary replacements of people on call) to an applied configuration;
        returns whether it changed any.
        """
        self._path = path
        self._environ = environ
        self._context = context
        self._metrics = context.metrics
        self._clock = context.clock
        self._records = records
        self._documents = documents
        self._lifecycle = lifecycle
        self._pool = pool
        self._dispatcher = dispatcher
        #: The current runtime.
        self.runtime: ProbingRuntime
        #: Gateways that are not in use any more, until they are closed.
        self.replaced_gateways = ReplacedGateways()
        self._load_cache = load_cache
        # A read of the configuration reads again only documents with a later version than those known here.
        load_cache.document_versions = lambda: documents.known
        self._manager = manager
        #: The configuration of `begin`: some settings take effect only at a start.
        self._started_with: Configuration
        self._reloading = asyncio.Lock()
        self._shard = UNSHARDED
        self._processes = processes
        self._adapt_overrides = adapt_overrides
        #: Revision of the documents that this process uses, and the revision that it has published for other processes;
        #: `None`: the documents are files.
        self._revision: int | None = None
        self._published_revision: int | None = None
        #: Highest revision of another process to which this process has tried to reload.
        self._followed_revision = 0

    async def begin(self, configuration: Configuration, shard: Shard = UNSHARDED) -> None:
        """Apply the first configuration, with a *shard* of its agencies."""
        self._shard = shard
        _log_unavailable_components(configuration)
        await self._record(configuration, "start")
        self.runtime = await make_runtime(configuration, self._context, shard)
        self._revision = await self._documents_revision(configuration)
        self._load_cache.active_registry = configuration.registry
        self._started_with = configuration
        self._metrics.set_restart_needed(needed=False)
        self._metrics.set_monitor_only(on=not configuration.settings.notifies)
        await self._log_mode(configuration.settings)
        await self._log_unresolvable_incidents(configuration)
        await self._delete_removed_statuses(configuration)
        if self._adapt_overrides is not None:
            await self._adapt_overrides()
        self._metrics.record_reload(ok=True, now=self._clock.now())

    @property
    def monitored_agencies(self) -> frozenset[str]:
        """Agencies of which this process, or another process on the database, has documents."""
        return self._shard.monitored_elsewhere.union(self.runtime.configuration.registry.agencies)

    async def reload_on_signal(self, requested: asyncio.Event) -> NoReturn:
        """Reload whenever a signal has set *requested*, until cancelled."""

        async def reload() -> None:
            await requested.wait()
            requested.clear()
            await self.reload("signal SIGHUP")

        await run_periodically("reload", reload, timedelta(0))

    async def reload(self, by: str) -> Sequence[Problem]:
        """Read the configuration again, and apply it. *by*: the principal, or the cause, that requested it.

        Return its problems. If it has errors, or if the database is unavailable, the old configuration stays active.
        """
        async with self._reloading:
            with self._manager.reloading():
                return await self._try_to_reload(by)

    async def _try_to_reload(self, by: str) -> Sequence[Problem]:
        try:
            return await self._reload(by)
        except StoreUnavailable as error:
            self._metrics.record_reload(ok=False, now=self._clock.now())
            log.warning("configuration not applied; the old one stays active", reason=f"database unavailable: {error}")
            message = f"not applied: the database is unavailable ({error}); the old configuration stays active"
            return [Problem(file=str(self._path), key="store", message=message, severity=Severity.ERROR)]
        except Exception:
            self._metrics.record_reload(ok=False, now=self._clock.now())
            raise

    async def _reload(self, by: str) -> Sequence[Problem]:
        try:
            configuration = await read(self._path, self._environ, self._load_cache)
        except ConfigurationError as error:
            self._metrics.record_reload(ok=False, now=self._clock.now())
            errors = [str(p) for p in error.problems if p.severity is Severity.ERROR]
            log.warning("configuration rejected; the old one stays active", errors=errors[:20])
            await self._lifecycle.record_rejection(by, errors)
            return error.problems
        if (rejection := self._rejection(configuration)) is not None:
            self._metrics.record_reload(ok=False, now=self._clock.now())
            log.error("configuration rejected; people are notified as before", reason=str(rejection))
            await self._lifecycle.record_rejection(by, [str(rejection)])
            return [rejection]
        agencies_before, agencies_after = self.runtime.configuration.registry.agencies, configuration.registry.agencies
        old_domains = {code: agency.domains for code, agency in agencies_before.items()}
        problems = await self._apply_and_report(configuration, by)
        return [*problems, *detect_renames(old_domains, agencies_after, str(configuration.settings.agencies))]

    def _rejection(self, configuration: Configuration) -> Problem | None:
        """Return why a valid configuration must not replace the current one; `None`: it may replace it."""
        if not self.runtime.configuration.settings.notifies or configuration.settings.notifies:
            return None
        return Problem(file=str(self._path), key="mode", message=_MODE_CHANGE_REJECTED, instead=_MODE_CHANGE_REMEDY)

    async def _apply_and_report(self, configuration: Configuration, by: str) -> Sequence[Problem]:
        # Compare before the change: afterwards the engine applies the new policies to the open incidents.
        adopted = await self._policy_changes(configuration)
        await self._apply(configuration, by)
        if self._adapt_overrides is not None and await self._adapt_overrides():
            self._dispatcher.wake()
        await self._delete_removed_statuses(configuration)
        _log_unavailable_components(configuration)
        restart_problems = self._restart_problems(configuration)
        unresolvable = await self._log_unresolvable_incidents(configuration)
        return [*configuration.losses, *restart_problems, *unresolvable, *adopted]

    async def _policy_changes(self, configuration: Configuration) -> Sequence[Problem]:
        """Return warnings about what open incidents adopt from an edit of contacts, and what they keep."""
        before = self.runtime.configuration
        old_agencies, agencies = before.registry.agencies, configuration.registry.agencies
        edited = frozenset(code for code, agency in agencies.items() if old_agencies.get(code) is not agency)
        if before.settings == configuration.settings and not edited:
            return ()
        filters = IncidentFilter(agencies=edited if before.settings == configuration.settings else frozenset())
        try:
            async with self._context.store.reading() as uow:
                ids = await uow.listing.open_incidents(filters)
                incidents = await uow.incidents(ids[:_MAX_EXAMINED])
        except StoreUnavailable:
            return ()  # Only the warnings are missing: the incidents adopt the changes anyway.
        return policy_changes([*incidents.values()], configuration)

    async def change_shard(self, shard: Shard) -> frozenset[str]:
        """Wait for a running reload, then change the shard. Return the gained agencies. Raise `StoreUnavailable`."""
        async with self._reloading:
            owned_before, configuration = self.runtime.owned, self.runtime.configuration
            # Set the shard first: even if a step below fails, the next reload must use it.
            self._shard, documents_before = shard, self._shard.other_documents
            owned_after = shard.owned(configuration.registry.agencies)
            # Each pass gains at most `_MAX_GAINED` agencies.
            while self.runtime.shard != shard or self.runtime.owned != owned_after:
                change = await prepare_change(self.runtime, configuration, self._context, shard, _MAX_GAINED)
                self.runtime = await apply_change(self.runtime, change, self._context)
            if shard.other_documents != documents_before:
                # Delete the statuses of agencies of which no process has documents any more.
                await self._delete_removed_statuses(configuration)
            return frozenset(owned_after - owned_before)

    async def follow_documents(self, others: Iterable[Process]) -> None:
        """Publish the revision of documents that this process uses, and reload if another process uses a higher one.

        Documents that no process uses yet (`pantau apply --no-reload`) are not applied. A revision that was rejected is
        not tried again.
        """
        if self._processes is None:
            return
        if self._published_revision != self._revision and await self._processes.record_documents_revision(
            self._revision
        ):
            self._published_revision = self._revision
        if self._revision is None:
            return
        # `Process.documents` is the revision that the process has published.
        most_advanced = max(others, key=lambda each: each.documents or 0, default=None)
        newest = (most_advanced and most_advanced.documents) or 0
        if most_advanced is None or newest <= max(self._revision, self._followed_revision):
            return
        problems = await self.reload(f"{most_advanced.name} uses newer documents")
        # A problem with the key "store" means that the database is unavailable: then try the revision again.
        if not any(each.key == "store" and each.severity is Severity.ERROR for each in problems):
            self._followed_revision = newest

    async def _documents_revision(self, configuration: Configuration) -> int | None:
        in_store = configuration.settings.agencies == IN_DATABASE
        return await self._documents.revision_sum(configuration.documents) if in_store and self._processes else None

    async def apply_after(self, action: Callable[[Configuration], Awaitable[None]], by: str) -> Sequence[Problem]:
        """Read the configuration, execute *action* with it, and apply it. Return its problems. *by*: as in `reload`.

        Raise `ConfigurationError`, `StoreUnavailable`, and errors of *action*: then the old configuration stays active.
        """
        async with self._reloading:
            with self._manager.reloading():
                configuration = await read(self._path, self._environ, self._load_cache)
                if (rejection := self._rejection(configuration)) is not None:
                    raise ConfigurationError((rejection,))
                await action(configuration)
                return await self._apply_and_report(configuration, by)

    async def _apply(self, configuration: Configuration, by: str) -> None:
        before = self.runtime.configuration
        # Begin with the steps that may fail: after `_record`, nothing fails.
        revision = await self._documents_revision(configuration)
        change = await prepare_change(self.runtime, configuration, self._context, self._shard)
        in_use = list(self._pool)
        gateways = build_gateways(configuration.settings, self._path.parent, before=before.settings, in_use=in_use)
        try:
            await self._record(configuration, by)
        except BaseException:
            await close_gateways(_without(gateways, in_use))
            raise
        self.replaced_gateways.add(_without(self._pool.replace(gateways), gateways))
        self.runtime = await apply_change(self.runtime, change, self._context)
        self._revision = revision
        self._load_cache.active_registry = configuration.registry
        for gateway in self._pool:
            # A gateway whose settings were edited has no failures yet.
            self._metrics.set_gateway_up(gateway.channel, gateway.name, up=self._pool.is_up(gateway.name))
        self._metrics.set_monitor_only(on=not configuration.settings.notifies)
        self._wake_dispatcher(before, configuration, change.difference.agencies)
        self._metrics.record_reload(ok=True, now=self._clock.now())
        log.info("configuration applied", agencies=len(configuration.registry.agencies))

    def _wake_dispatcher(
        self, before: Configuration, after: Configuration, with_changed_routes: Collection[str]
    ) -> None:
        """Make the dispatcher process the open incidents whose policy has changed.

        *with_changed_routes*: agencies whose routes have changed.
        """
        agencies_before, agencies_after = before.registry.agencies, after.registry.agencies
        if (before.settings, before.wording, agencies_before.keys()) != (
            after.settings,
            after.wording,
            agencies_after.keys(),
        ):
            self._dispatcher.wake()
        else:
            # Wake only the edited agencies: hundreds of incidents of others may be open.
            self._dispatcher.wake_agencies(
                {
                    *with_changed_routes,
                    *(code for code in agencies_after if agencies_after[code] is not agencies_before[code]),
                }
            )

    async def _log_mode(self, settings: Settings) -> None:
        """In monitor-only mode, log that nobody is notified, and which open incidents get no more notifications."""
        if settings.notifies:
            return
        log.warning("NOBODY IS NOTIFIED: mode is monitor_only; set `mode: notify` to notify people")
        async with self._context.store.reading() as uow:
            left = [each.number for each in await uow.open_incidents() if not each.policy.has_nobody_to_notify]
        if left:
            log.error(
                "no more notifications of these incidents: mode is monitor_only",
                incidents=left[:20],
                count=len(left),
            )

    def _restart_problems(self, configuration: Configuration) -> Sequence[Problem]:
        """Return a warning for each setting that requires a restart; log and export them, too."""
        problems = needs_restart(self._started_with, configuration, self._path)
        self._metrics.set_restart_needed(needed=bool(problems))
        if problems:
            log.warning("settings take effect after a restart", keys=[problem.key for problem in problems])
        return problems

    async def _log_unresolvable_incidents(self, configuration: Configuration) -> Sequence[Problem]:
        """Return warnings for the open incidents that no probe can resolve any more, and log the warnings.

        At a start nobody sees the returned warnings.
        """
        try:
            async with self._context.store.reading() as uow:
                problems = find_unresolvable_incidents(await uow.open_incidents_by_key(), configuration)
        except StoreUnavailable:
            return ()  # Only the warnings are missing: the configuration becomes active anyway.
        for problem in problems:
            log.warning("incident is open for an agency that is no longer monitored", reason=str(problem))
        return problems

    async def _delete_removed_statuses(self, configuration: Configuration) -> None:
        """Delete the site's statuses of removed agencies and references.

        A hub, which decides by the statuses of several sites, would count them for ever. Without sharding, also delete
        the statuses that dead processes wrote; with sharding, `ShardManager` deletes them.
        """
        agencies = self._shard.monitored_elsewhere.union(configuration.registry.agencies)
        # Use the settings of the start: only a restart changes the settings that are read below.
        settings, evaluator = self._started_with.settings, self.runtime.evaluator
        own_name = settings.process_name

        def is_removed(subject: str) -> bool:
            if (agency := agency_of(subject)) is not None:
                return agency not in agencies
            if (process := process_of(subject)) == own_name:
                return evaluator.find_fault_source(dedup_key_of(subject).removeprefix(MONITORING_FAULT_PREFIX)) is None
            return live_processes is not None and process not in live_processes

        try:
            live_processes = None if settings.probing.sharding else await self._possibly_alive()
            await self._context.history.delete_statuses(is_removed)
        except StoreUnavailable as error:
            log.warning("status of removed objects stays until the next reload or start", reason=str(error))

    async def _possibly_alive(self) -> AbstractSet[str] | None:
        """Return the names of the other processes that may be alive; `None`: the process has no shared database.

        Include every process that has not stopped and had a heartbeat within `ABANDONED_AFTER`: if the statuses of a
        live process were deleted by mistake, it would not write them again.
        """
        if self._processes is None:
            return None
        now = self._clock.now()
        others = await self._processes.others()
        return {each.name for each in others if each.stopped_at is None and now - each.heartbeat_at <= ABANDONED_AFTER}

    async def _record(self, configuration: Configuration, by: str) -> None:
        agencies = configuration.registry.agencies
        recorded = self._load_cache.active_registry.agencies if self._load_cache.active_registry else {}
        unchanged = {code for code, agency in agencies.items() if recorded.get(code) is agency}
        documents_changed = {code: agency for code, agency in agencies.items() if code not in unchanged}
        documents = await asyncio.to_thread(_serialized, documents_changed)
        applied = await self._records.apply("agency", documents, self._clock.now(), unchanged=unchanged)
        if configuration.settings.agencies != IN_DATABASE:
            await self._documents.store_files(configuration.documents, by=by, now=self._clock.now())
        await self._lifecycle.record_configuration(
            by, configuration.digest, configuration.files, applied, notifies=configuration.settings.notifies
        )
        if applied.added or applied.changed or applied.removed:
            log.info("agencies applied", added=applied.added, changed=applied.changed, removed=applied.removed)

    async def run(self) -> None:
        """Run the loops of the runtime, whose objects each reload keeps, until cancelled."""
        runtime = self.runtime
        cleaner = MailboxCleaner(lambda: self.runtime.configuration.registry.unused_mailboxes, self._context.signer)
        async with asyncio.TaskGroup() as tasks:
            for task in (
                runtime.prober.run(),
                runtime.check_runner.run(),
                runtime.reporter.run(),
                cleaner.run(),
            ):
                tasks.create_task(task)


def _serialized(agencies: Mapping[str, Agency]) -> Mapping[str, tuple[str, str]]:
    """Return the document and its source by agency code."""
    return {code: (agency.model_dump_json(), "file") for code, agency in agencies.items()}


def _log_unavailable_components(configuration: Configuration) -> None:
    for problem in configuration.losses:
        log.error("component is unavailable; everything else works", problem=str(problem))


def _without(gateways: Iterable[ConfiguredGateway], others: Iterable[ConfiguredGateway]) -> list[ConfiguredGateway]:
    """Return the *gateways* whose `Gateway` object none of *others* uses."""
    excluded = {id(configured.gateway) for configured in others}
    return [configured for configured in gateways if id(configured.gateway) not in excluded]


def needs_restart(before: Configuration, after: Configuration, path: Path) -> Sequence[Problem]:
    """Return a warning for each setting that has changed since the start and takes effect at the next start."""
    old_settings, new_settings = before.settings, after.settings
    start_settings: dict[str, tuple[object, object]] = {
        "listen": (old_settings.listen, new_settings.listen),
        "portal": (old_settings.portal, new_settings.portal),
        "callbacks.listen": (old_settings.callbacks.listen, new_settings.callbacks.listen),
        "state_dir": (old_settings.state_dir, new_settings.state_dir),
        "store": (old_settings.store, new_settings.store),
        "process_name": (old_settings.process_name, new_settings.process_name),
        "site": (old_settings.site, new_settings.site),
        "hub": (old_settings.hub, new_settings.hub),
        "probing.sharding": (old_settings.probing.sharding, new_settings.probing.sharding),
        "probing.takeover_timeout": (old_settings.probing.takeover_timeout, new_settings.probing.takeover_timeout),
        # Compare the texts themselves: they may change while the directory stays the same.
        "wording": (before.wording, after.wording),
    }
    return [
        Problem(file=str(path), key=key, message="takes effect at the next start", severity=Severity.WARNING)
        for key, (old_value, new_value) in start_settings.items()
        if old_value != new_value
    ]
