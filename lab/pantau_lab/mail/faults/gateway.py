"""Changes of the header and the text by mail gateways, which probes must tolerate."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.encoders import encode_quopri
from email.message import Message
from email.utils import make_msgid

_VERBATIM = policy.compat32.clone(linesep="\r\n", mangle_from_=False, max_line_length=None)
_DISCLAIMER = b"\n--\nThis message may be confidential. If it is not for you, delete it.\n"
#: Fields that Outlook.com and its like do not pass on.
_DROPPED = frozenset({"references", "in-reply-to"})
_MESSAGE_ID = re.compile(rb"(?im)^message-id:.*\r\n(?:[ \t].*\r\n)*")
_SUBJECT = re.compile(rb"(?im)^(subject:[ \t]*)")


def stripped(content: bytes) -> bytes:
    """Return the message without References, In-Reply-To and every field that begins with X-."""
    header, separator, body = content.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", header)
    kept = [field for field in fields if not _is_dropped(field.partition(b":")[0].strip().lower().decode("latin-1"))]
    return b"\r\n".join(kept) + separator + body


def _is_dropped(name: str) -> bool:
    return name in _DROPPED or name.startswith("x-")


def renamed(content: bytes) -> bytes:
    """Return the message with a new Message-ID, as Amazon SES and Exchange assign one."""
    header, separator, body = content.partition(b"\r\n\r\n")
    fresh = f"Message-ID: {make_msgid(domain='gateway.example')}".encode()
    return _MESSAGE_ID.sub(b"", header + b"\r\n") + fresh + separator + body


def with_footer(content: bytes) -> bytes:
    """Return the message with [EXTERNAL] before its subject and a disclaimer after its first text part."""
    header, separator, body = content.partition(b"\r\n\r\n")
    marked = _SUBJECT.sub(rb"\1[EXTERNAL] ", header, count=1)
    message = message_from_bytes(marked + separator + body, policy=_VERBATIM)
    text = next((part for part in message.walk() if part.get_content_type() == "text/plain"), None)
    if text is not None:
        _append(text)
    return message.as_bytes(policy=_VERBATIM)


def _append(text: Message) -> None:
    payload = text.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return
    del text["Content-Transfer-Encoding"]
    text.set_payload(payload.replace(b"\r\n", b"\n") + _DISCLAIMER)
    encode_quopri(text)
