"""Changes that mail gateways make to messages."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

from pantau_lab.mail.faults.gateway import renamed, stripped, with_footer

SENT = EmailMessage(policy=policy.SMTP)
SENT["From"] = "pantau@jabatan-contoh.gov.my"
SENT["Subject"] = "Semakan"
SENT["Message-ID"] = "<satu@jabatan-contoh.gov.my>"
SENT["References"] = "<dua@jabatan-contoh.gov.my>"
SENT["X-Pantau-Token"] = "tanda"
SENT.set_content("Selamat pagi, café.\nX-Isi: kekal\n")
SENT.add_attachment(bytes(range(256)), maintype="application", subtype="octet-stream")
CONTENT = SENT.as_bytes()


def read(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def parts(content: bytes) -> list[object]:
    return [part.get_content() for part in read(content).iter_parts() if isinstance(part, EmailMessage)]


def test_stripped_removes_fields_and_keeps_rest() -> None:
    remaining = read(stripped(CONTENT))
    assert set(SENT.keys()) - set(remaining.keys()) == {"References", "X-Pantau-Token"}
    assert parts(stripped(CONTENT)) == parts(CONTENT)


def test_stripped_removes_folded_field_whole() -> None:
    folded = CONTENT.replace(b"X-Pantau-Token: tanda\r\n", b"X-Pantau-Token: tan\r\n\tda\r\n")
    assert stripped(folded) == stripped(CONTENT)


def test_renamed_replaces_message_id_once() -> None:
    (name,) = read(renamed(CONTENT)).get_all("Message-ID", [])
    assert name != SENT["Message-ID"]
    assert parts(renamed(CONTENT)) == parts(CONTENT)


def test_with_footer_appends_footer_and_marks_subject() -> None:
    marked = read(with_footer(CONTENT))
    text, attachment = parts(with_footer(CONTENT))
    assert marked["Subject"] == "[EXTERNAL] Semakan"
    assert str(text).startswith("Selamat pagi, café.")
    assert "confidential" in str(text)
    assert attachment == bytes(range(256))
