"""Corruption of message content; header and structure stay readable."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from pantau_lab.mail.faults.corruption import corrupted

TOKEN = "pantau-1234567890abcdef"
TEXT = "Selamat pagi, naïve café, 早安\n"
BYTES = bytes(range(256))


def message(cte: str, text: str = TEXT, *, attached: bool = True) -> EmailMessage:
    built = EmailMessage(policy=policy.SMTP)
    built["Subject"] = f"Ujian {TOKEN}"
    built["References"] = f"<{TOKEN}@jabatan-contoh.gov.my>"
    built.set_content(text, cte=cte)
    if attached:
        built.add_attachment(BYTES, maintype="application", subtype="octet-stream", filename="ujian.bin")
    return built


def parsed(content: bytes) -> EmailMessage:
    read = message_from_bytes(content, policy=policy.SMTP)
    assert isinstance(read, EmailMessage)
    return read


@pytest.mark.parametrize("cte", ["8bit", "quoted-printable", "base64"])
def test_corrupted_replaces_letters_and_attachment(cte: str) -> None:
    damaged = parsed(corrupted(message(cte).as_bytes()))
    body, attachment = damaged.iter_parts()
    assert body.get_content().rstrip() == "Selamat pagi, na?ve caf?, ??"
    assert isinstance(attachment, EmailMessage)
    assert attachment.get_filename() == "ujian.bin"
    assert attachment.get_content() != BYTES
    assert len(attachment.get_content()) == len(BYTES)


def test_corrupted_keeps_header_unchanged() -> None:
    before = message("8bit").as_bytes()
    after = corrupted(before)
    assert after.partition(b"\r\n\r\n")[0] == before.partition(b"\r\n\r\n")[0]
    assert TOKEN.encode() in after


def test_corrupted_keeps_crlf_line_ends() -> None:
    after = corrupted(message("quoted-printable").as_bytes())
    assert after.count(b"\n") == after.count(b"\r\n")


def test_corrupted_plain_ascii_is_unchanged() -> None:
    plain = message("7bit", "Selamat pagi\n", attached=False).as_bytes()
    assert corrupted(plain) == plain


def test_corrupted_unknown_charset_loses_letters() -> None:
    odd = b"Content-Type: text/plain; charset=x-contoh\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xe9\r\n"
    assert corrupted(odd).endswith(b"caf?\r\n")
