"""Submission of one message (RFC 6409) over a connection of its own.

Uses aiosmtplib. Its calls are split here, so that each phase is timed and its failure attributed separately: name,
port, TLS, sign-in, message.
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
    """Commands and replies of one connection."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        #: Text of the last challenge (RFC 4954 4); with XOAUTH2, why the token is rejected.
        self.challenge = ""
        #: Credentials, which are removed from the trace if the server repeats them.
        self.key: Password | Bearer | None = None
        self._trace = trace
        self._secret_next = False
        self._signing_in = False

    def write(self, data: bytes) -> None:
        # Every command passes here. aiosmtplib drops unsolicited data between two packets, but takes what arrived in
        # the same packet for the reply to the next command: a refusal would be attributed to the wrong one.
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
            # An invalid reply line, which the error quotes.
            raise aiosmtplib.SMTPResponseException(error.code, shown(error.message, self.key)) from None
        # Only the challenge 334 (RFC 4954) is followed by a line of credentials; it may also quote them.
        self._secret_next = self._signing_in and response.code == 334
        if self._secret_next:
            # Unchanged: the response to it is computed from it.
            self.challenge = response.message
            self._trace.said(_SENDER, f"S: {response.code} ***")
            return response
        if self.key is not None:
            # Masked here for all callers: a server may repeat the credentials in any reply.
            response = aiosmtplib.SMTPResponse(response.code, masked(response.message, self.key))
        for line in response.message.split("\n"):
            self._trace.said(_SENDER, f"S: {response.code} {line}")
        return response

    @property
    def unfinished(self) -> str:
        """Text about an incomplete reply; "" without one."""
        return f"{len(self._buffer)} octets of an answer without an end" if self._buffer else ""


#: Seconds to wait for the reply to QUIT; the server already has the message.
_FAREWELL_SECONDS = 1.0
_PERIOD = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Result of a submission: the server has accepted the message, or may have."""

    #: Error after the message was sent and before the server replied; `None` when it accepted. The message may be on
    #: its way, so it is awaited and never sent again.
    doubt: ProbeFailedError | None = None


async def submit(mailbox: Mailbox, recipient: str, message: bytes, trace: Trace, within: timedelta) -> Submitted:
    """Send *message* from *mailbox* to *recipient*, *within* a span for the whole session.

    *message* has CRLF line ends. Raise `ProbeFailedError` when the server cannot be reached, is not trusted, or
    refuses, and `TimeoutError` before the message was sent; the trace has the phase.
    """
    async with _signed_in(mailbox, trace, within) as session:
        async with session.in_time():
            await session.envelope(recipient)
        submitted = await session.hand_over(message)
        if submitted.doubt is None:
            await session.farewell()
    return submitted


async def rehearse(mailbox: Mailbox, trace: Trace, within: timedelta) -> None:
    """Run a submission without the message: sign in, send *mailbox* as sender and recipient, and reset.

    No message results. Raise as `submit` does.
    """
    async with _signed_in(mailbox, trace, within) as session:
        async with session.in_time():
            await session.rehearse()
        await session.farewell()


@asynccontextmanager
async def _signed_in(mailbox: Mailbox, trace: Trace, within: timedelta) -> AsyncIterator[_Session]:
    """Open a connection and sign in; retry once if useful, in the same span."""
    deadline: float | None = None

    async def attempt(key: Password | Bearer) -> _Session:
        nonlocal deadline
        # The time starts when a token is available: the provider's delay says nothing about the server.
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
        #: The message has been written; its acceptance may remain unknown.
        self._sent = False
        self._mailbox = mailbox
        if mailbox.smtp is None:
            raise ValueError(f"{mailbox.name} has no submission server")
        self.server: Server = mailbox.smtp
        self._trace = trace
        # Without the library's own timeouts: they would compete with the caller's deadline and report less.
        self._client = aiosmtplib.SMTP(
            hostname=self.server.host, timeout=None, start_tls=False, tls_context=self.server.tls
        )
        self._transports: list[asyncio.Transport] = []

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Raise `TimeoutError` at the deadline; it states whether the server was silent, or its reply incomplete."""
        try:
            async with asyncio.timeout_at(self._deadline):
                yield
        except TimeoutError as late:
            wire = self._client.protocol
            raise TimeoutError(wire.unfinished if isinstance(wire, SmtpWire) else "") from late

    async def open(self) -> None:
        """Connect, read the greeting, and start TLS: before it with implicit TLS, after it with STARTTLS."""
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
            # Never continue without TLS: an attacker may have removed the offer.
            if not self._client.supports_extension("starttls"):
                raise failed(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, _SENDER)
            self._trace.said(_SENDER, "C: STARTTLS")
            try:
                await self._client.starttls(server_hostname=self.server.certificate_name)
            except aiosmtplib.SMTPResponseException as refusal:
                raise smtp_failure(SubmissionStep.TLS, refusal.code, refusal.message) from refusal
            self._transports.append(cast(asyncio.Transport, self._client.transport))

    async def sign_in(self, key: Password | Bearer) -> None:
        """Try *key* once: repeating a password by another mechanism may lock the account."""
        with stage(self._trace, Phase.AUTH, _SENDER):
            if self._client.is_ehlo_or_helo_needed:
                await self._hello()
            self._wire.key = key
            try:
                await self._offer(key, self._client.server_auth_methods)
            except aiosmtplib.SMTPAuthenticationError as refusal:
                challenge = challenge_in(self._wire.challenge) if isinstance(key, Bearer) else ""
                # Without its cause, which contains the server's text.
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
        """Send the envelope."""
        with stage(self._trace, Phase.SUBMIT, _SENDER):
            await self._name(recipient)

    async def hand_over(self, message: bytes) -> Submitted:
        """Send the message before the deadline.

        Once it is written, only the server knows whether it accepted it: a broken connection, like a deadline, then
        leaves the result uncertain and is no refusal (RFC 5321 4.5.3.2.6). The duration is recorded in any case.
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
        """Send the envelope, and reset it (RFC 5321 4.1.1.5)."""
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
            # The reply is neither positive nor negative.
            raise aiosmtplib.SMTPException(f"{reply.code} {reply.message}")

    async def farewell(self) -> None:
        with suppress(OSError, aiosmtplib.SMTPException):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._client.quit()

    def close(self) -> None:
        """Abort at once; a TLS shutdown with a silent peer would keep the socket for another half minute."""
        for transport in self._transports:
            transport.abort()
        self._client.close()
