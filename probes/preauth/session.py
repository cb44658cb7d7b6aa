"""Session with a mail server before sign-in: greeting, capabilities, STARTTLS.

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
from probes.model.reply import response_code, shorten
from probes.model.result import Party
from probes.protocol.connection import address_literal, open_socket
from probes.protocol.line_wire import LineWire
from probes.run.trace import TraceRecorder

#: Limit for the response to the logout command, and to the cancellation of a sign-in.
_LOG_OUT_TIMEOUT_SECONDS = 2.0
#: Limit of lines in a reply.
_MAX_LINES = 200
_SMTP_LINE = re.compile(r"^([2-5]\d\d)(?:([ -])(.*))?$", re.ASCII)
#: Response codes for a temporary refusal, where the protocol has no reply codes (RFC 5530, RFC 3206, RFC 2449).
_TEMPORARY_CODES = frozenset({"UNAVAILABLE", "LIMIT", "INUSE", "SYS/TEMP", "IN-USE", "LOGIN-DELAY"})
_POP3_CODE = re.compile(r"^\[([A-Z/-]+)\]", re.IGNORECASE)


class Protocol(StrEnum):
    """Protocol of a mail server."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"


class ReplyKind(StrEnum):
    """Kind of a reply, the same for all protocols."""

    #: Success (2xx, OK, +OK).
    DONE = "done"
    #: The server waits for more input (3xx, +).
    CONTINUE = "go on"
    #: Temporary refusal (4xx).
    TEMPORARY = "later"
    #: Permanent refusal (5xx, NO, BAD, -ERR).
    PERMANENT = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReply:
    """One reply of a server."""

    kind: ReplyKind
    #: The whole reply on one line, with the code, for people.
    text: str
    #: The lines of the reply; for SMTP without the code.
    lines: tuple[str, ...] = ()
    #: Reply code; SMTP only.
    code: int | None = None

    @property
    def is_done(self) -> bool:
        return self.kind is ReplyKind.DONE


def servers_of(mailbox: Mailbox) -> tuple[tuple[Protocol, Server], ...]:
    """Return the servers of *mailbox*, with their protocols."""
    servers = ((Protocol.SMTP, mailbox.smtp), (Protocol.IMAP, mailbox.imap), (Protocol.POP3, mailbox.pop3))
    return tuple((protocol, server) for protocol, server in servers if server is not None)


def servers_among(mailboxes: Iterable[Mailbox]) -> Collection[tuple[Protocol, Server]]:
    """Return the servers of *mailboxes*, each once."""
    all_servers = (entry for mailbox in mailboxes for entry in servers_of(mailbox))
    return {(protocol, server.host, server.port): (protocol, server) for protocol, server in all_servers}.values()


