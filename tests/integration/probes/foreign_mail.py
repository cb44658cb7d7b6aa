"""Foreign mail in a probed mailbox, of all kinds that resemble probe messages or could disturb them."""

from __future__ import annotations

import imaplib
import re
import secrets
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from probes.mail.message import build_subject, compose
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox
from tests.integration.probes.round_trips import SIGNER
from tests.mailbox_parts import imap_of, password_of

_KEY = b"kunci-untuk-ujian-sahaja"
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_RECENT = rb"\Recent"

#: Folder, mail and flags.
Mails = Counter[tuple[str, bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignMail:
    """A foreign mail."""

    kind: str
    raw: bytes
    folder: str = "INBOX"
    flags: str = ""


def foreign_mail(box: Mailbox) -> list[ForeignMail]:
    """Return some sixty mails, none of which is ours to delete."""
    letters = [_text("surat", f"Mesyuarat {n}", f"Pukul {n}, aras 2.") for n in range(10)]
    return [
        *letters,
        *(_text("besar", f"Lampiran {n}", secrets.token_hex(n * 100_000)) for n in (1, 3, 8)),
        *_odd(),
        *_look_alikes(),
        *_quoting(box),
        *_reports(),
        *_from_other_probers(box),
        *_flagged(),
        *(ForeignMail(kind="sarap", raw=each.raw, folder="Junk", flags=each.flags) for each in _junk(box)),
    ]


def _text(kind: str, subject: str, body: str, *more: str, flags: str = "") -> ForeignMail:
    lines = ["From: Bos <bos@jabatan-contoh.gov.my>", f"Subject: {subject}", *more, "", body, ""]
    return ForeignMail(kind=kind, raw="\r\n".join(lines).encode(), flags=flags)


def _odd() -> Iterator[ForeignMail]:
    for raw in (
        b"\r\ntiada kepala\r\n",
        b"Subject:\r\n\r\n",
        b"Subject: \xe9\xff tidak dikodkan\r\n\r\n\x80\x81\r\n",
        b"Subject: =?utf-8?b?bukan base64!?= =?tiada?q?=ZZ?=\r\n\r\nhai\r\n",
        b"X-Panjang: " + b"a b " * 15_000 + b"\r\nSubject: kepala panjang\r\n\r\nhai\r\n",
        b"Content-Type: multipart/mixed\r\n\r\ntiada sempadan\r\n",
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n'
        + b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" * 200,
        b'Subject: (kurungan) {12} "petik" \\ * OK [UIDVALIDITY 1]\r\n\r\n* 1 EXISTS\r\n)\r\n',
    ):
        yield ForeignMail(kind="ganjil", raw=raw)


def _look_alikes() -> Iterator[ForeignMail]:
    """Yield mail with invalid or foreign tokens."""
    token = _token().text
    stranger = TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "lain").issue("ujian", datetime.now(UTC)).text
    for fake in (
        "pantau-aduan projek jalan",
        "pantau-" + "a" * 24,
        "pantau-" + "b" * 56,
        f"{token}aa",
        token[:-1] + ("a" if token[-1] != "a" else "b"),
        stranger,
    ):
        yield _text("serupa", f"Semakan e-mel {fake}", "hai", f"X-Pantau-Token: {fake}", f"Message-ID: <{fake}@contoh>")
    yield _text("serupa", "laporan", f"Rujukan: {stranger}\r\nRujukan: {'pantau-' + 'c' * 56}")


def _quoting(box: Mailbox) -> Iterator[ForeignMail]:
    """Yield mail by people and robots that quotes valid tokens."""
    tokens = [_token() for _ in range(9)]
    for prefix, token in zip(("Re:", "Fwd:", "BLS:", "[LUAR] Re:"), tokens[:4], strict=True):
        yield _text(
            "jawapan", f"{prefix} {build_subject(token)}", f"> {token.text}", f"References: <{token.text}@contoh>"
        )
    absent = tokens[4]
    yield _text("cuti", f"Automatic reply: {build_subject(absent)}", "Saya bercuti.", "Auto-Submitted: auto-replied")
    yield _text("kuarantin", "Senarai kuarantin", "\r\n".join(build_subject(token) for token in tokens))
    yield _text("aduan", "Apakah ini?", f"Saya terima {tokens[5].text} semalam.")
    original = compose(tokens[6], sender=box.address, recipient=box.address, now=datetime.now(UTC)).decode()
    yield _text("panjang", "FYI", original, "Content-Type: message/rfc822")
    yield _text("tandatangan", "Laporan bulanan", "Lihat lampiran.", f"In-Reply-To: <{tokens[7].text}@contoh>")


def _reports() -> Iterator[ForeignMail]:
    """Yield bounces of foreign mail."""
    for about in ("Mesyuarat", "Semakan e-mel", _foreign_token(), "pantau-" + "d" * 56):
        part = f"Content-Type: text/rfc822-headers\r\n\r\nSubject: {about}"
        status = (
            "Reporting-MTA: dns; mel\r\n\r\nFinal-Recipient: rfc822; x@contoh\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        )
        body = f"--b\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n--b\r\n{part}\r\n\r\n--b--"
        yield _text(
            "pantulan", "Undelivered", body, "Content-Type: multipart/report; report-type=delivery-status; boundary=b"
        )


def _from_other_probers(box: Mailbox) -> Iterator[ForeignMail]:
    """Yield messages of a prober at another site, which still waits for them."""
    other = TokenSigner(_KEY, "johor-1")
    for _ in range(5):
        token = other.issue("ujian", datetime.now(UTC))
        raw = compose(token, sender=box.address, recipient=box.address, now=datetime.now(UTC))
        yield ForeignMail(kind="tapak lain", raw=raw)


def _flagged() -> Iterator[ForeignMail]:
    for flags in (r"\Deleted", r"\Deleted \Seen", r"\Deleted \Flagged", r"\Flagged", r"\Seen", r"\Answered", r"\Draft"):
        yield _text("bertanda", f"Bertanda {flags}", "Jangan buang.", flags=flags)


def _junk(box: Mailbox) -> Iterator[ForeignMail]:
    yield _text("sarap", "Menang loteri", "Tekan di sini.")
    yield _text("sarap", "Menang lagi", "Tekan di sini.", flags=r"\Deleted")
    yield from _look_alikes()
    yield from _from_other_probers(box)


def _token() -> Token:
    return SIGNER.issue("ujian", datetime.now(UTC))


def _foreign_token() -> str:
    return TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "lain").issue("ujian", datetime.now(UTC)).text


@contextmanager
def signed_in(box: Mailbox) -> Iterator[imaplib.IMAP4_SSL]:
    """Sign in as another client of the mailbox would."""
    # The connection goes to this machine and carries nothing secret.
    blind = ssl._create_unverified_context()
    client = imaplib.IMAP4_SSL("127.0.0.1", imap_of(box).port, ssl_context=blind)
    try:
        client.login(password_of(box).username, password_of(box).secret)
        yield client
    finally:
        client.logout()


def put(box: Mailbox, mails: list[ForeignMail]) -> None:
    with signed_in(box) as client:
        for mail in mails:
            done, answer = client.append(mail.folder, f"({mail.flags})", "", mail.raw)
            assert done == "OK", answer


def contents(box: Mailbox, folder: str) -> Mails:
    """Return each mail in *folder*: the folder, the mail octet by octet, its flags. Leave it as it is."""
    with signed_in(box) as client:
        client.select(folder, readonly=True)
        _, answer = client.fetch("1:*", "(FLAGS BODY.PEEK[])")
    mails = Mails()
    for head, raw in (part for part in answer if isinstance(part, tuple)):
        found = _FLAGS.search(head)
        assert found is not None
        flags = {*found[1].split()} - {_RECENT}
        mails[folder, raw, b" ".join(sorted(flags))] += 1
    return mails
