"""SMTP sessions: aiosmtpd's protocol in the caller's event loop, without its controller and its thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from aiosmtpd.smtp import SMTP, TLSSetupException, syntax

from pantau_lab.mail.resources.tls import INSTEAD, Tls
from pantau_lab.mail.server.listener import Attend
from pantau_lab.mail.server.wire import Lay, Wire

_log = logging.getLogger(__name__)

#: A client that says nothing for this long is cut off (RFC 5321 section 4.5.3.2.7).
_IDLE_SECONDS = 300.0
_PIECE = 2**16


class SmtpSession(SMTP):
    """One connection. The library starts the task that serves it; the listener waits for its end.

    `tls` is what a client meets after STARTTLS, where the library itself would keep to it.
    """

    def __init__(
        self,
        handler: object,
        *,
        attend: Attend,
        lay: Lay,
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
        self._attend = attend
        self._lay = lay
        self._tls = tls

    def __dir__(self) -> Sequence[str]:
        """Name what the library looks for."""
        return hooks(type(self))

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        return _address(arg)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, or go on after STARTTLS."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(transport)
        line = self._lay(transport)
        super().connection_made(line)
        if self._handler_coroutine is not None:
            self._attend(self._handler_coroutine, line)

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        """Begin encryption, or do what a broken server does instead."""
        if self._tls in INSTEAD:
            await self.push("220 Ready to start TLS")
            while await self._reader.read(_PIECE):
                self._writer.write(INSTEAD[self._tls])
            return
        if isinstance(self.transport, Wire):
            # What is encrypted already cannot be said in another way.
            self.transport = self.transport.bare
        await super().smtp_STARTTLS(arg)
        if self._original_transport is not None and self._original_transport.is_closing():
            # Cut in the middle of the handshake: asyncio calls that a success and never says anything again.
            raise ConnectionResetError("cut during the handshake")


def hooks(kind: type) -> Sequence[str]:
    """Return what the library looks for in each session and its handler: to go through all that they have takes a tenth of it."""
    return [name for name in dir(kind) if name.startswith(("auth_", "handle_", "smtp_"))]


@lru_cache
def _address(arg: str) -> tuple[str | None, str | None]:
    # The grammar of a whole header is gone through for it, and the same few addresses come again and again.
    return SMTP._getaddr(SMTP, arg)  # type: ignore[arg-type]  # noqa: SLF001  # nothing of a session is asked for


async def answer_error(error: Exception) -> str:
    """Answer a client whose session broke. Its failed TLS handshake is its own; anything else is our bug."""
    if not isinstance(error, TLSSetupException):
        _log.error("an SMTP session of the lab broke", exc_info=error)
    return "451 4.3.0 Internal error"
