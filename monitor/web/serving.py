"""ASGI server (uvicorn) in the event loop of the service, with time limits and connection limits.

The service opens the listening sockets before it starts anything else, and passes them to `serve`.
"""

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
from monitor.runtime.unix_socket import short_socket_path
from monitor.web.connection import Connection, ConnectionLimits, Connections, connection_limits
from monitor.web.problem import problem

log = structlog.get_logger()

#: Seconds that connections have to close when the server stops. Afterwards the server aborts them.
_CLOSE_TIMEOUT = 1.0
#: Time limit of the TLS handshake, and of receiving the headers of a request. Each is only a few kilobytes.
_HEADER_TIMEOUT = timedelta(seconds=5)
#: Time limit of receiving the body of a request. A fax provider with a slow connection needs a second or two to send a
#: body with the transmitted page.
_REQUEST_TIMEOUT = timedelta(seconds=20)
#: Time limit of processing a request and sending the response, together. A reload of the configuration takes long,
#: because it reads every agency's file.
_RESPONSE_TIMEOUT = timedelta(minutes=2)
#: Minimum number of seconds between log messages about closed connections.
_LOG_INTERVAL = 60.0
#: Number of connections to accept before other tasks may run.
_ACCEPT_BATCH = 32
#: Seconds until the next attempt after `accept` failed. If no file descriptor is free, the connection stays in the
#: kernel's queue, and immediate retries would use a whole core.
_ACCEPT_RETRY_DELAY = 1.0


