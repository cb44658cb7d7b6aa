"""Submission of one message (RFC 6409) from a mailbox, over a separate connection.

The module calls the single steps of aiosmtplib, so that each phase (DNS, connection, TLS, sign-in, message) is timed
separately and a failure names its phase.
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

from probes.credentials.sign_in import Bearer, mask_refusal, mask_secrets, with_credential
from probes.model.mailbox import Mailbox, Password, Security, Server
from probes.model.probe import ProbeFailedError, Trace
from probes.model.reply import Reason, SubmissionStep, probe_failure, read_challenge, smtp_failure
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import network_errors_as_failures, timed_phase
from probes.protocol.connection import address_literal, connect, hide_peer_text

_PARTY = Party.SENDER


class SmtpWire(SMTPProtocol):
    """Commands and replies of one connection."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        #: Text of the server's last challenge (RFC 4954 4). With XOAUTH2, it states why the token is rejected.
        self.challenge = ""
        #: Credentials, which are masked in the trace and in errors if the server repeats them.
        self.credential: Password | Bearer | None = None
        self._trace = trace
        #: Whether the server has sent a challenge, so that the next line of the client is secret.
        self._awaits_secret = False
        #: Whether the last line of the client belongs to a sign-in.
        self._is_signing_in = False

    def write(self, data: bytes) -> None:
        # aiosmtplib writes all commands by this method. Unsolicited data in a separate packet is dropped, but data
        # after a reply in the same packet would count as the reply to the next command.
        if self._buffer:
            raise aiosmtplib.SMTPException("the server sent data without a command")
        super().write(data)

    async def execute_command(self, *args: bytes, timeout: float | None = None) -> aiosmtplib.SMTPResponse:  # noqa: ASYNC109 - the library's signature
        line = b" ".join(args).decode("ascii", "replace")
        is_auth = line.upper().startswith("AUTH ")
        self._is_signing_in = is_auth or self._awaits_secret
        if self._awaits_secret:
            line = "***"
        elif is_auth:
            line = f"{' '.join(line.split()[:2])} ***"
        self._trace.add_line(_PARTY, f"C: {line}")
        return await super().execute_command(*args, timeout=timeout)

    async def read_response(self, timeout: float | None = None) -> aiosmtplib.SMTPResponse:  # noqa: ASYNC109 - the library's signature
        try:
            response = await super().read_response(timeout=timeout)
        except aiosmtplib.SMTPResponseException as error:
            # The error quotes an invalid line of the server, which may repeat the credentials.
            raise aiosmtplib.SMTPResponseException(error.code, mask_refusal(error.message, self.credential)) from None
        # The client answers the challenge 334 (RFC 4954) with credentials, and the challenge itself may repeat them.
        self._awaits_secret = self._is_signing_in and response.code == 334
        if self._awaits_secret:
            # The challenge is returned unmasked, because the client's response is computed from it.
            self.challenge = response.message
            self._trace.add_line(_PARTY, f"S: {response.code} ***")
            return response
        if self.credential is not None:
            # The reply is masked for all callers, because a server may repeat the credentials in any reply.
            response = aiosmtplib.SMTPResponse(response.code, mask_secrets(response.message, self.credential))
        for line in response.message.split("\n"):
            self._trace.add_line(_PARTY, f"S: {response.code} {line}")
        return response

    @property
    def incomplete_response_text(self) -> str:
        """Text for an error about an incomplete reply; "" if none is incomplete."""
        return f"{len(self._buffer)} octets of an answer without an end" if self._buffer else ""


#: Timeout of the reply to QUIT. It is short, because the submission is already complete.
_QUIT_TIMEOUT_SECONDS = 1.0
_LEADING_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionResult:
    """Result of a submission whose message the server has accepted, or may have accepted."""

    #: Error after the message was sent and before the server replied; `None` if the server accepted the message. After
    #: such an error the message may still arrive, so the run waits for it, and the message is never sent again.
    uncertain_failure: ProbeFailedError | None = None


async def submit(mailbox: Mailbox, recipient: str, message: bytes, trace: Trace, within: timedelta) -> SubmissionResult:
    """Send *message*, with CRLF line ends, from *mailbox* to *recipient*. *within*: timeout of the whole session.

    Raise `ProbeFailedError` if the server cannot be reached, is not trusted, or refuses. Raise `TimeoutError` if the
    time expires before the message was sent; *trace* then has the phase that timed out.
    """
    async with _open_session(mailbox, trace, within) as session:
        async with session.before_deadline():
            await session.send_envelope(recipient)
        submitted = await session.send_message(message)
        if submitted.uncertain_failure is None:
            await session.quit()
    return submitted


