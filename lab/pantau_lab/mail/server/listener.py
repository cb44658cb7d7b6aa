"""A port of a mail system that can be shut and opened again without losing its number."""

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
#: A peer that cannot finish a TLS handshake on loopback in this time never will.
_HANDSHAKE_SECONDS = 5.0

#: How a session makes itself known: its task, and its transport; again when STARTTLS has put a new one on the old.
Attend = Callable[[asyncio.Task[None], asyncio.WriteTransport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What a client meets at a port."""

    #: Makes what serves a connection.
    protocol: Callable[[Attend], asyncio.BaseProtocol]
    #: For a port that is encrypted from the first byte.
    tls: ssl.SSLContext | None = None


class Listener:
    """One port."""

    def __init__(self, *, port: int = 0) -> None:
        self._door: Door | None = None
        # Keeps the number ours while the port is shut.
        self._claim = claim(port)
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None], asyncio.WriteTransport] = {}
        self._arriving: set[asyncio.Task[None]] = set()

    @property
    def number(self) -> int:
        """The number of the port, also while it is shut."""
        number: int = self._claim.getsockname()[1]
        return number

    async def open(self, door: Door) -> None:
        """Take connections through a door; a port that is open stays open."""
        if self._door == door:
            return
        self._refuse()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self._arrive(door),
            sock=_bound(self.number),
            ssl=door.tls,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if door.tls else None,
        )
        self._door = door

    async def shut(self) -> None:
        """Refuse connections and cut the sessions there are."""
        self._refuse()
        await self.cut()

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server, self._door = None, None

    async def cut(self) -> None:
        """Cut the sessions there are; others may come."""
        for arrival in self._arriving:
            arrival.cancel()
        for transport in self._sessions.values():
            transport.abort()
        if ending := {*self._arriving, *self._sessions}:
            await asyncio.wait(ending)

    def close(self) -> None:
        """Give the number back. The port must be shut."""
        self._claim.close()

    def _arrive(self, door: Door) -> asyncio.BaseProtocol:
        # asyncio calls this in a task of its own that ends with the TLS handshake, and nothing else knows of it.
        if arrival := asyncio.current_task():
            self._arriving.add(arrival)
            arrival.add_done_callback(self._arriving.discard)
        return door.protocol(self._attend)

    def _attend(self, session: asyncio.Task[None], transport: asyncio.WriteTransport) -> None:
        if session not in self._sessions:
            session.add_done_callback(self._leave)
        self._sessions[session] = transport

    def _leave(self, session: asyncio.Task[None]) -> None:
        del self._sessions[session]
        error = None if session.cancelled() else session.exception()
        # Clients that hang up are everyday; asked for, the error is not reported by asyncio either.
        if error is not None and not isinstance(error, OSError):
            _log.error("a session on the lab's port %d broke", self.number, exc_info=error)


def _bound(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: 40 ms for each short answer.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((_LOOPBACK, port))
    except OSError:
        bound.close()
        raise
    return bound
