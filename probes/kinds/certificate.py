"""Check of the certificates of the mailboxes' servers: validity, name, trust, expiry.

The check disconnects after the TLS handshake. An unreachable server is UNKNOWN here, because the round trip (message
sent and received) reports it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from probes.domain.x509 import RENEW_AHEAD, Certificate, covers_name, parse_chain
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.reply import Reason, shorten
from probes.model.result import Outcome, Party, Phase
from probes.preauth.callout import unverified_tls_context
from probes.preauth.session import PreAuthSession, Protocol, offers_tls, open_session, servers_among
from probes.protocol.cause import failure_of
from probes.run.mailbox_check import gather_limited

#: Seconds for both handshakes with one server.
_SERVER_TIMEOUT_SECONDS = 30.0
_CONCURRENCY = 4

#: "offered" is first, because it is the only aspect that is known of a server without TLS.
_ASPECTS = ("offered", "expiry", "name", "trust")


@dataclass(frozen=True, slots=True)
class _CertificateChain:
    """Certificates of a server."""

    #: DER, the server's own first.
    chain: tuple[bytes, ...]
    #: Error of a client that trusts the configured authorities; `None`: the chain is trusted.
    distrust: ssl.SSLCertVerificationError | None


class _TlsNotOfferedError(Exception):
    """The server answers, but TLS cannot be started."""


class CertificateCheck:
    """Checks each server once, even if several mailboxes use it."""

    def __init__(self, check_scope: CheckScope, now: Callable[[], datetime]) -> None:
        self._servers = servers_among(check_scope.mailboxes)
        self._now = now

    async def run(self) -> tuple[Finding, ...]:
        results = await gather_limited(_CONCURRENCY, lambda server: self._check_server(*server), self._servers)
        return tuple(finding for findings in results for finding in findings)

    async def _check_server(self, protocol: Protocol, server: Server) -> tuple[Finding, ...]:
        subject = f"{server.host}:{server.port}"
        try:
            async with asyncio.timeout(_SERVER_TIMEOUT_SECONDS):
                certificate = await _fetch_chain(protocol, server)
        except TimeoutError:
            return _unknown_findings(subject, "it did not answer in time")
        except ProbeFailedError as error:
            return _unknown_findings(subject, error.failure.summary)
        except _TlsNotOfferedError as error:
            return (
                Finding(aspect="offered", subject=subject, verdict=Verdict.FAIL, detail=str(error)),
                *_unknown_findings(subject, "no TLS, so no certificate")[1:],
            )
        return evaluate(subject, server.certificate_name, certificate.chain, certificate.distrust, self._now())


async def _fetch_chain(protocol: Protocol, server: Server) -> _CertificateChain:
    try:
        return _CertificateChain(await _handshake(protocol, server, server.tls), None)
    except ssl.SSLCertVerificationError as distrust:
        # The chain cannot be read after a failed handshake, so a second handshake accepts any certificate.
        try:
            return _CertificateChain(await _handshake(protocol, server, unverified_tls_context()), distrust)
        except (OSError, ProtocolError) as error:
            raise failure_of(error, Phase.TLS, Party.SENDER) from error
    except (OSError, ProtocolError) as error:
        raise _handshake_error(error, server) from error


def _handshake_error(error: Exception, server: Server) -> ProbeFailedError | _TlsNotOfferedError:
    failed = failure_of(error, Phase.TLS, Party.SENDER)
    if failed.outcome is Outcome.TLS:
        expected = "TLS from the first octet" if server.security is Security.IMPLICIT else "TLS after STARTTLS"
        return _TlsNotOfferedError(f"the handshake fails: {failed.failure.summary}; {expected} is expected")
    return failed


async def _handshake(protocol: Protocol, server: Server, tls: ssl.SSLContext) -> tuple[bytes, ...]:
    # The party has no effect, because findings do not name it.
    session = await open_session(protocol, server, Party.SENDER, tls)
    try:
        if server.security is Security.STARTTLS:
            await _start_tls(session, protocol, tls, server.certificate_name)
        return session.certificate_chain
    finally:
        session.close()


async def _start_tls(session: PreAuthSession, protocol: Protocol, tls: ssl.SSLContext, name: str) -> None:
    greeting = await session.read_greeting()
    if not greeting.is_done:
        raise ConnectionRefusedError(f"greeted with {greeting.text}")
    capabilities = await session.read_capabilities()
    if not offers_tls(protocol, capabilities):
        raise _TlsNotOfferedError("STARTTLS is not offered; passwords would be sent unencrypted")
    reply = await session.start_tls(tls, name)
    if not reply.is_done:
        raise _TlsNotOfferedError(f"STARTTLS is refused: {reply.text}")


def evaluate(
    subject: str, name: str, chain: tuple[bytes, ...], distrust: ssl.SSLCertVerificationError | None, now: datetime
) -> tuple[Finding, ...]:
    """Return the findings on *chain* for a client that connects to the server *name*. *distrust*: the client's error.

    OpenSSL reports only its first error, so the dates and the names are checked separately.
    """
    try:
        certificate = parse_chain(chain)
    except ValueError as error:
        return _unknown_findings(subject, f"the certificate cannot be read: {shorten(str(error))}")
    reason = None if distrust is None else failure_of(distrust, Phase.TLS, Party.SENDER).failure.reason
    expiry, expiry_text = _judge_expiry(certificate, now, is_expired=reason == Reason.CERTIFICATE_EXPIRED)
    has_name = covers_name(certificate, name)
    name_text = f"it is for {', '.join(certificate.names[:5]) or 'no name'}; {name} is expected"
    is_untrusted = reason == Reason.CERTIFICATE_UNTRUSTED
    trust_text = shorten(distrust.verify_message) if distrust is not None else ""
    return (
        Finding(aspect="offered", subject=subject, verdict=Verdict.PASS, detail="TLS is offered"),
        Finding(aspect="expiry", subject=subject, verdict=expiry, detail=expiry_text, expires_at=certificate.not_after),
        Finding(
            aspect="name",
            subject=subject,
            verdict=Verdict.PASS if has_name else Verdict.FAIL,
            detail=f"it is for {name}" if has_name else name_text,
        ),
        Finding(
            aspect="trust",
            subject=subject,
            verdict=Verdict.FAIL if is_untrusted else Verdict.PASS,
            detail=f"clients do not trust it: {trust_text}" if is_untrusted else "its authority is trusted",
        ),
    )


def _judge_expiry(certificate: Certificate, now: datetime, *, is_expired: bool) -> tuple[Verdict, str]:
    """Return the verdict on the dates. *is_expired*: by OpenSSL, a certificate of the chain is not valid now."""
    expires_at = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    expiring = "it" if certificate.is_own_expiry_first else "an authority in its chain"
    if now < certificate.not_before:
        return Verdict.FAIL, f"it is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC"
    if now >= certificate.not_after:
        return Verdict.FAIL, f"{expiring} expired on {expires_at}; renew it"
    if is_expired:
        return Verdict.FAIL, "a certificate in its chain has expired, or is not valid yet"
    remaining = certificate.not_after - now
    if remaining < RENEW_AHEAD:
        return (
            Verdict.WARN,
            f"{expiring} expires in {remaining.days} days, on {expires_at}; renew it {RENEW_AHEAD.days} days ahead",
        )
    return Verdict.PASS, f"valid until {expires_at}"


def _unknown_findings(subject: str, reason: str) -> tuple[Finding, ...]:
    return tuple(Finding(aspect=aspect, subject=subject, verdict=Verdict.UNKNOWN, detail=reason) for aspect in _ASPECTS)


KIND = CheckKind(
    name="certificate",
    aspects=_ASPECTS,
    interval=timedelta(hours=1),
    within=timedelta(minutes=5),
    build=CertificateCheck,
)
