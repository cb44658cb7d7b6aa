"""Parser of mail from outside with limits (RFC 5322, RFC 2045, RFC 2047). Pure.

The limits exclude mail for which the standard library takes time that grows with the square of the length.
"""

from __future__ import annotations

import codecs
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser

#: Limit of boundaries: the parser compares each line with the boundaries of all enclosing parts. Real mail has a few.
_MAX_BOUNDARIES = 20
#: Limit of encoded words: for each of them, the parser may search up to the end of the header.
_MAX_ENCODED_WORDS = 50
#: Codecs of Python that mail does not use: one takes quadratic time, two emit warnings about their input.
_EXCLUDED_CODECS = frozenset({"punycode", "raw-unicode-escape", "unicode-escape"})


def parse_message(raw: bytes) -> Message:
    """Parse *raw*. A message with too many MIME boundaries or nested messages is parsed as a header and one body."""
    if raw.lower().count(b"boundary") <= _MAX_BOUNDARIES:
        try:
            return message_from_bytes(raw, policy=policy.compat32)
        except RecursionError:
            pass  # There are too many nested messages.
    return parse_header(raw)


def parse_header(raw: bytes) -> Message:
    """Parse the header of *raw*; the body remains one text."""
    return BytesHeaderParser(policy=policy.compat32).parsebytes(raw)


def decode_header_value(value: str) -> str:
    """Return a header's *value* with decoded encoded words, or unchanged if they cannot be decoded."""
    if value.count("=?") > _MAX_ENCODED_WORDS:
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
        return codecs.lookup(name).name not in _EXCLUDED_CODECS
    except (LookupError, ValueError):
        return False
