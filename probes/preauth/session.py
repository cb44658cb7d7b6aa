"""Unauthenticated session with a mail server: greeting, capabilities, STARTTLS.

One interface for SMTP (RFC 5321, RFC 3207), IMAP (RFC 9051) and POP3 (RFC 1939, RFC 2449, RFC 2595).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from probes.model.mailbox import Mailbox, Security, Server
from probes.model.probe import ProtocolError
from probes.model.reply import imap_code, shortened
from probes.model.result import Party
from probes.protocol.connection import address_literal, open_socket
from probes.protocol.line_wire import LineWire
from probes.run.trace import TraceRecorder

#: Seconds to wait for the response to the logout command.
_FAREWELL_SECONDS = 2.0
#: Limit of lines in a reply.
_LINES_AT_MOST = 200
_SMTP_LINE = re.compile(r"^([2-5]\d\d)(?:([ -])(.*))?$", re.ASCII)
#: Response codes for a temporary refusal, where the protocol has no reply codes (RFC 5530, RFC 3206, RFC 2449).
_PASSING = frozenset({"UNAVAILABLE", "LIMIT", "INUSE", "SYS/TEMP", "IN-USE", "LOGIN-DELAY"})
_POP3_CODE = re.compile(r"^\[([A-Z/-]+)\]", re.IGNORECASE)


class Protocol(StrEnum):
    """Protocol of a mail server."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"


class ReplyKind(StrEnum):
    """Kind of a reply."""

    #: Success (2xx, OK, +OK).
    DONE = "done"
    #: The server waits for more (3xx, +).
    GO_ON = "go on"
    #: Temporary refusal (4xx).
    LATER = "later"
    #: Permanent refusal (5xx, NO, BAD, -ERR).
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReply:
    """One reply of a server."""

    kind: ReplyKind
    #: On one line for people, with the code.
    text: str
    #: Texts of its lines.
    lines: tuple[str, ...] = ()
    #: SMTP only.
    code: int | None = None

    @property
    def done(self) -> bool:
        return self.kind is ReplyKind.DONE


def servers_of(mailbox: Mailbox) -> tuple[tuple[Protocol, Server], ...]:
    """Return the servers of *mailbox*, with their protocols."""
    three = ((Protocol.SMTP, mailbox.smtp), (Protocol.IMAP, mailbox.imap), (Protocol.POP3, mailbox.pop3))
    return tuple((protocol, server) for protocol, server in three if server is not None)


def servers_among(mailboxes: Iterable[Mailbox]) -> Collection[tuple[Protocol, Server]]:
    """Return each server of some mailboxes once, however many of them it has."""
    found = (each for mailbox in mailboxes for each in servers_of(mailbox))
    return {(protocol, server.host, server.port): (protocol, server) for protocol, server in found}.values()


