"""POP3 session (RFC 1939). It shows the messages that are present at the sign-in, and deletes marked messages at QUIT.

`poplib` is not used, because it blocks, rejects lines above 2,048 octets although mail has longer ones, and does not
limit the size of a response.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256

from probes.credentials.sign_in import Bearer, mask_refusal, mask_secrets, plain_response, with_credential
from probes.model.mailbox import Mailbox, Password, Security, Server
from probes.model.probe import CommandRejectedError, ProtocolError, Trace
from probes.model.reply import Reason, pop3_sign_in_failure, probe_failure, read_challenge, shorten, timeout_failure
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import timed_phase
from probes.protocol.connection import connect, hide_peer_text
from probes.protocol.line_wire import LineWire
from probes.protocol.transcript import Transcript

#: Octets of a status line. RFC 1939 3 allows 512.
_MAX_STATUS = 8 * 1024
#: Octets of a line of mail; servers break or refuse longer ones.
_MAX_LINE = 1024 * 1024
#: Octets of a multi-line response: enough for the list of a mailbox with some hundred thousand messages.
_MAX_TOTAL = 16 * 1024 * 1024
#: Octets above which a message is not fetched. A probe message has some 10 KiB, and a bounce of it about 20 KiB.
_MAX_MESSAGE = 256 * 1024
#: Octets of a header that are returned. POP3 always sends the whole header.
_MAX_HEADER = 64 * 1024
#: Number of the newest messages that are returned. The server lists all messages each time.
_MAX_LISTED = 2_000
#: The same for a server without UIDs, whose headers are fetched and hashed: each message costs a round trip.
_MAX_HASHED = 50
#: Header in which some servers record that a message was read.
_STATUS_HEADER = re.compile(rb"^(?:X-)?Status:[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)
_MAX_LOGIN_DELAY = timedelta(minutes=10)


class Pop3Session:
    """Signed-in connection to a POP3 mailbox. A message has a number, valid in this session, and a permanent UID."""

    def __init__(
        self, wire: LineWire, party: Party, response_timeout: timedelta, transcript: Transcript | None = None
    ) -> None:
        """*response_timeout* limits the wait for each line of a response."""
        self._wire = wire
        self._party = party
        self._response_timeout = response_timeout.total_seconds()
        self._transcript = transcript
        #: Credentials, which are masked in errors if the server repeats them.
        self._credential: Password | Bearer | None = None
        #: Whether the server has requested the continuation of a sign-in, so that the next command is secret.
        self._awaits_secret = False
        #: Whether a multi-line response has begun, but not ended.
        self._in_multiline = False
        #: Parameters of each capability from CAPA (RFC 2449), in upper case; empty for a server without CAPA.
        self.capabilities: dict[str, list[str]] = {}
        #: Octets of each message, by its number, from the last LIST.
        self._sizes: dict[int, int] = {}

    @property
    def login_delay(self) -> timedelta:
        """Minimum interval between two sessions that the server requires (RFC 2449 6.5)."""
        announced = next(iter(self.capabilities.get("LOGIN-DELAY", ())), "")
        if not announced.isdecimal() or len(announced) > 6:
            return timedelta(0)
        return min(_MAX_LOGIN_DELAY, timedelta(seconds=int(announced)))

    @property
    def incomplete_response_text(self) -> str:
        """Text for an error about an incomplete response; "" if none is incomplete."""
        return "an answer without an end" if self._wire.has_unread_data or self._in_multiline else ""

    @property
    def cost(self) -> int:
        """Cost of the server's responses so far, by `probes.model.polling.reading_cost`."""
        return self._wire.cost

    async def list_uids(self) -> list[tuple[int, str]]:
        """Return number and UID of each of the newest messages, oldest first.

        UIDL is optional (RFC 1939 7). Without it, a hash of the message's header replaces the UID.
        """
        try:
            lines = await self._multiline("UIDL")
        except CommandRejectedError:
            if "UIDL" in self.capabilities:
                raise
            numbers = sorted(await self.list_sizes())[-_MAX_HASHED:]
            return [(number, _header_digest(await self.fetch_header(number))) for number in numbers]
        entries = [line.decode("latin-1").partition(" ") for line in lines[-_MAX_LISTED:]]
        return [(_number(number), uid.strip()) for number, _, uid in entries]

    async def list_sizes(self) -> dict[int, int]:
        """Return the size in octets of each of the newest messages, by number."""
        entries = [line.decode("latin-1").split() for line in (await self._multiline("LIST"))[-_MAX_LISTED:]]
        self._sizes = {_number(words[0]): _number(words[1]) for words in entries if len(words) >= 2}
        return self._sizes

    async def count_messages(self) -> int:
        """Return the number of messages."""
        words = (await self._command("STAT")).split()
        return _number(words[0] if words else "")

    async def fetch_header(self, number: int) -> bytes:
        """Return the header of a message, or the beginning of a long header.

        The result is empty if the server has no TOP and the message is above the size limit.
        """
        try:
            lines = await self._multiline(f"TOP {number} 0")
        except CommandRejectedError:
            if "TOP" in self.capabilities:
                raise
            # TOP is optional (RFC 1939 7).
            content = await self.fetch_message(number, self._sizes.get(number, 0)) or b""
            return b"".join(content.partition(b"\r\n\r\n")[:2])[:_MAX_HEADER]
        return _join_lines(lines)[:_MAX_HEADER]

    async def fetch_message(self, number: int, size: int) -> bytes | None:
        """Return a complete message; `None` if *size*, in octets, is above the limit."""
        if size > _MAX_MESSAGE:
            return None
        # The message may be larger than the server reported.
        return _join_lines(await self._multiline(f"RETR {number}"))[:_MAX_MESSAGE]

    async def delete(self, number: int) -> None:
        """Mark a message, which `quit` then deletes."""
        await self._command(f"DELE {number}")

    async def quit(self) -> None:
        """Delete the marked messages, and unlock the mailbox."""
        await self._command("QUIT")

    def close(self) -> None:
        """Close the connection; marked messages stay."""
        self._wire.close()

    # -- commands and responses ----------------------------------------------------------------------------------

    async def _command(self, command: str | None = None) -> str:
        """Send *command* unless it is `None`; return the text of "+OK". Raise `CommandRejectedError` for "-ERR"."""
        status, text = await self._exchange(command)
        if status == "+OK":
            return text
        if status == "-ERR":
            raise CommandRejectedError(status, text)
        raise ProtocolError("a continuation request outside of a sign-in")

    async def _exchange(self, command: str | None) -> tuple[str, str]:
        """Send *command*, if any; return the status, "+OK", "-ERR" or "+" (RFC 5034 4), and the text of the reply."""
        if command is not None:
            if self._transcript is not None:
                masked = "PASS ***" if command.startswith("PASS ") else command
                self._transcript.add_command(masked, secret=self._awaits_secret)
            self._wire.send_line(command)
        line = (await self._line(_MAX_STATUS)).decode("utf-8", "replace")
        status, _, text = line.partition(" ")
        self._awaits_secret = status == "+"
        if self._transcript is not None:
            self._transcript.add_response(line, secret=self._awaits_secret)
        if status.upper() not in {"+OK", "-ERR", "+"}:
            raise ProtocolError(f"answered with {shorten(mask_refusal(line, self._credential))}")
        # Only the text of a refusal is masked, because no other text is shown to people.
        return status.upper(), mask_refusal(text, self._credential) if status.upper() == "-ERR" else text

    async def _multiline(self, command: str) -> list[bytes]:
        """Send *command* and return the lines of a multi-line response (RFC 1939 3). Raise `CommandRejectedError`."""
        await self._command(command)
        lines: list[bytes] = []
        self._in_multiline = True
        size = 0
        while (line := await self._line(_MAX_LINE)) != b".":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            # A surcharge for each line limits the number of empty lines, too.
            size += len(line) + 64
            if size > _MAX_TOTAL:
                raise ProtocolError("an answer without an end")
        self._in_multiline = False
        return lines

    async def _line(self, at_most: int) -> bytes:
        try:
            return await self._wire.read_line(
                at_most, deadline=asyncio.get_running_loop().time() + self._response_timeout
            )
        except TimeoutError as error:
            raise TimeoutError(self.incomplete_response_text) from error

    # -- connecting ----------------------------------------------------------------------------------------------

    async def read_greeting(self) -> None:
        """Read the greeting, and request the capabilities."""
        try:
            await self._command()
        except TimeoutError as error:
            # The port is open, but the peer has not sent a complete greeting.
            raise timeout_failure(Phase.CONNECT, self._party, str(error)) from error
        except CommandRejectedError as refusal:
            raise probe_failure(
                Outcome.CONNECT, Reason.SERVICE_REFUSED, Phase.CONNECT, self._party, refusal.text
            ) from refusal
        await self._read_capabilities()

    async def start_tls(self, server: Server) -> None:
        """Start TLS (RFC 2595 4). A failure raises an error, so that the session never continues without TLS."""
        if "STLS" not in self.capabilities:
            raise probe_failure(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, self._party)
        try:
            await self._command("STLS")
        except CommandRejectedError as refusal:
            raise probe_failure(Outcome.TLS, Reason.TLS_UNAVAILABLE, Phase.TLS, self._party, refusal.text) from refusal
        await self._wire.start_tls(server.tls, server.certificate_name)
        await self._read_capabilities()

    async def sign_in(self, credential: Password | Bearer) -> None:
        """Sign in with *credential*, in one attempt."""
        self._credential = credential
        mechanisms = self.capabilities.get("SASL", [])
        match credential:
            case Bearer() if "XOAUTH2" in mechanisms:
                await self._authenticate("XOAUTH2", credential, credential.response)
            case Password() if "USER" in self.capabilities or not self.capabilities:
                try:
                    await self._command(f"USER {credential.username}")
                    await self._command(f"PASS {credential.secret}")
                except CommandRejectedError as refusal:
                    raise pop3_sign_in_failure(refusal.text, self._party) from None
            case Password() if "PLAIN" in mechanisms:
                await self._authenticate("PLAIN", credential, plain_response(credential))
            case _:
                raise probe_failure(Outcome.AUTH, Reason.SIGN_IN_NOT_OFFERED, Phase.AUTH, self._party)

    async def _authenticate(self, mechanism: str, credential: Password | Bearer, response: str) -> None:
        # The response is sent on a separate line, because a command line has at most 255 octets (RFC 5034 4), and
        # because Microsoft's server requires it.
        status, text = await self._exchange(f"AUTH {mechanism}")
        if status == "+":
            status, text = await self._exchange(response)
        challenge = ""
        if status == "+":
            # A second continuation request has the reason of a refusal. The refusal follows when the client has sent an
            # empty line.
            challenge = read_challenge(text)
            status, text = await self._exchange("")
        if status != "+OK":
            raise pop3_sign_in_failure(
                mask_secrets(text, credential), self._party, challenge=mask_secrets(challenge, credential)
            )

    async def _read_capabilities(self) -> None:
        self.capabilities = {}
        with suppress(CommandRejectedError):
            entries = [line.decode("latin-1").upper().split() for line in await self._multiline("CAPA")]
            self.capabilities = {words[0]: words[1:] for words in entries if words}


