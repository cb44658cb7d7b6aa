"""TCP proxies on loopback that can be interrupted like a pulled cable: packets are lost, and no connection is closed."""

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
#: Backlog of the listening socket, and maximum number of own connections that fill the backlog while it is
#: disconnected.
_ROOM, _MOST_PLUGS = 128, 8
#: Time limit for an own connection, in seconds. If it is not established by then, the backlog is full.
_THERE = 0.02


class TcpLink:
    """Proxy from `port` to another port, both on loopback.

    While it is disconnected, it forwards nothing in either direction, not even the close of a connection, and new
    connections get no answer. After a reconnect it forwards the data that it held back.
    """

    def __init__(self, end: int, tasks: asyncio.TaskGroup) -> None:
        self._end = end
        self._tasks = tasks
        self._whole = asyncio.Event()
        self._whole.set()
        self._near = socket.create_server((_LOOPBACK, 0), backlog=_ROOM)
        self._near.setblocking(False)
        #: Own connections that fill the backlog, by their local address.
        self._plugs: dict[object, socket.socket] = {}
        self._pending_tasks = set[asyncio.Task[None]]()
        self._taking = tasks.create_task(self._take())

    @property
    def port(self) -> int:
        """Port at which the proxy listens."""
        number: int = self._near.getsockname()[1]
        return number

    @property
    def is_disconnected(self) -> bool:
        """Whether nothing is forwarded."""
        return not self._whole.is_set()

    def disconnect(self) -> bool:
        """Disconnect it; return whether it was connected."""
        if self.is_disconnected:
            return False
        self._whole.clear()
        self._taking.cancel()
        self._leave_no_room()
        return True

    def reconnect(self) -> bool:
        """Forward again; return whether it was disconnected."""
        if not self.is_disconnected:
            return False
        self._near.listen(_ROOM)
        self._whole.set()
        self._taking = self._tasks.create_task(self._take())
        return True

    def close(self) -> None:
        """Close all connections and the port."""
        for each in (self._taking, *self._pending_tasks):
            each.cancel()
        for plug in self._plugs.values():
            plug.close()
        self._near.close()

    def _leave_no_room(self) -> None:
        """Fill the backlog with own connections, so that the kernel does not answer further ones."""
        self._near.listen(0)
        for _ in range(_MOST_PLUGS):
            plug = socket.socket()
            plug.setblocking(False)
            plug.connect_ex(self._near.getsockname())
            if not select.select([], [plug], [], _THERE)[1]:
                plug.close()
                return
            self._plugs[plug.getsockname()] = plug

    async def _take(self) -> None:
        while True:
            near, address = await asyncio.get_running_loop().sock_accept(self._near)
            if (plug := self._plugs.pop(address, None)) is not None:
                plug.close()
                near.close()
                continue
            carried = self._tasks.create_task(self._carry(near))
            self._pending_tasks.add(carried)
            carried.add_done_callback(self._pending_tasks.discard)

    async def _carry(self, near: socket.socket) -> None:
        with closing(near), closing(socket.socket()) as far:
            for each in (near, far):
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await asyncio.get_running_loop().sock_connect(far, (_LOOPBACK, self._end))
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._pass_on(near, far))
                    ways.create_task(self._pass_on(far, near))
            # One end has closed the connection. Close the other end only while the link is connected.
            except* OSError:
                await self._whole.wait()

    async def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(source, _CHUNK_OCTETS):
            await self._whole.wait()
            await loop.sock_sendall(sink, piece)
        await self._whole.wait()
        sink.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLinks:
    """Links of one site."""

    #: Link from the hub to the site's database.
    hub: TcpLink
    #: Links from the site to the ports of a mail system, by the system's name.
    mail: Mapping[str, Sequence[TcpLink]]

    def disconnect(self, system: str | None) -> bool:
        """Disconnect it from the hub, or from a mail system; return whether it was not before."""
        # A list, because `any` on a generator would stop at the first link.
        return True in [wire.disconnect() for wire in self._to(system)]

    def reconnect(self, system: str | None) -> Sequence[str]:
        """Reconnect it to a mail system, or to all that it is disconnected from; return to what."""
        names = [*self.disconnected()] if system is None else [system]
        return [
            name for name in names if True in [wire.reconnect() for wire in self._to(None if name == HUB else name)]
        ]

    def disconnected(self) -> Sequence[str]:
        """Return what it is disconnected from."""
        systems = [name for name, wires in self.mail.items() if any(wire.is_disconnected for wire in wires)]
        return [HUB, *systems] if self.hub.is_disconnected else systems

    def _to(self, system: str | None) -> Sequence[TcpLink]:
        return [self.hub] if system is None else self.mail[system]


#: Name of the hub in lists of mail systems.
HUB = "the hub"