class PreAuthSession:
    """Session before sign-in, in one of the protocols.

    Methods raise `OSError` if the connection fails, and `ProtocolError` if the peer violates the protocol. The caller
    sets the deadlines.
    """

    def __init__(self, protocol: Protocol, wire: LineWire, *, may_quote: bool = True) -> None:
        """*may_quote*: errors may contain the text of a peer that is not a mail server.

        It is `False` for a host that a user entered, who could otherwise read the responses of any service.
        """
        self._protocol = protocol
        self._wire = wire
        self._may_quote = may_quote
        self._command_count = 0

    async def read_greeting(self) -> ServerReply:
        """Read the whole greeting. Postfix postscreen rejects a client that sends a command before the end."""
        return await self._read_reply("*")

    async def read_capabilities(self) -> tuple[str, ...]:
        """Return the server's present capabilities (SMTP: extensions), each as one item in upper case."""
        match self._protocol:
            case Protocol.SMTP:
                literal = address_literal(self._wire.transport)
                reply = await self.send_command(f"EHLO {literal}")
                if reply.is_done:
                    return tuple(line.upper() for line in reply.lines[1:])
                await self.send_command(f"HELO {literal}")
                return ()
            case Protocol.IMAP:
                reply = await self.send_command("CAPABILITY")
                lines = [line for line in reply.lines if line.upper().startswith("* CAPABILITY")]
                return tuple(word for line in lines for word in line.upper().split()[2:])
            case Protocol.POP3:
                self._wire.send_line("CAPA")
                reply = await self._read_reply("")
                return await self._read_list() if reply.is_done else ()

    async def send_command(self, command: str) -> ServerReply:
        """Send *command* and return the reply."""
        self._command_count += 1
        tag = f"p{self._command_count}" if self._protocol is Protocol.IMAP else ""
        self._wire.send_line(f"{tag} {command}" if tag else command)
        return await self._read_reply(tag)

    async def cancel_sign_in(self) -> None:
        """Cancel a sign-in for which the server has asked for the secret. The secret is not sent."""
        with suppress(OSError, ProtocolError):
            async with asyncio.timeout(_LOG_OUT_TIMEOUT_SECONDS):
                self._wire.send_line("*")
                await self._read_reply(f"p{self._command_count}" if self._protocol is Protocol.IMAP else "")

    async def start_tls(self, tls: ssl.SSLContext, name: str) -> ServerReply:
        """Request TLS, and start it if the server agrees. Raise `ssl.SSLError` if the handshake fails."""
        reply = await self.send_command("STLS" if self._protocol is Protocol.POP3 else "STARTTLS")
        if reply.is_done:
            await self._wire.start_tls(tls, name)
        return reply

    async def log_out(self) -> None:
        """Log out, and wait a moment for the reply. A missing reply is ignored."""
        with suppress(OSError, ProtocolError):
            async with asyncio.timeout(_LOG_OUT_TIMEOUT_SECONDS):
                await self.send_command("LOGOUT" if self._protocol is Protocol.IMAP else "QUIT")

    @property
    def certificate_chain(self) -> tuple[bytes, ...]:
        """The server's certificate chain in DER, beginning with the server's own certificate.

        It is empty without TLS. It has only the server's own certificate if this version of Python provides no others.
        """
        ssl_object = self._wire.transport.get_extra_info("ssl_object")
        return () if ssl_object is None else _certificate_chain(ssl_object)

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    async def _read_line(self) -> str:
        # Some servers append blanks to their capabilities.
        return (await self._wire.read_line()).decode("utf-8", "replace").rstrip()

    async def _read_reply(self, tag: str) -> ServerReply:
        """Read lines up to the end of the reply. *tag*: in IMAP, the tag of its last line; "*" for the greeting."""
        lines: list[str] = []
        while len(lines) < _MAX_LINES:
            lines.append(await self._read_line())
            try:
                reply = self._parse_reply(lines, tag)
            except ProtocolError as error:
                raise (error if self._may_quote else ProtocolError("not a reply of a mail server")) from None
            if reply is not None:
                return reply
        raise ProtocolError("a reply without an end")

    def _parse_reply(self, lines: list[str], tag: str) -> ServerReply | None:
        match self._protocol:
            case Protocol.SMTP:
                return _parse_smtp(lines)
            case Protocol.IMAP:
                return _parse_imap(lines, tag)
            case Protocol.POP3:
                return _parse_pop3(lines[0])

    async def _read_list(self) -> tuple[str, ...]:
        lines: list[str] = []
        while len(lines) < _MAX_LINES:
            line = await self._read_line()
            if line == ".":
                return tuple(lines)
            lines.append(line.upper())
        raise ProtocolError("a list without an end")


async def open_session(
    protocol: Protocol, server: Server, party: Party, tls: ssl.SSLContext | None = None
) -> PreAuthSession:
    """Connect, with implicit TLS if *server* uses it, and send no command. The caller closes the session.

    *party*: end of the route that failures name. *tls* replaces `server.tls` for the verification of the certificate.
    Raise `ProbeFailedError` if no connection opens, and `OSError` (such as `ssl.SSLError`) if TLS fails.
    """
    implicit_tls = (tls or server.tls) if server.security is Security.IMPLICIT else None
    sock = await open_socket(server, TraceRecorder(), party)
    wire = await open_wire(sock, tls=implicit_tls, name=server.certificate_name)
    return PreAuthSession(protocol, wire, may_quote=server.egress is None)


async def open_wire(sock: socket.socket, *, tls: ssl.SSLContext | None = None, name: str | None = None) -> LineWire:
    """Return the wire for a connected socket, with *tls* after the handshake. The wire then owns the socket."""
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


