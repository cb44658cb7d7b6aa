"""Serve ASGI applications in this event loop, on sockets that were opened before anything else was started."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.requests import ClientDisconnect
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.runtime.unix_socket import reachable
from monitor.web.problem import problem

#: What connections are allowed for their goodbye.
_GOODBYE_SECONDS = 1.0
#: How long a caller may take to ask. A provider on a bad line needs a second or two for the page that it sends back.
_ASKING = timedelta(seconds=20)
#: How long a caller may take to read the answer, our own work on it included: a reload reads every agency's file.
_ANSWERING = timedelta(minutes=2)


def open_port(host: str, port: int) -> socket.socket:
    """Listen on a TCP port; 0 takes a free one. Raise `OSError` when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def open_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may open; one that a dead process left is replaced.

    The caller holds the store's lock, so no living process can own it.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with reachable(path) as name:
        listener.bind(name)
    # The mode is set before anybody can connect: bind creates the file, listen opens the door.
    path.chmod(0o600)
    listener.listen(16)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a TCP listener, without a slash at the end."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def serve(
    app: Any,
    listener: socket.socket,
    *,
    asking: timedelta = _ASKING,
    answering: timedelta = _ANSWERING,
    certificate: tuple[Path, Path] | None = None,
    proxies: Sequence[str] = (),
    past_them: Sequence[str] = (),
) -> AsyncIterator[None]:
    """Serve *app* on *listener* for as long as the block lasts; then cut the requests that still run.

    *certificate*: its file, and that of its key, to speak TLS with. *proxies*: the networks from which alone it is asked, by
    proxies that say for whom they ask; and *past_them*, those who ask for themselves, beside this machine.
    Whoever has not finished a request within *asking*, or not taken the answer within *answering*, is hung up on.
    """
    # Not Server.serve(): it takes the signal handlers from the program around it, and ends up to 0.2 s late.
    protocol: Any = partial(_Prompt, asking=asking, answering=answering)
    config = uvicorn.Config(
        _Endable(_Proxied(app, proxies, past_them) if proxies else app),
        http=protocol,
        # Whoever else says for whom he asks may say anything.
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
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        await _stop(server)
        listener.close()


class _Proxied:
    """Asked by proxies, of which each is believed for whom it asks, and by few others."""

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
    """An application whose requests end without a word when they are cancelled, or the caller has gone in the middle of asking.

    uvicorn would log each as an exception, by seventy lines that any stranger may have written a thousand times.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # Nobody but `_stop` cancels a request, and it waits for nothing but the end of its task.
            if scope["type"] != "http":
                raise
        except ClientDisconnect:
            pass


class _Prompt(H11Protocol):
    """Hangs up on callers who do not get on with it; uvicorn would wait for ever."""

    def __init__(self, *args: Any, asking: timedelta, answering: timedelta, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asking = asking.total_seconds()
        self._answering = answering.total_seconds()
        self._is_asked = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait()

    def handle_events(self) -> None:
        super().handle_events()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def hang_up(self) -> None:
        """Let the caller go, whose request is cancelled: what has been said to them already they may still read."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.transport.close()

    def _wait(self) -> None:
        asked = self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}
        if self._deadline is None or asked is not self._is_asked:
            self._stop_waiting()
            self._is_asked = asked
            within = self._answering if asked else self._asking
            self._deadline = self.loop.call_later(within, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


async def _stop(server: uvicorn.Server) -> None:
    for listening in server.servers:
        listening.close()
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
