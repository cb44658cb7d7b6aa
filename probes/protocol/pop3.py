"""POP3 session (RFC 1939): it sees the mailbox as of the sign-in, and deletes at QUIT.

Not `poplib`: it blocks, it rejects lines above 2,048 octets though mail has longer ones, and has no limit for a
response.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256

from probes.credentials.sign_in import Bearer, masked, plain, shown, with_key
from probes.model.mailbox import Mailbox, Password, Security, Server
from probes.model.probe import CommandRejectedError, ProtocolError, Trace
from probes.model.reply import Reason, challenge_in, expired, failed, pop3_sign_in_failure, shortened
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import stage
from probes.protocol.connection import connect, unquoted
from probes.protocol.line_wire import LineWire
from probes.protocol.transcript import Transcript

#: A status line has 512 octets (RFC 1939 3).
_STATUS_AT_MOST = 8 * 1024
#: A line of a mail; servers break or refuse longer ones.
_LINE_AT_MOST = 1024 * 1024
#: The list of a mailbox of some hundred thousand messages.
_TOTAL_AT_MOST = 16 * 1024 * 1024


#: Our message has some 10 KiB, a bounce of it twice that; a larger one is not fetched.
_MESSAGE_AT_MOST = 256 * 1024
#: Octets of a header that are read; POP3 cannot fetch a part of it.
_HEADER_AT_MOST = 64 * 1024
#: Number of newest messages that are distinguished; a server lists all messages each time.
_NEWEST = 2_000
#: The same without UIDs, where each costs a round trip.
_DIGESTED = 50
_NOTES = re.compile(rb"^(?:X-)?Status:[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)
_LOGIN_DELAY_AT_MOST = timedelta(minutes=10)


class Pop3Session:
    """Connection to a POP3 mailbox. Messages have numbers, which are valid in this session only, and lasting UIDs."""

    def __init__(self, wire: LineWire, party: Party, leg: timedelta, transcript: Transcript | None = None) -> None:
        """Each line of a response is awaited at most *leg*."""
        self._wire = wire
        self._party = party
        self._leg = leg.total_seconds()
        self._transcript = transcript
        #: Credentials, which are removed from errors if the server repeats them.
        self._key: Password | Bearer | None = None
        #: The last line requested continuation: the next line is a secret.
        self._asked_for_more = False
        #: A list has begun and not ended.
        self._is_listing = False
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
    def unfinished(self) -> str:
        """Text about an incomplete response; "" without one."""
        return "an answer without an end" if self._wire.has_more or self._is_listing else ""

    @property
    def cost(self) -> int:
        """Cost of the server's responses so far, by `probes.model.polling.cost`."""
        return self._wire.cost

    async def uids(self) -> list[tuple[int, str]]:
        """Return number and UID of each of the newest messages, oldest first.

        UIDL is optional (RFC 1939 7): without it messages are distinguished by their headers.
        """
        try:
            answer = await self._listing("UIDL")
        except CommandRejectedError:
            if "UIDL" in self.capabilities:
                raise
            numbers = sorted(await self.sizes())[-_DIGESTED:]
            return [(number, _digest(await self.header(number))) for number in numbers]
        listed = [line.decode("latin-1").partition(" ") for line in answer[-_NEWEST:]]
        return [(_number(number), uid.strip()) for number, _, uid in listed]

    async def sizes(self) -> dict[int, int]:
        """Return the size of each of the newest messages, in octets."""
        listed = [line.decode("latin-1").split() for line in (await self._listing("LIST"))[-_NEWEST:]]
        self._sizes = {_number(words[0]): _number(words[1]) for words in listed if len(words) >= 2}
        return self._sizes

    async def count(self) -> int:
        """Return the number of messages."""
        words = (await self._status("STAT")).split()
        return _number(words[0] if words else "")

    async def header(self, number: int) -> bytes:
        """Return the header of a message, or its beginning; it may be empty for a message above the size limit."""
        try:
            lines = await self._listing(f"TOP {number} 0")
        except CommandRejectedError:
            if "TOP" in self.capabilities:
                raise
            # TOP is optional, too (RFC 1939 7).
            whole = await self.message(number, self._sizes.get(number, 0)) or b""
            return b"".join(whole.partition(b"\r\n\r\n")[:2])[:_HEADER_AT_MOST]
        return _text(lines)[:_HEADER_AT_MOST]

    async def message(self, number: int, size: int) -> bytes | None:
        """Return a complete message of *size* octets; `None`: it is above the size limit."""
        if size > _MESSAGE_AT_MOST:
            return None
        # It may be larger than the server reported.
        return _text(await self._listing(f"RETR {number}"))[:_MESSAGE_AT_MOST]

    async def delete(self, number: int) -> None:
        """Mark a message; it is deleted by `quit`."""
        await self._status(f"DELE {number}")

    async def quit(self) -> None:
        """Delete the marked messages, and unlock the mailbox."""
        await self._status("QUIT")

    def close(self) -> None:
        """Close the connection; marked messages stay."""
        self._wire.close()

    # -- commands and responses ----------------------------------------------------------------------------------

    async def _status(self, command: str | None = None) -> str:
        """Send *command*, if any, and return the text of "+OK". Raise `CommandRejectedError` for "-ERR"."""
        mark, text = await self._exchange(command)
        if mark == "+OK":
            return text
        if mark == "-ERR":
            raise CommandRejectedError(mark, text)
        raise ProtocolError("asked for more where nothing was left to say")

    async def _exchange(self, command: str | None) -> tuple[str, str]:
        """Send *command* and return the kind of the response, "+OK", "-ERR" or "+" (RFC 5034 4), and its text."""
        if command is not None:
            if self._transcript is not None:
                told = "PASS ***" if command.startswith("PASS ") else command
                self._transcript.asked(told, secret=self._asked_for_more)
            self._wire.say(command)
        line = (await self._line(_STATUS_AT_MOST)).decode("utf-8", "replace")
        mark, _, text = line.partition(" ")
        self._asked_for_more = mark == "+"
        if self._transcript is not None:
            self._transcript.answered(line, secret=self._asked_for_more)
        if mark.upper() not in {"+OK", "-ERR", "+"}:
            raise ProtocolError(f"answered with {shortened(shown(line, self._key))}")
        # Only the text of a refusal is shown.
        return mark.upper(), shown(text, self._key) if mark.upper() == "-ERR" else text

    async def _listing(self, command: str) -> list[bytes]:
        """Send *command* and return the lines of a multi-line response (RFC 1939 3). Raise `CommandRejectedError`."""
        await self._status(command)
        lines: list[bytes] = []
        self._is_listing = True
        size = 0
        while (line := await self._line(_LINE_AT_MOST)) != b".":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            # Each line has a minimum cost, so that many empty ones are limited, too.
            size += len(line) + 64
            if size > _TOTAL_AT_MOST:
                raise ProtocolError("an answer without an end")
        self._is_listing = False
        return lines

    async def _line(self, at_most: int) -> bytes:
        try:
            return await self._wire.hear(at_most, until=asyncio.get_running_loop().time() + self._leg)
        except TimeoutError as late:
            raise TimeoutError(self.unfinished) from late

    # -- connecting ----------------------------------------------------------------------------------------------

    async def greet(self) -> None:
        """Read the greeting, and request the capabilities."""
        try:
            await self._status()
        except TimeoutError as late:
            # The port is open, and the peer has sent no complete greeting.
            raise expired(Phase.CONNECT, self._party, str(late)) from late
        except CommandRejectedError as refusal:
            raise failed(Outcome.CONNECT, Reason.SERVICE_REFUSED, Phase.CONNECT, self._party, refusal.text) from refusal
        await self._ask_capabilities()

    async def start_tls(self, server: Server) -> None:
        """Upgrade the connection (RFC 2595 4), or fail: it never continues without TLS."""
        if "STLS" not in self.capabilities:
            raise failed(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, self._party)
        try:
            await self._status("STLS")
        except CommandRejectedError as refusal:
            raise failed(Outcome.TLS, Reason.TLS_UNAVAILABLE, Phase.TLS, self._party, refusal.text) from refusal
        await self._wire.secure(server.tls, server.certificate_name)
        await self._ask_capabilities()

    async def sign_in(self, key: Password | Bearer) -> None:
        """Try *key* once."""
        self._key = key
        mechanisms = self.capabilities.get("SASL", [])
        match key:
            case Bearer() if "XOAUTH2" in mechanisms:
                await self._authenticate("XOAUTH2", key, key.response)
            case Password() if "USER" in self.capabilities or not self.capabilities:
                try:
                    await self._status(f"USER {key.username}")
                    await self._status(f"PASS {key.secret}")
                except CommandRejectedError as refusal:
                    raise pop3_sign_in_failure(refusal.text, self._party) from None
            case Password() if "PLAIN" in mechanisms:
                await self._authenticate("PLAIN", key, plain(key))
            case _:
                raise failed(Outcome.AUTH, Reason.SIGN_IN_NOT_OFFERED, Phase.AUTH, self._party)

    async def _authenticate(self, mechanism: str, key: Password | Bearer, response: str) -> None:
        # Not with the command: a POP3 command line has 255 octets (RFC 5034 4), and Microsoft requires it so.
        mark, text = await self._exchange(f"AUTH {mechanism}")
        if mark == "+":
            mark, text = await self._exchange(response)
        challenge = ""
        if mark == "+":
            # The server's reason; the refusal follows only after an empty line from the client.
            challenge = challenge_in(text)
            mark, text = await self._exchange("")
        if mark != "+OK":
            raise pop3_sign_in_failure(masked(text, key), self._party, challenge=masked(challenge, key))

    async def _ask_capabilities(self) -> None:
        self.capabilities = {}
        with suppress(CommandRejectedError):
            listed = [line.decode("latin-1").upper().split() for line in await self._listing("CAPA")]
            self.capabilities = {words[0]: words[1:] for words in listed if words}


