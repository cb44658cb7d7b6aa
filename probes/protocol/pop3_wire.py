"""The line to a POP3 server (RFC 1939): octets in, answers out, as many and as long as we allow.

Not `poplib`: it blocks, it takes no line above 2,048 octets though mail has longer ones, and puts no limit to an answer.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from probes.credentials.sign_in import Bearer, shown
from probes.model.allowance import cost
from probes.model.mailbox import Password
from probes.model.reply import shortened
from probes.model.server_error import CommandRefused, Injected, Unreadable
from probes.protocol.transcript import Transcript

#: A status line has 512 octets (RFC 1939 3).
_STATUS_AT_MOST = 8 * 1024
#: A line of a mail; servers break or refuse longer ones.
_LINE_AT_MOST = 1024 * 1024
#: The list of a mailbox of some hundred thousand messages.
_TOTAL_AT_MOST = 16 * 1024 * 1024
#: What may lie here unread before the server is made to wait.
_AHEAD_AT_MOST = 256 * 1024


class Pop3Wire(asyncio.Protocol):
    """Whatever goes wrong, the connection is of no use afterwards. Not for two tasks at once."""

    def __init__(self, leg: float, transcript: Transcript | None = None) -> None:
        #: No line of an answer is waited for longer, in seconds.
        self._leg = leg
        #: What it has cost to read what the server said, by `probes.model.allowance.cost`.
        self.cost = 0
        #: What is signed in with: a server that repeats it does not get it into an error.
        self.key: Password | Bearer | None = None
        self._heard = bytearray()
        self._lost: Exception | None = None
        self._transcript = transcript
        #: The last line asked for more: what follows is a secret.
        self._asked_for_more = False
        #: A list has begun and not ended.
        self._listing = False
        self._news = asyncio.Event()
        self._transports: list[asyncio.Transport] = []

    # -- what asyncio calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.append(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self.cost += cost(data)
        self._heard += data
        if len(self._heard) > _AHEAD_AT_MOST:
            self._transports[-1].pause_reading()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._lost or exc or EOFError("the server closed the connection")
        self._news.set()

    # -- what a session does -------------------------------------------------------------------------------------

    async def secure(self, tls: ssl.SSLContext, name: str) -> None:
        """Turn to TLS. Raise `Injected` when the server has already said more.

        Said in clear and read after the handshake, it would pass for the server's own word (RFC 2595 4).
        """
        if self._heard:
            raise Injected("an answer before TLS was up")
        transport = await asyncio.get_running_loop().start_tls(self._transports[-1], self, tls, server_hostname=name)
        if transport is None:
            raise ConnectionResetError("the server closed the connection")
        self._transports.append(transport)

    async def status(self, command: str | None = None) -> str:
        """Send *command*, if any, and return the text of the "+OK". Raise `CommandRefused` when it is "-ERR"."""
        mark, text = await self.exchange(command)
        if mark == "+OK":
            return text
        if mark == "-ERR":
            raise CommandRefused(mark, text)
        raise Unreadable("asked for more where nothing was left to say")

    async def exchange(self, command: str | None) -> tuple[str, str]:
        """Send *command* and return how it was answered: "+OK", "-ERR" or "+" (RFC 5034 4), and the text."""
        if command is not None:
            if any(character in command for character in "\r\n\0"):
                raise ValueError("a command is one line")
            if self._transcript is not None:
                told = "PASS ***" if command.startswith("PASS ") else command
                self._transcript.asked(told, secret=self._asked_for_more)
            self._transports[-1].write(f"{command}\r\n".encode())
        line = (await self._line(_STATUS_AT_MOST)).decode("utf-8", "replace")
        mark, _, text = line.partition(" ")
        self._asked_for_more = mark == "+"
        if self._transcript is not None:
            self._transcript.answered(line, secret=self._asked_for_more)
        if mark.upper() not in {"+OK", "-ERR", "+"}:
            raise Unreadable(f"answered with {shortened(shown(line, self.key))}")
        # What is said of a refusal is shown; of all else nothing is.
        return mark.upper(), shown(text, self.key) if mark.upper() == "-ERR" else text

    async def listing(self, command: str) -> list[bytes]:
        """Send *command* and return the lines of a multi-line answer (RFC 1939 3). Raise `CommandRefused`."""
        await self.status(command)
        lines: list[bytes] = []
        self._listing = True
        size = 0
        while (line := await self._line(_LINE_AT_MOST)) != b".":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            # A line counts for more than its octets, so that many empty ones end, too.
            size += len(line) + 64
            if size > _TOTAL_AT_MOST:
                raise Unreadable("an answer without an end")
        self._listing = False
        return lines

    async def _line(self, at_most: int) -> bytes:
        searched, began = 0, asyncio.get_running_loop().time()
        while (end := self._heard.find(b"\n", searched)) < 0:
            searched = len(self._heard)
            if searched > at_most:
                raise Unreadable("a line without an end")
            await self._more(began + self._leg)
        if end > at_most:
            raise Unreadable("a line without an end")
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return line.removesuffix(b"\r")

    @property
    def unfinished(self) -> str:
        """What there is to say of an answer that has begun and not ended; "" when there is none."""
        return "an answer without an end" if self._heard or self._listing else ""

    async def _more(self, until: float) -> None:
        self._news.clear()
        if self._lost is not None:
            # An SSL error keeps its kind; whatever else it is, the connection is gone.
            raise self._lost if isinstance(self._lost, ssl.SSLError) else ConnectionResetError(str(self._lost))
        self._transports[-1].resume_reading()
        try:
            async with asyncio.timeout_at(until):
                await self._news.wait()
        except TimeoutError as late:
            raise TimeoutError(self.unfinished) from late

    def close(self) -> None:
        """Let go at once: a TLS farewell to a silent peer would keep the socket for another half minute."""
        for transport in self._transports:
            transport.abort()
