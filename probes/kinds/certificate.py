"""Check of the certificates of the mailboxes' servers: validity, name, trust, expiry.

Connects to each server up to TLS and no further. Delivery is the round trip's subject: a server that cannot be reached
is unknown here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from probes.domain.x509 import RENEW_AHEAD, Certificate, covers, read
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.reply import Reason, shortened
from probes.model.result import Outcome, Party, Phase
from probes.preauth.callout import blind
from probes.preauth.session import PreAuthSession, Protocol, open_session, servers_among, tls_offered
from probes.protocol.cause import failure_of
from probes.run.mailbox_check import some_at_a_time

#: Seconds for both handshakes with one server.
_SERVER_SECONDS = 30.0
_AT_ONCE = 4

_ASPECTS = ("offered", "expiry", "name", "trust")


@dataclass(frozen=True, slots=True)
class _Shown:
    """Certificates of a server."""

    chain: tuple[bytes, ...]
    #: Why a client with the configured trust would disconnect; `None` if it would not.
    distrust: ssl.SSLCertVerificationError | None


class _TlsNotOfferedError(Exception):
    """The server responds, and offers no TLS, which differs from an invalid certificate."""


class CertificateCheck:
    """Checks each server of the mailboxes once, whatever the number of its mailboxes."""

    def __init__(self, check_scope: CheckScope, now: Callable[[], datetime]) -> None:
        self._servers = servers_among(check_scope.mailboxes)
        self._now = now

    async def run(self) -> tuple[Finding, ...]:
        found = await some_at_a_time(_AT_ONCE, lambda each: self._look(*each), self._servers)
        return tuple(finding for of_server in found for finding in of_server)

    async def _look(self, protocol: Protocol, server: Server) -> tuple[Finding, ...]:
        subject = f"{server.host}:{server.port}"
        try:
            async with asyncio.timeout(_SERVER_SECONDS):
                shown = await _shown(protocol, server)
        except TimeoutError:
            return _unknown(subject, "it did not answer in time")
        except ProbeFailedError as failure:
            return _unknown(subject, failure.failure.words)
        except _TlsNotOfferedError as refusal:
            return (
                Finding(aspect="offered", subject=subject, verdict=Verdict.FAIL, detail=str(refusal)),
                *_unknown(subject, "no TLS, so no certificate")[1:],
            )
        return evaluate(subject, server.certificate_name, shown.chain, shown.distrust, self._now())


async def _shown(protocol: Protocol, server: Server) -> _Shown:
    try:
        return _Shown(await _handshake(protocol, server, server.tls), None)
    except ssl.SSLCertVerificationError as distrust:
        # An untrusted chain is not readable after the failed handshake; a second handshake trusts any.
        try:
            return _Shown(await _handshake(protocol, server, blind()), distrust)
        except (OSError, ProtocolError) as error:
            raise failure_of(error, Phase.TLS, Party.SENDER) from error
    except (OSError, ProtocolError) as error:
        raise _meant(error, server) from error


def _meant(error: Exception, server: Server) -> ProbeFailedError | _TlsNotOfferedError:
    failure = failure_of(error, Phase.TLS, Party.SENDER)
    if failure.outcome is Outcome.TLS:
        expected = "TLS from the first octet" if server.security is Security.IMPLICIT else "TLS after STARTTLS"
        return _TlsNotOfferedError(f"the handshake fails: {failure.failure.words}; {expected} is expected")
    return failure


async def _handshake(protocol: Protocol, server: Server, tls: ssl.SSLContext) -> tuple[bytes, ...]:
    session = await open_session(protocol, server, Party.SENDER, tls)
    try:
        if server.security is Security.STARTTLS:
            await _start_tls(session, protocol, tls, server.certificate_name)
        return session.chain
    finally:
        session.close()


async def _start_tls(session: PreAuthSession, protocol: Protocol, tls: ssl.SSLContext, name: str) -> None:
    greeting = await session.greet()
    if not greeting.done:
        raise ConnectionRefusedError(f"greeted with {greeting.text}")
    offers = await session.offers()
    if not tls_offered(protocol, offers):
        raise _TlsNotOfferedError("STARTTLS is not offered; passwords would go in clear, so nobody can sign in safely")
    reply = await session.start_tls(tls, name)
    if not reply.done:
        raise _TlsNotOfferedError(f"STARTTLS is refused: {reply.text}")


def evaluate(
    subject: str, name: str, chain: tuple[bytes, ...], distrust: ssl.SSLCertVerificationError | None, now: datetime
) -> tuple[Finding, ...]:
    """Return the findings on *chain* for a client that connects to the server *name*.

    OpenSSL reports only its first error, so the dates and the names are checked separately.
    """
    try:
        certificate = read(chain)
    except ValueError as error:
        return _unknown(subject, f"the certificate cannot be read: {shortened(str(error))}")
    reason = None if distrust is None else failure_of(distrust, Phase.TLS, Party.SENDER).failure.reason
    expiry, lasts = _expiry(certificate, now, expired=reason == Reason.CERTIFICATE_EXPIRED)
    named = covers(certificate, name)
    misnamed = f"it is for {', '.join(certificate.names[:5]) or 'no name'}; {name} is expected"
    untrusted = reason == Reason.CERTIFICATE_UNTRUSTED
    why = shortened(distrust.verify_message) if distrust is not None else ""
    return (
        Finding(aspect="offered", subject=subject, verdict=Verdict.PASS, detail="TLS is offered"),
        Finding(aspect="expiry", subject=subject, verdict=expiry, detail=lasts, expires_at=certificate.not_after),
        Finding(
            aspect="name",
            subject=subject,
            verdict=Verdict.PASS if named else Verdict.FAIL,
            detail=f"it is for {name}" if named else misnamed,
        ),
        Finding(
            aspect="trust",
            subject=subject,
            verdict=Verdict.FAIL if untrusted else Verdict.PASS,
            detail=f"clients do not trust it: {why}" if untrusted else "its authority is trusted",
        ),
    )


def _expiry(certificate: Certificate, now: datetime, *, expired: bool) -> tuple[Verdict, str]:
    end = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    whose = "it" if certificate.own_ends_first else "an authority in its chain"
    if now < certificate.not_before:
        return Verdict.FAIL, f"it is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC"
    if now >= certificate.not_after:
        return Verdict.FAIL, f"{whose} expired on {end}; renew it"
    if expired:
        return Verdict.FAIL, "a certificate in its chain has expired, or is not valid yet"
    left = certificate.not_after - now
    if left < RENEW_AHEAD:
        return Verdict.WARN, f"{whose} expires in {left.days} days, on {end}; renew it {RENEW_AHEAD.days} days ahead"
    return Verdict.PASS, f"valid until {end}"


def _unknown(subject: str, why: str) -> tuple[Finding, ...]:
    return tuple(Finding(aspect=aspect, subject=subject, verdict=Verdict.UNKNOWN, detail=why) for aspect in _ASPECTS)


KIND = CheckKind(
    name="certificate",
    aspects=_ASPECTS,
    interval=timedelta(hours=1),
    within=timedelta(minutes=5),
    build=CertificateCheck,
)
