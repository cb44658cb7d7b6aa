"""POP3 session (RFC 1939). It shows the messages that are present at the sign-in, and deletes marked messages at QUIT.

`poplib` is not used: it blocks, rejects lines above 2,048 octets although mail has longer ones, and does not limit a
response.
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

#: A status line has 512 octets (RFC 1939 3).
_STATUS_AT_MOST = 8 * 1024
#: A line of a mail; servers break or refuse longer ones.
_LINE_AT_MOST = 1024 * 1024
#: Limit of a multi-line response: enough for the list of a mailbox with some hundred thousand messages.
_TOTAL_AT_MOST = 16 * 1024 * 1024


#: Octets: a larger message is not fetched. Our message has some 10 KiB, and its bounce about 20 KiB.
_MESSAGE_AT_MOST = 256 * 1024
#: Octets of a header that are returned; POP3 cannot fetch a part of a header.
_HEADER_AT_MOST = 64 * 1024
#: Number of the newest messages that are examined. A server lists all messages each time.
_MAX_LISTED = 2_000
#: Number of the newest messages that are examined on a server without UIDs, where each message costs a round trip.
_MAX_DIGESTED = 50
_STATUS_HEADER = re.compile(rb"^(?:X-)?Status:[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)
_LOGIN_DELAY_AT_MOST = timedelta(minutes=10)


class Pop3Session:
    """Connection to a POP3 mailbox. Messages have numbers, which are valid in this session only, and lasting UIDs."""

    def __init__(
        self, wire: LineWire, party: Party, response_timeout: timedelta, transcript: Transcript | None = None
    ) -> None:
        """Each line of a response is awaited at most *response_timeout*."""
        self._wire = wire
        self._party = party
        self._response_timeout = response_timeout.total_seconds()
        self._transcript = transcript
        #: Credentials, which are removed from errors if the server repeats them.
        self._credential: Password | Bearer | None = None
        #: Whether the server has requested continuation of a sign-in. If so, the next command is a secret.
        self._awaits_secret = False
        #: Whether a multi-line response has begun and not ended.
        self._in_multiline = False
        #: Capabilities by CAPA (RFC 2449), in upper case; empty for a server without it.
        self.capabilities: dict[str, list[str]] = {}
        #: Sizes by the last list.
        self._sizes: dict[int, int] = {}

    @property
    def login_delay(self) -> timedelta:
        """Minimum interval between two sessions that the server requires (RFC 2449 6.5)."""
        announced = next(iter(self.capabilities.get("LOGIN-DELAY", ())), "")
        if not announced.isdecimal() or len(announced) > 6:
            return timedelta(0)
        return min(_LOGIN_DELAY_AT_MOST, timedelta(seconds=int(announced)))

    @property
    def incomplete_text(self) -> str:
        """Text about an incomplete response; "" without one."""
        return "an answer without an end" if self._wire.has_unread_data or self._in_multiline else ""

    @property
    def cost(self) -> int:
        """Cost of the server's responses so far, by `probes.model.polling.reading_cost`."""
        return self._wire.cost

    async def list_uids(self) -> list[tuple[int, str]]:
        """Return number and UID of each of the newest messages, oldest first.

        UIDL is optional (RFC 1939 7). Without UIDL, a hash of the message's header takes the place of its UID.
        """
        try:
            lines = await self._multiline("UIDL")
        except CommandRejectedError:
            if "UIDL" in self.capabilities:
                raise
            numbers = sorted(await self.list_sizes())[-_MAX_DIGESTED:]
            return [(number, _header_digest(await self.fetch_header(number))) for number in numbers]
        entries = [line.decode("latin-1").partition(" ") for line in lines[-_MAX_LISTED:]]
        return [(_number(number), uid.strip()) for number, _, uid in entries]

    async def list_sizes(self) -> dict[int, int]:
        """Return the size of each of the newest messages, in octets."""
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
            # Like UIDL, TOP is optional (RFC 1939 7).
            content = await self.fetch_message(number, self._sizes.get(number, 0)) or b""
            return b"".join(content.partition(b"\r\n\r\n")[:2])[:_HEADER_AT_MOST]
        return _join_lines(lines)[:_HEADER_AT_MOST]

    async def fetch_message(self, number: int, size: int) -> bytes | None:
        """Return a complete message; `None` if *size*, in octets, is above the limit."""
        if size > _MESSAGE_AT_MOST:
            return None
        # The message may be larger than the server reported.
        return _join_lines(await self._multiline(f"RETR {number}"))[:_MESSAGE_AT_MOST]

    async def delete(self, number: int) -> None:
        """Mark a message; it is deleted by `quit`."""
        await self._command(f"DELE {number}")

    async def quit(self) -> None:
        """Delete the marked messages, and unlock the mailbox."""
        await self._command("QUIT")

    def close(self) -> None:
        """Close the connection; marked messages stay."""
        self._wire.close()

    # -- commands and responses ----------------------------------------------------------------------------------

    async def _command(self, command: str | None = None) -> str:
        """Send *command*, if any, and return the text of "+OK". Raise `CommandRejectedError` for "-ERR"."""
        mark, text = await self._exchange(command)
        if mark == "+OK":
            return text
        if mark == "-ERR":
            raise CommandRejectedError(mark, text)
        raise ProtocolError("a continuation request outside of a sign-in")

    async def _exchange(self, command: str | None) -> tuple[str, str]:
        """Send *command* and return the kind of the response, "+OK", "-ERR" or "+" (RFC 5034 4), and its text."""
        if command is not None:
            if self._transcript is not None:
                masked = "PASS ***" if command.startswith("PASS ") else command
                self._transcript.add_command(masked, secret=self._awaits_secret)
            self._wire.send_line(command)
        line = (await self._line(_STATUS_AT_MOST)).decode("utf-8", "replace")
        mark, _, text = line.partition(" ")
        self._awaits_secret = mark == "+"
        if self._transcript is not None:
            self._transcript.add_response(line, secret=self._awaits_secret)
        if mark.upper() not in {"+OK", "-ERR", "+"}:
            raise ProtocolError(f"answered with {shorten(mask_refusal(line, self._credential))}")
        # Only the text of a refusal is shown to people.
        return mark.upper(), mask_refusal(text, self._credential) if mark.upper() == "-ERR" else text

    async def _multiline(self, command: str) -> list[bytes]:
        """Send *command* and return the lines of a multi-line response (RFC 1939 3). Raise `CommandRejectedError`."""
        await self._command(command)
        lines: list[bytes] = []
        self._in_multiline = True
        size = 0
        while (line := await self._line(_LINE_AT_MOST)) != b".":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            # Each line has a minimum cost, so that the number of empty lines is limited, too.
            size += len(line) + 64
            if size > _TOTAL_AT_MOST:
                raise ProtocolError("an answer without an end")
        self._in_multiline = False
        return lines

    async def _line(self, at_most: int) -> bytes:
        try:
            return await self._wire.read_line(at_most, until=asyncio.get_running_loop().time() + self._response_timeout)
        except TimeoutError as late:
            raise TimeoutError(self.incomplete_text) from late

    # -- connecting ----------------------------------------------------------------------------------------------

    async def read_greeting(self) -> None:
        """Read the greeting, and request the capabilities."""
        try:
            await self._command()
        except TimeoutError as late:
            # The port is open, and the peer has sent no complete greeting.
            raise timeout_failure(Phase.CONNECT, self._party, str(late)) from late
        except CommandRejectedError as refusal:
            raise probe_failure(
                Outcome.CONNECT, Reason.SERVICE_REFUSED, Phase.CONNECT, self._party, refusal.text
            ) from refusal
        await self._read_capabilities()

    async def start_tls(self, server: Server) -> None:
        """Start TLS (RFC 2595 4). Raise an error if that fails: the session never continues without TLS."""
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
        # The response is sent on a separate line: a POP3 command line has at most 255 octets (RFC 5034 4), and
        # Microsoft's server requires a separate line.
        mark, text = await self._exchange(f"AUTH {mechanism}")
        if mark == "+":
            mark, text = await self._exchange(response)
        challenge = ""
        if mark == "+":
            # A second continuation request has the server's reason. The refusal follows after an empty line from the
            # client.
            challenge = read_challenge(text)
            mark, text = await self._exchange("")
        if mark != "+OK":
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

    Each line of a response is awaited at most *response_timeout*. Connection and sign-in must be complete *within* this
    time after the credentials are available. Raise `ProbeFailedError`, or `TimeoutError`; *trace* then has the phase.
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
    # The Status header is left out, because some servers change it when a message is read.
    return sha256(_STATUS_HEADER.sub(b"", header)).hexdigest()


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 19:
        raise ProtocolError("a response without the number that POP3 requires")
    return int(digits)


def _join_lines(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)