async def open_session(
    mailbox: Mailbox, trace: Trace, party: Party, *, leg: timedelta, within: timedelta | None = None
) -> Pop3Session:
    """Connect, with TLS, and sign in, which locks the mailbox until the session ends.

    Each part of a response is awaited at most *leg*, and the connection must be open *within* that time after the
    credentials are available. Raise `ProbeFailedError`, and `TimeoutError`; the trace has the phase.
    """
    server = mailbox.pop3
    if server is None:
        raise ValueError(f"{mailbox.name} has no POP3 server")

    async def attempt(key: Password | Bearer) -> Pop3Session:
        with unquoted(server):
            async with asyncio.timeout(within.total_seconds() if within else None):
                return await _opened(server, key, trace, party, leg)

    return await with_key(mailbox.login, party, attempt, within=within)


async def _opened(server: Server, key: Password | Bearer, trace: Trace, party: Party, leg: timedelta) -> Pop3Session:
    transcript = Transcript.of("POP3", trace, party, key)
    _, wire = await connect(server, trace, party, LineWire)
    session = Pop3Session(wire, party, leg, transcript)
    try:
        with stage(trace, Phase.CONNECT, party):
            await session.greet()
        if server.security is Security.STARTTLS:
            with stage(trace, Phase.TLS, party):
                await session.start_tls(server)
        with stage(trace, Phase.AUTH, party):
            await session.sign_in(key)
    except BaseException:
        session.close()
        raise
    return session


def _digest(header: bytes) -> str:
    # Some servers record in this header that a message was read.
    return sha256(_NOTES.sub(b"", header)).hexdigest()


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 19:
        raise ProtocolError("no number where POP3 has one")
    return int(digits)


def _text(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)
