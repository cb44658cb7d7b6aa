"""The probe message, its recognition, and changes to it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.utils import parsedate_to_datetime
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.mail.message import (
    OUR_HEADERS,
    TOKEN_HEADER,
    build_subject,
    build_text,
    compose,
    find_damage,
    find_rewrites,
)
from probes.mail.observed_message import MailKind, _parse, classify, may_hide_token
from probes.mail.token import TokenSigner

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
SIGNER = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1")
TOKEN = SIGNER.issue("r", NOW, id_octets=bytes([3, 1, 2, 4, 5, 6, 7, 8]))
RAW = compose(TOKEN, sender="a@jabatan-contoh.gov.my", recipient="b@rujukan.example", now=NOW)


def header_of(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def test_probe_message_is_well_formed_and_marked_automatic() -> None:
    message = message_from_bytes(RAW, policy=policy.default)
    assert not message.defects
    assert parsedate_to_datetime(message["Date"]) == NOW
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["Message-ID"].endswith("@jabatan-contoh.gov.my>")
    assert not set(message["Subject"]) & set("[](){}_")
    assert len(RAW) < 16_384
    assert max(map(len, RAW.split(b"\r\n"))) < 998
    (attachment,) = [part for part in message.walk() if part.get_filename()]
    assert 1024 <= len(attachment.as_bytes()) <= 4096


@pytest.mark.pitfall
@pytest.mark.parametrize("carrier", ["Subject", "X-Pantau-Token", "References", "Message-ID"])
def test_classify_single_header_with_token_is_enough(carrier: str) -> None:
    """Trap: It is unknown which place of the token survives.

    Pantau: Any single header is enough.
    """
    header = f"From: a@b.example\r\n{carrier}: {message_from_bytes(RAW)[carrier]}\r\n\r\n".encode()
    assert classify(header, SIGNER).token == TOKEN


@pytest.mark.pitfall
def test_classify_token_in_body_in_any_encoding_is_enough() -> None:
    """Trap: No header of the token survives.

    Pantau: The text alone is enough, in any encoding.
    """
    bare = b"From: a@b.example\r\nContent-Type: text/plain; charset=utf-8\r\n"
    text = build_text(TOKEN).encode()
    assert classify(bare + b"\r\n" + text, SIGNER).token == TOKEN
    encoded = bare + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(text)
    assert classify(encoded, SIGNER).token == TOKEN
    folded = text.replace(TOKEN.text[:20].encode(), TOKEN.text[:20].encode() + b"=\r\n")
    printable = bare + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + folded
    assert classify(printable, SIGNER).token == TOKEN


def test_classify_token_in_encoded_subject_is_found() -> None:
    words = base64.b64encode(f"‼ LUAR: {TOKEN.text}".encode()).decode()
    assert classify(f"Subject: =?utf-8?b?{words}?=\r\n\r\n".encode(), SIGNER).token == TOKEN


@pytest.mark.pitfall
def test_probe_messages_have_different_texts() -> None:
    """Trap: Identical texts look like spam.

    Pantau: No two are alike.
    """
    tokens = [SIGNER.issue("r", NOW) for _ in range(60)]
    assert len({build_text(token) for token in tokens}) == 60
    # The texts differ not only by their tokens.
    assert len({build_text(token).splitlines()[0] for token in tokens}) > 1
    assert len({build_text(token).splitlines()[2] for token in tokens}) > 1


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        assert old.encode() in raw
        return raw.replace(old.encode(), new.encode())

    return change


def without(name: str) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        message = message_from_bytes(raw, policy=policy.SMTP)
        del message[name]
        return message.as_bytes()

    return change


def base64_text(raw: bytes) -> bytes:
    message = message_from_bytes(raw, policy=policy.SMTP)
    part = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    part.set_content(part.get_content(), cte="base64")
    return message.as_bytes()


def wrapped_in_html_and_notice(raw: bytes) -> bytes:
    message = message_from_bytes(raw, policy=policy.SMTP)
    part = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    notice = "AWAS: e-mel ini datang dari luar.\n\n" + part.get_content().replace(". ", ".\n") + "\nPenafian: ...\n"
    part.set_content(notice)
    part.add_alternative("<p>Penafian</p>", subtype="html")
    return message.as_bytes()


def truncated(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def other_attachment(raw: bytes) -> bytes:
    stale = compose(SIGNER.issue("r", NOW), sender="a@b.example", recipient="c@d.example", now=NOW)
    (attachment,) = message_from_bytes(stale, policy=policy.default).iter_attachments()
    message = message_from_bytes(raw, policy=policy.SMTP)
    next(part for part in message.walk() if part.get_filename()).set_content(
        attachment.get_content(), maintype="application", subtype="octet-stream", filename="semakan.dat"
    )
    return message.as_bytes()


def without_attachment(raw: bytes) -> bytes:
    message = message_from_bytes(raw, policy=policy.SMTP)
    parts = message.get_payload()
    assert isinstance(parts, list)
    message.set_payload(parts[:1])
    return message.as_bytes()


def latin1_mangled(raw: bytes) -> bytes:
    message = message_from_bytes(raw, policy=policy.SMTP)
    part = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    part.set_content(part.get_content().encode("ascii", "replace").decode())
    return message.as_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw,
        replaced(f"Message-ID: <{TOKEN.text}", "Message-ID: <01020304"),
        replaced("Subject: Semakan", "Subject: [EXTERNAL] Semakan"),
        without("X-Pantau-Token"),
        without("X-Pantau-SHA256"),
        without("References"),
        lambda raw: b"Received: from x by y; Mon, 2 Mar 2026 08:30:01 +0000\r\nX-Spam-Score: 0\r\n" + raw,
        lambda raw: raw.replace(b"\r\n", b"\n"),
        replaced('filename="semakan.dat"', 'filename="lampiran.dat"'),
        base64_text,
        wrapped_in_html_and_notice,
    ],
)
def test_find_damage_rewritten_headers_and_encodings_is_empty(change: Callable[[bytes], bytes]) -> None:
    assert find_damage(change(RAW), TOKEN) == ()


def html_only(raw: bytes) -> bytes:
    """Convert the text to HTML as some gateways do: paragraphs, entities, a banner and a disclaimer."""
    message = message_from_bytes(raw, policy=policy.SMTP)
    part = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    lines = "".join(f"<p>{escape(line)}&nbsp;<br>\r\n</p>" for line in part.get_content().splitlines())
    html = f"<html><head><style>p {{color: red}}</style></head><body><b>AWAS</b>{lines}<hr>Penafian</body></html>"
    part.set_content(html, subtype="html")
    return message.as_bytes()


def as_an_attachment(raw: bytes) -> bytes:
    """Attach the message to a report, as a spam filter does."""
    report = EmailMessage()
    report["From"], report["Subject"] = "a@jabatan-contoh.gov.my", f"*****SPAM***** {build_subject(TOKEN)}"
    report.set_content("Mesej ini mungkin spam.")
    report.add_attachment(message_from_bytes(raw, policy=policy.default))
    return report.as_bytes(policy=policy.SMTP)


@pytest.mark.blind
@pytest.mark.parametrize(
    ("change", "rewrites"),
    [
        (lambda raw: raw, ()),
        (html_only, ("text as HTML only",)),
        (replaced("text/plain", "text/html"), ("text as HTML only",)),
        (wrapped_in_html_and_notice, ()),
        # A tag before or behind is no other subject.
        (replaced("Subject: ", "Subject: EXTERNAL: "), ()),
        (replaced("Subject: Semakan", "Subject: Ujian"), ("subject changed",)),
        (replaced(f"Message-ID: <{TOKEN.text}", "Message-ID: <01020304"), ("Message-ID replaced",)),
        (without("References"), ("References removed",)),
        (without("X-Pantau-Token"), ("X-Pantau-Token removed",)),
        (replaced("Message-ID:", "Message-Id:"), ()),
        (
            lambda raw: html_only(without("References")(raw)),
            ("References removed", "text as HTML only"),
        ),
    ],
)
def test_find_rewrites_in_undamaged_message_are_named(
    change: Callable[[bytes], bytes], rewrites: tuple[str, ...]
) -> None:
    """Defect: Mail that arrives whole, as HTML only, is CORRUPTED.

    Pantau: It is whole, and the rewriting is named.
    """
    changed = change(RAW)
    assert find_damage(changed, TOKEN) == ()
    assert find_rewrites(changed, TOKEN) == rewrites


@pytest.mark.blind
def test_find_damage_in_html_text_is_named() -> None:
    """Defect: Losses in HTML text are not found.

    Pantau: They are named as in plain text.
    """
    assert find_damage(replaced("Rujukan:", "Rujuk:")(html_only(RAW)), TOKEN) == ("text changed",)
    assert find_damage(html_only(without_attachment(RAW)), TOKEN) == ("attachment missing",)
    assert find_damage(html_only(latin1_mangled(RAW)), TOKEN) == ("characters outside ASCII changed",)


@pytest.mark.parametrize("piece", ["<", "<p", "&#", "&nbsp", "<!--", "]]>"])
def test_find_rewrites_in_hostile_html_takes_linear_time(piece: str) -> None:
    hostile = html_only(RAW).replace(b"<hr>", piece.encode() * (200_000 // len(piece)))
    began = time.process_time()
    find_rewrites(hostile, TOKEN)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (replaced("SHA-256:", "SHA-255:"), "text changed"),
        (replaced("Rujukan:", "Rujuk:"), "text changed"),
        (latin1_mangled, "characters outside ASCII changed"),
        (without_attachment, "attachment missing"),
        (other_attachment, "attachment changed"),
        (truncated, "attachment cut short"),
        (header_of, "text missing"),
        (lambda _: b"", "text missing"),
        (lambda _: b"\x00\xff" * 400, "text changed"),
    ],
)
def test_find_damage_names_each_corruption(change: Callable[[bytes], bytes], finding: str) -> None:
    assert finding in find_damage(change(RAW), TOKEN)


def test_find_damage_message_of_other_run_is_damaged() -> None:
    another = SIGNER.issue("r", NOW + timedelta(minutes=5))
    assert set(find_damage(RAW, another)) == {"text changed", "attachment changed"}


@pytest.mark.parametrize(
    ("raw", "kind", "forged"),
    [
        (RAW, MailKind.MESSAGE, False),
        (header_of(RAW), MailKind.MESSAGE, False),
        (b"Subject: mesyuarat esok\r\n\r\nSalam", MailKind.FOREIGN, False),
        (b"Subject: pantau-" + b"a" * 56 + b"\r\n\r\n", MailKind.FOREIGN, True),
        (b"Subject: Re: " + TOKEN.text.encode() + b"\r\n\r\nTerima kasih", MailKind.ANSWER, False),
        (b"Auto-Submitted: auto-replied\r\nSubject: cuti " + TOKEN.text.encode() + b"\r\n\r\n", MailKind.ANSWER, False),
        (b"Return-Path: <>\r\nSubject: gagal\r\n\r\n" + TOKEN.text.encode(), MailKind.ANSWER, False),
        (b"From: Mailer-Daemon@mx.example\r\nSubject: gagal\r\n\r\n" + TOKEN.text.encode(), MailKind.ANSWER, False),
        (b"", MailKind.FOREIGN, False),
    ],
)
def test_classify_mail_kinds(*, raw: bytes, kind: MailKind, forged: bool) -> None:
    observed = classify(raw, SIGNER)
    assert (observed.kind, observed.is_forged) == (kind, forged)


def test_only_report_may_hide_token_in_body() -> None:
    assert may_hide_token(b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n")
    assert not may_hide_token(header_of(RAW))


@given(st.binary(max_size=2000))
def test_classify_any_octets_raises_nothing(raw: bytes) -> None:
    assert classify(raw, SIGNER).token is None
    assert find_damage(raw, TOKEN)


@given(st.integers(0, len(RAW) - 1), st.binary(max_size=20))
def test_classify_any_damaged_message_raises_nothing(where: int, what: bytes) -> None:
    damaged = RAW[:where] + what + RAW[where + 5 :]
    classify(damaged, SIGNER)
    find_damage(damaged, TOKEN)


@pytest.mark.pitfall
@pytest.mark.parametrize(
    "subject",
    [
        "Mesej lambat sampai",
        f"Re: Semakan e-mel {TOKEN.text}",
        f"AW: Semakan e-mel {TOKEN.text}",
        f"WG: Semakan e-mel {TOKEN.text}",
        f"Untuk makluman: Semakan e-mel {TOKEN.text}",
        f"Balas: Semakan e-mel {TOKEN.text}",
        f"Re[2]: Semakan e-mel {TOKEN.text}",
        f"[LUAR] Re: Semakan e-mel {TOKEN.text}",
        f"Kuarantin: 3 mesej, antaranya Semakan e-mel {TOKEN.text}",
    ],
)
def test_classify_answer_with_prefix_or_other_subject_is_not_own_message(subject: str) -> None:
    """Trap: An answer ("Re:", "AW:", "WG:") quotes the token.

    Pantau: It proves nothing and is left alone.
    """
    raw = (
        f"From: bos@jabatan-contoh.gov.my\r\nSubject: {subject}\r\nReferences: <{TOKEN.text}@semakan.invalid>\r\n"
        f"Message-ID: <1@jabatan-contoh.gov.my>\r\n\r\nTuan, mesej {TOKEN.text} lambat sampai.\r\n"
    )

    assert classify(raw.encode(), SIGNER).kind is MailKind.ANSWER


@pytest.mark.pitfall
@pytest.mark.parametrize("kept", ["Subject", TOKEN_HEADER, "Message-ID", "Content-Type"])
def test_classify_single_intact_mark_is_enough(kept: str) -> None:
    """Trap: A changed message is not recognised.

    Pantau: One thing that no answer copies is enough.
    """
    message = message_from_bytes(RAW, policy=policy.SMTP.clone(max_line_length=200))
    for name in {"Subject", TOKEN_HEADER, "Message-ID"} - {kept}:
        del message[name]
    if kept != "Content-Type":
        message.set_boundary("lain")

    assert classify(message.as_bytes(), SIGNER).kind is MailKind.MESSAGE


@pytest.mark.parametrize("octets", range(1, 9))
def test_find_damage_attachment_cut_anywhere_is_cut_short(octets: int) -> None:
    cut = RAW[: RAW.index(b"--semakan", RAW.index(b"filename=")) - 300 - octets]
    assert find_damage(cut, TOKEN) == ("attachment cut short",)


@pytest.mark.parametrize("sender", ["a@jabatan-contoh.gov.my", "unit.teknologi-maklumat+semakan@jabatan-contoh.gov.my"])
def test_compose_output_is_parsed_by_standard_library(sender: str) -> None:
    for dice in range(12):
        token = SIGNER.issue("r", NOW, id_octets=bytes([dice, dice, dice, 4, 5, 6, 7, 8]))
        raw = compose(token, sender=sender, recipient="b@rujukan.example", now=NOW)
        message = message_from_bytes(raw, policy=policy.default)
        assert [part.get_content_type() for part in message.walk()] == [
            "multipart/mixed",
            "text/plain",
            "application/octet-stream",
        ]
        assert not any(part.defects for part in message.walk())
        assert (message["From"], message["To"]) == (sender, "b@rujukan.example")
        assert set(map(str.lower, message.keys())) == OUR_HEADERS
        text = message.get_body()
        assert text is not None
        assert text.get_content().split() == build_text(token).split()
        assert find_damage(raw, token) == ()
        assert not raw.replace(b"\r\n", b"").strip(bytes(range(32, 127)) + b"\t")
        assert max(map(len, raw.partition(b"\r\n\r\n")[2].split(b"\r\n"))) <= 78


NAMES = st.sampled_from(["Subject", "X-Pantau-Token", "Content-Type", "From", "Received", "X-Lain", "Auto-Submitted"])
VALUES = st.text(st.sampled_from('ab <>@=?_;:"(/.-\té\xa0'), max_size=40)
FOLDS = st.lists(VALUES, min_size=1, max_size=3).map("\r\n ".join)


def _begun(message: Message) -> list[tuple[str, str]]:
    # Whether a fold right after the colon belongs to the value is not the same in all versions of Python.
    return [(name, str(value).lstrip(" \t\r\n")) for name, value in message.items()]


@given(st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", ":\t", " :", ""]), FOLDS), min_size=1, max_size=8))
def test_parsed_headers_equal_standard_library(
    fields: list[tuple[str, str, str]],
) -> None:
    raw = "".join(f"{name}{colon}{value}\r\n" for name, colon, value in fields).encode() + b"\r\n"
    ours, theirs = _parse(raw), message_from_bytes(raw, policy=policy.compat32)
    assert _begun(ours) == _begun(theirs)
    assert ours.get_content_type() == theirs.get_content_type()
