"""ASGI server in this event loop, on sockets that are opened before anything else starts."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import h11
import structlog
import uvicorn
from starlette.requests import ClientDisconnect
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.runtime.descriptors import open_files_limit
from monitor.runtime.log_throttle import LogThrottle
from monitor.runtime.unix_socket import reachable
from monitor.web.connection import Connection, ConnectionLimits, Connections, connection_limits
from monitor.web.problem import problem

log = structlog.get_logger()

#: Time for connections to close.
_GOODBYE_SECONDS = 1.0
#: Time limits of the TLS handshake, and then of the headers of a request: both are a few kilobytes.
_HEADERS = timedelta(seconds=5)
#: Time limit for a complete request. A provider with a slow connection needs a second or two for the page that it
#: returns.
_ASKING = timedelta(seconds=20)
#: Time limit for reading the response, including our processing: a reload reads every agency's file.
_ANSWERING = timedelta(minutes=2)
#: Seconds between log messages about closed connections, each with their number.
_LOGGED_EVERY = 60.0
#: Number of connections accepted before other tasks run.
_ACCEPTED_AT_ONCE = 32
#: Seconds. When no descriptor is free, the kernel queues new connections; an immediate retry would use a whole core.
_ACCEPTED_AGAIN = 1.0


def open_port(host: str, port: int) -> socket.socket:
    """Listen on a TCP port; 0 selects a free one. Raise `OSError` if it is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def open_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may open. The socket of a terminated process is replaced.

    The caller must hold the store's lock, so no running process can own the socket.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with reachable(path) as name:
        listener.bind(name)
    # Set the mode before clients can connect: bind creates the file, listen enables connections.
    path.chmod(0o600)
    listener.listen(16)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a TCP listener, without a final slash."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def serve(
    app: Any,
    listener: socket.socket,
    *,
    headers: timedelta = _HEADERS,
    asking: timedelta = _ASKING,
    answering: timedelta = _ANSWERING,
    limits: ConnectionLimits | None = None,
    certificate: tuple[Path, Path] | None = None,
    proxies: Sequence[str] = (),
    past_them: Sequence[str] = (),
) -> AsyncIterator[None]:
    """Serve *app* on *listener* for the duration of the block; then cancel the running requests.

    *certificate*: the files of certificate and key, for TLS. *proxies*: the networks of trusted proxies, which alone
    may connect; and *past_them*, clients that may connect directly, in addition to this machine.

    A connection is closed if the handshake or the headers take longer than *headers*, the request longer than *asking*,
    or the reading of the response longer than *answering*. *limits*: connection limits; default: a share of this
    process's descriptor limit.
    """
    connections = Connections(limits or connection_limits(open_files_limit()), proxies)
    # Not Server.serve(): it replaces the program's signal handlers, and ends up to 0.2 s late.
    protocol: Any = partial(_Prompt, headers=headers, asking=asking, answering=answering, connections=connections)
    config = uvicorn.Config(
        _Endable(_Proxied(app, proxies, past_them) if proxies else app),
        http=protocol,
        # Any other client could forge the forwarding headers.
        proxy_headers=False,
        ssl_certfile=certificate and certificate[0],
        ssl_keyfile=certificate and certificate[1],
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        interface="asgi3",
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[])
    serve_on = partial(protocol, config=config, server_state=server.server_state, app_state=server.lifespan.state)
    acceptor = _Acceptor(
        *(listener, config, connections, lambda connection: serve_on(connection=connection)), handshake=headers
    )
    accepting = asyncio.create_task(acceptor.keep_accepting())
    try:
        yield
    finally:
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        await acceptor.close()
        await _stop(server)
        listener.close()


#: Creates the HTTP protocol of a connection.
_ServeOn = Callable[[Connection], asyncio.Protocol]


