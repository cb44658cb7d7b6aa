"""The line between a server and its socket, where what the server writes may be held up, replaced or cut."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pantau_lab.mail.faults.response_script import Delay, HalfClose, HangUp, Manner, Say, Step
from pantau_lab.mail.server.listener import Attend

#: As much may wait to be taken by the client before more is written.
_ENOUGH = 256 * 1024
_LOOK_AGAIN = 0.02

#: From the transport of a connection to what its server writes to; again when STARTTLS has put another on top.
Lay = Callable[[asyncio.Transport], asyncio.Transport]


def lay(manner: Manner | None, attend: Attend, tasks: asyncio.TaskGroup) -> Lay:
    """Return how the transports of one connection are dressed: not at all when there is no manner."""
    return lambda transport: transport if manner is None else Wire(transport, manner, attend, tasks)


class Wire(asyncio.Transport):
    """A transport whose writes go by a manner, in order, in a task that lives while there is something to say."""

    def __init__(self, bare: asyncio.Transport, manner: Manner, attend: Attend, tasks: asyncio.TaskGroup) -> None:
        super().__init__()
        #: What it is laid over.
        self.bare = bare
        self._manner = manner
        self._attend = attend
        self._tasks = tasks
        self._written: deque[bytes] = deque()
        self._speaking: asyncio.Task[None] | None = None
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Let the manner have it."""
        if self.is_closing():
            return
        self._written.append(bytes(data))
        if self._speaking is None:
            self._speaking = self._tasks.create_task(self._speak())
            # It may outlive the session: a flood goes on after QUIT.
            self._attend(self._speaking, self)

    async def _speak(self) -> None:
        try:
            while self._written:
                for step in self._manner(self._written.popleft()):
                    if self.bare.is_closing():
                        return
                    await self._take(step)
        finally:
            self._speaking = None
            if self._closing:
                self.bare.close()

    async def _take(self, step: Step) -> None:
        match step:
            case Say(octets):
                self.bare.write(octets)
                # Only the protocol above is told when it may go on writing, and it knows nothing of us.
                while self.bare.get_write_buffer_size() > _ENOUGH and not self.bare.is_closing():  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_AGAIN)
            case Delay(span):
                await asyncio.sleep(span.total_seconds())
            case HalfClose():
                # Past TLS, which has no such thing: the peer sees the end of the stream without a farewell.
                with suppress(OSError):
                    self.bare.get_extra_info("socket").shutdown(socket.SHUT_WR)
            case HangUp():
                self._written.clear()
                self._closing = True

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._closing or self.bare.is_closing()

    def close(self) -> None:
        """Close when everything is said."""
        self._closing = True
        if self._speaking is None:
            self.bare.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if self._speaking is not None:
            self._speaking.cancel()
        self.bare.abort()

    def can_write_eof(self) -> bool:
        """Never: the manner decides."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the transport below."""
        return self.bare.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Ask the transport below."""
        return self.bare.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Tell the transport below."""
        self.bare.set_write_buffer_limits(high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell the transport below, which is what reads."""
        self.bare.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Ask the transport below."""
        return self.bare.get_protocol()

    def is_reading(self) -> bool:
        """Ask the transport below."""
        return self.bare.is_reading()

    def pause_reading(self) -> None:
        """Tell the transport below."""
        self.bare.pause_reading()

    def resume_reading(self) -> None:
        """Tell the transport below."""
        self.bare.resume_reading()
