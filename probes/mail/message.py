"""Composition of the test message, and comparison of a received message with it.

The whole content is derived from the token (the signed mark of the run). So the comparison needs no stored state, and
neither the message of an earlier run nor a cached attachment matches.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from base64 import encodebytes
from binascii import b2a_qp
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.errors import MessageError
from email.message import Message
from email.utils import format_datetime
from html import unescape

from probes.mail.mime import decode_header_value, is_charset, parse_message
from probes.mail.token import Token

TOKEN_HEADER = "X-Pantau-Token"  # noqa: S105 - a header's name
#: Header with the SHA-256 of the attachment.
DIGEST_HEADER = "X-Pantau-SHA256"
#: Beginning of the subject, before the token.
SUBJECT_PREFIX = "Semakan e-mel"
#: Names of our own header fields, in lower case. Headers above the first of them in a received message were added in
#: transit.
OUR_HEADERS = frozenset(
    {
        *("from", "to", "subject", "date", "message-id", "references"),
        *("auto-submitted", "x-auto-response-suppress", TOKEN_HEADER.lower(), DIGEST_HEADER.lower()),
        *("mime-version", "content-type"),
    }
)
_ATTACHMENT_NAME = "semakan.dat"
_ATTACHMENT_OCTETS = 1500

#: Each run uses one line of each tuple, so that bodies differ for filters that count identical ones. The lines are
#: Malay with non-ASCII characters, so that the corruption of a character set by a relay is detected.
_GREETINGS = (
    "Salam sejahtera. Ini ialah mesej semakan perkhidmatan e-mel rasmi — tiada tindakan diperlukan.",
    "Tuan/Puan, mesej ini dihantar secara automatik bagi menguji e-mel rasmi “pergi dan balik”.",
    "Makluman: semakan berkala perkhidmatan e-mel sedang dijalankan… mesej ini boleh diabaikan.",
    "Perhatian: ini ujian automatik saluran e-mel rasmi, dihantar dan dibaca oleh sistem pemantauan.",
)
_REMARKS = (
    "Suhu di bilik pelayan hari ini 21 °C; kos satu ujian ±0.02 sen.",
    "Café Ombak di aras 2 dibuka seperti biasa: secawan kopi ½ harga.",
    "Bahagian §4 garis panduan dirujuk; naïve atau tidak, setiap aksara dikira.",
    "Ukuran lampiran ≈ 2 KiB, jarak pusat data ≥ 30 km.",
)
_SIGNATURES = ("Terima kasih.", "Sekian, terima kasih.", "Yang benar, sistem pemantauan e-mel.")


def compose(token: Token, *, sender: str, recipient: str, now: datetime) -> bytes:
    """Return the message of one run as it is submitted, with CRLF line ends.

    The token is in Subject, Message-ID, References, a separate header and the body, because relays rewrite some of
    them. `Auto-Submitted` (RFC 3834) and `X-Auto-Response-Suppress` (Exchange) prevent automatic replies.

    The package `email` is not used, because it would take a third of the CPU of a whole round trip. It would also fold
    the line between "Subject:" and the long token, and relays mishandle a header whose first line is empty. RFC 5322
    2.1.1 allows lines of 998 octets.
    """
    lines = (
        f"From: {sender}",
        f"To: {recipient}",
        # The subject has no brackets and no underscores, because some servers' searches and parsers drop them.
        f"Subject: {build_subject(token)}",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{token.text}@{_domain_part(sender)}>",
        f"References: <{token.text}@semakan.invalid>",
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: All",
        f"{TOKEN_HEADER}: {token.text}",
        f"{DIGEST_HEADER}: {_hexdigest(_attachment(token))}",
        "MIME-Version: 1.0",
        _content_type(token),
        "",
        "",
    )
    return "\r\n".join(lines).encode() + _body(token)


def _content_type(token: Token) -> str:
    return f'Content-Type: multipart/mixed; boundary="{mime_boundary(token)}"'


def _body(token: Token) -> bytes:
    boundary = mime_boundary(token)
    lines = (
        f"--{boundary}",
        'Content-Type: text/plain; charset="utf-8"',
        "Content-Transfer-Encoding: quoted-printable",
        "",
        # Relays without 8BITMIME accept quoted-printable, and people can read it.
        b2a_qp(build_text(token).encode(), istext=True).decode("ascii"),
        f"--{boundary}",
        "Content-Type: application/octet-stream",
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment; filename="{_ATTACHMENT_NAME}"',
        "",
        encodebytes(_attachment(token)).decode("ascii"),
        f"--{boundary}--",
        "",
    )
    return "\n".join(lines).replace("\n", "\r\n").encode()


def build_subject(token: Token) -> str:
    """Return the subject of the message with *token*."""
    return f"{SUBJECT_PREFIX} {token.text}"


def mime_boundary(token: Token) -> str:
    """Return the MIME boundary of the message with *token*."""
    return f"semakan-{token.id}"


def build_text(token: Token) -> str:
    """Return the text of the message with *token*."""
    id_octets = bytes.fromhex(token.id)
    lines = (
        _GREETINGS[id_octets[0] % len(_GREETINGS)],
        _REMARKS[id_octets[1] % len(_REMARKS)],
        f"Rujukan: {token.text}",
        f"Lampiran {_ATTACHMENT_NAME}, SHA-256: {_hexdigest(_attachment(token))}",
        _SIGNATURES[id_octets[2] % len(_SIGNATURES)],
    )
    return "\n\n".join(lines) + "\n"


def find_damage(raw: bytes, expected: Token) -> tuple[str, ...]:
    """Return the damage to the received message *raw* of the token *expected*: "text changed", "attachment missing".

    The result is empty for an undamaged message. A relay may rewrite headers, re-encode the parts, wrap the text,
    convert it to HTML and add a disclaimer. It may not change, lose or truncate the text and the attachment.
    """
    if _is_unchanged(raw, expected):
        return ()
    try:
        message = parse_message(raw)
        return (*_text_damage(message, expected), *_attachment_damage(message, expected))
    except (MessageError, LookupError, ValueError, RecursionError) as error:
        return (f"not readable as mail: {type(error).__name__}",)


def find_rewrites(raw: bytes, expected: Token) -> tuple[str, ...]:
    """Return relays' harmless changes to the message of the token *expected*: "Message-ID replaced"."""
    header = raw.partition(b"\r\n\r\n")[0]
    is_unchanged = _is_unchanged(raw, expected)
    if is_unchanged and all(
        f"\r\n{name}: {value}".encode() in header for name, (value, _) in _token_headers(expected).items()
    ):
        # In this usual case the message is not parsed.
        return ()
    try:
        message = parse_message(raw)
        rewritten = tuple(
            change
            for name, (value, change) in _token_headers(expected).items()
            if value not in " ".join(decode_header_value(str(message.get(name, ""))).split())
        )
        plain, html = ("", "") if is_unchanged else _read_texts(message)
    except (MessageError, LookupError, ValueError, RecursionError):
        return ()
    sent = _normalize(build_text(expected))
    return (*rewritten, "text as HTML only") if sent not in plain and sent in html else rewritten


