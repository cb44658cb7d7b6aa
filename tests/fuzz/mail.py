"""Fuzz targets of received mail."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

from probes.arrival.expectation import Expectation, FolderKind
from probes.arrival.message_handler import MailboxMessage, MessageHandler
from probes.domain.signature import author_domain, find_key_names, verify_signatures
from probes.mail.bounce import DsnReport, parse_report
from probes.mail.disposition import TokenRegistry
from probes.mail.hops import read_path
from probes.mail.message import compose, find_damage
from probes.mail.observed_message import classify
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox, Password
from probes.model.result import Party
from probes.verdict.outbound import outbound_address
from tests.fuzz.target import Target

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
SIGNER = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1")
ROUTE = "jabatan-contoh/inbound/rujukan-a"
TOKEN = SIGNER.issue(ROUTE, NOW, id_octets=b"contoh-1")
LATE = SIGNER.issue(ROUTE, NOW, id_octets=b"contoh-2")
ISSUED = {TOKEN.id, LATE.id}
_FORGED = TokenSigner(b"kunci-orang-lain-sahaja", "putrajaya-1").issue(ROUTE, NOW, id_octets=b"contoh-3")

#: A public key without known private key.
_KEY = b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCyqzb1ZlniD1dzPe8yUta0W5qOV8E3qKeQcOHW2+g0Tdx66pCJ3TvQ+ibCZofYAEBe7hnsRlvlaMLRemXwj9LVN92pvlUH8RMWomfgWiEAyQudtmZt/H4Wc6CunsDMDIJxj/S6Uy3kXOwG4HzqvI/sIkK/EsSWkS1/YoEABcxaLQIDAQAB"
_KEY_NAME = "s1._domainkey.rujukan.example"


def message(token: Token = TOKEN) -> bytes:
    """Return the message of a run."""
    return compose(token, sender="a@rujukan.example", recipient="semakan@jabatan-contoh.gov.my", now=NOW)


def report(about: bytes) -> bytes:
    """Return a delivery status notification about a failed message."""
    return (
        b"From: MAILER-DAEMON@mel.jabatan-contoh.gov.my\r\nSubject: Undelivered\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nTidak dapat dihantar.\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mel.jabatan-contoh.gov.my\r\n\r\n"
        b"Final-Recipient: rfc822; semakan@jabatan-contoh.gov.my\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 tiada pengguna\r\n\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + about + b"\r\n--b--\r\n"
    )


RELAYED = (
    b"Received: from mx.rujukan.example (mx.rujukan.example [192.0.2.7])\r\n\tby mel.jabatan-contoh.gov.my (Postfix)"
    b" with ESMTPS id 4X; Fri, 27 Nov 2026 16:00:02 +0800 (MYT)\r\n"
    b"Authentication-Results: mel.jabatan-contoh.gov.my; spf=pass; dkim=pass\r\n" + message()
)
#: The body hash is that of an empty body.
_SIGNED = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=rujukan.example; s=s1;\r\n"
    b"\th=from:to:subject; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n\tb=" + b"YWFh" * 42 + b"YWE=\r\n"
)


def _receive(octets: bytes) -> None:
    """Only messages with an issued token are deleted or counted as ours."""
    header, blank, _ = octets.partition(b"\r\n\r\n")
    counted: list[str | None] = []

    async def whole() -> bytes:
        return octets

    async def received() -> bool:
        waiting = Expectation(TOKEN, Party.RECIPIENT, wake=lambda: None, on_end=lambda _: None)
        handler = MessageHandler(
            mailbox=Mailbox(
                name="m", address="semakan@jabatan-contoh.gov.my", login=Password(username="u", secret="p")
            ),
            signer=SIGNER,
            registry=TokenRegistry(),
            waiting={TOKEN.id: [waiting]},
            on_arrival=lambda _, token, at: counted.append(token),
            clock=lambda: NOW,
        )
        mailbox_message = MailboxMessage(uid=1, header=header + blank, size=len(octets), fetch_content=whole)
        return await handler.process(mailbox_message, FolderKind.INBOX, may_count=True)

    deleted = asyncio.run(received())
    assert ISSUED.issuperset(token for token in counted if token is not None)
    if deleted:
        found = (classify(each, SIGNER).token for each in (header + blank, octets))
        assert any(token is not None and token.id in ISSUED for token in found)


def _read(octets: bytes) -> None:
    """All findings about a message are printable and short."""
    assert all(change.isprintable() for change in find_damage(octets, TOKEN))
    path = read_path(octets, submitted_at=NOW, arrived_at=NOW + timedelta(minutes=1))
    assert len(path.hops) <= 30
    assert all(hop.delay >= timedelta() and hop.by.isprintable() and len(hop.by) <= 100 for hop in path.hops)
    address = outbound_address(octets)
    assert address is None or not address.is_loopback
    assert "@" not in author_domain(octets)
    token = classify(octets, SIGNER).token
    assert token is None or token.id in ISSUED


def _notify(octets: bytes) -> None:
    """A report is parsed, or is none; its text is printable and short."""
    found = parse_report(message_from_bytes(octets, policy=policy.compat32))
    if found is None:
        return
    for one in (found, *found.other_reports):
        assert isinstance(one, DsnReport)
        assert one.text.isprintable()
        assert len(one.text) <= 300
        assert one.code is None or 200 <= one.code < 600
        assert one.status is None or one.status.isascii()
    assert found.has_failed_for("semakan@jabatan-contoh.gov.my") in {True, False}


def _sign(octets: bytes) -> None:
    """A signature without the private key is invalid, and none blocks the event loop."""
    assert len(find_key_names(octets)) <= 5
    for signature in verify_signatures(octets, {_KEY_NAME: _KEY}):
        assert not signature.is_valid
        assert signature.fault.isprintable()


def _nested(size: int) -> bytes:
    """Return parts nested to the parser's limit, with line ends in the innermost."""
    opened = b"".join(b'Content-Type: multipart/report; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(150))
    return opened + b"\r\n" * max(0, (size - len(opened)) // 2)


_SEEDS = {
    "the message of a run": message(),
    "the message after a relay": RELAYED,
    "a message that is late": message(LATE),
    "a message with a forged token": message(_FORGED),
    "a report about it": report(message()),
    "an answer to it": b"Subject: Re: Semakan e-mel " + TOKEN.text.encode() + b"\r\nIn-Reply-To: <x@y>\r\n\r\nOK\r\n",
    "encoded subject": b"Subject: =?utf-8?b?" + b"cGFudGF1LQ==" + b"?=\r\n\r\n",
    "token with similar letters": (b"Subject: =?utf-8?q?pantau-" + b"a" * 54 + b"=C4=B0?=\r\n\r\n"),
    "ten thousand nested parts": b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(10_000)
    ),
    "split parameters": b"Content-Type: text/plain; charset*0*=x'%ff; charset*1=\"; name*9999999999999*=a\r\n\r\nx",
    "invalid encoding": b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 666 \xff\r\n\x80\x80\r\nend\r\n",
}

TARGETS = (
    Target(
        name="mail",
        run=_receive,
        seeds=_SEEDS,
        growing={
            "nested parts": _nested,
            "encoded words": lambda size: b"Subject: " + b"=?a?q?a " * (size // 8) + b"\r\n\r\n",
            "words in punycode": lambda size: (
                b"Subject: =?punycode?q?" + b"a" * (size // 2) + b"-" + b"b" * (size // 2) + b"?=\r\n\r\n"
            ),
        },
        largest=256 * 1024,
    ),
    Target(
        name="arrived",
        run=_read,
        seeds={
            **_SEEDS,
            "impossible time stamps": b"".join(
                b"Received: by %d; %s\r\n" % (number, stamp)
                for number, stamp in enumerate(
                    (
                        b"31 Dec 9999 23:59:60 -2359",
                        b"1 Jan 0001 00:00:00 +2359",
                        b"0 Jan 0000 99:99:99 +9999",
                        b"29 Feb 2026 00:00 Z",
                    )
                )
            )
            + message(),
            "an author in brackets": b"From: " + b"(" * 5000 + b"\r\n\r\n",
            "a thousand authors": b"From: " + b"a," * 1000 + b"\r\n\r\n",
            "author with invalid domain": b"From: a@[x\r\nFrom: <@:>@..\xff\r\n\r\n",
        },
        growing={
            "nested parts": _nested,
            "authors": lambda size: b"From: " + b"a," * (size // 2) + b"\r\n\r\n",
            "comments": lambda size: b"From: " + b"(" * size + b"\r\n\r\n",
            "comments in stamps": lambda size: (
                b"".join(
                    b"Received: by %d %s; 1 Jan 2026 00:00 Z\r\n" % (number, b"(" * 950 + b")" * 950)
                    for number in range(size // 1950)
                )
                + message()
            ),
            "blanks in stamps": lambda size: (
                b"".join(b"Received: from a%s\r\n" % (b" \t" * 990) for _ in range(size // 2000)) + message()
            ),
        },
        largest=256 * 1024,
    ),
    Target(
        name="report",
        run=_notify,
        seeds={
            "a report": report(message()),
            "a report of a thousand recipients": report(message()).replace(
                b"Final-Recipient", b"Final-Recipient: a\r\nAction: failed\r\n\r\nFinal-Recipient", 1
            ),
            "status in non-ASCII digits": report(b"").replace(b"5.1.1", "5.\u0661.1".encode()),
            "no report": message(),
        },
        growing={
            "recipients": lambda size: (
                b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
                + b"Action: failed\r\n\r\n" * (size // 18)
            )
        },
        largest=256 * 1024,
    ),
    Target(
        name="signature",
        run=_sign,
        seeds={
            "a signed message": _SIGNED + message(),
            "selector with control characters": _SIGNED.replace(b"s=s1", b"s=s1\x1b[2J\x7f") + b"\r\n",
            "five signatures": _SIGNED * 6 + b"\r\n",
            "tags without end": b"DKIM-Signature: " + b"v=1;" * 500 + b"\r\n\r\n",
            "impossible times": _SIGNED.replace(b"s=s1;", b"s=s1; t=" + b"9" * 5000 + b"; x=-1;") + b"\r\n",
            "length beyond the body": _SIGNED.replace(b"s=s1;", b"s=s1; l=" + b"9" * 5000 + b";") + b"\r\n",
        },
        growing={
            "headers and their names": lambda size: (
                _SIGNED.replace(b"h=from:", b"h=from:" + b":".join(b"a%d" % n for n in range(size // 16)) + b":")
                + b"b:\r\n" * (size // 8)
                + b"From: a@rujukan.example\r\n\r\n"
            ),
            "a folded signature": lambda size: (
                _SIGNED.replace(b"YWFh", b"\r\n a" * (size // 4), 1) + b"From: a\r\n\r\n"
            ),
            "a signature of blanks": lambda size: (
                _SIGNED.replace(b"YWFh", b"\r\n " * (size // 3), 1) + b"From: a\r\n\r\n"
            ),
            "headers": lambda size: _SIGNED + b"b:\r\n" * (size // 4) + b"\r\n",
        },
        largest=256 * 1024,
    ),
)
