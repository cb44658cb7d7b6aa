"""Transport between a server and its socket, with which faults delay, replace or cut off the server's writes."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pantau_lab.mail.faults.response_script import Delay, HalfClose, HangUp, ResponseBehavior, Send, Step
from pantau_lab.mail.server.listener import RegisterSession

#: Writing pauses while more octets than this are buffered for the client.
_MAX_BUFFERED_OCTETS = 256 * 1024
_POLL_SECONDS = 0.02

#: Wraps the transport of a connection for the server's writes. It is called again after STARTTLS.
TransportWrapper = Callable[[asyncio.Transport], asyncio.Transport]


def wrap_transport(
    behavior: ResponseBehavior | None, register_session: RegisterSession, tasks: asyncio.TaskGroup
) -> TransportWrapper:
    """Return the wrapper for the transports of one connection. Without a *behavior* it returns them unchanged."""
    return lambda transport: (
        transport if behavior is None else ScriptedTransport(transport, behavior, register_session, tasks)
    )


class ScriptedTransport(asyncio.Transport):
    """Transport that passes each write to a response behavior, and executes the resulting steps in order in a task."""

    def __init__(
        self,
        inner: asyncio.Transport,
        behavior: ResponseBehavior,
        register_session: RegisterSession,
        tasks: asyncio.TaskGroup,
    ) -> None:
        super().__init__()
        #: The wrapped transport.
        self.inner = inner
        self._behavior = behavior
        self._register_session = register_session
        self._tasks = tasks
        self._written: deque[bytes] = deque()
        self._writing_task: asyncio.Task[None] | None = None
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Queue *data* for the response behavior."""
        if self.is_closing():
            return
        self._written.append(bytes(data))
        if self._writing_task is None:
            self._writing_task = self._tasks.create_task(self._write_queued())
            # The task may outlive the session: a flood continues after QUIT.
            self._register_session(self._writing_task, self)

    async def _write_queued(self) -> None:
        try:
            while self._written:
                for step in self._behavior(self._written.popleft()):
                    if self.inner.is_closing():
                        return
                    await self._execute(step)
        finally:
            self._writing_task = None
            if self._closing:
                self.inner.close()

    async def _execute(self, step: Step) -> None:
        match step:
            case Send(octets):
                self.inner.write(octets)
                # Poll, because asyncio calls `resume_writing` only of the protocol, which does not pass it on.
                while self.inner.get_write_buffer_size() > _MAX_BUFFERED_OCTETS and not self.inner.is_closing():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
            case Delay(span):
                await asyncio.sleep(span.total_seconds())
            case HalfClose():
                # TLS has no half-close, so shut down the socket itself: the peer sees EOF without a close_notify.
                with suppress(OSError):
                    self.inner.get_extra_info("socket").shutdown(socket.SHUT_WR)
            case HangUp():
                self._written.clear()
                self._closing = True

    def is_closing(self) -> bool:
        """Whether the transport accepts no more writes."""
        return self._closing or self.inner.is_closing()

    def close(self) -> None:
        """Close when everything is written."""
        self._closing = True
        if self._writing_task is None:
            self.inner.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if self._writing_task is not None:
            self._writing_task.cancel()
        self.inner.abort()

    def can_write_eof(self) -> bool:
        """Return `False`: only the response behavior closes one direction."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the inner transport."""
        return self.inner.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Ask the inner transport."""
        return self.inner.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Tell the inner transport."""
        self.inner.set_write_buffer_limits(high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell the inner transport, which reads."""
        self.inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Ask the inner transport."""
        return self.inner.get_protocol()

    def is_reading(self) -> bool:
        """Ask the inner transport."""
        return self.inner.is_reading()

    def pause_reading(self) -> None:
        """Tell the inner transport."""
        self.inner.pause_reading()

    def resume_reading(self) -> None:
        """Tell the inner transport."""
        self.inner.resume_reading()
