"""Verdicts about MX hosts: what concerns the client is not held against the host."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
import trustme
from dns.rdata import from_text
from dns.rdtypes.ANY.TLSA import TLSA

from probes.domain.x509 import RENEW_AHEAD
from probes.model.check import CheckScope, Verdict
from probes.model.reply import Reason
from probes.model.result import Failure, Party, Phase
from probes.preauth.callout import Callout, TlsResult
from probes.preauth.session import ReplyKind, ServerReply
from probes.verdict.mx_verdict import concerns_client, judge_certificate, judge_connection, judge_recipients, judge_tls

REFUSED = Failure(phase=Phase.CONNECT, party=Party.RECIPIENT, reason=Reason.PORT_REFUSED)
ADDRESS = "semakan@contoh.gov.my"


def said(text: str) -> ServerReply:
    answers = {"2": ReplyKind.DONE, "4": ReplyKind.TEMPORARY, "5": ReplyKind.PERMANENT}
    return ServerReply(kind=answers[text[0]], text=text, code=int(text[:3]))


@pytest.mark.parametrize(
    ("seen", "is_open", "verdict", "told"),
    [
        (Callout(connect_failure=REFUSED), True, Verdict.FAIL, "port refused"),
        (
            Callout(connect_failure=REFUSED),
            False,
            Verdict.UNKNOWN,
            "port 25 seems blocked here: no server answers over IPv6",
        ),
        (
            Callout(connect_failure=REFUSED, is_local_fault=True),
            True,
            Verdict.UNKNOWN,
            "IPv6 is not available here",
        ),
        (Callout(greeting=said("220 sedia")), False, Verdict.PASS, "greets"),
        (Callout(greeting=said("421 4.3.2 sibuk")), True, Verdict.WARN, "refuses temporarily"),
        (Callout(greeting=said("554 5.3.2 tiada khidmat")), True, Verdict.FAIL, "refuses all clients"),
        (Callout(greeting=said("554 5.7.1 anda disenarai")), True, Verdict.UNKNOWN, "refuses only us"),
    ],
)
def test_mx_connection_verdict(seen: Callout, *, is_open: bool, verdict: Verdict, told: str) -> None:
    evaluate = judge_connection(seen, 6, is_open=is_open)
    assert evaluate[0] is verdict
    assert told in evaluate[1]


@pytest.mark.parametrize(
    ("tls", "must", "verdict"),
    [
        (TlsResult.ABSENT, "", Verdict.WARN),
        (TlsResult.ABSENT, "DANE", Verdict.FAIL),
        (TlsResult.BROKEN, "", Verdict.FAIL),
        (TlsResult.DISTRUSTED, "", Verdict.PASS),
        (TlsResult.TRUSTED, "DANE", Verdict.PASS),
    ],
)
def test_mx_tls_verdict(tls: TlsResult, must: str, verdict: Verdict) -> None:
    assert judge_tls(Callout(tls=tls), must)[0] is verdict


HOST, NOW = "mel.contoh.gov.my", datetime(2026, 11, 25, tzinfo=UTC)
AUTHORITY = trustme.CA()


def shown(days: int) -> tuple[bytes, ...]:
    leaf = AUTHORITY.issue_cert(HOST, not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=days))
    return tuple(ssl.PEM_cert_to_DER_cert(pem.bytes().decode()) for pem in leaf.cert_chain_pems)


LASTS, ENDS = shown(90), shown(RENEW_AHEAD.days - 1)
FITS = cast(TLSA, from_text("IN", "TLSA", f"3 0 1 {hashlib.sha256(LASTS[0]).hexdigest()}"))
OTHER = cast(TLSA, from_text("IN", "TLSA", f"3 0 1 {hashlib.sha256(ENDS[0]).hexdigest()}"))


@pytest.mark.parametrize(
    ("chain", "tls", "dane", "must", "verdict", "told"),
    [
        ((), TlsResult.TRUSTED, [], "", Verdict.UNKNOWN, "no certificate was shown"),
        ((b"x",), TlsResult.TRUSTED, [], "", Verdict.UNKNOWN, "cannot be read"),
        (LASTS, TlsResult.TRUSTED, [], "", Verdict.PASS, "trusted, valid until 2027-02-23"),
        (LASTS, TlsResult.DISTRUSTED, [OTHER, FITS], "DANE", Verdict.PASS, "a TLSA record matches it"),
        (LASTS, TlsResult.TRUSTED, [OTHER], "", Verdict.FAIL, "no TLSA record matches it"),
        (
            LASTS,
            TlsResult.DISTRUSTED,
            [],
            "",
            Verdict.WARN,
            "it is not trusted: nobody vouches; other servers still deliver",
        ),
        (
            LASTS,
            TlsResult.DISTRUSTED,
            [],
            "MTA-STS",
            Verdict.FAIL,
            "nobody vouches, but MTA-STS requires a trusted one",
        ),
        (ENDS, TlsResult.TRUSTED, [], "", Verdict.WARN, "renew it"),
        (ENDS, TlsResult.DISTRUSTED, [OTHER], "", Verdict.WARN, "renew it"),
    ],
)
def test_mx_certificate_verdict(
    chain: tuple[bytes, ...], tls: TlsResult, dane: list[TLSA], must: str, *, verdict: Verdict, told: str
) -> None:
    seen = Callout(chain=chain, tls=tls, tls_detail="nobody vouches")
    evaluate, detail, end = judge_certificate(seen, HOST, dane, must, NOW)
    assert evaluate is verdict
    assert told in detail
    assert (end is None) is (verdict is Verdict.UNKNOWN)


@pytest.mark.parametrize(
    ("replies", "verdict"),
    [
        ({}, Verdict.UNKNOWN),
        ({ADDRESS: said("250 2.1.5 baik")}, Verdict.PASS),
        ({ADDRESS: said("250 baik"), "b@x": said("450 4.2.0 nanti")}, Verdict.WARN),
        ({ADDRESS: said("450 4.2.0 nanti"), "b@x": said("550 5.1.1 tiada")}, Verdict.FAIL),
        ({ADDRESS: said("250 baik"), "b@x": said("550 5.7.26 SPF")}, Verdict.UNKNOWN),
    ],
)
def test_mx_recipients_worst_answer_decides_verdict(replies: dict[str, ServerReply], verdict: Verdict) -> None:
    seen = Callout(greeting=said("220 sedia"), recipients=replies)
    ours = CheckScope(agency="JCONTOH", mailboxes=(), domains=(), our_address="kami@rujukan.example")
    assert judge_recipients(seen, ours)[0] is verdict
    broken = replace(seen, recipients={}, break_reason="it hung up")
    assert judge_recipients(broken, ours) == (Verdict.UNKNOWN, "it broke off: it hung up")
    for mute in (replace(ours, our_address=""), replace(ours, ask_recipients=False)):
        assert judge_recipients(seen, mute)[0] is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("text", "about_us"),
    [
        ("550 5.7.1 anda disenarai", True),
        ("550 5.7.133 tidak dibenarkan", True),
        ("554 5.7.1 Relay access denied", False),
        ("550 5.7.64 Relaying not allowed", False),
        ("550 5.1.1 tiada", False),
        ("450 4.7.1 nanti", False),
        ("450 5.7.1 nanti", False),
        ("550 tiada", False),
    ],
)
def test_mx_refusal_concerns_client(text: str, *, about_us: bool) -> None:
    assert concerns_client(said(text)) is about_us
