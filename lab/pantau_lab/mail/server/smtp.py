"""SMTP sessions: aiosmtpd's protocol in the caller's event loop, without its controller and its thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from aiosmtpd.smtp import SMTP, TLSSetupException, syntax

from pantau_lab.mail.resources.tls import HANDSHAKE_REPLIES, Tls
from pantau_lab.mail.server.listener import RegisterSession
from pantau_lab.mail.server.scripted_transport import ScriptedTransport, TransportWrapper

_log = logging.getLogger(__name__)

#: The server disconnects a client that is idle for this long (RFC 5321 section 4.5.3.2.7).
_IDLE_SECONDS = 300.0
_CHUNK_OCTETS = 2**16


class SmtpSession(SMTP):
    """One connection. aiosmtpd starts the task that serves it; the listener waits for the end of the task.

    *tls*: TLS state after STARTTLS, which may be broken by a fault.
    """

    def __init__(
        self,
        handler: object,
        *,
        register_session: RegisterSession,
        wrap_transport: TransportWrapper,
        hostname: str,
        tls: Tls = Tls.SOUND,
        **settings: Any,
    ) -> None:
        super().__init__(
            handler,
            hostname=hostname,
            ident="ESMTP Pantau lab",
            timeout=_IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
            **settings,
        )
        self._register_session = register_session
        self._wrap_transport = wrap_transport
        self._tls = tls

    def __dir__(self) -> Sequence[str]:
        """Return only the names that aiosmtpd looks for."""
        return hooks(type(self))

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        return _address(arg)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, or continue after STARTTLS."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(transport)
        wrapped = self._wrap_transport(transport)
        super().connection_made(wrapped)
        if self._handler_coroutine is not None:
            self._register_session(self._handler_coroutine, wrapped)

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        """Begin TLS, or answer the handshake as a broken server does."""
        if self._tls in HANDSHAKE_REPLIES:
            await self.push("220 Ready to start TLS")
            while await self._reader.read(_CHUNK_OCTETS):
                self._writer.write(HANDSHAKE_REPLIES[self._tls])
            return
        if isinstance(self.transport, ScriptedTransport):
            # Unwrap the transport: a response behavior must not change the octets of TLS records.
            self.transport = self.transport.inner
        await super().smtp_STARTTLS(arg)
        if self._original_transport is not None and self._original_transport.is_closing():
            # The connection was closed during the handshake. asyncio reports success then, and no later event.
            raise ConnectionResetError("cut during the handshake")


def hooks(kind: type) -> Sequence[str]:
    """Return the names of the hooks of *kind* that aiosmtpd looks for.

    aiosmtpd iterates over `dir()` of each session and its handler; with all names this takes a tenth of the session's time.
    """
    return [name for name in dir(kind) if name.startswith(("auth_", "handle_", "smtp_"))]


@lru_cache
def _address(arg: str) -> tuple[str | None, str | None]:
    # Cached, because aiosmtpd parses each address as a whole header, and the same few addresses recur.
    return SMTP._getaddr(SMTP, arg)  # type: ignore[arg-type]  # noqa: SLF001  # uses no session


async def answer_error(error: Exception) -> str:
    """Return the reply after an error in a session, and log the error unless a TLS handshake failed, which is normal."""
    if not isinstance(error, TLSSetupException):
        _log.error("an SMTP session of the lab broke", exc_info=error)
    return "451 4.3.0 Internal error"
