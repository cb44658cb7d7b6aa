"""Hands one message to a submission server (RFC 6409) over one connection that is used for nothing else.

aiosmtplib speaks; what it does in one call is taken apart here, so that each phase is timed and blamed by itself: the
name, the port, TLS, the sign-in, the message.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from probes.credentials.sign_in import Bearer, masked, shown, with_key
from probes.model.mailbox import Mailbox, Password, Security, Server
from probes.model.probe import ProbeFailedError, Trace
from probes.model.reply import Reason, SubmissionStep, challenge_in, failed, smtp_failure
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import stage, told
from probes.protocol.connection import address_literal, connect, unquoted

_SENDER = Party.SENDER


class SmtpWire(SMTPProtocol):
    """The commands and replies of one connection."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        #: What the last challenge said (RFC 4954 4); with XOAUTH2, why the token is refused.
        self.challenge = ""
        #: What is signed in with: a server that repeats it does not get it into the trace.
        self.key: Password | Bearer | None = None
        self._trace = trace
        self._secret_next = False
        self._signing_in = False

    def write(self, data: bytes) -> None:
        # Every command comes by here. aiosmtplib drops what arrives unasked between two packets, but takes what came
        # in the same packet for the answer to the next command: a refusal would be blamed on the wrong one.
        if self._buffer:
            raise aiosmtplib.SMTPException("it said more than it was asked for")
        super().write(data)

    async def execute_command(self, *args: bytes, timeout: float | None = None) -> aiosmtplib.SMTPResponse:  # noqa: ASYNC109 - the library's signature
        line = b" ".join(args).decode("ascii", "replace")
        began = line.upper().startswith("AUTH ")
        self._signing_in = began or self._secret_next
        if self._secret_next:
            line = "***"
        elif began:
            line = f"{' '.join(line.split()[:2])} ***"
        self._trace.said(_SENDER, f"C: {line}")
        return await super().execute_command(*args, timeout=timeout)

    async def read_response(self, timeout: float | None = None) -> aiosmtplib.SMTPResponse:  # noqa: ASYNC109 - the library's signature
        try:
            response = await super().read_response(timeout=timeout)
        except aiosmtplib.SMTPResponseException as error:
            # A line that is no reply, which is quoted in the error.
            raise aiosmtplib.SMTPResponseException(error.code, shown(error.message, self.key)) from None
        # Only the challenge 334 (RFC 4954) is followed by a line of credentials; it may quote them back, too.
        self._secret_next = self._signing_in and response.code == 334
        if self._secret_next:
            # As it came: what is answered to it follows from it.
            self.challenge = response.message
            self._trace.said(_SENDER, f"S: {response.code} ***")
            return response
        if self.key is not None:
            # From here on nobody has to think of it: a server may repeat what it was told to whatever it is asked.
            response = aiosmtplib.SMTPResponse(response.code, masked(response.message, self.key))
        for line in response.message.split("\n"):
            self._trace.said(_SENDER, f"S: {response.code} {line}")
        return response

    @property
    def unfinished(self) -> str:
        """What there is to say of an answer that has begun and not ended; "" when there is none."""
        return f"{len(self._buffer)} octets of an answer without an end" if self._buffer else ""


