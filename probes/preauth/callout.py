"""Calls at a mail server as another server does: greeting, TLS, an envelope; never a message, never a sign-in."""

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
    """Return the context that trusts the authorities that this machine trusts. Making one takes a while; it is shared."""
    return ssl.create_default_context()


@cache
def blind() -> ssl.SSLContext:
    """Return the context that takes any certificate: to read it, never to trust it with anything."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


#: For one conversation. Some servers keep strangers waiting before they greet them, to see who cannot wait.
_SECONDS = 45.0


class TlsStage(StrEnum):
    """How far a caller came with TLS."""

    #: The server does not offer it.
    ABSENT = "absent"
    #: It is offered, and then refused in words or broken off.
    BROKEN = "broken"
    #: It is spoken, under a certificate that is not trusted for the server's name.
    DISTRUSTED = "distrusted"
    TRUSTED = "trusted"


@dataclass(slots=True, kw_only=True)
class Callout:
    """What a caller met with. Filled in while it is under way, so that what is known is kept when it breaks off."""

    #: Why nobody was met; `None` when there was a whole greeting.
    unmet: Failure | None = None
    #: Nobody was met because this machine cannot go there at all (no IPv6, no sockets).
    ours: bool = False
    greeting: ServerReply | None = None
    #: What was offered before TLS.
    offers: tuple[str, ...] = ()
    tls: TlsStage = TlsStage.ABSENT
    #: Why TLS went no further, in the words of the server or of OpenSSL.
    tls_detail: str = ""
    #: The certificates that were shown (DER), the server's own first.
    chain: tuple[bytes, ...] = ()
    #: What was said to each recipient that was asked for. One that the conversation did not come to is absent.
    recipients: dict[str, ServerReply] = field(default_factory=dict)
    #: Why the conversation broke off after the greeting.
    broken: str = ""

    @property
    def met(self) -> bool:
        """Whether a mail server spoke, whatever it said."""
        return self.greeting is not None


async def call(
    server: Server, *, sender: str = "", recipients: Sequence[str] = (), within_seconds: float = _SECONDS
) -> Callout:
    """Call at *server* and ask whether it takes mail from *sender* for each of *recipients*, without sending any.

    Its certificate is held against `server.tls`; when it is not trusted the call goes on all the same, as servers do
    among each other, by a second connection. Nothing is raised for what the server does.
    """
    notes = Callout()
    # The trust to try next: the server's own, then any, then none at all.
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
    """TLS was offered and did not come about."""


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
    """Turn to TLS if it is to be had; note the certificate."""
    reached = TlsStage.TRUSTED if notes.tls is TlsStage.ABSENT else notes.tls
    if server.security is Security.STARTTLS:
        if tls is None or not tls_offered(Protocol.SMTP, notes.offers):
            return
        # Until it is done; some servers grant it and then fall silent.
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