def sasl_mechanisms(protocol: Protocol, capabilities: Sequence[str]) -> frozenset[str]:
    """Return the SASL mechanisms in *capabilities*, which are in upper case."""
    if protocol is Protocol.IMAP:
        return frozenset(
            capability.removeprefix("AUTH=") for capability in capabilities if capability.startswith("AUTH=")
        )
    keyword = "AUTH" if protocol is Protocol.SMTP else "SASL"
    # Old servers write "AUTH=LOGIN" for "AUTH LOGIN".
    lines = [capability.replace("=", " ").split() for capability in capabilities]
    return frozenset(name for line in lines if line[:1] == [keyword] for name in line[1:])


def offers_tls(protocol: Protocol, capabilities: Collection[str]) -> bool:
    """Return whether *capabilities* announce STARTTLS, or STLS for POP3 (RFC 2595 4)."""
    return ("STLS" if protocol is Protocol.POP3 else "STARTTLS") in capabilities


def _parse_smtp(lines: list[str]) -> ServerReply | None:
    match = _SMTP_LINE.match(lines[-1])
    if match is None:
        raise ProtocolError(f"not SMTP: {shorten(lines[-1])}")
    if match[2] == "-":
        return None
    code = int(match[1])
    reply_kind = {2: ReplyKind.DONE, 3: ReplyKind.CONTINUE, 4: ReplyKind.TEMPORARY}.get(
        code // 100, ReplyKind.PERMANENT
    )
    texts = tuple(line[4:] for line in lines)
    return ServerReply(kind=reply_kind, text=shorten(f"{code} {' '.join(texts)}"), lines=texts, code=code)


def _parse_imap(lines: list[str], tag: str) -> ServerReply | None:
    last = lines[-1]
    if last.startswith("+"):
        return ServerReply(kind=ReplyKind.CONTINUE, text=shorten(last), lines=tuple(lines))
    line_tag, _, rest = last.partition(" ")
    status, _, text = rest.partition(" ")
    if tag == "*" and line_tag != "*":
        raise ProtocolError(f"not IMAP: {shorten(last)}")
    if line_tag != tag:
        if rest.upper().startswith("BYE"):
            raise ConnectionResetError(shorten(rest))
        return None
    reply_kind = ReplyKind.DONE if status.upper() in {"OK", "PREAUTH"} else ReplyKind.PERMANENT
    if reply_kind is ReplyKind.PERMANENT and response_code(text) in _TEMPORARY_CODES:
        reply_kind = ReplyKind.TEMPORARY
    return ServerReply(kind=reply_kind, text=shorten(rest), lines=tuple(lines))


def _parse_pop3(line: str) -> ServerReply:
    if line.startswith("+OK"):
        return ServerReply(kind=ReplyKind.DONE, text=shorten(line), lines=(line,))
    if line.startswith("+"):
        return ServerReply(kind=ReplyKind.CONTINUE, text=shorten(line), lines=(line,))
    if not line.upper().startswith("-ERR"):
        raise ProtocolError(f"not POP3: {shorten(line)}")
    code = _POP3_CODE.match(line[4:].strip())
    is_temporary = code is not None and code[1].upper() in _TEMPORARY_CODES
    return ServerReply(
        kind=ReplyKind.TEMPORARY if is_temporary else ReplyKind.PERMANENT, text=shorten(line), lines=(line,)
    )


def _certificate_chain(ssl_object: Any) -> tuple[bytes, ...]:
    # The method is public since Python 3.13. In earlier versions only the inner object has it.
    inner = ssl_object._sslobj  # noqa: SLF001 - see above
    get_chain = getattr(ssl_object, "get_unverified_chain", None) or getattr(inner, "get_unverified_chain", None)
    certificates = (get_chain() or ()) if get_chain is not None else ()
    chain = tuple(
        certificate if isinstance(certificate, bytes) else _to_der(certificate) for certificate in certificates
    )
    own = ssl_object.getpeercert(binary_form=True)
    return chain or ((own,) if own else ())


def _to_der(certificate: Any) -> bytes:
    # Without an argument this method returns PEM.
    return ssl.PEM_cert_to_DER_cert(certificate.public_bytes())