#: A server that does not answer QUIT in this time is left without another word; the message is already its own.
_FAREWELL_SECONDS = 1.0
_PERIOD = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The server has the message, or may have it."""

    #: What broke after the message was sent and before the server answered; `None` when it said yes. The message may
    #: be on its way all the same, so it is looked for and never sent again.
    doubt: ProbeFailedError | None = None


async def submit(mailbox: Mailbox, recipient: str, message: bytes, trace: Trace, within: timedelta) -> Submitted:
    """Send *message* from *mailbox* to *recipient*, *within* a span for the whole session.

    *message* has CRLF line ends. Raise `ProbeFailedError` when the server cannot be reached, is not trusted, or refuses,
    and `TimeoutError` when time ran out before the message was sent; the trace knows where.
    """
    async with _signed_in(mailbox, trace, within) as session:
        async with session.in_time():
            await session.envelope(recipient)
        submitted = await session.hand_over(message)
        if submitted.doubt is None:
            await session.farewell()
    return submitted


async def rehearse(mailbox: Mailbox, trace: Trace, within: timedelta) -> None:
    """Do all of a submission except the message: sign in, name *mailbox* as sender and recipient, and take that back.

    Nothing is left anywhere. Raise as `submit` does.
    """
    async with _signed_in(mailbox, trace, within) as session:
        async with session.in_time():
            await session.rehearse()
        await session.farewell()


@asynccontextmanager
async def _signed_in(mailbox: Mailbox, trace: Trace, within: timedelta) -> AsyncIterator[_Session]:
    """Open a connection and sign in; a second one, if that is worth it, in the same span."""
    deadline: float | None = None

    async def attempt(key: Password | Bearer) -> _Session:
        nonlocal deadline
        # The time starts when a token is there: how long the provider takes says nothing about the server.
        deadline = deadline or asyncio.get_running_loop().time() + within.total_seconds()
        session = _Session(mailbox, trace, deadline)
        try:
            with unquoted(session.server):
                async with session.in_time():
                    await session.open()
                    await session.sign_in(key)
        except BaseException:
            session.close()
            raise
        return session

    session = await with_key(mailbox.login, _SENDER, attempt, within=within)
    try:
        yield session
    finally:
        session.close()


class _Session:
    def __init__(self, mailbox: Mailbox, trace: Trace, deadline: float) -> None:
        #: On the loop's clock.
        self._deadline = deadline
        #: The message has been written; what the server made of it may never be known.
        self._sent = False
        self._mailbox = mailbox
        if mailbox.smtp is None:
            raise ValueError(f"{mailbox.name} has no submission server")
        self.server: Server = mailbox.smtp
        self._trace = trace
        # No time-outs of the library's own: they would fire beside the caller's deadline and say less.
        self._client = aiosmtplib.SMTP(
            hostname=self.server.host, timeout=None, start_tls=False, tls_context=self.server.tls
        )
        self._transports: list[asyncio.Transport] = []

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Raise `TimeoutError` when the deadline passes; it says whether the server was silent, or in the middle of a word."""
        try:
            async with asyncio.timeout_at(self._deadline):
                yield
        except TimeoutError as late:
            wire = self._client.protocol
            raise TimeoutError(wire.unfinished if isinstance(wire, SmtpWire) else "") from late

    async def open(self) -> None:
        """Connect, get the greeting, and have TLS: before it with implicit TLS, after it with STARTTLS."""
        transport, wire = await connect(self.server, self._trace, _SENDER, lambda: SmtpWire(self._trace))
        self._transports.append(transport)
        # What SMTP.connect() does with the connection it opens itself.
        self._client.transport, self._client.protocol = transport, wire
        self._client.local_hostname = address_literal(transport)
        with stage(self._trace, Phase.CONNECT, _SENDER):
            await self._greet()
        if self.server.security is Security.STARTTLS:
            await self._start_tls()

    async def _greet(self) -> None:
        greeting = await self._wire.read_response()
        if greeting.code != 220:
            raise smtp_failure(SubmissionStep.GREETING, *greeting)
        await self._hello()

    async def _hello(self) -> None:
        try:
            await self._client.ehlo()
        except aiosmtplib.SMTPHeloError as refusal:
            raise smtp_failure(SubmissionStep.HELLO, refusal.code, refusal.message) from refusal

    async def _start_tls(self) -> None:
        with stage(self._trace, Phase.TLS, _SENDER):
            # Going on in clear when it is not offered is what an attacker who strips the offer waits for.
            if not self._client.supports_extension("starttls"):
                raise failed(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, _SENDER)
            self._trace.said(_SENDER, "C: STARTTLS")
            try:
                await self._client.starttls(server_hostname=self.server.certificate_name)
            except aiosmtplib.SMTPResponseException as refusal:
                raise smtp_failure(SubmissionStep.TLS, refusal.code, refusal.message) from refusal
            self._transports.append(cast(asyncio.Transport, self._client.transport))

    async def sign_in(self, key: Password | Bearer) -> None:
        """Offer *key* once: trying a password again by another mechanism is how an account gets locked."""
        with stage(self._trace, Phase.AUTH, _SENDER):
            if self._client.is_ehlo_or_helo_needed:
                await self._hello()
            self._wire.key = key
            try:
                await self._offer(key, self._client.server_auth_methods)
            except aiosmtplib.SMTPAuthenticationError as refusal:
                challenge = challenge_in(self._wire.challenge) if isinstance(key, Bearer) else ""
                # Without its cause, which repeats what the server said.
                raise smtp_failure(
                    SubmissionStep.SIGN_IN, refusal.code, refusal.message, challenge=masked(challenge, key)
                ) from None

    async def _offer(self, key: Password | Bearer, offered: Collection[str]) -> None:
        match key:
            case Bearer() if "xoauth2" in offered:
                await self._client.auth_xoauth2(key.username, key.token.secret)
            case Password() if "plain" in offered:
                await self._client.auth_plain(key.username, key.secret)
            case Password() if "login" in offered:
                await self._client.auth_login(key.username, key.secret)
            case Password() if "cram-md5" in offered:
                await self._client.auth_crammd5(key.username, key.secret)
            case _:
                raise failed(Outcome.AUTH, Reason.SIGN_IN_NOT_OFFERED, Phase.AUTH, _SENDER)

    @property
    def _wire(self) -> SmtpWire:
        return cast(SmtpWire, self._client.protocol)

    async def envelope(self, recipient: str) -> None:
        """Say who writes to whom."""
        with stage(self._trace, Phase.SUBMIT, _SENDER):
            await self._name(recipient)

    async def hand_over(self, message: bytes) -> Submitted:
        """Hand over the message before the deadline.

        Once it is written, only the server knows whether it took it: a broken connection, like a deadline, is a doubt
        then and no refusal (RFC 5321 4.5.3.2.6). How long that took is noted all the same.
        """
        with self._trace.phase(Phase.DATA, _SENDER):
            try:
                with told(Phase.DATA, _SENDER):
                    async with self.in_time():
                        await self._content(message)
            except ProbeFailedError as failure:
                if not self._sent or failure.failure.code is not None:
                    raise
                self._trace.doubt()
                return Submitted(doubt=failure)
        return Submitted()

    async def rehearse(self) -> None:
        """Say who would write to whom, and take it back (RFC 5321 4.1.1.5)."""
        with stage(self._trace, Phase.SUBMIT, _SENDER):
            await self._name(self._mailbox.address)
            try:
                await self._client.rset()
            except aiosmtplib.SMTPResponseException as refusal:
                raise smtp_failure(SubmissionStep.RESET, refusal.code, refusal.message) from refusal

    async def _name(self, recipient: str) -> None:
        try:
            await self._client.mail(self._mailbox.address)
            await self._client.rcpt(recipient)
        except aiosmtplib.SMTPSenderRefused as refusal:
            raise smtp_failure(SubmissionStep.SENDER, refusal.code, refusal.message) from refusal
        except aiosmtplib.SMTPRecipientRefused as refusal:
            raise smtp_failure(SubmissionStep.RECIPIENT, refusal.code, refusal.message) from refusal

    async def _content(self, message: bytes) -> None:
        wire = self._wire
        go_on = await wire.execute_command(b"DATA")
        if go_on.code != 354:
            raise smtp_failure(SubmissionStep.MESSAGE, *go_on)
        self._trace.said(_SENDER, f"C: (message, {len(message)} octets)")
        wire.write(_PERIOD.sub(b"..", message) + b".\r\n")
        self._sent = True
        reply = await wire.read_response()
        if 400 <= reply.code < 600:
            raise smtp_failure(SubmissionStep.MESSAGE, *reply)
        if not 200 <= reply.code < 300:
            # It says neither yes nor no.
            raise aiosmtplib.SMTPException(f"{reply.code} {reply.message}")

    async def farewell(self) -> None:
        with suppress(OSError, aiosmtplib.SMTPException):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._client.quit()

    def close(self) -> None:
        """Let go of the socket at once; a TLS farewell to a silent peer would keep it for another half minute."""
        for transport in self._transports:
            transport.abort()
        self._client.close()