async def try_submission(mailbox: Mailbox, trace: Trace, within: timedelta) -> None:
    """Run a submission without the message: sign in, send an envelope from *mailbox* to itself, and reset it.

    Raise the same errors as `submit`.
    """
    async with _open_session(mailbox, trace, within) as session:
        async with session.before_deadline():
            await session.try_envelope()
        await session.quit()


@asynccontextmanager
async def _open_session(mailbox: Mailbox, trace: Trace, within: timedelta) -> AsyncIterator[_Session]:
    """Connect and sign in. If the access token is rejected, retry once with a new token within the same deadline."""
    deadline: float | None = None

    async def connect_with(credential: Password | Bearer) -> _Session:
        nonlocal deadline
        # The time starts when the credentials are available, because a slow authorization server is no evidence about
        # the mail server.
        deadline = deadline or asyncio.get_running_loop().time() + within.total_seconds()
        session = _Session(mailbox, trace, deadline)
        try:
            with hide_peer_text(session.server):
                async with session.before_deadline():
                    await session.open()
                    await session.sign_in(credential)
        except BaseException:
            session.close()
            raise
        return session

    session = await with_credential(mailbox.login, _PARTY, connect_with, within=within)
    try:
        yield session
    finally:
        session.close()


class _Session:
    """Connection to a submission server. Its methods are the steps of one submission."""

    def __init__(self, mailbox: Mailbox, trace: Trace, deadline: float) -> None:
        #: End of the session, in seconds of the loop's clock.
        self._deadline = deadline
        #: Whether the message has been written. If so, the server may have accepted it.
        self._is_message_sent = False
        self._mailbox = mailbox
        if mailbox.smtp is None:
            raise ValueError(f"{mailbox.name} has no submission server")
        self.server: Server = mailbox.smtp
        self._trace = trace
        # The library's own timeouts are off, because they would expire before the deadline and report less.
        self._client = aiosmtplib.SMTP(
            hostname=self.server.host, timeout=None, start_tls=False, tls_context=self.server.tls
        )
        self._transports: list[asyncio.Transport] = []

    @asynccontextmanager
    async def before_deadline(self) -> AsyncIterator[None]:
        """Raise `TimeoutError` at the deadline. Its text describes an incomplete reply; "" means a silent server."""
        try:
            async with asyncio.timeout_at(self._deadline):
                yield
        except TimeoutError as error:
            wire = self._client.protocol
            raise TimeoutError(wire.incomplete_response_text if isinstance(wire, SmtpWire) else "") from error

    async def open(self) -> None:
        """Connect, read the greeting, and start TLS. Implicit TLS starts before the greeting, STARTTLS after it."""
        transport, wire = await connect(self.server, self._trace, _PARTY, lambda: SmtpWire(self._trace))
        self._transports.append(transport)
        # aiosmtplib's SMTP.connect() sets the same attributes for a connection that it opens.
        self._client.transport, self._client.protocol = transport, wire
        self._client.local_hostname = address_literal(transport)
        with timed_phase(self._trace, Phase.CONNECT, _PARTY):
            await self._read_greeting()
        if self.server.security is Security.STARTTLS:
            await self._start_tls()

    async def _read_greeting(self) -> None:
        reply = await self._wire.read_response()
        if reply.code != 220:
            raise smtp_failure(SubmissionStep.GREETING, *reply)
        await self._send_ehlo()

    async def _send_ehlo(self) -> None:
        try:
            await self._client.ehlo()
        except aiosmtplib.SMTPHeloError as refusal:
            raise smtp_failure(SubmissionStep.HELLO, refusal.code, refusal.message) from refusal

    async def _start_tls(self) -> None:
        with timed_phase(self._trace, Phase.TLS, _PARTY):
            # The session never continues without TLS, because an attacker may have removed the offer.
            if not self._client.supports_extension("starttls"):
                raise probe_failure(Outcome.TLS, Reason.TLS_NOT_OFFERED, Phase.TLS, _PARTY)
            self._trace.add_line(_PARTY, "C: STARTTLS")
            try:
                await self._client.starttls(server_hostname=self.server.certificate_name)
            except aiosmtplib.SMTPResponseException as refusal:
                raise smtp_failure(SubmissionStep.TLS, refusal.code, refusal.message) from refusal
            self._transports.append(cast(asyncio.Transport, self._client.transport))

    async def sign_in(self, credential: Password | Bearer) -> None:
        """Sign in with one attempt, because a second attempt with another mechanism may lock the account."""
        with timed_phase(self._trace, Phase.AUTH, _PARTY):
            if self._client.is_ehlo_or_helo_needed:
                await self._send_ehlo()
            self._wire.credential = credential
            try:
                await self._authenticate(credential, self._client.server_auth_methods)
            except aiosmtplib.SMTPAuthenticationError as error:
                challenge = read_challenge(self._wire.challenge) if isinstance(credential, Bearer) else ""
                # `from None` is needed, because the original error contains the server's unmasked text.
                raise smtp_failure(
                    SubmissionStep.SIGN_IN, error.code, error.message, challenge=mask_secrets(challenge, credential)
                ) from None

    async def _authenticate(self, credential: Password | Bearer, mechanisms: Collection[str]) -> None:
        match credential:
            case Bearer() if "xoauth2" in mechanisms:
                await self._client.auth_xoauth2(credential.username, credential.token.secret)
            case Password() if "plain" in mechanisms:
                await self._client.auth_plain(credential.username, credential.secret)
            case Password() if "login" in mechanisms:
                await self._client.auth_login(credential.username, credential.secret)
            case Password() if "cram-md5" in mechanisms:
                await self._client.auth_crammd5(credential.username, credential.secret)
            case _:
                raise probe_failure(Outcome.AUTH, Reason.SIGN_IN_NOT_OFFERED, Phase.AUTH, _PARTY)

    @property
    def _wire(self) -> SmtpWire:
        return cast(SmtpWire, self._client.protocol)

    async def send_envelope(self, recipient: str) -> None:
        """Send the envelope: the mailbox as sender, and *recipient*."""
        with timed_phase(self._trace, Phase.SUBMIT, _PARTY):
            await self._send_addresses(recipient)

    async def send_message(self, message: bytes) -> SubmissionResult:
        """Send the message before the deadline.

        If the connection breaks or the deadline expires after the message was written, the server may have accepted it
        (RFC 5321 4.5.3.2.6), so the result is uncertain. The duration is recorded in this case, too.
        """
        with self._trace.phase(Phase.DATA, _PARTY):
            try:
                with network_errors_as_failures(Phase.DATA, _PARTY):
                    async with self.before_deadline():
                        await self._send_data(message)
            except ProbeFailedError as error:
                # A code is the server's refusal.
                if not self._is_message_sent or error.failure.code is not None:
                    raise
                self._trace.mark_uncertain()
                return SubmissionResult(uncertain_failure=error)
        return SubmissionResult()

    async def try_envelope(self) -> None:
        """Send an envelope with the mailbox as sender and recipient, and reset it (RFC 5321 4.1.1.5)."""
        with timed_phase(self._trace, Phase.SUBMIT, _PARTY):
            await self._send_addresses(self._mailbox.address)
            try:
                await self._client.rset()
            except aiosmtplib.SMTPResponseException as refusal:
                raise smtp_failure(SubmissionStep.RESET, refusal.code, refusal.message) from refusal

    async def _send_addresses(self, recipient: str) -> None:
        try:
            await self._client.mail(self._mailbox.address)
            await self._client.rcpt(recipient)
        except aiosmtplib.SMTPSenderRefused as refusal:
            raise smtp_failure(SubmissionStep.SENDER, refusal.code, refusal.message) from refusal
        except aiosmtplib.SMTPRecipientRefused as refusal:
            raise smtp_failure(SubmissionStep.RECIPIENT, refusal.code, refusal.message) from refusal

    async def _send_data(self, message: bytes) -> None:
        wire = self._wire
        reply_to_data = await wire.execute_command(b"DATA")
        if reply_to_data.code != 354:
            raise smtp_failure(SubmissionStep.MESSAGE, *reply_to_data)
        self._trace.add_line(_PARTY, f"C: (message, {len(message)} octets)")
        wire.write(_LEADING_DOT.sub(b"..", message) + b".\r\n")
        self._is_message_sent = True
        reply = await wire.read_response()
        if 400 <= reply.code < 600:
            raise smtp_failure(SubmissionStep.MESSAGE, *reply)
        if not 200 <= reply.code < 300:
            # The reply neither accepts nor refuses the message.
            raise aiosmtplib.SMTPException(f"{reply.code} {reply.message}")

    async def quit(self) -> None:
        """Send QUIT, and wait a moment for the reply. Failures of the server are ignored."""
        with suppress(OSError, aiosmtplib.SMTPException):
            async with asyncio.timeout(_QUIT_TIMEOUT_SECONDS):
                await self._client.quit()

    def close(self) -> None:
        """Abort at once, because a TLS shutdown with a silent peer would keep the socket for another half minute."""
        for transport in self._transports:
            transport.abort()
        self._client.close()
