"""The composition root: build everything, run it in one task group, shut it down cleanly."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex

import structlog

from alerts.clock import Clock, SystemClock
from alerts.composer import WordingComposer
from alerts.delivery import Notice
from alerts.desk import Desks
from alerts.dispatcher import Dispatcher
from alerts.exchange import Exchange, Line
from alerts.poller import Poller
from alerts.store import StoreAway
from monitor.config.loading import BadConfiguration, Configuration, load
from monitor.config.problem import Problem, Severity
from monitor.duty import Duty
from monitor.front import Front
from monitor.garbage import keep_setting_aside
from monitor.housekeeping import keep_house
from monitor.hush import Silencer, hush
from monitor.key import token_key
from monitor.lines import build_lines
from monitor.metrics import Metrics
from monitor.pins import pin_book
from monitor.proof.archive import Archive
from monitor.proof.chain import keep_chain
from monitor.proof.lifecycle import Lifecycle
from monitor.settings import Settings
from monitor.store.database import Database, StoreInUseError, StoreUnusableError
from monitor.store.history import History
from monitor.store.ledger import SqlStore
from monitor.store.records import Records
from monitor.watch import Surroundings, Watch, abandoned, make_watch, retire, show_tokens
from monitor.watchdog.watchdog import Watchdog, store_opening
from monitor.web.callbacks import callbacks
from monitor.web.control import control
from monitor.web.duty import duties
from monitor.web.portal import portal
from monitor.web.serving import open_port, open_unix, serve, url_of
from monitor.web.silences import silences
from probes.token import TokenSigner

log = structlog.get_logger()

#: In the state directory.
CONTROL_SOCKET = "control.sock"

#: What gateways that a reload removed are allowed for the calls they are in.
_RETIREMENT = timedelta(seconds=100)
#: What the command line waits for at the longest.
_OWN_WORK = timedelta(hours=1)
_TOKENS_EVERY = timedelta(seconds=15)


class App:
    """The service. Make it in a running loop."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """*path*: the settings file."""
        self._path = path
        self._environ = environ
        #: The store's, once that is open.
        self._clock: Clock = SystemClock()
        self._metrics = Metrics(version=version("pantau"), now=self._now)
        self._stopping = asyncio.Event()
        self._reload_wanted = asyncio.Event()
        #: A configuration that waits for the watch over the last one to end.
        self._next: asyncio.Queue[Configuration] = asyncio.Queue()
        self._taken_up = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._watch: Watch
        self._around: Surroundings
        self._records: Records
        self._database: Database
        self._lifecycle: Lifecycle
        self._watchdog: Watchdog
        self._exchange: Exchange
        self._retired: asyncio.Queue[list[Line]] = asyncio.Queue()
        #: Why this process ends by itself: another has taken its name on the store.
        self._ousted: StoreInUseError | None = None

    def _now(self) -> datetime:
        return self._clock.now()

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    def want_reload(self) -> None:
        """Ask for the configuration to be read again (SIGHUP)."""
        self._reload_wanted.set()

    async def run(self) -> None:
        """Run until `stop` is called, or until another process on the store has our name.

        Raise `BadConfiguration`, `StoreInUseError`, `StoreUnusableError`, `StoreTooNewError`, or `OSError` when a port cannot be had; everything
        that was begun is ended.
        """
        configuration = await self._read()
        async with self._built(configuration), asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._dispatcher.run()),
                tasks.create_task(self._poller.run()),
                tasks.create_task(self._keep_watching()),
                tasks.create_task(self._keep_reloading()),
                tasks.create_task(self._retire_lines()),
                tasks.create_task(self._measure_lag()),
                tasks.create_task(keep_setting_aside()),
                tasks.create_task(self._around.history.keep_writing()),
                tasks.create_task(keep_house(self._around.history, self._keep_results, self._clock)),
                tasks.create_task(self._show_tokens()),
                tasks.create_task(self._duty.keep_counting()),
                tasks.create_task(self._watchdog.run()),
                tasks.create_task(keep_chain(self._database, self._metrics, self._clock)),
                tasks.create_task(self._keep_name()),
            ]
            await self._stopping.wait()
            for task in running:
                task.cancel()
        await self._watchdog.stop()
        await self._farewell()
        log.info("stopped")
        if self._ousted is not None:
            raise self._ousted

    @asynccontextmanager
    async def _built(self, configuration: Configuration) -> AsyncIterator[None]:
        settings = configuration.settings
        server = None if settings.store is None else settings.store.build()
        async with AsyncExitStack() as stack:
            opening = partial(store_opening, configuration, self._path.parent, self._metrics.watchdog, self._clock)
            async with opening():
                database = await stack.enter_async_context(
                    Database.open(settings.state, server, name=_prober(settings))
                )
            self._clock = database.clock
            database.presence.on_change = lambda there: self._metrics.store_judged(there=there)
            self._metrics.store_judged(there=True)
            # Ports before work: whoever cannot be seen should not probe.
            faces = [open_port(settings.listen.host, settings.listen.port)]
            stack.callback(faces[0].close)
            faces.append(open_port(settings.callbacks.listen.host, settings.callbacks.listen.port))
            stack.callback(faces[1].close)
            stack.callback((settings.state / CONTROL_SOCKET).unlink, missing_ok=True)
            faces.append(open_unix(settings.state / CONTROL_SOCKET))
            stack.callback(faces[2].close)
            try:
                await self._build(configuration, database)
            except StoreAway as away:
                # It can be opened and read: a full disk, a server that takes no writes. To the lifeline that is the same.
                async with opening():
                    raise StoreUnusableError(f"the store cannot be used: {away}") from None
            stack.push_async_callback(self._close_lines)
            await self._serve(stack, faces)
            log.info("started", portal=url_of(faces[0]), callbacks=url_of(faces[1]), state=str(settings.state))
            yield

    async def _build(self, configuration: Configuration, database: Database) -> None:
        settings = configuration.settings
        store, history = SqlStore(database), History(database)
        self._records = Records(database)
        self._database = database
        self._lifecycle = Lifecycle(store, self._clock, f"pantau@{settings.prober or socket.gethostname()}")
        self._exchange = Exchange(build_lines(settings, self._path.parent))
        self._composer = WordingComposer(configuration.wording, self._may_release)
        self._dispatcher = Dispatcher(
            store=store,
            exchange=self._exchange,
            composer=self._composer,
            clock=self._clock,
            observer=self._metrics,
            owner=_owner(settings) if database.is_shared else None,
            hush=hush(lambda: self._watch.judge),
        )
        self._desks = Desks(
            dispatcher=self._dispatcher,
            store=store,
            wording=configuration.wording,
            pins=lambda: pin_book(self._watch.configuration),
            clock=self._clock,
        )
        self._poller = Poller(store=store, exchange=self._exchange, desks=self._desks, clock=self._clock)
        self._watchdog = Watchdog(
            database=database,
            store=store,
            exchange=self._exchange,
            dispatcher=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
            watch=lambda: self._watch,
            name=settings.prober or socket.gethostname(),
            directory=self._path.parent,
            environ=self._environ,
            wording=configuration.wording,
        )
        self._around = Surroundings(
            signer=TokenSigner(token_key(settings.state), settings.prober or socket.gethostname()),
            store=store,
            history=history,
            alerting=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
        )
        self._duty = Duty(
            store=store,
            metrics=self._metrics,
            clock=self._clock,
            configuration=lambda: self._watch.configuration,
        )
        await self._lifecycle.started(version=version("pantau"), user=f"uid {os.getuid()}")
        await self._record(configuration, "start")
        self._watch = await make_watch(configuration, self._around)
        await self._abandoned(configuration)
        self._metrics.reload_finished(ok=True, now=self._clock.now())

    async def _serve(self, stack: AsyncExitStack, faces: Sequence[socket.socket]) -> None:
        front = Front(
            store=self._around.store,
            history=self._around.history,
            dispatcher=self._dispatcher,
            desks=self._desks,
            exchange=self._exchange,
            composer=self._composer,
            metrics=self._metrics,
            clock=self._clock,
            watch=lambda: self._watch,
            reload=self.reload,
            drill_desk=self._watchdog.desk,
        )
        hosts = ["localhost", "127.0.0.1", "[::1]", faces[0].getsockname()[0]]
        archive = Archive(
            database=self._database,
            history=self._around.history,
            lifecycle=self._lifecycle,
            clock=self._clock,
            wording=lambda: self._watch.configuration.wording,
            keep_results=self._keep_results,
        )
        orders = control(front, archive, self._watchdog.driller)
        orders.include_router(duties(self._duty))
        silencer = Silencer(self._around.store, self._dispatcher, self._clock, self._can_be_silent)
        orders.include_router(silences(silencer))
        for app, listener in zip((portal(front, hosts), callbacks(front)), faces[:2], strict=True):
            await stack.enter_async_context(serve(app, listener))
        # On our own socket nobody is hung up on: a purge of years of records takes minutes.
        await stack.enter_async_context(serve(orders, faces[2], answering=_OWN_WORK))

    def _can_be_silent(self) -> Sequence[str]:
        """Return the agencies and the routes that are watched."""
        return [*self._watch.configuration.registry.agencies, *self._watch.routes]

    # -- configuration -------------------------------------------------------------------------------------------

    async def _read(self) -> Configuration:
        """Read the configuration; raise `BadConfiguration` when it cannot be used."""
        loaded = await asyncio.to_thread(load, self._path, self._environ)
        return loaded.accepted()

    async def reload(self, by: str) -> Sequence[Problem]:
        """Read the configuration again, by somebody's word.

        With errors in it, or while the store is away, the old one stays in force, and the problems are returned.
        """
        try:
            return await self._reload(by)
        except StoreAway as away:
            self._metrics.reload_finished(ok=False, now=self._clock.now())
            log.warning("configuration not taken up; the old one stays in force", why=f"the store is away: {away}")
            message = f"cannot be taken up while the store is away ({away}); the old configuration stays in force"
            return [Problem(file=str(self._path), key="store", message=message, severity=Severity.ERROR)]

    async def _reload(self, by: str) -> Sequence[Problem]:
        async with self._reloading:
            try:
                configuration = await self._read()
            except BadConfiguration as bad:
                self._metrics.reload_finished(ok=False, now=self._clock.now())
                errors = [str(p) for p in bad.problems if p.severity is Severity.ERROR]
                log.warning("configuration refused; the old one stays in force", errors=errors[:20])
                await self._lifecycle.refused(by, errors)
                return bad.problems
            before = self._watch.configuration.settings
            await self._take_up(configuration, by)
            return [*_needs_restart(before, configuration.settings, self._path), *await self._abandoned(configuration)]

    async def _take_up(self, configuration: Configuration, by: str) -> None:
        before = self._watch.configuration
        await self._record(configuration, by)
        self._retired.put_nowait(self._exchange.replace(build_lines(configuration.settings, self._path.parent)))
        retire(self._metrics, before, configuration)
        self._taken_up.clear()
        self._next.put_nowait(configuration)
        await self._taken_up.wait()
        self._dispatcher.poke()
        self._metrics.reload_finished(ok=True, now=self._clock.now())
        log.info("configuration taken up", agencies=len(configuration.registry.agencies))

    async def _abandoned(self, configuration: Configuration) -> Sequence[Problem]:
        """Return what is open of agencies that are watched no more; it is logged, too: a start answers nobody."""
        try:
            async with self._around.store.reading() as ledger:
                found = abandoned(await ledger.open_incidents(), configuration)
        except StoreAway:
            return ()  # The configuration is in force all the same.
        for problem in found:
            log.warning("an incident is open of an agency that is watched no more", why=str(problem))
        return found

    async def _record(self, configuration: Configuration, by: str) -> None:
        agencies = configuration.registry.agencies
        documents = {code: (agency.model_dump_json(), "file") for code, agency in agencies.items()}
        applied = await self._records.apply("agency", documents, self._clock.now())
        await self._lifecycle.configured(by, configuration.digest, configuration.files, applied)
        if applied.added or applied.changed or applied.removed:
            log.info("agencies applied", added=applied.added, changed=applied.changed, removed=applied.removed)

    async def _farewell(self) -> None:
        try:
            await self._around.history.catch_up()
            await self._lifecycle.stopped()
        # The store is away: then the stop looks like a crash in the journal, and the next start is none the worse.
        except Exception:
            log.exception("the stop could not be written down")

    async def _keep_name(self) -> None:
        try:
            await self._database.keep_name()
        except StoreInUseError as error:
            log.warning("this process ends, because another goes by its name", why=str(error))
            self._ousted = error
            self.stop()

    # -- background ----------------------------------------------------------------------------------------------

    async def _keep_watching(self) -> None:
        while True:
            async with asyncio.TaskGroup() as tasks:
                at_work = [
                    tasks.create_task(self._watch.prober.run()),
                    tasks.create_task(self._watch.inspector.run()),
                    tasks.create_task(self._watch.pipeline.keep_telling()),
                ]
                configuration = await self._next.get()
                for task in at_work:
                    task.cancel()
            # Only now: what the last watch still told the store is where the new one goes on.
            self._watch = await self._make_watch(configuration)
            self._taken_up.set()

    async def _make_watch(self, configuration: Configuration) -> Watch:
        """Make a watch as soon as the store lets it read where the last one left off."""
        while True:
            try:
                if await self._around.history.catch_up() == 0:
                    return await make_watch(configuration, self._around)
            except StoreAway:
                pass
            await asyncio.sleep(1)

    async def _keep_reloading(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self.reload("signal SIGHUP")

    async def _retire_lines(self) -> None:
        """Close the gateways that a reload replaced, once the calls they were in are over."""
        while True:
            lines = await self._retired.get()
            await asyncio.sleep(_RETIREMENT.total_seconds())
            for line in lines:
                await line.gateway.close()

    async def _close_lines(self) -> None:
        for line in self._exchange:
            await line.gateway.close()

    async def _show_tokens(self) -> None:
        """Export when access tokens expire, as often as Prometheus looks: they are renewed whenever somebody signs in."""
        while True:
            show_tokens(self._metrics, self._watch.routes.values())
            await asyncio.sleep(_TOKENS_EVERY.total_seconds())

    def _may_release(self, notice: Notice) -> bool:
        # An office is called by its agency's code.
        return pin_book(self._watch.configuration).has(notice.facts.office.short, notice.person)

    def _keep_results(self) -> timedelta:
        return self._watch.configuration.settings.keep_results

    async def _measure_lag(self) -> None:
        """Export how late the loop wakes: a blocked loop probes late and answers nobody."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 1
            await asyncio.sleep(1)
            self._metrics.loop_lagged(timedelta(seconds=max(0.0, loop.time() - due)))


def _prober(settings: Settings) -> str:
    return settings.prober or socket.gethostname()


def _owner(settings: Settings) -> str:
    """Return what an engine is called that others share the store with: a new name each time it starts."""
    return f"{_prober(settings)}/{token_hex(4)}"


def _needs_restart(before: Settings, after: Settings, path: Path) -> Sequence[Problem]:
    """Return a warning for each setting that changed and is only read at the start."""
    fixed = {
        "listen": (before.listen, after.listen),
        "callbacks.listen": (before.callbacks.listen, after.callbacks.listen),
        "state": (before.state, after.state),
        "store": (before.store, after.store),
        "prober": (before.prober, after.prober),
        "wording": (before.wording, after.wording),
    }
    return [
        Problem(file=str(path), key=key, message="takes effect at the next start", severity=Severity.WARNING)
        for key, (old, new) in fixed.items()
        if old != new
    ]
