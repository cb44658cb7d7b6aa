"""Callout (Exim's term): an SMTP session as another mail server would open it, with an envelope but no message."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.reply import shorten, timeout_failure
from probes.model.result import Failure, Outcome, Party, Phase
from probes.preauth.session import PreAuthSession, Protocol, ServerReply, offers_tls, open_session
from probes.protocol.cause import failure_of


@cache
def public_tls_context() -> ssl.SSLContext:
    """Return the shared TLS context with this machine's certificate authorities; creating one takes time."""
    return ssl.create_default_context()


@cache
def unverified_tls_context() -> ssl.SSLContext:
    """Return the shared TLS context that accepts any certificate, to read one. Send no secret over such TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


#: Limit of one session. It is long, because some servers delay the greeting to detect clients that do not wait for it.
_SESSION_TIMEOUT_SECONDS = 45.0


class TlsResult(StrEnum):
    """Result of TLS in a callout."""

    #: The server does not offer TLS.
    ABSENT = "absent"
    #: The server offers TLS, but refuses or aborts it.
    BROKEN = "broken"
    #: TLS works, but the certificate is not trusted for the server's name.
    DISTRUSTED = "distrusted"
    #: TLS works, with a trusted certificate for the server's name.
    TRUSTED = "trusted"


@dataclass(slots=True, kw_only=True)
class Callout:
    """Results of a callout. They are filled in during the session, so that a broken session keeps them."""

    #: Why there was no complete greeting; `None` if there was one.
    connect_failure: Failure | None = None
    #: The connection failed because of this machine (no IPv6, no sockets).
    is_local_fault: bool = False
    #: `None` if the server sent none.
    greeting: ServerReply | None = None
    #: Extensions offered before TLS.
    capabilities: tuple[str, ...] = ()
    tls: TlsResult = TlsResult.ABSENT
    #: Why TLS failed, in the text of the server or of OpenSSL.
    tls_detail: str = ""
    #: The server's certificate chain (DER), its own first; empty without TLS.
    chain: tuple[bytes, ...] = ()
    #: For each recipient the reply to RCPT, or the refusal of MAIL. A recipient that was not reached is absent.
    recipients: dict[str, ServerReply] = field(default_factory=dict)
    #: Why the session broke after the greeting; "" if it did not.
    break_reason: str = ""

    @property
    def has_greeting(self) -> bool:
        """Whether a mail server responded, even with a refusal."""
        return self.greeting is not None


async def make_callout(
    server: Server,
    *,
    sender: str = "",
    recipients: Sequence[str] = (),
    timeout_seconds: float = _SESSION_TIMEOUT_SECONDS,
) -> Callout:
    """Connect to *server* and ask whether it accepts mail from *sender* for each of *recipients*; send no message.

    The first connection verifies the certificate with `server.tls`. If it is not trusted, a second one accepts any
    certificate, as mail servers do. If STARTTLS fails, the last connection does not use TLS. Failures of the server are
    recorded, not raised.
    """
    callout = Callout()
    # The attempts: TLS with the server's trusted authorities, TLS with any certificate, no TLS (`None`).
    tls: ssl.SSLContext | None = server.tls
    for _ in range(3):
        try:
            async with asyncio.timeout(timeout_seconds):
                await _run_session(server, tls, callout, sender, recipients)
            break
        except ssl.SSLCertVerificationError as error:
            callout.tls, callout.tls_detail, tls = (
                TlsResult.DISTRUSTED,
                shorten(error.verify_message),
                unverified_tls_context(),
            )
        except _TlsUnavailableError as error:
            callout.tls, callout.tls_detail, tls = TlsResult.BROKEN, str(error), None
            if server.security is Security.IMPLICIT:
                break
        except (ProbeFailedError, OSError, ProtocolError) as error:
            _record_failure(callout, error)
            break
    return callout


class _TlsUnavailableError(Exception):
    """TLS was offered, but could not be established."""


async def _run_session(
    server: Server, tls: ssl.SSLContext | None, callout: Callout, sender: str, recipients: Sequence[str]
) -> None:
    uses_implicit_tls = server.security is Security.IMPLICIT
    try:
        session = await open_session(Protocol.SMTP, server, Party.RECIPIENT, tls)
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as error:
        raise _TlsUnavailableError(shorten(str(error))) from error
    try:
        callout.greeting = await session.read_greeting()
        if callout.greeting.is_done:
            callout.capabilities = () if uses_implicit_tls else await session.read_capabilities()
            await _start_tls(session, server, tls, callout)
            await _send_envelope(session, callout, sender, recipients)
        await session.log_out()
    finally:
        session.close()


async def _start_tls(session: PreAuthSession, server: Server, tls: ssl.SSLContext | None, callout: Callout) -> None:
    """Start TLS if it is offered; record its result and the certificate."""
    # If an earlier attempt found the certificate DISTRUSTED, this attempt does not verify it, and the result stays.
    tls_result = TlsResult.TRUSTED if callout.tls is TlsResult.ABSENT else callout.tls
    if server.security is Security.STARTTLS:
        if tls is None or not offers_tls(Protocol.SMTP, callout.capabilities):
            return
        # The result is BROKEN until TLS succeeds, because some servers accept STARTTLS and then do not respond.
        callout.tls = TlsResult.BROKEN
        callout.tls_detail = callout.tls_detail or "the server accepts STARTTLS, but the handshake does not complete"
        try:
            reply = await session.start_tls(tls, server.certificate_name)
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, ConnectionError) as error:
            raise _TlsUnavailableError(shorten(str(error) or type(error).__name__)) from error
        if not reply.is_done:
            raise _TlsUnavailableError(reply.text)
    callout.tls, callout.chain = tls_result, session.certificate_chain
    await session.read_capabilities()


async def _send_envelope(session: PreAuthSession, callout: Callout, sender: str, recipients: Sequence[str]) -> None:
    if not recipients:
        return
    mail_reply = await session.send_command(f"MAIL FROM:<{sender}>")
    for recipient in recipients:
        callout.recipients[recipient] = (
            await session.send_command(f"RCPT TO:<{recipient}>") if mail_reply.is_done else mail_reply
        )
    await session.send_command("RSET")


def _record_failure(callout: Callout, error: Exception) -> None:
    if isinstance(error, ProbeFailedError):
        failed = error
    elif isinstance(error, TimeoutError):
        failed = timeout_failure(Phase.CONNECT, Party.RECIPIENT)
    else:
        failed = failure_of(error, Phase.CONNECT, Party.RECIPIENT)
    if callout.greeting is None:
        callout.connect_failure, callout.is_local_fault = failed.failure, failed.outcome is Outcome.INCONCLUSIVE
    else:
        callout.break_reason = failed.failure.summary