class PreAuthSession:
    """Session in one of the protocols.

    Raises the errors of the wire, and `ProtocolError`; the caller sets the deadlines.
    """

    def __init__(self, protocol: Protocol, wire: LineWire, *, quotes: bool = True) -> None:
        """*quotes*: errors may quote a peer that is no mail server (`probes.protocol.connection.unquoted`)."""
        self._protocol = protocol
        self._wire = wire
        self._quotes = quotes
        self._commands = 0

    async def greet(self) -> ServerReply:
        """Return the complete greeting: postscreen rejects a client that sends before its last line."""
        return await self._reply("*")

    async def offers(self) -> tuple[str, ...]:
        """Return the present capabilities, one each, in upper case."""
        match self._protocol:
            case Protocol.SMTP:
                literal = address_literal(self._wire.transport)
                reply = await self.ask(f"EHLO {literal}")
                if reply.done:
                    return tuple(line.upper() for line in reply.lines[1:])
                await self.ask(f"HELO {literal}")
                return ()
            case Protocol.IMAP:
                reply = await self.ask("CAPABILITY")
                told = [line for line in reply.lines if line.upper().startswith("* CAPABILITY")]
                return tuple(word for line in told for word in line.upper().split()[2:])
            case Protocol.POP3:
                self._wire.say("CAPA")
                reply = await self._reply("")
                return await self._rest() if reply.done else ()

    async def ask(self, command: str) -> ServerReply:
        """Send *command* and return the reply."""
        self._commands += 1
        tag = f"p{self._commands}" if self._protocol is Protocol.IMAP else ""
        self._wire.say(f"{tag} {command}" if tag else command)
        return await self._reply(tag)

    async def cancel(self) -> None:
        """Cancel a sign-in for which the server was ready; no secret has been sent."""
        with suppress(OSError, ProtocolError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                self._wire.say("*")
                await self._reply(f"p{self._commands}" if self._protocol is Protocol.IMAP else "")

    async def start_tls(self, tls: ssl.SSLContext, name: str) -> ServerReply:
        """Request TLS and, if it is granted, start it. Raise `ssl.SSLError` when the handshake fails."""
        reply = await self.ask("STLS" if self._protocol is Protocol.POP3 else "STARTTLS")
        if reply.done:
            await self._wire.secure(tls, name)
        return reply

    async def leave(self) -> None:
        """Log out, and wait a moment for the reply; the results are complete."""
        with suppress(OSError, ProtocolError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self.ask("LOGOUT" if self._protocol is Protocol.IMAP else "QUIT")

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The server's certificate chain, its own first, in DER; only its own where Python provides no more."""
        spoken = self._wire.transport.get_extra_info("ssl_object")
        return () if spoken is None else _shown(spoken)

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    async def _line(self) -> str:
        # Some servers append blanks to their capabilities.
        return (await self._wire.hear()).decode("utf-8", "replace").rstrip()

    async def _reply(self, tag: str) -> ServerReply:
        lines: list[str] = []
        while len(lines) < _LINES_AT_MOST:
            lines.append(await self._line())
            try:
                reply = self._complete(lines, tag)
            except ProtocolError as foreign:
                raise (foreign if self._quotes else ProtocolError("not what mail servers say")) from None
            if reply is not None:
                return reply
        raise ProtocolError("a reply without an end")

    def _complete(self, lines: list[str], tag: str) -> ServerReply | None:
        match self._protocol:
            case Protocol.SMTP:
                return _smtp(lines)
            case Protocol.IMAP:
                return _imap(lines, tag)
            case Protocol.POP3:
                return _pop3(lines[0])

    async def _rest(self) -> tuple[str, ...]:
        lines: list[str] = []
        while len(lines) < _LINES_AT_MOST:
            line = await self._line()
            if line == ".":
                return tuple(lines)
            lines.append(line.upper())
        raise ProtocolError("a list without an end")


async def open_session(
    protocol: Protocol, server: Server, party: Party, tls: ssl.SSLContext | None = None
) -> PreAuthSession:
    """Connect, with implicit TLS if *server* uses it; nothing is sent yet. The caller closes the session.

    The certificate is verified by *tls* if given, otherwise by the server's own trust. Raise `ProbeFailedError` without
    a connection, and `OSError`, of which `ssl.SSLError` is one, when TLS fails.
    """
    first = (tls or server.tls) if server.security is Security.IMPLICIT else None
    sock = await open_socket(server, TraceRecorder(), party)
    wire = await wired(sock, tls=first, name=server.certificate_name)
    return PreAuthSession(protocol, wire, quotes=server.bounds is None)


async def wired(sock: socket.socket, *, tls: ssl.SSLContext | None = None, name: str | None = None) -> LineWire:
    """Return the wire for a connected socket, which it owns from now on; with *tls*, after the handshake."""
    wire = LineWire()
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: wire, sock=sock, ssl=tls, server_hostname=name if tls else None
        )
    except BaseException:
        wire.close()
        sock.close()
        raise
    return wire


def mechanisms(protocol: Protocol, offers: Sequence[str]) -> frozenset[str]:
    """Return the SASL mechanisms in *offers*, which are in upper case."""
    if protocol is Protocol.IMAP:
        return frozenset(each.removeprefix("AUTH=") for each in offers if each.startswith("AUTH="))
    word = "AUTH" if protocol is Protocol.SMTP else "SASL"
    # Old servers write "AUTH=LOGIN".
    lines = [each.replace("=", " ").split() for each in offers]
    return frozenset(name for line in lines if line[:1] == [word] for name in line[1:])


def tls_offered(protocol: Protocol, offers: Collection[str]) -> bool:
    """Return whether *offers* contain TLS: a POP3 server announces it, too (RFC 2595 4), which clients require."""
    return ("STLS" if protocol is Protocol.POP3 else "STARTTLS") in offers


def _smtp(lines: list[str]) -> ServerReply | None:
    match = _SMTP_LINE.match(lines[-1])
    if match is None:
        raise ProtocolError(f"not SMTP: {shortened(lines[-1])}")
    if match[2] == "-":
        return None
    code = int(match[1])
    answer = {2: ReplyKind.DONE, 3: ReplyKind.GO_ON, 4: ReplyKind.LATER}.get(code // 100, ReplyKind.NO)
    said = tuple(line[4:] for line in lines)
    return ServerReply(kind=answer, text=shortened(f"{code} {' '.join(said)}"), lines=said, code=code)


def _imap(lines: list[str], tag: str) -> ServerReply | None:
    last = lines[-1]
    if last.startswith("+"):
        return ServerReply(kind=ReplyKind.GO_ON, text=shortened(last), lines=tuple(lines))
    mark, _, rest = last.partition(" ")
    word, _, text = rest.partition(" ")
    if tag == "*" and mark != "*":
        raise ProtocolError(f"not IMAP: {shortened(last)}")
    if mark != tag:
        if rest.upper().startswith("BYE"):
            raise ConnectionResetError(shortened(rest))
        return None
    answer = ReplyKind.DONE if word.upper() in {"OK", "PREAUTH"} else ReplyKind.NO
    if answer is ReplyKind.NO and imap_code(text) in _PASSING:
        answer = ReplyKind.LATER
    return ServerReply(kind=answer, text=shortened(rest), lines=tuple(lines))


def _pop3(line: str) -> ServerReply:
    if line.startswith("+OK"):
        return ServerReply(kind=ReplyKind.DONE, text=shortened(line), lines=(line,))
    if line.startswith("+"):
        return ServerReply(kind=ReplyKind.GO_ON, text=shortened(line), lines=(line,))
    if not line.upper().startswith("-ERR"):
        raise ProtocolError(f"not POP3: {shortened(line)}")
    code = _POP3_CODE.match(line[4:].strip())
    passing = code is not None and code[1].upper() in _PASSING
    return ServerReply(kind=ReplyKind.LATER if passing else ReplyKind.NO, text=shortened(line), lines=(line,))


def _shown(spoken: Any) -> tuple[bytes, ...]:
    # Public since Python 3.13; earlier versions have it on the inner object.
    read = getattr(spoken, "get_unverified_chain", None) or getattr(spoken._sslobj, "get_unverified_chain", None)  # noqa: SLF001 - see above
    shown = (read() or ()) if read is not None else ()
    chain = tuple(one if isinstance(one, bytes) else _der(one) for one in shown)
    own = spoken.getpeercert(binary_form=True)
    return chain or ((own,) if own else ())


def _der(certificate: Any) -> bytes:
    # Without an argument this method returns PEM.
    return ssl.PEM_cert_to_DER_cert(certificate.public_bytes())
