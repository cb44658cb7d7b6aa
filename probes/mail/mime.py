"""Bounded parser of mail from outside (RFC 5322, RFC 2045, RFC 2047). Pure.

For some mail the standard library takes time that grows with the square of the length. Such mail is not passed to it.
"""

from __future__ import annotations

import codecs
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser

#: Each line is compared with the boundaries of all enclosing parts. Real mail has a handful of them.
_BOUNDARIES_AT_MOST = 20
#: From each beginning of an encoded word, its end is searched for up to the end of the header.
_WORDS_AT_MOST = 50
#: Python's own codecs, not meant for mail: one takes quadratic time, two emit warnings about their input.
_NO_CHARSETS = frozenset({"punycode", "raw-unicode-escape", "unicode-escape"})


def taken_apart(raw: bytes) -> Message:
    """Return the message *raw*; when its parts nest deeper than in real mail, with its body as one part."""
    if raw.lower().count(b"boundary") <= _BOUNDARIES_AT_MOST:
        try:
            return message_from_bytes(raw, policy=policy.compat32)
        except RecursionError:
            pass  # Nested messages.
    return header_of(raw)


def header_of(raw: bytes) -> Message:
    """Return the message *raw* with its body as one text."""
    return BytesHeaderParser(policy=policy.compat32).parsebytes(raw)


def in_clear(value: str) -> str:
    """Return a header's *value* with its encoded words decoded; unchanged when they cannot be decoded."""
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
    """Return whether mail may use the character set *name*."""
    try:
        return codecs.lookup(name).name not in _NO_CHARSETS
    except (LookupError, ValueError):
        return False
