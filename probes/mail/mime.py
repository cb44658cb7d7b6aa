"""Mail of strangers taken apart (RFC 5322, RFC 2045, RFC 2047), within bounds. Pure.

On some mail the standard library takes time that grows with the square of its length. It is not given such mail.
"""

from __future__ import annotations

import codecs
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser

#: Each line is held against the boundaries of all parts that it is in. People's mail has a handful of them.
_BOUNDARIES_AT_MOST = 20
#: From each beginning of an encoded word its end is looked for to the end of the header.
_WORDS_AT_MOST = 50
#: Python's own, made for other ends than mail: one takes the square of the length, two warn of what they are given.
_NO_CHARSETS = frozenset({"punycode", "raw-unicode-escape", "unicode-escape"})


def taken_apart(raw: bytes) -> Message:
    """Return the message *raw*; where it has more parts in each other than anybody sends, with its body as one."""
    if raw.lower().count(b"boundary") <= _BOUNDARIES_AT_MOST:
        try:
            return message_from_bytes(raw, policy=policy.compat32)
        except RecursionError:
            pass  # messages in messages
    return header_of(raw)


def header_of(raw: bytes) -> Message:
    """Return the message *raw* with whatever body it has as one text."""
    return BytesHeaderParser(policy=policy.compat32).parsebytes(raw)


def in_clear(value: str) -> str:
    """Return a header's *value* with its encoded words decoded; as it is where they cannot be."""
    if value.count("=?") > _WORDS_AT_MOST:
        return value
    try:
        pieces = decode_header(value)
        if all(charset is None or is_charset(charset) for _, charset in pieces):
            return str(make_header(pieces))
    except (MessageError, LookupError, ValueError):
        pass
    return value


def is_charset(name: str) -> bool:
    """Whether text in mail may be in the character set *name*."""
    try:
        return codecs.lookup(name).name not in _NO_CHARSETS
    except (LookupError, ValueError):
        return False