def open_port(host: str, port: int) -> socket.socket:
    """Listen on a TCP port; port 0 selects a free port. Raise `OSError` if the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def open_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may open. Replace the socket of a terminated process.

    The caller must hold the lock of the state directory, so that no running process uses the socket.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_socket_path(path) as name:
        listener.bind(name)
    # Set the mode before clients can connect: bind creates the file, listen enables connections.
    path.chmod(0o600)
    listener.listen(16)
    return listener


def listener_url(listener: socket.socket) -> str:
    """Return the URL of a TCP listener, without a final slash."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def serve(
    app: Any,
    listener: socket.socket,
    *,
    header_timeout: timedelta = _HEADER_TIMEOUT,
    request_timeout: timedelta = _REQUEST_TIMEOUT,
    response_timeout: timedelta = _RESPONSE_TIMEOUT,
    limits: ConnectionLimits | None = None,
    certificate: tuple[Path, Path] | None = None,
    trusted_proxies: Sequence[str] = (),
    direct_clients: Sequence[str] = (),
) -> AsyncIterator[None]:
    """Serve *app* on *listener* while the caller's `async with` block runs. Then cancel the running requests.

    *certificate*: the files of certificate and key, for TLS. *trusted_proxies*: networks of the proxies whose
    forwarding headers are used. If there are any, a client may send requests only from these networks, from this
    machine, or from the networks *direct_clients*. *limits*: connection limits; default: those of
    `connection_limits` for this process's limit of file descriptors.

    Time limits after which a connection is closed: *header_timeout* for the TLS handshake, and for the headers of a
    request; *request_timeout* for its body; *response_timeout* to process it and to send the response.
    """
    connections = Connections(limits or connection_limits(open_files_limit()), trusted_proxies)
    # Do not use uvicorn's `Server.serve`: it replaces the program's signal handlers, and may stop 0.2 s late.
    protocol_class: Any = partial(
        _TimedProtocol,
        header_timeout=header_timeout,
        request_timeout=request_timeout,
        response_timeout=response_timeout,
        connections=connections,
    )
    config = uvicorn.Config(
        _QuietCancellation(_TrustedProxies(app, trusted_proxies, direct_clients) if trusted_proxies else app),
        http=protocol_class,
        # `_TrustedProxies` reads the forwarding headers instead, and only those of trusted proxies.
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
    create_protocol = partial(
        protocol_class, config=config, server_state=server.server_state, app_state=server.lifespan.state
    )
    acceptor = _Acceptor(
        listener,
        config,
        connections,
        lambda connection: create_protocol(connection=connection),
        handshake_timeout=header_timeout,
    )
    accept_task = asyncio.create_task(acceptor.keep_accepting())
    try:
        yield
    finally:
        accept_task.cancel()
        await asyncio.gather(accept_task, return_exceptions=True)
        await acceptor.close()
        await _stop(server)
        listener.close()


#: Function that creates the HTTP protocol of a connection.
_ProtocolFactory = Callable[[Connection], asyncio.Protocol]


class _Acceptor:
    """Acceptor of a listener's connections, up to the connection limits.

    It replaces asyncio's own server, which has no limits. If no file descriptor is free, asyncio's server logs 2,048
    lines at each attempt to accept connections (CPython 3.13, `_accept_connection`).
    """

    def __init__(
        self,
        listener: socket.socket,
        config: uvicorn.Config,
        connections: Connections,
        protocol_factory: _ProtocolFactory,
        *,
        handshake_timeout: timedelta,
    ) -> None:
        self._listener = listener
        self._config = config
        self._protocol_factory = protocol_factory
        self._handshake_timeout = handshake_timeout.total_seconds()
        self._connections = connections
        #: Tasks of connections that have no HTTP protocol yet; with TLS, because their handshake is not complete.
        self._starting = set[asyncio.Task[None]]()
        #: Value of `Connections.closed_count` (closed for new ones, or rejected) at the last log message.
        self._logged_count = 0
        self._throttle = LogThrottle()
        #: Timer of the next log message about closed connections; `None`: such a message may be logged at once.
        self._log_timer: asyncio.TimerHandle | None = None

    async def keep_accepting(self) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        self._listener.listen(self._config.backlog)
        for number in itertools.count(1):
            if number % _ACCEPT_BATCH == 0:
                await asyncio.sleep(0)  # `sock_accept` does not yield to the event loop if a connection is queued.
            try:
                client_socket, address = await loop.sock_accept(self._listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._log_accept_error(error)
                await asyncio.sleep(_ACCEPT_RETRY_DELAY)
                continue
            try:
                self._start(client_socket, address[0] if address else "")
            except Exception:
                # An error of one connection must not stop the listener.
                log.exception("connection could not be started", listener=self._listener_name)
                client_socket.close()

    async def close(self) -> None:
        """Close the connections that have no HTTP protocol yet."""
        if self._log_timer is not None:
            self._log_timer.cancel()
        starting = list(self._starting)
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)

    @property
    def _listener_name(self) -> str:
        name = self._listener.getsockname()
        return name if isinstance(name, str) else f"port {name[1]}"

    def _start(self, client_socket: socket.socket, address: str) -> None:
        connection = Connection(origin=self._connections.origin(address), close=client_socket.close)
        if not self._connections.admit(connection):
            client_socket.close()
        else:
            task = asyncio.create_task(self._connect(client_socket, connection))
            # Until the connection has a transport, cancelling this task closes the connection (`_finish_start`).
            connection.close = task.cancel
            self._starting.add(task)
            task.add_done_callback(partial(self._finish_start, client_socket))
        if self._connections.closed_count > self._logged_count and self._log_timer is None:
            self._log_closed()

    def _finish_start(self, client_socket: socket.socket, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if task.cancelled():
            client_socket.close()  # If there is no transport yet, nothing else closes the socket.

    async def _connect(self, client_socket: socket.socket, connection: Connection) -> None:
        protocol, tls_context = partial(self._protocol_factory, connection), self._config.ssl
        timeout = self._handshake_timeout if tls_context is not None else None
        loop = asyncio.get_running_loop()
        # Ignore a failed TLS handshake: it is an error of the client.
        with suppress(OSError):
            try:
                await loop.connect_accepted_socket(
                    protocol, client_socket, ssl=tls_context, ssl_handshake_timeout=timeout
                )
            except BaseException:
                self._connections.remove(connection)
                raise

    def _log_accept_error(self, error: OSError) -> None:
        if self._throttle.admit(error.errno) is not None:  # `None`: the same error was logged less than a minute ago.
            log.warning(
                "connections cannot be accepted; retrying each second", reason=str(error), listener=self._listener_name
            )

    def _log_closed(self) -> None:
        """Log the number of connections closed since the last message, at most once a minute."""
        self._log_timer = None
        if newly_closed := self._connections.closed_count - self._logged_count:
            self._logged_count += newly_closed
            log.warning(
                "connection limit of the listener reached; connections closed",
                closed=newly_closed,
                listener=self._listener_name,
            )
            self._log_timer = asyncio.get_running_loop().call_later(_LOG_INTERVAL, self._log_closed)


class _TrustedProxies:
    """Middleware that takes a client's address from the forwarding headers of trusted proxies.

    It rejects requests that come neither from a trusted proxy, nor from this machine, nor from *direct_clients*.
    """

    def __init__(self, app: Any, proxies: Sequence[str], direct_clients: Sequence[str]) -> None:
        self._app = ProxyHeadersMiddleware(app, trusted_hosts=list(proxies))
        self._networks = [ip_network(each) for each in (*proxies, *direct_clients, "127.0.0.0/8", "::1")]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # `scope["client"]` is still the address of the connection: the inner `ProxyHeadersMiddleware` replaces it.
        if scope["type"] == "http" and not self._is_allowed_client((scope.get("client") or ("",))[0]):
            reason = "requests must come through the proxy: use the address of `portal` in the settings"
            await problem(HTTPStatus.FORBIDDEN, reason)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed_client(self, address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in self._networks)
        except ValueError:
            return False


class _QuietCancellation:
    """Middleware that ends a request silently if it is cancelled or the client disconnects.

    Without this middleware, uvicorn would log a traceback of seventy lines for each such request, and any
    unauthenticated client could cause thousands of them.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # Only `_stop` cancels requests. It waits for their tasks to end, however they end.
            if scope["type"] != "http":
                raise
        except ClientDisconnect:
            pass


class _TimedProtocol(H11Protocol):
    """HTTP protocol that closes connections of slow clients. Uvicorn's own protocol lacks these time limits."""

    def __init__(
        self,
        *args: Any,
        header_timeout: timedelta,
        request_timeout: timedelta,
        response_timeout: timedelta,
        connections: Connections,
        connection: Connection,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections
        self._connection = connection
        # If the limit of the body is shorter, it also applies to the headers.
        self._header_timeout = min(header_timeout, request_timeout).total_seconds()
        self._request_timeout = request_timeout.total_seconds()
        self._response_timeout = response_timeout.total_seconds()
        #: State of the client when the deadline was set: `h11.IDLE` (the server waits for the headers of a request),
        #: `h11.SEND_BODY`, or `h11.DONE`, which also stands for all other states.
        self._client_state: Any = None
        #: Timer that aborts the connection when the time limit of the client's state is over.
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's type
        super().connection_made(transport)
        self._connection.close = transport.abort
        self._reset_deadline()

    def handle_events(self) -> None:
        super().handle_events()
        self._reset_deadline()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._record_waiting(is_waiting_for_client=True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._record_waiting(is_waiting_for_client=self._client_state is not h11.DONE)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            # The server has sent the response and closes the connection, but waits for the client to read the rest.
            self._record_waiting(is_waiting_for_client=True)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.remove(self._connection)
        self._cancel_deadline()

    def close_unfinished(self) -> None:
        """Close the connection if its request is unfinished. The client can still read what was already sent."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.transport.close()

    def _reset_deadline(self) -> None:
        client_state = self.conn.their_state if self.conn.their_state in {h11.IDLE, h11.SEND_BODY} else h11.DONE
        if client_state is self._client_state and self._deadline is not None:
            return
        self._cancel_deadline()
        self._client_state = client_state
        self._record_waiting(is_waiting_for_client=client_state is not h11.DONE)
        timeout = {h11.IDLE: self._header_timeout, h11.SEND_BODY: self._request_timeout}.get(
            client_state, self._response_timeout
        )
        self._deadline = self.loop.call_later(timeout, self.transport.abort)

    def _record_waiting(self, *, is_waiting_for_client: bool) -> None:
        self._connections.update(self._connection, is_waiting_for_client=is_waiting_for_client)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


async def _stop(server: uvicorn.Server) -> None:
    """Close all connections, cancel the running requests, and abort connections after `_CLOSE_TIMEOUT`."""
    for connection in list(server.server_state.connections):
        connection.shutdown()
        if isinstance(connection, _TimedProtocol):
            connection.close_unfinished()
    running = list(server.server_state.tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await server.lifespan.shutdown()
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            while server.server_state.connections:  # noqa: ASYNC110 - uvicorn has no event for the last close
                await asyncio.sleep(0)
    except TimeoutError:
        for connection in list(server.server_state.connections):
            connection.transport.abort()
