"""Fuzz targets of DNS records, MTA-STS policies, token endpoints and certificates."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import httpx2
import trustme
from authlib.integrations.httpx_client import AsyncOAuth2Client
from checkdmarc.utils import DNS_CACHE
from dns.rdtypes.ANY.TLSA import TLSA
from dns.rdtypes.ANY.TXT import TXT

from probes.credentials.consent import (
    AuthorizationRequest,
    Consent,
    ConsentError,
    DeviceCode,
    exchange_code,
    poll_consent,
    request_device_code,
)
from probes.credentials.oauth import AccessTokenError
from probes.credentials.oauth_endpoint import (
    Client,
    ClientCredentialsIssuer,
    RefreshTokenIssuer,
    RefreshTokenStore,
    _limit_response,
)
from probes.credentials.service_account import BadServiceAccountError, ServiceAccount
from probes.domain.exchanger import Exchangers
from probes.domain.mta_sts import MtaStsPolicyError, parse_policy
from probes.domain.records import (
    RecordReading,
    _read,
    _read_dmarc,
    _read_mta_sts,
    _read_spf,
    _read_tls_rpt,
    _RecordingResolver,
)
from probes.domain.x509 import covers_name, is_usable, matches_chain, parse_chain
from probes.model.check import NameServers
from probes.verdict.domain import judge_dmarc, judge_mta_sts, judge_spf, judge_tls_rpt
from tests.fuzz.target import TURN, Target

SECRET = "rahsia-klien-yang-tidak-patut-keluar"
_DOMAIN = "jabatan-contoh.gov.my"
_HOSTS = Exchangers(domain=_DOMAIN, hosts=("mx.jabatan-contoh.gov.my",))
_NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class _Zone(_RecordingResolver):
    """Resolver with one TXT record at each name of the domain."""

    text = b""

    def resolve(self, qname: Any, rdtype: Any = "A", *_args: Any, **_options: Any) -> dns.resolver.Answer:
        name = dns.name.from_text(str(qname))
        if dns.rdatatype.RdataType.make(rdtype) != dns.rdatatype.TXT or not name.is_subdomain(
            dns.name.from_text(_DOMAIN)
        ):
            raise dns.resolver.NXDOMAIN(qnames=[name], responses={})  # type: ignore[no-untyped-call]
        strings = [self.text[at : at + 255] for at in range(0, len(self.text), 255)] or [b""]
        record = TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings)
        response = dns.message.QueryMessage()
        response.question.append(dns.rrset.RRset(name, dns.rdataclass.IN, dns.rdatatype.TXT))
        response.flags |= dns.flags.QR
        found = response.find_rrset(response.answer, name, dns.rdataclass.IN, dns.rdatatype.TXT, create=True)
        found.add(record, 60)
        return dns.resolver.Answer(name, dns.rdatatype.TXT, dns.rdataclass.IN, response)


def _records(octets: bytes) -> None:
    """Each record is read or has a printable error, and gets a verdict."""
    zone = _Zone(configure=False)
    zone.text = octets[:4000]
    zone.deadline = float("inf")
    readings = []
    for kind in (_read_spf, _read_dmarc, _read_mta_sts, _read_tls_rpt):
        with DNS_CACHE.lock:
            DNS_CACHE.clear()
        found = _read(partial(_read_in_zone, zone, kind), _DOMAIN, NameServers(addresses=("192.0.2.53",)), _SECOND)
        assert found.error.isprintable()
        assert len(found.error) <= 300
        readings.append(found)
    spf, dmarc, mta_sts, tls_rpt = readings
    verdicts = (
        judge_spf(spf),
        judge_dmarc(dmarc, _DOMAIN),
        judge_mta_sts(mta_sts, None, _HOSTS),
        judge_tls_rpt(tls_rpt, _HOSTS),
    )
    assert all(len(words) < 5_000 for _, words in verdicts)


def _read_in_zone(zone: _Zone, kind: Any, domain: str, _asker: _RecordingResolver) -> Any:
    return kind(domain, zone)


def _policy(octets: bytes) -> None:
    """A policy is parsed or refused, and can be asked for covered hosts."""
    try:
        policy = parse_policy(octets.decode("utf-8", "replace"))
    except MtaStsPolicyError as why:
        assert str(why).isprintable()
        return
    assert policy.covers("mx.jabatan-contoh.gov.my") in {True, False}
    judge_mta_sts(RecordReading(record="v=STSv1; id=1"), policy, _HOSTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ScriptedClient(Client):
    """OAuth client with a scripted response."""

    answer: httpx2.Response

    def session(self) -> AbstractAsyncContextManager[Any]:
        return AsyncOAuth2Client(  # type: ignore[no-any-return]
            client_id=self.client_id,
            client_secret=self.client_secret,
            token_endpoint_auth_method="client_secret_post",
            transport=httpx2.MockTransport(lambda _request: self.answer),
            event_hooks={"response": [_limit_response]},
        )


_TOKEN_URL = "https://login.contoh.example/token"
_CODE = DeviceCode(
    device_code="kod-peranti",
    user_code="KAYU-BATU",
    address="https://log-masuk.contoh.example/",
    expires_at=_NOW + timedelta(minutes=15),
    interval=timedelta(seconds=5),
    polled_at=_NOW - timedelta(seconds=5),
)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _client(octets: bytes) -> Client:
    """Return a client whose endpoint answers with these octets. The part before TURN gives the status."""
    status, _, body = octets.partition(TURN)
    code = 200 if status == b"200" else 200 + int.from_bytes(status[:2].ljust(2, b"\0"), "big") % 400
    return _ScriptedClient(
        token_url=_TOKEN_URL,
        client_id="k",
        client_secret=SECRET,
        tls=_tls(),
        answer=httpx2.Response(code, headers={"Content-Type": "application/json"}, stream=httpx2.ByteStream(body)),
    )


def _service_account(octets: bytes) -> None:
    """A pasted text is a key, or is refused without being quoted."""
    try:
        account = ServiceAccount.read(octets.decode("utf-8", "surrogateescape"))
    except BadServiceAccountError as bad:
        assert SECRET not in str(bad)
        return
    assert account.email


def _consent(octets: bytes) -> None:
    """An endpoint gives a device code, a consent, or an error without the secret."""
    out = AuthorizationRequest(address="https://x.invalid/", state="s", verifier="v")
    for asked in (
        request_device_code(_client(octets), _TOKEN_URL, _NOW),
        poll_consent(_client(octets), _CODE, _NOW),
        exchange_code(_client(octets), "kod", out, "https://pantau.contoh.my/"),
    ):
        try:
            found = asyncio.run(asked)
        except ConsentError as no:
            assert SECRET not in str(no)
            assert str(no).isprintable()
            continue
        if isinstance(found, Consent):
            assert found.refresh_token.isascii()
            continue
        assert found.address.startswith("https://")
        assert found.user_code.isprintable()
        assert _NOW < found.expires_at <= _NOW + timedelta(minutes=30)
        assert timedelta(0) < found.interval <= timedelta(minutes=1)


def _endpoint(octets: bytes) -> None:
    """An endpoint gives an ASCII token, or an error without the secret."""
    for kind in (ClientCredentialsIssuer, RefreshTokenIssuer):
        client = _client(octets)
        issuer = (
            ClientCredentialsIssuer(client, clock=lambda: _NOW)
            if kind is ClientCredentialsIssuer
            else RefreshTokenIssuer(client, RefreshTokenStore("segar-0"), clock=lambda: _NOW)
        )
        try:
            token = asyncio.run(issuer.issue())
        except AccessTokenError as reason:
            assert SECRET not in str(reason)
            assert str(reason).isprintable()
        else:
            assert token.secret.isascii()
            assert token.expires_at is None or token.expires_at > _NOW


def _certificate(octets: bytes) -> None:
    """A certificate is parsed, or raises ValueError."""
    record = TLSA(dns.rdataclass.IN, dns.rdatatype.TLSA, 3, 1, 1, octets[:32].ljust(32, b"\0"))  # type: ignore[no-untyped-call]
    assert is_usable(record)
    try:
        certificate = parse_chain([octets])
        covers_name(certificate, "mel.jabatan-contoh.gov.my")
        covers_name(certificate, "192.0.2.1")
        matches_chain(record, [octets], "mel.jabatan-contoh.gov.my")
    except ValueError:
        return
    assert certificate.not_after.tzinfo is UTC


@cache
def _sample_certificate() -> bytes:
    authority = trustme.CA()
    leaf = authority.issue_cert("mel.jabatan-contoh.gov.my", "*.contoh.gov.my", "192.0.2.1", "2001:db8::1")
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


TARGETS = (
    Target(
        name="records",
        run=_records,
        seeds={
            "SPF": b"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 a mx include:lain.example exists:%{i}.x -all",
            "recursive SPF": b"v=spf1 include:jabatan-contoh.gov.my redirect=jabatan-contoh.gov.my",
            "SPF with invalid addresses": b"v=spf1 ip4:999.1.2.3/99 ip6::::/999 +all",
            "many macros": b"v=spf1 exists:" + b"%{ir}." * 200 + b" -all",
            "DMARC": b"v=DMARC1; p=reject; sp=none; rua=mailto:a@jabatan-contoh.gov.my!10m; pct=50; t=y",
            "DMARC of 5,000 digits": b"v=DMARC1; p=none; pct=" + b"9" * 3000 + b"; ri=" + b"9" * 900,
            "MTA-STS": b"v=STSv1; id=20261127",
            "TLS-RPT": b"v=TLSRPTv1; rua=mailto:a@jabatan-contoh.gov.my,https://x.example/",
            "host with one long label": b"v=spf1 include:" + b"a" * 300 + b".example a:" + b"." * 90,
            "octets": bytes(range(256)),
        },
        largest=4000,
    ),
    Target(
        name="policy",
        run=_policy,
        seeds={
            "a policy": b"version: STSv1\r\nmode: enforce\r\nmx: mx.jabatan-contoh.gov.my\r\nmx: *.contoh.gov.my\r\nmax_age: 604800\r\n",
            "an age of 5,000 digits": b"version: STSv1\nmode: testing\nmx: a\nmax_age: " + b"9" * 5000 + b"\n",
            "non-ASCII digits": "version: STSv1\nmode: none\nmax_age: \u0661\u00b2\n".encode(),
            "no values": b"version:\nmode:\nmx:\nmax_age:\n",
        },
        growing={"hosts": lambda size: b"version: STSv1\nmode: none\nmax_age: 1\n" + b"mx: a.b\n" * (size // 8)},
    ),
    Target(
        name="consent",
        run=_consent,
        seeds={
            "a code": b"200"
            + TURN
            + b'{"device_code": "x", "user_code": "KAYU-BATU", "verification_uri": "https://a.example/", "interval": 5}',
            "expired code": b"200"
            + TURN
            + b'{"device_code": "x", "user_code": "K", "verification_url": "https://a.example/", "expires_in": -1e309}',
            "code with control characters": b"200"
            + TURN
            + b'{"device_code": "x", "user_code": "\\u202e", "verification_uri": "https://[", "interval": NaN}',
            "no object": b"200" + TURN + b"[[]]",
            "an error of another kind": b"200" + TURN + b'{"error": {"a": 1}, "error_description": 7}',
            "pending": b"\x00\xc8" + TURN + b'{"error": "authorization_pending"}',
            "a consent": b"200" + TURN + b'{"access_token": "a", "token_type": "Bearer", "refresh_token": "segar-1"}',
            "half a character": b"200"
            + TURN
            + b'{"access_token": "a", "refresh_token": "\\ud800", "error": "\\ud800"}',
        },
    ),
    Target(
        name="service_account",
        run=_service_account,
        seeds={
            "a key that is cut off": b'{"type": "service_account", "client_email": "a@b", "client_id": "1", '
            b'"private_key_id": "1", "private_key": "-----BEGIN PRIVATE KEY-----\\nMIIE"}',
            "another file of Google's": b'{"type": "authorized_user", "refresh_token": "' + SECRET.encode() + b'"}',
            "half a character": b'{"type": "service_account", "client_email": "\\ud800", "client_id": "1", '
            b'"private_key_id": "1", "private_key": "\\ud800"}',
            "no object": b"[[]]",
        },
        growing={"brackets": lambda size: b"[" * size},
    ),
    Target(
        name="endpoint",
        run=_endpoint,
        seeds={
            "a token": b"200"
            + TURN
            + b'{"access_token": "abc", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "segar-1"}',
            "infinite span": b"200" + TURN + b'{"access_token": "abc", "token_type": "Bearer", "expires_in": 1e309}',
            "a span of 5,000 digits": b"200"
            + TURN
            + b'{"access_token": "abc", "token_type": "b", "expires_in": '
            + b"9" * 5000
            + b"}",
            "invalid span": b"200" + TURN + b'{"access_token": "abc", "token_type": "b", "expires_in": NaN}',
            "token of two lines": b"200" + TURN + b'{"access_token": "a\\r\\nb", "token_type": "b", "expires_in": -1}',
            "half a character": b"200" + TURN + b'{"access_token": "\\ud800", "error_description": "\\ud800"}',
            "a refusal": b"\x00\xc8"
            + TURN
            + b'{"error": "invalid_client", "error_description": "'
            + SECRET.encode()
            + b' is wrong"}',
            "a refusal that is a list": b"\x00\xc8" + TURN + b'{"error": [{}], "error_description": {"a": 1}}',
            "nested without end": b"200" + TURN + b"[" * 60_000,
            "a list": b"200" + TURN + b"[]",
            "HTML page": b"200" + TURN + b"<html>",
        },
    ),
    Target(
        name="certificate",
        run=_certificate,
        seeds={"a certificate": _sample_certificate(), "none": b"0\x82"},
        largest=16 * 1024,
    ),
)