class _Acceptor:
    """Acceptor of a listener's connections, up to its limits.

    The event loop's own server has no limit, and if no descriptor is free it writes 2,048 lines to the log at each
    attempt (CPython 3.13, `_accept_connection`).
    """

    def __init__(
        self,
        listener: socket.socket,
        config: uvicorn.Config,
        connections: Connections,
        serve_on: _ServeOn,
        *,
        handshake: timedelta,
    ) -> None:
        self._listener = listener
        self._config = config
        self._serve_on = serve_on
        self._handshake = handshake.total_seconds()
        self._connections = connections
        self._beginning = set[asyncio.Task[None]]()
        self._logged = 0
        self._throttle = LogThrottle()
        self._report: asyncio.TimerHandle | None = None

    async def keep_accepting(self) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        self._listener.listen(self._config.backlog)
        for number in itertools.count(1):
            if number % _ACCEPTED_AT_ONCE == 0:
                await asyncio.sleep(0)  # Accepting a queued connection does not yield to the event loop.
            try:
                accepted, address = await loop.sock_accept(self._listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._note_refusal(error)
                await asyncio.sleep(_ACCEPTED_AGAIN)
                continue
            try:
                self._begin(accepted, address[0] if address else "")
            # No error of one connection may end the listener.
            except Exception:
                log.exception("connection could not be started", listener=self._name)
                accepted.close()

    async def close(self) -> None:
        """Close connections that have no protocol yet."""
        if self._report is not None:
            self._report.cancel()
        beginning = list(self._beginning)
        for task in beginning:
            task.cancel()
        await asyncio.gather(*beginning, return_exceptions=True)

    @property
    def _name(self) -> str:
        name = self._listener.getsockname()
        return name if isinstance(name, str) else f"port {name[1]}"

    def _begin(self, accepted: socket.socket, address: str) -> None:
        connection = Connection(origin=self._connections.origin(address), close=accepted.close)
        if not self._connections.admit(connection):
            accepted.close()
        else:
            task = asyncio.create_task(self._connect(accepted, connection))
            connection.close = task.cancel
            self._beginning.add(task)
            task.add_done_callback(partial(self._begun, accepted))
        if self._connections.cut > self._logged and self._report is None:
            self._log_cut()

    def _begun(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._beginning.discard(task)
        if task.cancelled():
            accepted.close()  # There may be no transport yet that would close it.

    async def _connect(self, accepted: socket.socket, connection: Connection) -> None:
        protocol, tls = partial(self._serve_on, connection), self._config.ssl
        timeout = self._handshake if tls is not None else None
        loop = asyncio.get_running_loop()
        # A failed handshake of a client is not an error of ours.
        with suppress(OSError):
            try:
                await loop.connect_accepted_socket(protocol, accepted, ssl=tls, ssl_handshake_timeout=timeout)
            except BaseException:
                self._connections.leave(connection)
                raise

    def _note_refusal(self, error: OSError) -> None:
        if self._throttle.admit(error.errno) is not None:
            log.warning("connections cannot be accepted; retrying each second", reason=str(error), listener=self._name)

    def _log_cut(self) -> None:
        """Log the number of connections closed since the last message, at most once a minute."""
        self._report = None
        if cut := self._connections.cut - self._logged:
            self._logged += cut
            log.warning("connection limit of the listener reached; connections closed", closed=cut, listener=self._name)
            self._report = asyncio.get_running_loop().call_later(_LOGGED_EVERY, self._log_cut)


class _Proxied:
    """Middleware for trusted proxies, whose forwarding headers are used; few other clients may connect."""

    def __init__(self, app: Any, proxies: Sequence[str], past_them: Sequence[str]) -> None:
        self._app = ProxyHeadersMiddleware(app, trusted_hosts=list(proxies))
        self._networks = [ip_network(each) for each in (*proxies, *past_them, "127.0.0.0/8", "::1")]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not self._may_ask((scope.get("client") or ("",))[0]):
            why = "asked past the proxy that speaks TLS: use the address of `portal` in the settings"
            await problem(HTTPStatus.FORBIDDEN, why)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may_ask(self, address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in self._networks)
        except ValueError:
            return False


class _Endable:
    """Application whose requests end silently when they are cancelled or the client disconnects during the request.

    uvicorn would log an exception of seventy lines for each, which any unauthenticated client could cause a thousand
    times.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # Only `_stop` cancels a request, and it only waits for the end of the task.
            if scope["type"] != "http":
                raise
        except ClientDisconnect:
            pass


class _Prompt(H11Protocol):
    """HTTP protocol that closes connections of slow clients; uvicorn would wait for ever."""

    def __init__(
        self,
        *args: Any,
        headers: timedelta,
        asking: timedelta,
        answering: timedelta,
        connections: Connections,
        connection: Connection,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections
        self._connection = connection
        self._headers = min(headers, asking).total_seconds()
        self._asking = asking.total_seconds()
        self._answering = answering.total_seconds()
        #: Last client state of h11 that the deadline belongs to.
        self._awaited: Any = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._connection.close = transport.abort
        self._wait()

    def handle_events(self) -> None:
        super().handle_events()
        self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._note(is_asking=True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._note(is_asking=self._awaited is not h11.DONE)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            # Only the client's reading of the response remains.
            self._note(is_asking=True)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.leave(self._connection)
        self._stop_waiting()

    def hang_up(self) -> None:
        """Close the connection, whose request is cancelled. The client may still read data that was already sent."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.transport.close()

    def _wait(self) -> None:
        stage = self.conn.their_state if self.conn.their_state in {h11.IDLE, h11.SEND_BODY} else h11.DONE
        if stage is self._awaited and self._deadline is not None:
            return
        self._stop_waiting()
        self._awaited = stage
        self._note(is_asking=stage is not h11.DONE)
        within = {h11.IDLE: self._headers, h11.SEND_BODY: self._asking}.get(stage, self._answering)
        self._deadline = self.loop.call_later(within, self.transport.abort)

    def _note(self, *, is_asking: bool) -> None:
        self._connections.note(self._connection, is_asking=is_asking)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


async def _stop(server: uvicorn.Server) -> None:
    for connection in list(server.server_state.connections):
        connection.shutdown()
        if isinstance(connection, _Prompt):
            connection.hang_up()
    running = list(server.server_state.tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await server.lifespan.shutdown()
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            while server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody when the last has gone
                await asyncio.sleep(0)
    except TimeoutError:
        for connection in list(server.server_state.connections):
            connection.transport.abort()
