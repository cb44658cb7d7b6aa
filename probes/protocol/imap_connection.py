"""IMAP connection from the greeting to the sign-in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from probes.credentials.sign_in import Bearer, masked, plain
from probes.model.mailbox import Password, Security, Server
from probes.model.probe import CommandRejectedError, ProtocolError, Trace
from probes.model.reply import Reason, challenge_in, expired, failed, imap_sign_in_failure, shortened
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import stage
from probes.protocol.connection import connect
from probes.protocol.imap_response import announced, capabilities
from probes.protocol.imap_wire import ImapWire
from probes.protocol.transcript import Transcript


class ImapConnection:
    """A wire, its transports, and the server's capabilities."""

    def __init__(self, wire: ImapWire, transport: asyncio.Transport, party: Party) -> None:
        self.wire = wire
        self.capabilities: frozenset[str] = frozenset()
        self._transports = [transport]
        self._party = party
        #: Text that may contain the server's capabilities.
        self._said = ""

    async def greet(self) -> None:
        """Read the greeting."""
        try:
            await self.wire.until(self.wire.greeted)
        except TimeoutError as late:
            # The port is open, and the peer has sent no complete greeting.
            raise expired(Phase.CONNECT, self._party, str(late)) from late
        greeting = self.wire.greeting.upper()
        if greeting.startswith("* BYE"):
            raise failed(Outcome.CONNECT, Reason.SERVICE_REFUSED, Phase.CONNECT, self._party, self.wire.greeting[6:])
        if not greeting.startswith(("* OK", "* PREAUTH")):
            raise ProtocolError(f"greeted with {shortened(self.wire.greeting)}")
        self.wire.enter(signed_in=greeting.startswith("* PREAUTH"))
        self._said = greeting

    async def start_tls(self, server: Server) -> None:
        """Upgrade the connection (RFC 9051 6.2.1), or fail: it never continues without TLS."""
        await self._ask_capabilities()
        # A PREAUTH greeting without TLS forbids STARTTLS; an attacker would send it.
        if "STARTTLS" not in self.capabilities or self.wire.is_signed_in:
            said = "greeted as one who is signed in, before TLS (PREAUTH)" if self.wire.is_signed_in else ""
            raise failed(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, self._party, said)
        response = await self.wire.execute(self.wire.command("STARTTLS"))
        if response.result != "OK":
            raise failed(Outcome.TLS, Reason.TLS_UNAVAILABLE, Phase.TLS, self._party, text_of(response))
        transport = await asyncio.get_running_loop().start_tls(
            self._transports[0], self.wire, server.tls, server_hostname=server.certificate_name
        )
        if transport is None:
            raise ConnectionResetError("the server closed the connection")
        self._transports.append(transport)
        self.wire.transport = transport
        # Text before TLS may be an attacker's (RFC 9051 11.1).
        self._said = ""

    async def sign_in(self, key: Password | Bearer) -> None:
        """Sign in, and read the capabilities for the signed-in user."""
        self.wire.key = key
        await self._learn_capabilities()
        if not self.wire.is_signed_in:
            response, challenge = await self._offer(key)
            if response.result != "OK":
                reason = masked(challenge_in(challenge), key)
                raise imap_sign_in_failure(response.result, text_of(response), self._party, challenge=reason)
            self._said = text_of(response)
            await self._learn_capabilities()

    async def _offer(self, key: Password | Bearer) -> tuple[Any, str]:
        match key:
            case Bearer() if "AUTH=XOAUTH2" in self.capabilities:
                return await self.wire.authenticate("XOAUTH2", key.response, at_once="SASL-IR" in self.capabilities)
            case Password() if "LOGINDISABLED" not in self.capabilities:
                return await self.wire.login(key.username, key.secret), ""
            case Password() if "AUTH=PLAIN" in self.capabilities:
                return await self.wire.authenticate("PLAIN", plain(key), at_once="SASL-IR" in self.capabilities)
            case _:
                raise failed(Outcome.AUTH, Reason.SIGN_IN_NOT_OFFERED, Phase.AUTH, self._party)

    async def _learn_capabilities(self) -> None:
        if named := announced(self._said):
            self.capabilities = named
        else:
            await self._ask_capabilities()

    async def _ask_capabilities(self) -> None:
        ok(await self.wire.execute(self.wire.command("CAPABILITY")))
        self.capabilities = capabilities(self.wire.heard)

    def close(self) -> None:
        """Send LOGOUT without waiting for the response, and close the socket."""
        self.wire.leave()
        for transport in self._transports:
            transport.abort()


async def open_connection(
    server: Server, key: Password | Bearer, trace: Trace, party: Party, *, stir: Callable[[], None], leg: timedelta
) -> ImapConnection:
    """Connect, with TLS, and sign in with *key*. Raise `ProbeFailedError`."""

    def wired() -> ImapWire:
        wire = ImapWire(stir, leg.total_seconds())
        wire.transcript = Transcript.of("IMAP", trace, party, key)
        return wire

    transport, wire = await connect(server, trace, party, wired)
    connection = ImapConnection(wire, transport, party)
    try:
        with stage(trace, Phase.CONNECT, party):
            await connection.greet()
        if server.security is Security.STARTTLS:
            with stage(trace, Phase.TLS, party):
                await connection.start_tls(server)
        with stage(trace, Phase.AUTH, party):
            await connection.sign_in(key)
    except BaseException:
        connection.close()
        raise
    return connection


def ok(response: Any) -> None:
    """Raise `CommandRejectedError` when the server's response is not OK."""
    if response.result != "OK":
        raise CommandRejectedError(response.result, shortened(text_of(response)))


def text_of(response: Any) -> str:
    """Return the text of the server's response."""
    return bytes(response.lines[-1]).decode() if response.lines else ""
