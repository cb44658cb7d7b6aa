"""Current configuration: reads it, applies a new one on request, and keeps the runtime that results."""

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
from monitor.audit.lifecycle import Lifecycle
from monitor.bridge.incident_reporter import OURS
from monitor.bridge.noc_brief import agency_of, key_of, speaker_of
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import AgencySource, Configuration, ConfigurationError, LoadCache, load
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.config.validation.duplicate import perhaps_renamed
from monitor.planning.ownership import GIVEN_UP, WHOLE, Shard
from monitor.probing.mailbox_cleaner import MailboxCleaner
from monitor.runtime.gc_control import gc_paused
from monitor.runtime.repeat import run_periodically
from monitor.runtime.systemd import ServiceManager
from monitor.service.gateways import Retirement, build_lines, close_lines
from monitor.service.open_incidents import taken_over
from monitor.service.probing_runtime import ProbingRuntime, RuntimeContext, abandoned, make_runtime, prepare, take_up
from monitor.store.admin.documents import Documents
from monitor.store.engine.listing import IncidentFilter
from monitor.store.probing.processes import Process, Processes
from monitor.store.probing.records import ConfigurationRecords

log = structlog.get_logger()

#: Maximum of agencies gained at once: with thousands the event loop would block for as long as makes other processes
#: declare this one dead.
_AT_ONCE = 1000
#: Maximum of open incidents, the newest, for which the effect of an edit is reported.
_LOOKED_AT = 200
#: A mistake in a file must not stop notifications during an outage.
_NO_QUIET_END = "a reload does not end the telling: people are told as before, and the old configuration stays in force"
_BY_RESTART = "mode: notify; or stop the service and start it, if nobody is to be told any more"


async def read(
    path: Path, environ: Mapping[str, str], memory: LoadCache, documents: Sequence[AgencySource] | None = None
) -> Configuration:
    """Read the configuration; raise `ConfigurationError` when it is invalid. *memory*: cache of earlier readings.

    *documents*: those of all agencies, from their configured source. Raise `StoreUnavailable` when they cannot be read.
    """
    with gc_paused():
        loaded = await asyncio.to_thread(partial(load, path, environ, memory=memory, documents=documents))
    return loaded.accepted()


