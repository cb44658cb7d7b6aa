"""Line-based connection that can be upgraded to TLS, for POP3 and for sessions that do not sign in."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from probes.model.polling import reading_cost
from probes.model.probe import ProtocolError, StartTlsInjectionError

#: Octets: a longer line is an error.
_MAX_LINE = 64 * 1024
#: Octets of unread data above which reading from the socket is paused.
_MAX_UNREAD = 256 * 1024


class LineWire(asyncio.Protocol):
    """asyncio protocol that sends and reads lines. Unusable after any error. Not for concurrent use."""

    def __init__(self) -> None:
        #: Cost of the server's responses so far, by `probes.model.polling.reading_cost`.
        self.cost = 0
        self._buffer = bytearray()
        #: Why the connection was lost; `None` while it is open.
        self._lost: Exception | None = None
        #: Set when data arrives or the connection is lost.
        self._received = asyncio.Event()
        self._transports: list[asyncio.Transport] = []

    # -- called by asyncio -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.append(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self.cost += reading_cost(data)
        self._buffer += data
        if len(self._buffer) > _MAX_UNREAD:
            self.transport.pause_reading()
        self._received.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._lost or exc or EOFError("the server closed the connection")
        self._received.set()

    # -- called by a session --------------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        """The present transport; after `start_tls` the TLS transport."""
        return self._transports[-1]

    @property
    def has_unread_data(self) -> bool:
        """Whether unread data is present; it may be an incomplete line."""
        return bool(self._buffer)

    async def start_tls(self, tls: ssl.SSLContext, name: str) -> None:
        """Start TLS.

        Raise `OSError` (such as `ssl.SSLError`), or `StartTlsInjectionError` if more plain text has followed the
        response to STARTTLS: it would count as sent under TLS (CVE-2011-0411; RFC 2595 4).
        """
        if self._buffer:
            raise StartTlsInjectionError("plain text after the response to STARTTLS")
        transport = await asyncio.get_running_loop().start_tls(self.transport, self, tls, server_hostname=name)
        if transport is None:
            raise ConnectionResetError("the server closed the connection")
        self._transports.append(transport)

    def send_line(self, line: str) -> None:
        """Send *line* with CRLF. Raise `ValueError` if it is more than one line."""
        if any(character in line for character in "\r\n\0"):
            raise ValueError("a command is one line")
        self.transport.write(f"{line}\r\n".encode())

    async def read_line(self, at_most: int = _MAX_LINE, *, deadline: float | None = None) -> bytes:
        """Return the next line without its end.

        Raise `ProtocolError` if it is longer than *at_most* octets, `OSError` if the connection is lost, and
        `TimeoutError` if it is incomplete at *deadline*, in seconds of the loop's clock.
        """
        scanned = 0
        while (end := self._buffer.find(b"\n", scanned)) < 0 and (scanned := len(self._buffer)) <= at_most:
            await self._wait_for_data(deadline)
        if not 0 <= end <= at_most:
            raise ProtocolError("the peer does not stop talking")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    async def _wait_for_data(self, deadline: float | None) -> None:
        self._received.clear()
        if self._lost is not None:
            # An SSL error keeps its type; any other error is reported as a lost connection.
            raise self._lost if isinstance(self._lost, ssl.SSLError) else ConnectionResetError(str(self._lost))
        self.transport.resume_reading()
        async with asyncio.timeout_at(deadline):
            await self._received.wait()

    def close(self) -> None:
        """Abort at once, because a TLS shutdown with a silent peer would keep the socket for another half minute."""
        for transport in reversed(self._transports):
            transport.abort()