def _token_headers(token: Token) -> Mapping[str, tuple[str, str]]:
    """Return the headers with the token, by name: the start of the value, and the description of a change."""
    return {
        "Subject": (build_subject(token), "subject changed"),
        "Message-ID": (f"<{token.text}@", "Message-ID replaced"),
        "References": (f"<{token.text}@", "References removed"),
        TOKEN_HEADER: (token.text, f"{TOKEN_HEADER} removed"),
    }


def contains_text(message: Message, expected: Token, *, nested: bool = True) -> bool:
    """Return whether *message* contains the text of the message of the token *expected*, plain or as HTML.

    *nested*: attached messages count, too.
    """
    sent = _normalize(build_text(expected))
    return any(sent in text for text in _read_texts(message, nested=nested))


def _is_unchanged(raw: bytes, expected: Token) -> bool:
    """Return whether the body is identical to the sent one. Such a message is not parsed, which saves much CPU."""
    header, _, body = raw.partition(b"\r\n\r\n")
    return body.rstrip() == _body(expected).rstrip() and _content_type(expected).encode() in header


def _read_texts(message: Message, *, nested: bool = True) -> tuple[str, str]:
    """Return the plain and the HTML text of *message*, normalized. *nested*: with the texts of attached messages."""
    texts: dict[str, list[str]] = {"plain": [], "html": []}
    for part in message.walk() if nested else _own_parts(message):
        if part.get_content_maintype() == "text" and (kind := part.get_content_subtype()) in texts:
            texts[kind].append(_decode_text(part) if kind == "plain" else _strip_tags(_decode_text(part)))
    return _normalize(" ".join(texts["plain"])), _normalize(" ".join(texts["html"]))


