"""SMTP sessions: aiosmtpd's protocol in the caller's event loop, without its controller and its thread."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiosmtpd.smtp import SMTP, TLSSetupException

from monitor.lab.mail.listener import Attend

_log = logging.getLogger(__name__)

#: A client that says nothing for this long is cut off (RFC 5321 section 4.5.3.2.7).
_IDLE_SECONDS = 300.0


class SmtpSession(SMTP):
    """One connection. The library starts the task that serves it; the listener waits for its end."""

    def __init__(self, handler: object, *, attend: Attend, hostname: str, **settings: Any) -> None:
        super().__init__(
            handler,
            hostname=hostname,
            ident="ESMTP Pantau lab",
            timeout=_IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
            **settings,
        )
        self._attend = attend

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, or go on after STARTTLS."""
        super().connection_made(transport)
        if self._handler_coroutine is not None and isinstance(transport, asyncio.WriteTransport):
            self._attend(self._handler_coroutine, transport)


async def answer_error(error: Exception) -> str:
    """Answer a client whose session broke. Its failed TLS handshake is its own; anything else is our bug."""
    if not isinstance(error, TLSSetupException):
        _log.error("an SMTP session of the lab broke", exc_info=error)
    return "451 4.3.0 Internal error"