async def open_session(
    mailbox: Mailbox, trace: Trace, party: Party, *, response_timeout: timedelta, within: timedelta | None = None
) -> Pop3Session:
    """Connect with TLS, and sign in. The sign-in locks the mailbox until the session ends.

    *response_timeout* limits the wait for each line of a response; *within* limits connection and sign-in, after the
    credentials are available. Raise `ProbeFailedError`, or `TimeoutError` after *within*; *trace* then has the phase
    that timed out.
    """
    server = mailbox.pop3
    if server is None:
        raise ValueError(f"{mailbox.name} has no POP3 server")

    async def connect_with(credential: Password | Bearer) -> Pop3Session:
        with hide_peer_text(server):
            async with asyncio.timeout(within.total_seconds() if within else None):
                return await _connect(server, credential, trace, party, response_timeout)

    return await with_credential(mailbox.login, party, connect_with, within=within)


async def _connect(
    server: Server, credential: Password | Bearer, trace: Trace, party: Party, response_timeout: timedelta
) -> Pop3Session:
    transcript = Transcript.for_trace("POP3", trace, party, credential)
    _, wire = await connect(server, trace, party, LineWire)
    session = Pop3Session(wire, party, response_timeout, transcript)
    try:
        with timed_phase(trace, Phase.CONNECT, party):
            await session.read_greeting()
        if server.security is Security.STARTTLS:
            with timed_phase(trace, Phase.TLS, party):
                await session.start_tls(server)
        with timed_phase(trace, Phase.AUTH, party):
            await session.sign_in(credential)
    except BaseException:
        session.close()
        raise
    return session


def _header_digest(header: bytes) -> str:
    # The Status header is left out, because it changes when the message is read.
    return sha256(_STATUS_HEADER.sub(b"", header)).hexdigest()


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 19:
        raise ProtocolError("a response without the number that POP3 requires")
    return int(digits)


def _join_lines(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)