def _own_parts(message: Message) -> Iterator[Message]:
    """Yield the parts of *message*, but not those of attached messages."""
    payload = message.get_payload()
    if not isinstance(payload, list):
        yield message
    elif message.get_content_type() != "message/rfc822":
        for part in payload:
            if isinstance(part, Message):
                yield from _own_parts(part)


def _strip_tags(text: str) -> str:
    """Return the HTML *text* without its tags. A tag ends at the next ">", so one pass suffices."""
    first, *pieces = text.split("<")
    return unescape(first + "".join(piece.partition(">")[2] for piece in pieces))


def _text_damage(message: Message, expected: Token) -> tuple[str, ...]:
    plain, html = _read_texts(message)
    if not plain and not html:
        return ("text missing",)
    if contains_text(message, expected):
        return ()
    sent = _normalize(_ascii_only(build_text(expected)))
    if any(sent in _ascii_only(text) for text in (plain, html)):
        return ("characters outside ASCII changed",)
    return ("text changed",)


def _attachment_damage(message: Message, expected: Token) -> tuple[str, ...]:
    attachments = [_decode_payload(part) for part in message.walk() if _is_attachment(part)]
    if not attachments:
        return ("attachment missing",)
    sent = _attachment(expected)
    if sent in attachments:
        return ()
    # `email` returns base64 undecoded if it ends within a group of four characters.
    encoded = encodebytes(sent).replace(b"\n", b"")
    if any(piece and (sent.startswith(piece) or encoded.startswith(b"".join(piece.split()))) for piece in attachments):
        return ("attachment cut short",)
    return ("attachment changed",)


def _is_attachment(part: Message) -> bool:
    # The name or the type identifies the attachment: some gateways change the one, some the other.
    return part.get_filename() == _ATTACHMENT_NAME or part.get_content_type() == "application/octet-stream"


def _decode_text(part: Message) -> str:
    charset = part.get_content_charset("utf-8")
    try:
        return _decode_payload(part).decode(charset if is_charset(charset) else "utf-8", "replace")
    except LookupError:
        # Some of Python's codecs (such as base64) do not decode to text.
        return _decode_payload(part).decode("utf-8", "replace")


def _decode_payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _normalize(text: str) -> str:
    """Remove the differences in white space and in the composition of accents, which readers do not see."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFC", text))


def _ascii_only(text: str) -> str:
    # A lossy conversion writes "?", which our lines do not contain.
    return "".join(char for char in text if char.isascii() and char != "?")


def _attachment(token: Token) -> bytes:
    return hashlib.shake_256(f"attachment of {token.text}".encode()).digest(_ATTACHMENT_OCTETS)


def _hexdigest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def _domain_part(address: str) -> str:
    return address.rpartition("@")[2] or "semakan.invalid"