class Reloader:
    """Owner of the current configuration and its runtime. `begin` must be called first."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        *,
        around: RuntimeContext,
        records: ConfigurationRecords,
        documents: Documents,
        lifecycle: Lifecycle,
        pool: GatewayPool,
        dispatcher: Dispatcher,
        memory: LoadCache,
        manager: ServiceManager,
        processes: Processes | None = None,
        follow: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """*path*: the settings file. *memory*: cache from reading the configuration that `begin` receives.

        *processes*: where other services may use the store. *follow*: called after a configuration was applied.
        """
        self._path = path
        self._environ = environ
        self._around = around
        self._metrics = around.metrics
        self._clock = around.clock
        self._records = records
        self._documents = documents
        self._lifecycle = lifecycle
        self._pool = pool
        self._dispatcher = dispatcher
        #: The current runtime.
        self.runtime: ProbingRuntime
        #: Gateways that are not in use any more.
        self.retirement = Retirement()
        self._memory = memory
        memory.versions = lambda: documents.known
        self._manager = manager
        #: Settings that are only read at the start have the values of this one.
        self._started_with: Configuration
        self._reloading = asyncio.Lock()
        #: The shard of this process.
        self._share = WHOLE
        self._processes = processes
        self._follow = follow
        #: Level of the documents in the database that this service uses, and the level that it has published; `None`:
        #: files are used.
        self._level: int | None = None
        self._told_of: int | None = None
        #: Level up to which it has followed others, successfully or not.
        self._followed = 0

    async def begin(self, configuration: Configuration, share: Shard = WHOLE) -> None:
        """Apply the first configuration, and a *share* of its agencies."""
        self._share = share
        _say_losses(configuration)
        await self._record(configuration, "start")
        self.runtime = await make_runtime(configuration, self._around, share)
        self._level = await self._level_of(configuration)
        self._memory.in_force = configuration.registry
        self._started_with = configuration
        self._metrics.restart_needed(needed=False)
        self._metrics.monitor_only(on=not configuration.settings.notifies)
        await self._say_mode(configuration.settings)
        await self._abandoned(configuration)
        await self._say_no_more(configuration)
        if self._follow is not None:
            await self._follow()
        self._metrics.reload_finished(ok=True, now=self._clock.now())

    @property
    def watched(self) -> frozenset[str]:
        """Return the agencies of which any process on the store has documents: if this one has none, others monitor them."""
        return self._share.watched_elsewhere.union(self.runtime.configuration.registry.agencies)

    async def keep_reloading(self, wanted: asyncio.Event) -> NoReturn:
        """Reload whenever a signal has set *wanted*, until cancelled."""

        async def reload() -> None:
            await wanted.wait()
            wanted.clear()
            await self.reload("signal SIGHUP")

        await run_periodically("reload", reload, timedelta(0))

    async def reload(self, by: str) -> Sequence[Problem]:
        """Read the configuration again in the name of a principal.

        With errors in it, or while the database is unavailable, the old one stays active, and the problems are
        returned.
        """
        async with self._reloading:
            with self._manager.reloading():
                return await self._try_to_reload(by)

    async def _try_to_reload(self, by: str) -> Sequence[Problem]:
        try:
            return await self._reload(by)
        except StoreUnavailable as away:
            self._metrics.reload_finished(ok=False, now=self._clock.now())
            log.warning("configuration not applied; the old one stays active", reason=f"database unavailable: {away}")
            message = f"cannot be taken up while the store is away ({away}); the old configuration stays in force"
            return [Problem(file=str(self._path), key="store", message=message, severity=Severity.ERROR)]
        except Exception:
            self._metrics.reload_finished(ok=False, now=self._clock.now())
            raise

    async def _reload(self, by: str) -> Sequence[Problem]:
        try:
            configuration = await read(self._path, self._environ, self._memory)
        except ConfigurationError as bad:
            self._metrics.reload_finished(ok=False, now=self._clock.now())
            errors = [str(p) for p in bad.problems if p.severity is Severity.ERROR]
            log.warning("configuration rejected; the old one stays active", errors=errors[:20])
            await self._lifecycle.refused(by, errors)
            return bad.problems
        if (refused := self._unfit(configuration)) is not None:
            self._metrics.reload_finished(ok=False, now=self._clock.now())
            log.error("configuration rejected; people are notified as before", reason=str(refused))
            await self._lifecycle.refused(by, [str(refused)])
            return [refused]
        before, after = self.runtime.configuration.registry.agencies, configuration.registry.agencies
        was = {code: agency.domains for code, agency in before.items()}
        taken_up = await self._taken_up(configuration, by)
        return [*taken_up, *perhaps_renamed(was, after, str(configuration.settings.agencies))]

    def _unfit(self, configuration: Configuration) -> Problem | None:
        """Return why a valid configuration cannot replace the current one; `None`: it can."""
        if not self.runtime.configuration.settings.notifies or configuration.settings.notifies:
            return None
        return Problem(file=str(self._path), key="mode", message=_NO_QUIET_END, instead=_BY_RESTART)

    async def _taken_up(self, configuration: Configuration, by: str) -> Sequence[Problem]:
        # Before the engine applies the changes to them.
        taken_over = await self._taken_over(configuration)
        await self._take_up(configuration, by)
        if self._follow is not None and await self._follow():
            self._dispatcher.poke()
        await self._say_no_more(configuration)
        _say_losses(configuration)
        waiting, abandoned = self._waiting_for_restart(configuration), await self._abandoned(configuration)
        return [*configuration.losses, *waiting, *abandoned, *taken_over]

    async def _taken_over(self, configuration: Configuration) -> Sequence[Problem]:
        """Return the changes that open incidents adopt from an edit, and what they keep."""
        before = self.runtime.configuration
        known, agencies = before.registry.agencies, configuration.registry.agencies
        edited = frozenset(code for code, agency in agencies.items() if known.get(code) is not agency)
        if before.settings == configuration.settings and not edited:
            return ()
        wanted = IncidentFilter(agencies=edited if before.settings == configuration.settings else frozenset())
        try:
            async with self._around.store.reading() as ledger:
                ids = await ledger.listing.open_incidents(wanted)
                incidents = await ledger.incidents(ids[:_LOOKED_AT])
        except StoreUnavailable:
            return ()  # They adopt the changes all the same.
        return taken_over([*incidents.values()], configuration)

    async def take_share(self, share: Shard) -> frozenset[str]:
        """Change the shard; return the gained agencies. Raise `StoreUnavailable`.

        Reloads and changes of shards exclude each other.
        """
        async with self._reloading:
            before, configuration = self.runtime.owned, self.runtime.configuration
            # Before a step can fail: the next application uses the processes that are alive now.
            self._share, others_before = share, self._share.known
            wanted = share.of(configuration.registry.agencies)
            while self.runtime.share != share or self.runtime.owned != wanted:
                change = await prepare(self.runtime, configuration, self._around, share, _AT_ONCE)
                self.runtime = await take_up(self.runtime, change, self._around)
            if share.known != others_before:
                # Others may have released agencies that this process has released before.
                await self._say_no_more(configuration)
            return frozenset(wanted - before)

    async def keep_pace(self, others: Iterable[Process]) -> None:
        """Publish the level of documents that this service uses, and apply later ones that another service uses.

        Documents that no service uses yet (`pantau apply --no-reload`) are left. A configuration that cannot be applied
        is tried once.
        """
        if self._processes is None:
            return
        if self._told_of != self._level and await self._processes.goes_by(self._level):
            self._told_of = self._level
        if self._level is None:
            return
        ahead = max(others, key=lambda each: each.documents or 0, default=None)
        newest = (ahead and ahead.documents) or 0
        if ahead is None or newest <= max(self._level, self._followed):
            return
        found = await self.reload(f"{ahead.name} has taken up other documents")
        if not any(each.key == "store" and each.severity is Severity.ERROR for each in found):
            self._followed = newest

    async def _level_of(self, configuration: Configuration) -> int | None:
        in_store = configuration.settings.agencies == IN_DATABASE
        return await self._documents.level(configuration.documents) if in_store and self._processes else None

    async def take_up_after(self, deed: Callable[[Configuration], Awaitable[None]], by: str) -> Sequence[Problem]:
        """Read the configuration, execute *deed* before it becomes active, and apply it.

        Return its problems. Raise `ConfigurationError`, `StoreUnavailable`, and errors of *deed*: then the old one
        stays active.
        """
        async with self._reloading:
            with self._manager.reloading():
                configuration = await read(self._path, self._environ, self._memory)
                if (refused := self._unfit(configuration)) is not None:
                    raise ConfigurationError((refused,))
                await deed(configuration)
                return await self._taken_up(configuration, by)

    async def _take_up(self, configuration: Configuration, by: str) -> None:
        before = self.runtime.configuration
        # Steps that may fail precede all changes.
        level = await self._level_of(configuration)
        change = await prepare(self.runtime, configuration, self._around, self._share)
        in_use = list(self._pool)
        lines = build_lines(configuration.settings, self._path.parent, before=before.settings, in_use=in_use)
        try:
            await self._record(configuration, by)
        except BaseException:
            await close_lines(_beside(lines, in_use))
            raise
        self.retirement.enter(_beside(self._pool.replace(lines), lines))
        self.runtime = await take_up(self.runtime, change, self._around)
        self._level = level
        self._memory.in_force = configuration.registry
        for line in self._pool:
            # A gateway whose configuration was edited is unproven.
            self._metrics.gateway_judged(line.channel, line.name, up=self._pool.is_up(line.name))
        self._metrics.monitor_only(on=not configuration.settings.notifies)
        self._let_look(before, configuration, change.difference.agencies)
        self._metrics.reload_finished(ok=True, now=self._clock.now())
        log.info("configuration applied", agencies=len(configuration.registry.agencies))

    def _let_look(self, before: Configuration, after: Configuration, moved: Collection[str]) -> None:
        """Let the dispatcher process open incidents whose policy has changed.

        *moved*: agencies whose routes have changed.
        """
        was, becomes = before.registry.agencies, after.registry.agencies
        if (before.settings, before.wording, was.keys()) != (after.settings, after.wording, becomes.keys()):
            self._dispatcher.poke()
        else:
            # One of thousands was edited, and hundreds of incidents may be open.
            self._dispatcher.poke_about({*moved, *(code for code in becomes if becomes[code] is not was[code])})

    async def _say_mode(self, settings: Settings) -> None:
        """Log that nobody is notified, and which earlier notifications get no follow-up."""
        if settings.notifies:
            return
        log.warning("NOBODY IS NOTIFIED: mode is monitor_only; set `mode: notify` to notify people")
        async with self._around.store.reading() as ledger:
            left = [each.number for each in await ledger.open_incidents() if not each.policy.has_nobody_to_notify]
        if left:
            log.error(
                "no more notifications of these incidents: mode is monitor_only",
                incidents=left[:20],
                count=len(left),
            )

    def _waiting_for_restart(self, configuration: Configuration) -> Sequence[Problem]:
        """Return, log and export the settings that require a restart."""
        found = needs_restart(self._started_with, configuration, self._path)
        self._metrics.restart_needed(needed=bool(found))
        if found:
            log.warning("settings take effect after a restart", keys=[problem.key for problem in found])
        return found

    async def _abandoned(self, configuration: Configuration) -> Sequence[Problem]:
        """Return the open incidents of agencies that are no longer monitored; they are logged, too, because a start returns them to nobody."""
        try:
            async with self._around.store.reading() as ledger:
                found = abandoned(await ledger.open_numbers(), configuration)
        except StoreUnavailable:
            return ()  # The configuration is active all the same.
        for problem in found:
            log.warning("incident is open for an agency that is no longer monitored", reason=str(problem))
        return found

    async def _say_no_more(self, configuration: Configuration) -> None:
        """Delete the site's statuses of what has left: a hub would count them for ever.

        That is agencies, references, and the statuses of processes that are gone if no `ShardManager` handles those.
        """
        agencies = self._share.watched_elsewhere.union(configuration.registry.agencies)
        # Settings that only a restart changes have their old values.
        settings, evaluator = self._started_with.settings, self.runtime.evaluator
        own = settings.process_name

        def has_left(subject: str) -> bool:
            if (agency := agency_of(subject)) is not None:
                return agency not in agencies
            if (speaker := speaker_of(subject)) == own:
                return evaluator.suspect(key_of(subject).removeprefix(OURS)) is None
            return speaks is not None and speaker not in speaks

        try:
            speaks = None if settings.probing.sharding else await self._perhaps_alive()
            await self._around.history.say_no_more(has_left)
        except StoreUnavailable as away:
            log.warning("status of removed objects stays until the next reload or start", reason=str(away))

    async def _perhaps_alive(self) -> AbstractSet[str] | None:
        """Return the other processes that may be running: one that is wrongly considered gone would not repeat its statuses."""
        if self._processes is None:
            return None
        now = self._clock.now()
        others = await self._processes.others()
        return {each.name for each in others if each.stopped_at is None and now - each.heartbeat_at <= GIVEN_UP}

    async def _record(self, configuration: Configuration, by: str) -> None:
        agencies = configuration.registry.agencies
        recorded = self._memory.in_force.agencies if self._memory.in_force else {}
        kept = {code for code, agency in agencies.items() if recorded.get(code) is agency}
        new = {code: agency for code, agency in agencies.items() if code not in kept}
        documents = await asyncio.to_thread(_dumped, new)
        applied = await self._records.apply("agency", documents, self._clock.now(), kept=kept)
        if configuration.settings.agencies != IN_DATABASE:
            await self._documents.follow(configuration.documents, by=by, now=self._clock.now())
        await self._lifecycle.configured(
            by, configuration.digest, configuration.files, applied, notifies=configuration.settings.notifies
        )
        if applied.added or applied.changed or applied.removed:
            log.info("agencies applied", added=applied.added, changed=applied.changed, removed=applied.removed)

    async def keep_watching(self) -> None:
        """Run the current runtime, whichever configuration is active, until cancelled."""
        runtime = self.runtime
        sweeper = MailboxCleaner(lambda: self.runtime.configuration.registry.at_rest, self._around.signer)
        async with asyncio.TaskGroup() as tasks:
            for work in (
                runtime.prober.run(),
                runtime.inspector.run(),
                runtime.consensus.keep_telling(),
                sweeper.keep_sweeping(),
            ):
                tasks.create_task(work)


def _dumped(agencies: Mapping[str, Agency]) -> Mapping[str, tuple[str, str]]:
    return {code: (agency.model_dump_json(), "file") for code, agency in agencies.items()}


def _say_losses(configuration: Configuration) -> None:
    for lost in configuration.losses:
        log.error("component is unavailable; everything else works", problem=str(lost))


def _beside(lines: Iterable[ConfiguredGateway], others: Iterable[ConfiguredGateway]) -> list[ConfiguredGateway]:
    """Return those of *lines* whose gateway is none of *others*'."""
    theirs = {id(line.gateway) for line in others}
    return [line for line in lines if id(line.gateway) not in theirs]


def needs_restart(before: Configuration, after: Configuration, path: Path) -> Sequence[Problem]:
    """Return a warning for each setting that is only read at the start and has changed since."""
    old, new = before.settings, after.settings
    fixed: dict[str, tuple[object, object]] = {
        "listen": (old.listen, new.listen),
        "portal": (old.portal, new.portal),
        "callbacks.listen": (old.callbacks.listen, new.callbacks.listen),
        "state_dir": (old.state_dir, new.state_dir),
        "store": (old.store, new.store),
        "process_name": (old.process_name, new.process_name),
        "site": (old.site, new.site),
        "hub": (old.hub, new.hub),
        "probing.sharding": (old.probing.sharding, new.probing.sharding),
        "probing.takeover_timeout": (old.probing.takeover_timeout, new.probing.takeover_timeout),
        # The texts themselves: their directory may be the same.
        "wording": (before.wording, after.wording),
    }
    return [
        Problem(file=str(path), key=key, message="takes effect at the next start", severity=Severity.WARNING)
        for key, (was, becomes) in fixed.items()
        if was != becomes
    ]
