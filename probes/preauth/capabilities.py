"""Capabilities of a candidate server: reachability, trusted TLS, and the offered sign-ins. Nothing signs in.

The server's text is not kept: the user who entered the host learns the kind of failure, and sees no banner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason, failed
from probes.model.result import Failure, Outcome, Party, Phase
from probes.preauth.session import PreAuthSession, Protocol, mechanisms, open_session, tls_offered
from probes.protocol.cause import told
from probes.run.mailbox_check import some_at_a_time

#: Seconds for one server, from its name to its capabilities.
_SERVER_SECONDS: Final = 5.0
#: Concurrent sessions of one call.
_AT_ONCE: Final = 12
_PASSWORDS: Final = frozenset({"PLAIN", "LOGIN", "CRAM-MD5"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCapabilities:
    """Capabilities of a server."""

    #: Why a sign-in is not possible; its text is the server's, and must not be shown to the user who entered the host.
    failure: Failure | None = None
    #: The server accepts a password.
    takes_password: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether a sign-in is possible there."""
        return self.failure is None


async def look(servers: Sequence[tuple[Protocol, Server]]) -> Sequence[ServerCapabilities]:
    """Examine servers concurrently; return the capabilities of each, in their order."""
    return await some_at_a_time(_AT_ONCE, lambda each: query_server(*each), servers)


async def query_server(protocol: Protocol, server: Server) -> ServerCapabilities:
    """Examine a server. Never raises for what it does."""
    party = Party.SENDER if protocol is Protocol.SMTP else Party.RECIPIENT
    first = Phase.TLS if server.security is Security.IMPLICIT else Phase.CONNECT
    try:
        async with asyncio.timeout(_SERVER_SECONDS):
            with told(first, party):
                session = await open_session(protocol, server, party)
            try:
                with told(Phase.CONNECT, party):
                    offers = await _greeted(session, party)
                if server.security is Security.STARTTLS:
                    await _start_tls(session, protocol, server, offers)
                    with told(Phase.CONNECT, party):
                        offers = await session.offers()
                await session.leave()
            finally:
                session.close()
    except TimeoutError:
        return ServerCapabilities(failure=failed(Outcome.TIMEOUT, Reason.NO_ANSWER, Phase.CONNECT, party).failure)
    except ProbeFailedError as failure:
        return ServerCapabilities(failure=failure.failure)
    return seen(protocol, offers)


async def _greeted(session: PreAuthSession, party: Party) -> Sequence[str]:
    greeting = await session.greet()
    if not greeting.done:
        raise failed(Outcome.REJECTED, Reason.SERVICE_REFUSED, Phase.CONNECT, party, greeting.text)
    return await session.offers()


async def _start_tls(session: PreAuthSession, protocol: Protocol, server: Server, offers: Sequence[str]) -> None:
    party = Party.SENDER if protocol is Protocol.SMTP else Party.RECIPIENT
    if not tls_offered(protocol, offers):
        raise failed(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, party)
    with told(Phase.TLS, party):
        reply = await session.start_tls(server.tls, server.certificate_name)
    if not reply.done:
        raise failed(Outcome.TLS, Reason.TLS_UNAVAILABLE, Phase.TLS, party, reply.text)


def seen(protocol: Protocol, offers: Sequence[str]) -> ServerCapabilities:
    """Return the capabilities for a server's offers, which are in upper case."""
    password = bool(mechanisms(protocol, offers) & _PASSWORDS)
    if protocol is Protocol.IMAP:
        password = password or "LOGINDISABLED" not in offers
    if protocol is Protocol.POP3:
        # A server without CAPA lists none, and accepts USER (RFC 1939).
        password = password or "USER" in offers or not offers
    return ServerCapabilities(takes_password=password)
