"""Corruption of a message by a faulty gateway."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.encoders import encode_base64, encode_quopri
from email.message import Message

#: This policy keeps header fields unchanged, because probes recognise a damaged message by its header.
_VERBATIM = policy.compat32.clone(linesep="\r\n", mangle_from_=False, max_line_length=None)


def corrupted(content: bytes) -> bytes:
    """Return the message with each non-ASCII letter replaced by '?', and with the bytes of attachments changed.

    A message of plain ASCII without attachments is returned unchanged.
    """
    message = message_from_bytes(content, policy=_VERBATIM)
    # A list, because `any` on a generator would stop at the first damaged part and leave the others intact.
    changed = [_damage(part) for part in message.walk() if not part.is_multipart()]
    return message.as_bytes(policy=_VERBATIM) if any(changed) else content


def _damage(part: Message) -> bool:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload:
        return False
    if part.get_content_maintype() == "text":
        charset = part.get_content_charset("utf-8")
        damaged = _to_ascii(payload, charset)
    else:
        damaged = bytes(byte ^ 0x20 for byte in payload)
    if damaged == payload:
        return False
    _set_payload(part, damaged)
    return True


def _set_payload(part: Message, payload: bytes) -> None:
    # Keep the declared transfer encoding: only the content is damaged, and the MIME structure stays valid.
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    if encoding == "base64":
        del part["Content-Transfer-Encoding"]
        part.set_payload(payload)
        encode_base64(part)
        return
    # The generator writes CRLF for each LF, and quoted-printable would encode a CR as =0D.
    part.set_payload(payload.replace(b"\r\n", b"\n"))
    if encoding == "quoted-printable":
        del part["Content-Transfer-Encoding"]
        encode_quopri(part)


def _to_ascii(payload: bytes, charset: str) -> bytes:
    try:
        text = payload.decode(charset, errors="replace")
        return text.encode("ascii", errors="replace").decode("ascii").encode(charset, errors="replace")
    except LookupError:
        # Python does not support the charset, so replace every non-ASCII byte.
        return bytes(byte if byte < 0x80 else ord("?") for byte in payload)
