"""Port of a mail system that can be closed and opened again with the same number."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from pantau_lab.serving import claim

_log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
#: Time limit for a TLS handshake; on loopback a working client needs much less.
_HANDSHAKE_SECONDS = 5.0

#: Function with which a session registers its task and its transport; again when STARTTLS has replaced the transport.
RegisterSession = Callable[[asyncio.Task[None], asyncio.WriteTransport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Service at a port."""

    #: Creates the protocol that serves a connection.
    protocol: Callable[[RegisterSession], asyncio.BaseProtocol]
    #: TLS context of a port with implicit TLS; `None`: the connection begins in clear text.
    tls: ssl.SSLContext | None = None


class Listener:
    """One port on loopback. It keeps its number while it is closed."""

    def __init__(self, *, port: int = 0) -> None:
        self._endpoint: Endpoint | None = None
        # A bound socket that reserves the number while the port is closed.
        self._claim = claim(port)
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None], asyncio.WriteTransport] = {}
        #: Tasks of asyncio that accept a connection.
        self._arriving: set[asyncio.Task[None]] = set()

    @property
    def number(self) -> int:
        """Number of the port, also while it is closed."""
        number: int = self._claim.getsockname()[1]
        return number

    async def open(self, endpoint: Endpoint) -> None:
        """Accept connections for *endpoint*; open sessions continue. Do nothing if the port is open for it already."""
        if self._endpoint == endpoint:
            return
        self._refuse()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self._arrive(endpoint),
            sock=_bound(self.number),
            ssl=endpoint.tls,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if endpoint.tls else None,
        )
        self._endpoint = endpoint

    async def shut(self) -> None:
        """Refuse connections, and abort the open sessions."""
        self._refuse()
        await self.cut()

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server, self._endpoint = None, None

    async def cut(self) -> None:
        """Abort the open sessions. New ones may begin."""
        for arrival in self._arriving:
            arrival.cancel()
        for transport in self._sessions.values():
            transport.abort()
        if ending := {*self._arriving, *self._sessions}:
            await asyncio.wait(ending)

    def close(self) -> None:
        """Release the port number. The port must be shut."""
        self._claim.close()

    def _arrive(self, endpoint: Endpoint) -> asyncio.BaseProtocol:
        # asyncio calls this in a task that performs the TLS handshake. Only here that task can be found, to cancel it.
        if arrival := asyncio.current_task():
            self._arriving.add(arrival)
            arrival.add_done_callback(self._arriving.discard)
        return endpoint.protocol(self._register_session)

    def _register_session(self, session: asyncio.Task[None], transport: asyncio.WriteTransport) -> None:
        if session not in self._sessions:
            session.add_done_callback(self._leave)
        self._sessions[session] = transport

    def _leave(self, session: asyncio.Task[None]) -> None:
        del self._sessions[session]
        error = None if session.cancelled() else session.exception()
        # An OSError is normal: the client closed the connection. Reading `exception()` keeps asyncio from logging it.
        if error is not None and not isinstance(error, OSError):
            _log.error("a session on the lab's port %d broke", self.number, exc_info=error)


def _bound(port: int) -> socket.socket:
    # asyncio disables Nagle's algorithm, which delays each short answer by 40 ms, only if IPPROTO_TCP is given.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((_LOOPBACK, port))
    except OSError:
        bound.close()
        raise
    return bound
