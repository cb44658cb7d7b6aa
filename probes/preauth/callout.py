"""Callout to a mail server: greeting, TLS, an envelope, as between servers; no message, no sign-in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.reply import expired, shortened
from probes.model.result import Failure, Outcome, Party, Phase
from probes.preauth.session import PreAuthSession, Protocol, ServerReply, open_session, tls_offered
from probes.protocol.cause import failure_of


@cache
def public() -> ssl.SSLContext:
    """Return the context with this machine's certificate authorities. It is shared, because creating one takes time."""
    return ssl.create_default_context()


@cache
def blind() -> ssl.SSLContext:
    """Return the context that accepts any certificate: for reading it, never for sending anything secret."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


#: Seconds of one session. Some servers delay the greeting to detect clients that do not wait for it.
_SECONDS = 45.0


class TlsStage(StrEnum):
    """Result of TLS in a callout."""

    #: The server does not offer it.
    ABSENT = "absent"
    #: It is offered, and then refused or aborted.
    BROKEN = "broken"
    #: It works, with a certificate that is not trusted for the server's name.
    DISTRUSTED = "distrusted"
    TRUSTED = "trusted"


@dataclass(slots=True, kw_only=True)
class Callout:
    """Results of a callout. Filled in during the session, so that partial results are kept when it breaks."""

    #: Why there was no complete greeting; `None` when there was one.
    unmet: Failure | None = None
    #: The failure is this machine's (no IPv6, no sockets).
    ours: bool = False
    greeting: ServerReply | None = None
    #: Extensions offered before TLS.
    offers: tuple[str, ...] = ()
    tls: TlsStage = TlsStage.ABSENT
    #: Why TLS failed, in the text of the server or of OpenSSL.
    tls_detail: str = ""
    #: The server's certificate chain (DER), its own first.
    chain: tuple[bytes, ...] = ()
    #: The reply for each recipient. A recipient that was not reached is absent.
    recipients: dict[str, ServerReply] = field(default_factory=dict)
    #: Why the session broke after the greeting.
    broken: str = ""

    @property
    def met(self) -> bool:
        """Whether a mail server responded, with whatever reply."""
        return self.greeting is not None


async def call(
    server: Server, *, sender: str = "", recipients: Sequence[str] = (), within_seconds: float = _SECONDS
) -> Callout:
    """Connect to *server* and ask whether it accepts mail from *sender* for each of *recipients*, without sending any.

    Its certificate is verified by `server.tls`; when it is not trusted, a second connection continues without trust, as
    between mail servers. No failure of the server is raised.
    """
    notes = Callout()
    # Trust to try in turn: the server's own, then any certificate, then no TLS.
    tls: ssl.SSLContext | None = server.tls
    for _ in range(3):
        try:
            async with asyncio.timeout(within_seconds):
                await _converse(server, tls, notes, sender, recipients)
            break
        except ssl.SSLCertVerificationError as error:
            notes.tls, notes.tls_detail, tls = TlsStage.DISTRUSTED, shortened(error.verify_message), blind()
        except _TlsUnavailableError as refusal:
            notes.tls, notes.tls_detail, tls = TlsStage.BROKEN, str(refusal), None
            if server.security is Security.IMPLICIT:
                break
        except (ProbeFailedError, OSError, ProtocolError) as error:
            _note(notes, error)
            break
    return notes


class _TlsUnavailableError(Exception):
    """TLS was offered and could not be established."""


async def _converse(
    server: Server, tls: ssl.SSLContext | None, notes: Callout, sender: str, recipients: Sequence[str]
) -> None:
    implicit = server.security is Security.IMPLICIT
    try:
        session = await open_session(Protocol.SMTP, server, Party.RECIPIENT, tls)
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as error:
        raise _TlsUnavailableError(shortened(str(error))) from error
    try:
        notes.greeting = await session.greet()
        if notes.greeting.done:
            notes.offers = () if implicit else await session.offers()
            await _secure(session, server, tls, notes)
            await _envelope(session, notes, sender, recipients)
        await session.leave()
    finally:
        session.close()


async def _secure(session: PreAuthSession, server: Server, tls: ssl.SSLContext | None, notes: Callout) -> None:
    """Start TLS if it is offered; record the certificate."""
    reached = TlsStage.TRUSTED if notes.tls is TlsStage.ABSENT else notes.tls
    if server.security is Security.STARTTLS:
        if tls is None or not tls_offered(Protocol.SMTP, notes.offers):
            return
        # Until it succeeds; some servers accept and then do not respond.
        notes.tls = TlsStage.BROKEN
        notes.tls_detail = notes.tls_detail or "it is granted, and nothing comes of it"
        try:
            reply = await session.start_tls(tls, server.certificate_name)
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, ConnectionError) as error:
            raise _TlsUnavailableError(shortened(str(error) or type(error).__name__)) from error
        if not reply.done:
            raise _TlsUnavailableError(reply.text)
    notes.tls, notes.chain = reached, session.chain
    await session.offers()


async def _envelope(session: PreAuthSession, notes: Callout, sender: str, recipients: Sequence[str]) -> None:
    if not recipients:
        return
    from_us = await session.ask(f"MAIL FROM:<{sender}>")
    for recipient in recipients:
        notes.recipients[recipient] = await session.ask(f"RCPT TO:<{recipient}>") if from_us.done else from_us
    await session.ask("RSET")


def _note(notes: Callout, error: Exception) -> None:
    if isinstance(error, ProbeFailedError):
        failure = error
    elif isinstance(error, TimeoutError):
        failure = expired(Phase.CONNECT, Party.RECIPIENT)
    else:
        failure = failure_of(error, Phase.CONNECT, Party.RECIPIENT)
    if notes.greeting is None:
        notes.unmet, notes.ours = failure.failure, failure.outcome is Outcome.INCONCLUSIVE
    else:
        notes.broken = failure.failure.words
