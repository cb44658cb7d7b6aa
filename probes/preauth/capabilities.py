"""Capabilities of a candidate server: reachability, trusted TLS, and the offered sign-ins. No sign-in is attempted.

Only the kind of a failure is shown to the user who entered the host, not the server's text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason, probe_failure
from probes.model.result import Failure, Outcome, Party, Phase
from probes.preauth.session import PreAuthSession, Protocol, offers_tls, open_session, sasl_mechanisms
from probes.protocol.cause import network_errors_as_failures
from probes.run.mailbox_check import gather_limited

#: Limit for one server, from the DNS query to its capabilities.
_SERVER_TIMEOUT_SECONDS: Final = 5.0
#: Limit of the concurrent sessions of one `query_servers`.
_CONCURRENCY: Final = 12
_PASSWORD_MECHANISMS: Final = frozenset({"PLAIN", "LOGIN", "CRAM-MD5"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCapabilities:
    """Capabilities of a server."""

    #: Why a sign-in is not possible; `None` if it is. Its `detail` is the server's text, and must not be shown to the
    #: user who entered the host.
    failure: Failure | None = None
    #: The server accepts a password.
    accepts_password: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether a sign-in to the server is possible."""
        return self.failure is None


async def query_servers(servers: Sequence[tuple[Protocol, Server]]) -> Sequence[ServerCapabilities]:
    """Query servers concurrently; return their capabilities in the order of *servers*."""
    return await gather_limited(_CONCURRENCY, lambda server: query_server(*server), servers)


async def query_server(protocol: Protocol, server: Server) -> ServerCapabilities:
    """Query a server. Failures of the server are in the result; none is raised."""
    party = Party.SENDER if protocol is Protocol.SMTP else Party.RECIPIENT
    # `open_session` converts errors of connecting. Other errors come from the TLS handshake, if TLS is implicit.
    connect_phase = Phase.TLS if server.security is Security.IMPLICIT else Phase.CONNECT
    try:
        async with asyncio.timeout(_SERVER_TIMEOUT_SECONDS):
            with network_errors_as_failures(connect_phase, party):
                session = await open_session(protocol, server, party)
            try:
                with network_errors_as_failures(Phase.CONNECT, party):
                    capabilities = await _greet(session, party)
                if server.security is Security.STARTTLS:
                    await _start_tls(session, protocol, server, capabilities)
                    with network_errors_as_failures(Phase.CONNECT, party):
                        capabilities = await session.read_capabilities()
                await session.log_out()
            finally:
                session.close()
    except TimeoutError:
        return ServerCapabilities(
            failure=probe_failure(Outcome.TIMEOUT, Reason.NO_ANSWER, Phase.CONNECT, party).failure
        )
    except ProbeFailedError as error:
        return ServerCapabilities(failure=error.failure)
    return parse_capabilities(protocol, capabilities)


async def _greet(session: PreAuthSession, party: Party) -> Sequence[str]:
    greeting = await session.read_greeting()
    if not greeting.is_done:
        raise probe_failure(Outcome.REJECTED, Reason.SERVICE_REFUSED, Phase.CONNECT, party, greeting.text)
    return await session.read_capabilities()


async def _start_tls(session: PreAuthSession, protocol: Protocol, server: Server, capabilities: Sequence[str]) -> None:
    party = Party.SENDER if protocol is Protocol.SMTP else Party.RECIPIENT
    if not offers_tls(protocol, capabilities):
        raise probe_failure(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, party)
    with network_errors_as_failures(Phase.TLS, party):
        reply = await session.start_tls(server.tls, server.certificate_name)
    if not reply.is_done:
        raise probe_failure(Outcome.TLS, Reason.TLS_UNAVAILABLE, Phase.TLS, party, reply.text)


def parse_capabilities(protocol: Protocol, capabilities: Sequence[str]) -> ServerCapabilities:
    """Return the capabilities of a server from its announced *capabilities*, which are in upper case."""
    accepts_password = bool(sasl_mechanisms(protocol, capabilities) & _PASSWORD_MECHANISMS)
    if protocol is Protocol.IMAP:
        accepts_password = accepts_password or "LOGINDISABLED" not in capabilities
    if protocol is Protocol.POP3:
        # A server that does not implement CAPA has an empty list, and accepts USER (RFC 1939).
        accepts_password = accepts_password or "USER" in capabilities or not capabilities
    return ServerCapabilities(accepts_password=accepts_password)
