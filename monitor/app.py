"""The composition root: build everything, run it in one task group, shut it down cleanly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import structlog

from alerts.clock import SystemClock
from alerts.composer import WordingComposer
from alerts.dispatcher import Dispatcher
from alerts.exchange import Exchange, Line
from monitor.config.loading import BadConfiguration, Configuration, load
from monitor.config.problem import Problem, Severity
from monitor.front import Front
from monitor.garbage import keep_setting_aside
from monitor.housekeeping import keep_house
from monitor.key import token_key
from monitor.lines import build_lines
from monitor.metrics import Metrics
from monitor.registry import Registry
from monitor.settings import Settings
from monitor.store.database import Database
from monitor.store.history import History
from monitor.store.ledger import SqlStore
from monitor.store.records import Records
from monitor.watch import Surroundings, Watch, make_watch, retire, show_tokens
from monitor.web.callbacks import callbacks
from monitor.web.control import control
from monitor.web.portal import portal
from monitor.web.serving import open_port, open_unix, serve, url_of
from probes.token import TokenSigner

log = structlog.get_logger()

#: In the state directory.
CONTROL_SOCKET = "control.sock"

#: What gateways that a reload removed are allowed for the calls they are in.
_RETIREMENT = timedelta(seconds=100)
_TOKENS_EVERY = timedelta(seconds=15)


class App:
    """The service. Make it in a running loop."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """*path*: the settings file."""
        self._path = path
        self._environ = environ
        self._clock = SystemClock()
        self._metrics = Metrics(version=version("pantau"), now=self._clock.now)
        self._stopping = asyncio.Event()
        self._reload_wanted = asyncio.Event()
        #: A configuration that waits for the watch over the last one to end.
        self._next: asyncio.Queue[Configuration] = asyncio.Queue()
        self._taken_up = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._watch: Watch
        self._around: Surroundings
        self._records: Records
        self._exchange: Exchange
        self._retired: asyncio.Queue[list[Line]] = asyncio.Queue()

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    def want_reload(self) -> None:
        """Ask for the configuration to be read again (SIGHUP)."""
        self._reload_wanted.set()

    async def run(self) -> None:
        """Run until `stop` is called.

        Raise `BadConfiguration`, `StoreInUseError`, `StoreTooNewError`, or `OSError` when a port cannot be had; everything
        that was begun is ended.
        """
        configuration = await self._read()
        async with self._built(configuration), asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._dispatcher.run()),
                tasks.create_task(self._keep_watching()),
                tasks.create_task(self._keep_reloading()),
                tasks.create_task(self._retire_lines()),
                tasks.create_task(self._measure_lag()),
                tasks.create_task(keep_setting_aside()),
                tasks.create_task(keep_house(self._around.history, self._keep_results, self._clock)),
                tasks.create_task(self._show_tokens()),
            ]
            await self._stopping.wait()
            for task in running:
                task.cancel()
        log.info("stopped")

    @asynccontextmanager
    async def _built(self, configuration: Configuration) -> AsyncIterator[None]:
        settings = configuration.settings
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(Database.open(settings.state))
            # Ports before work: whoever cannot be seen should not probe.
            faces = [open_port(settings.listen.host, settings.listen.port)]
            stack.callback(faces[0].close)
            faces.append(open_port(settings.callbacks.listen.host, settings.callbacks.listen.port))
            stack.callback(faces[1].close)
            stack.callback((settings.state / CONTROL_SOCKET).unlink, missing_ok=True)
            faces.append(open_unix(settings.state / CONTROL_SOCKET))
            stack.callback(faces[2].close)
            await self._build(configuration, database)
            stack.push_async_callback(self._close_lines)
            await self._serve(stack, faces)
            log.info("started", portal=url_of(faces[0]), callbacks=url_of(faces[1]), state=str(settings.state))
            yield

    async def _build(self, configuration: Configuration, database: Database) -> None:
        settings = configuration.settings
        store, history = SqlStore(database), History(database)
        self._records = Records(database)
        self._exchange = Exchange(build_lines(settings, self._path.parent))
        self._composer = WordingComposer(configuration.wording)
        self._dispatcher = Dispatcher(
            store=store,
            exchange=self._exchange,
            composer=self._composer,
            clock=self._clock,
            observer=self._metrics,
        )
        self._around = Surroundings(
            signer=TokenSigner(token_key(settings.state), settings.prober or socket.gethostname()),
            store=store,
            history=history,
            alerting=self._dispatcher,
            metrics=self._metrics,
            clock=self._clock,
        )
        await self._record(configuration.registry)
        self._watch = await make_watch(configuration, self._around)
        self._metrics.reload_finished(ok=True, now=self._clock.now())

    async def _serve(self, stack: AsyncExitStack, faces: Sequence[socket.socket]) -> None:
        front = Front(
            store=self._around.store,
            history=self._around.history,
            dispatcher=self._dispatcher,
            exchange=self._exchange,
            composer=self._composer,
            metrics=self._metrics,
            clock=self._clock,
            watch=lambda: self._watch,
            reload=self.reload,
        )
        hosts = ["localhost", "127.0.0.1", "[::1]", faces[0].getsockname()[0]]
        for app, listener in zip((portal(front, hosts), callbacks(front), control(front)), faces, strict=True):
            await stack.enter_async_context(serve(app, listener))

    # -- configuration -------------------------------------------------------------------------------------------

    async def _read(self) -> Configuration:
        """Read the configuration; raise `BadConfiguration` when it cannot be used."""
        loaded = await asyncio.to_thread(load, self._path, self._environ)
        return loaded.accepted()

    async def reload(self) -> Sequence[Problem]:
        """Read the configuration again. With errors in it the old one stays in force, and the problems are returned."""
        async with self._reloading:
            try:
                configuration = await self._read()
            except BadConfiguration as bad:
                self._metrics.reload_finished(ok=False, now=self._clock.now())
                errors = [str(p) for p in bad.problems if p.severity is Severity.ERROR]
                log.warning("configuration refused; the old one stays in force", errors=errors[:20])
                return bad.problems
            before = self._watch.configuration.settings
            await self._take_up(configuration)
            return _needs_restart(before, configuration.settings, self._path)

    async def _take_up(self, configuration: Configuration) -> None:
        before = self._watch.configuration
        await self._record(configuration.registry)
        self._retired.put_nowait(self._exchange.replace(build_lines(configuration.settings, self._path.parent)))
        retire(self._metrics, before, configuration)
        self._taken_up.clear()
        self._next.put_nowait(configuration)
        await self._taken_up.wait()
        self._dispatcher.poke()
        self._metrics.reload_finished(ok=True, now=self._clock.now())
        log.info("configuration taken up", agencies=len(configuration.registry.agencies))

    async def _record(self, registry: Registry) -> None:
        documents = {code: (agency.model_dump_json(), "file") for code, agency in registry.agencies.items()}
        applied = await self._records.apply("agency", documents, self._clock.now())
        if applied.added or applied.changed or applied.removed:
            log.info("agencies applied", added=applied.added, changed=applied.changed, removed=applied.removed)

    # -- background ----------------------------------------------------------------------------------------------

    async def _keep_watching(self) -> None:
        while True:
            async with asyncio.TaskGroup() as tasks:
                at_work = [
                    tasks.create_task(self._watch.prober.run()),
                    tasks.create_task(self._watch.inspector.run()),
                ]
                configuration = await self._next.get()
                for task in at_work:
                    task.cancel()
            # Only now: what the last watch still told the store is where the new one goes on.
            self._watch = await make_watch(configuration, self._around)
            self._taken_up.set()

    async def _keep_reloading(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self.reload()

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

    def _keep_results(self) -> timedelta:
        return self._watch.configuration.settings.keep_results

    async def _measure_lag(self) -> None:
        """Export how late the loop wakes: a blocked loop probes late and answers nobody."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 1
            await asyncio.sleep(1)
            self._metrics.loop_lagged(timedelta(seconds=max(0.0, loop.time() - due)))


def _needs_restart(before: Settings, after: Settings, path: Path) -> Sequence[Problem]:
    """Return a warning for each setting that changed and is only read at the start."""
    fixed = {
        "listen": (before.listen, after.listen),
        "callbacks.listen": (before.callbacks.listen, after.callbacks.listen),
        "state": (before.state, after.state),
        "prober": (before.prober, after.prober),
        "wording": (before.wording, after.wording),
    }
    return [
        Problem(file=str(path), key=key, message="takes effect at the next start", severity=Severity.WARNING)
        for key, (old, new) in fixed.items()
        if old != new
    ]
