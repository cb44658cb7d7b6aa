"""IMAP connection to a mailbox, from the greeting to the sign-in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from probes.credentials.sign_in import Bearer, mask_secrets, plain_response
from probes.model.mailbox import Password, Security, Server
from probes.model.probe import CommandRejectedError, ProtocolError, Trace
from probes.model.reply import Reason, imap_sign_in_failure, probe_failure, read_challenge, shorten, timeout_failure
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import timed_phase
from probes.protocol.connection import connect
from probes.protocol.imap_response import parse_announced_capabilities, parse_capabilities
from probes.protocol.imap_wire import ImapWire
from probes.protocol.transcript import Transcript


class ImapConnection:
    """IMAP wire protocol with its transports, and the server's capabilities."""

    def __init__(self, wire: ImapWire, transport: asyncio.Transport, party: Party) -> None:
        self.wire = wire
        self.capabilities: frozenset[str] = frozenset()
        #: The TCP transport and, after STARTTLS, the TLS transport.
        self._transports = [transport]
        self._party = party
        #: The server's last text that may announce its capabilities.
        self._capability_text = ""

    async def read_greeting(self) -> None:
        """Read the greeting. Raise `ProbeFailedError` for a refusal or silence, `ProtocolError` if it is not IMAP."""
        try:
            await self.wire.wait_for_event(self.wire.greeted)
        except TimeoutError as error:
            # The port is open, but the peer has not sent a complete greeting.
            raise timeout_failure(Phase.CONNECT, self._party, str(error)) from error
        greeting = self.wire.greeting.upper()
        if greeting.startswith("* BYE"):
            raise probe_failure(
                Outcome.CONNECT, Reason.SERVICE_REFUSED, Phase.CONNECT, self._party, self.wire.greeting[6:]
            )
        if not greeting.startswith(("* OK", "* PREAUTH")):
            raise ProtocolError(f"greeted with {shorten(self.wire.greeting)}")
        self.wire.set_signed_in(signed_in=greeting.startswith("* PREAUTH"))
        self._capability_text = greeting

    async def start_tls(self, server: Server) -> None:
        """Start TLS (RFC 9051 6.2.1). A failure raises an error, so that the session never continues without TLS."""
        await self._request_capabilities()
        # STARTTLS is forbidden after the greeting PREAUTH, which signs the client in. An attacker may send PREAUTH to
        # prevent TLS.
        if "STARTTLS" not in self.capabilities or self.wire.is_signed_in:
            detail = "the greeting signs in before TLS (PREAUTH)" if self.wire.is_signed_in else ""
            raise probe_failure(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, self._party, detail)
        response = await self.wire.execute(self.wire.command("STARTTLS"))
        if response.result != "OK":
            raise probe_failure(Outcome.TLS, Reason.TLS_UNAVAILABLE, Phase.TLS, self._party, response_text(response))
        transport = await asyncio.get_running_loop().start_tls(
            self._transports[0], self.wire, server.tls, server_hostname=server.certificate_name
        )
        if transport is None:
            raise ConnectionResetError("the server closed the connection")
        self._transports.append(transport)
        self.wire.transport = transport
        # The capabilities before TLS are dropped, because they may come from an attacker (RFC 9051 11.1).
        self._capability_text = ""

    async def sign_in(self, credential: Password | Bearer) -> None:
        """Sign in, and read the capabilities for the signed-in user."""
        self.wire.credential = credential
        await self._update_capabilities()
        if not self.wire.is_signed_in:
            response, challenge = await self._authenticate(credential)
            if response.result != "OK":
                challenge_text = mask_secrets(read_challenge(challenge), credential)
                raise imap_sign_in_failure(
                    response.result, response_text(response), self._party, challenge=challenge_text
                )
            self._capability_text = response_text(response)
            await self._update_capabilities()

    async def _authenticate(self, credential: Password | Bearer) -> tuple[Any, str]:
        """Return the response to the sign-in, and the server's last challenge or ""."""
        match credential:
            case Bearer() if "AUTH=XOAUTH2" in self.capabilities:
                return await self.wire.authenticate(
                    "XOAUTH2", credential.response, with_initial_response="SASL-IR" in self.capabilities
                )
            case Password() if "LOGINDISABLED" not in self.capabilities:
                return await self.wire.login(credential.username, credential.secret), ""
            case Password() if "AUTH=PLAIN" in self.capabilities:
                return await self.wire.authenticate(
                    "PLAIN", plain_response(credential), with_initial_response="SASL-IR" in self.capabilities
                )
            case _:
                raise probe_failure(Outcome.AUTH, Reason.SIGN_IN_NOT_OFFERED, Phase.AUTH, self._party)

    async def _update_capabilities(self) -> None:
        if announced := parse_announced_capabilities(self._capability_text):
            self.capabilities = announced
        else:
            await self._request_capabilities()

    async def _request_capabilities(self) -> None:
        require_ok(await self.wire.execute(self.wire.command("CAPABILITY")))
        self.capabilities = parse_capabilities(self.wire.untagged)

    def close(self) -> None:
        """Send LOGOUT without waiting for the response, and close the socket."""
        self.wire.log_out()
        for transport in self._transports:
            transport.abort()


async def open_connection(
    server: Server,
    credential: Password | Bearer,
    trace: Trace,
    party: Party,
    *,
    wake: Callable[[], None],
    response_timeout: timedelta,
) -> ImapConnection:
    """Connect with TLS, and sign in with *credential*. Raise `ProbeFailedError`.

    *wake* is called if the server announces new mail or the connection is lost.
    """

    def create_wire() -> ImapWire:
        wire = ImapWire(wake, response_timeout.total_seconds())
        wire.transcript = Transcript.for_trace("IMAP", trace, party, credential)
        return wire

    transport, wire = await connect(server, trace, party, create_wire)
    connection = ImapConnection(wire, transport, party)
    try:
        with timed_phase(trace, Phase.CONNECT, party):
            await connection.read_greeting()
        if server.security is Security.STARTTLS:
            with timed_phase(trace, Phase.TLS, party):
                await connection.start_tls(server)
        with timed_phase(trace, Phase.AUTH, party):
            await connection.sign_in(credential)
    except BaseException:
        connection.close()
        raise
    return connection


def require_ok(response: Any) -> None:
    """Raise `CommandRejectedError` if the server's response is not OK."""
    if response.result != "OK":
        raise CommandRejectedError(response.result, shorten(response_text(response)))


def response_text(response: Any) -> str:
    """Return the text of the server's tagged response."""
    return bytes(response.lines[-1]).decode() if response.lines else ""
