"""What a careless gateway does to a message on its way."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.encoders import encode_base64, encode_quopri
from email.message import Message

#: Fields are kept as they came: a damaged message must still be recognised by what it carries in its header.
_VERBATIM = policy.compat32.clone(linesep="\r\n", mangle_from_=False, max_line_length=None)


def corrupted(content: bytes) -> bytes:
    """Return the message with non-ASCII letters turned into '?' and the bytes of attachments changed.

    A message of plain ASCII without attachments has nothing to lose and comes back as it was.
    """
    message = message_from_bytes(content, policy=_VERBATIM)
    # A list first, for no check may be left out when an earlier part has already changed.
    changed = [_damage(part) for part in message.walk() if not part.is_multipart()]
    return message.as_bytes(policy=_VERBATIM) if any(changed) else content


def _damage(part: Message) -> bool:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload:
        return False
    if part.get_content_maintype() == "text":
        charset = part.get_content_charset("utf-8")
        worse = _to_ascii(payload, charset)
    else:
        worse = bytes(byte ^ 0x20 for byte in payload)
    if worse == payload:
        return False
    _put_back(part, worse)
    return True


def _put_back(part: Message, payload: bytes) -> None:
    # In the encoding that the header promises: the damage is in what the part says, not in the MIME around it.
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    if encoding == "base64":
        del part["Content-Transfer-Encoding"]
        part.set_payload(payload)
        encode_base64(part)
        return
    # The generator writes CRLF for each LF, and quoted-printable would spell the CR out.
    part.set_payload(payload.replace(b"\r\n", b"\n"))
    if encoding == "quoted-printable":
        del part["Content-Transfer-Encoding"]
        encode_quopri(part)


def _to_ascii(payload: bytes, charset: str) -> bytes:
    try:
        text = payload.decode(charset, errors="replace")
        return text.encode("ascii", errors="replace").decode("ascii").encode(charset, errors="replace")
    except LookupError:
        # A charset that Python does not know: every byte beyond ASCII goes.
        return bytes(byte if byte < 0x80 else ord("?") for byte in payload)
