"""TCP proxies on loopback that can be disconnected like a pulled cable: data waits, and no connection is closed."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

_LOOPBACK = "127.0.0.1"
#: Maximum octets of one read.
_CHUNK_OCTETS = 65536
#: Backlog of the listening socket while the proxy is connected.
_BACKLOG = 128
#: Maximum number of own connections to the listening socket that fill its backlog while the proxy is disconnected.
_MAX_FILLERS = 8
#: Time limit for an own connection, in seconds. If it is not established by then, the backlog is full.
_CONNECT_SECONDS = 0.02


class TcpLink:
    """Proxy from `port` to another port, both on loopback.

    While it is disconnected, it forwards nothing in either direction, not even the close of a connection, and new
    connections get no answer. After a reconnect it forwards the data that it held back.
    """

    def __init__(self, target_port: int, tasks: asyncio.TaskGroup) -> None:
        self._target_port = target_port
        self._tasks = tasks
        self._connected = asyncio.Event()
        self._connected.set()
        self._listener = socket.create_server((_LOOPBACK, 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        #: Own connections that fill the backlog, by their local address.
        self._fillers: dict[object, socket.socket] = {}
        self._pending_tasks = set[asyncio.Task[None]]()
        self._accept_task = tasks.create_task(self._accept())

    @property
    def port(self) -> int:
        """Port at which the proxy listens."""
        number: int = self._listener.getsockname()[1]
        return number

    @property
    def is_disconnected(self) -> bool:
        """Whether nothing is forwarded."""
        return not self._connected.is_set()

    def disconnect(self) -> bool:
        """Disconnect the proxy; return whether it was connected."""
        if self.is_disconnected:
            return False
        self._connected.clear()
        self._accept_task.cancel()
        self._fill_backlog()
        return True

    def reconnect(self) -> bool:
        """Forward again; return whether it was disconnected."""
        if not self.is_disconnected:
            return False
        self._listener.listen(_BACKLOG)
        self._connected.set()
        self._accept_task = self._tasks.create_task(self._accept())
        return True

    def close(self) -> None:
        """Close all connections and the port."""
        for each in (self._accept_task, *self._pending_tasks):
            each.cancel()
        for filler in self._fillers.values():
            filler.close()
        self._listener.close()

    def _fill_backlog(self) -> None:
        """Fill the backlog with own connections, so that the kernel does not answer further ones."""
        self._listener.listen(0)
        for _ in range(_MAX_FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
            if not select.select([], [filler], [], _CONNECT_SECONDS)[1]:
                filler.close()
                return
            self._fillers[filler.getsockname()] = filler

    async def _accept(self) -> None:
        """Accept connections; close those that filled the backlog while the proxy was disconnected."""
        while True:
            near, address = await asyncio.get_running_loop().sock_accept(self._listener)
            if (filler := self._fillers.pop(address, None)) is not None:
                filler.close()
                near.close()
                continue
            task = self._tasks.create_task(self._forward_connection(near))
            self._pending_tasks.add(task)
            task.add_done_callback(self._pending_tasks.discard)

    async def _forward_connection(self, near: socket.socket) -> None:
        with closing(near), closing(socket.socket()) as far:
            for each in (near, far):
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await asyncio.get_running_loop().sock_connect(far, (_LOOPBACK, self._target_port))
                async with asyncio.TaskGroup() as directions:
                    directions.create_task(self._forward(near, far))
                    directions.create_task(self._forward(far, near))
            # One side has closed the connection. Close the other side only while the proxy is connected.
            except* OSError:
                await self._connected.wait()

    async def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while chunk := await loop.sock_recv(source, _CHUNK_OCTETS):
            await self._connected.wait()
            await loop.sock_sendall(sink, chunk)
        await self._connected.wait()
        sink.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLinks:
    """Links of one site."""

    #: Link from the hub to the site's database.
    hub: TcpLink
    #: Links from the site to the ports of a mail system, by the system's name.
    mail: Mapping[str, Sequence[TcpLink]]

    def disconnect(self, system: str | None) -> bool:
        """Disconnect the site from a mail system, or from the hub if *system* is `None`; return whether it was connected."""
        # A list, because `any` on a generator would stop at the first link.
        return True in [link.disconnect() for link in self._links(system)]

    def reconnect(self, system: str | None) -> Sequence[str]:
        """Reconnect the site to a mail system, or to everything if *system* is `None`.

        Return what it was disconnected from and is reconnected to: names of mail systems, and `HUB`.
        """
        names = [*self.disconnected()] if system is None else [system]
        return [
            name for name in names if True in [link.reconnect() for link in self._links(None if name == HUB else name)]
        ]

    def disconnected(self) -> Sequence[str]:
        """Return what the site is disconnected from: names of mail systems, and `HUB`."""
        systems = [name for name, links in self.mail.items() if any(link.is_disconnected for link in links)]
        return [HUB, *systems] if self.hub.is_disconnected else systems

    def _links(self, system: str | None) -> Sequence[TcpLink]:
        return [self.hub] if system is None else self.mail[system]


#: Name of the hub in lists of mail systems.
HUB = "the hub"
