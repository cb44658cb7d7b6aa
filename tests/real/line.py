"""The line between us and the mail systems, which can be cut: they go on working, and we cannot reach them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from pantau_lab.serving import claim
from probes.model.mailbox import Mailbox, Server


@dataclass(slots=True)
class Line:
    """Passes on octets between ports of its own and the servers'. Use it with `async with`."""

    #: By the server's port, our own that leads there; it stays ours while the line is cut.
    _ports: dict[int, int] = field(default_factory=dict)
    _held: ExitStack = field(default_factory=ExitStack)
    _listeners: list[asyncio.Server] = field(default_factory=list)
    _passing: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.cut()
        self._held.close()

    async def to(self, mailbox: Mailbox) -> Mailbox:
        """Return *mailbox* as it is reached over this line."""
        assert mailbox.smtp is not None
        assert mailbox.imap is not None
        return replace(mailbox, smtp=await self._to(mailbox.smtp), imap=await self._to(mailbox.imap))

    async def cut(self) -> None:
        for listener in self._listeners:
            listener.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        self._listeners.clear()

    async def mend(self) -> None:
        for there, here in self._ports.items():
            await self._listen(there, here)

    async def _to(self, server: Server) -> Server:
        if server.port not in self._ports:
            self._ports[server.port] = self._held.enter_context(claim()).getsockname()[1]
            await self._listen(server.port, self._ports[server.port])
        return replace(server, host="127.0.0.1", port=self._ports[server.port], tls_name=server.tls_name or server.host)

    async def _listen(self, there: int, here: int) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not listener.is_serving():
                # It was taken in the very turn of the loop in which the line was cut.
                writer.transport.abort()
                return
            task = asyncio.ensure_future(_pass(reader, writer, there))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)
            # Also of one that was cut before it began.
            task.add_done_callback(lambda _: writer.transport.abort())

        listener = await asyncio.start_server(accept, "127.0.0.1", here)
        self._listeners.append(listener)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        # Whoever came is hung up on, as by the server itself: nobody is there.
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
