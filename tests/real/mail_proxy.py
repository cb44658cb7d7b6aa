"""Proxy to the mail systems that can be disconnected, while the systems go on working."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from pantau_lab.serving import claim
from probes.model.mailbox import Mailbox, Server


@dataclass(slots=True)
class MailProxy:
    """TCP proxy in front of mail servers. Use it with `async with`."""

    #: By port of the server: our port, which stays claimed while the proxy is disconnected.
    _ports: dict[int, int] = field(default_factory=dict)
    _claims: ExitStack = field(default_factory=ExitStack)
    _listeners: list[asyncio.Server] = field(default_factory=list)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()
        self._claims.close()

    async def proxied(self, mailbox: Mailbox) -> Mailbox:
        """Return *mailbox* with the proxy's ports."""
        assert mailbox.smtp is not None
        assert mailbox.imap is not None
        return replace(mailbox, smtp=await self._proxied(mailbox.smtp), imap=await self._proxied(mailbox.imap))

    async def disconnect(self) -> None:
        for listener in self._listeners:
            listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._listeners.clear()

    async def reconnect(self) -> None:
        for server_port, own_port in self._ports.items():
            await self._listen(server_port, own_port)

    async def _proxied(self, server: Server) -> Server:
        if server.port not in self._ports:
            self._ports[server.port] = self._claims.enter_context(claim()).getsockname()[1]
            await self._listen(server.port, self._ports[server.port])
        return replace(server, host="127.0.0.1", port=self._ports[server.port], tls_name=server.tls_name or server.host)

    async def _listen(self, server_port: int, own_port: int) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not listener.is_serving():
                # The connection was accepted in the loop iteration of the disconnection.
                writer.transport.abort()
                return
            task = asyncio.ensure_future(_forward(reader, writer, server_port))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            # A task that is cancelled before it starts closes nothing itself.
            task.add_done_callback(lambda _: writer.transport.abort())

        listener = await asyncio.start_server(accept, "127.0.0.1", own_port)
        self._listeners.append(listener)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        # Close the connection: the server does not listen.
        return
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, far_writer))
            both.create_task(_copy(far_reader, writer))
    finally:
        far_writer.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while octets := await source.read(65536):
            target.write(octets)
            await target.drain()
        target.write_eof()
