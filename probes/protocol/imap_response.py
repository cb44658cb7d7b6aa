"""Parser of IMAP responses (RFC 3501 7, RFC 9051 7), and the encoding of folder names in commands. Pure.

The server is not trusted: it may send any octets, in pieces of any size, without an end.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from probes.model.mailbox import MailboxQuota
from probes.model.probe import ProtocolError
from probes.model.reply import shorten

#: Limits in octets of a line and a literal. A probe message has some 10 KiB, and relevant lines have at most 1 KiB.
_MAX_LINE = 64 * 1024
_MAX_LITERAL = 1024 * 1024
#: Limit in octets of one response with all its lines and literals. A surcharge for each line limits the number of empty
#: lines, too.
_MAX_RESPONSE = 2 * _MAX_LITERAL
_LINE_SURCHARGE = 1024
#: Limit of digits of a number, which has 63 bits in IMAP (RFC 9051 9). Python refuses to parse thousands of digits.
_MAX_DIGITS = 19
#: Limit of characters of a folder's name that is shown to people.
_MAX_NAME = 80

_LITERAL = re.compile(rb"\{(\d+)\}$")
#: Responses with text for people. Braces at the end of that text do not announce a literal.
_STATUS_LINE = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
_FETCH = re.compile(r"\d+ FETCH\b( \()?", re.IGNORECASE)
_BODY = re.compile(r"\bBODY\[", re.IGNORECASE)
#: Absent body of a message that another client has removed (RFC 2180 4.1).
_NO_BODY = re.compile(r"\bBODY\[[^\[\]]*\](?:<\d+>)? NIL\b", re.IGNORECASE)
_UID = re.compile(r"\bUID (\d+)", re.IGNORECASE)
_SIZE = re.compile(r"\bRFC822\.SIZE (\d+)", re.IGNORECASE)
#: The pattern excludes nested "(", because many of them would take quadratic time.
_DELETED = re.compile(r"\bFLAGS \([^()]*\\Deleted\b", re.IGNORECASE)
_INTERNAL_DATE = re.compile(r'\bINTERNALDATE "([^"]{1,40})"', re.IGNORECASE)
_QUOTED_BODY = re.compile(r'BODY\[[^\[\]]*\](?:<\d+>)? "((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_CAPABILITY_CODE = re.compile(r"\[CAPABILITY ([^\[\]]*)\]")
_LIST = re.compile(r'LIST \(([^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (.+)$', re.IGNORECASE)
_QUOTA = re.compile(r'QUOTA (?:"(?:[^"\\]|\\.)*"|[^ ()"]*) ?\(([^()]*)\)', re.IGNORECASE)
_QUOTA_LIMIT = re.compile(r"(?<![\w-])(STORAGE|MESSAGE) (\d+) (\d+)\b", re.IGNORECASE | re.ASCII)
#: Names that are sent without quotes (RFC 3501 9, astring). Office 365 hangs on a quoted name that contains "&-".
_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,./:;<=>?@\[\]^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapResponse:
    """One response of the server."""

    #: The response without its literals; "{n}" stands for a literal of n octets.
    text: str
    #: The octets of the literals, in order.
    literals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedMessage:
    """FETCH response about one message."""

    uid: int
    #: Octets; `None` if not reported.
    size: int | None = None
    #: A client has marked the message as deleted, and it has not been removed yet.
    is_marked_deleted: bool = False
    #: The requested part, header or whole message; `None` if the response has none, or if another
    #: client has removed the message.
    content: bytes | None = None
    #: Arrival time by the server's clock (INTERNALDATE), in whole seconds UTC; `None` if it was not requested or is
    #: invalid.
    server_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFolder:
    """Folder in a LIST response (RFC 3501 7.2.2)."""

    #: In the server's encoding, modified UTF-7.
    name: str
    #: In lower case, such as "\\junk".
    attributes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """Status of a folder, from the responses to SELECT, EXAMINE or STATUS."""

    #: 0 if the server does not report it.
    uid_validity: int
    #: `None` if the server does not report it.
    next_uid: int | None
    #: Number of messages; only from SELECT and EXAMINE.
    exists: int = 0
    #: The folder has no messages; only from STATUS.
    is_empty: bool = False


class Framer:
    """Splitter of the server's octets, which come in pieces of any size, into responses."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._literals: list[bytes] = []
        self._literal_octets_left = 0
        #: Size of the present response so far, with surcharges. It is limited, so that a server cannot exhaust memory
        #: or CPU.
        self._size = 0

    @property
    def is_empty(self) -> bool:
        """Whether no incomplete response is present."""
        return not (self._buffer or self._lines)

    def feed(self, octets: bytes) -> Iterator[ImapResponse]:
        """Yield the responses that *octets* complete. Raise `ProtocolError` if a response exceeds the limits."""
        self._buffer += octets
        while True:
            if self._literal_octets_left:
                if len(self._buffer) < self._literal_octets_left:
                    return
                self._literals.append(self._take(self._literal_octets_left))
                self._literal_octets_left = 0
            line_end = self._buffer.find(b"\n")
            if line_end < 0:
                if len(self._buffer) > _MAX_LINE:
                    raise ProtocolError("a line without an end")
                return
            line = self._take(line_end + 1).rstrip(b"\r\n")
            self._lines.append(line)
            self._size += len(line) + _LINE_SURCHARGE
            if self._size > _MAX_RESPONSE:
                raise ProtocolError("a response larger than any that is requested")
            if not self._announces_literal(line):
                yield self._finish_response()

    def _take(self, size: int) -> bytes:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece

    def _announces_literal(self, line: bytes) -> bool:
        first = self._lines[0]
        match = _LITERAL.search(line)
        if match is None or not first.startswith(b"* ") or _STATUS_LINE.match(first):
            return False
        self._literal_octets_left = _int(match[1].decode("ascii"))
        if self._literal_octets_left > _MAX_LITERAL or self._size + self._literal_octets_left > _MAX_RESPONSE:
            raise ProtocolError("a literal larger than any that is requested")
        self._size += self._literal_octets_left
        if not self._literal_octets_left:
            self._literals.append(b"")
        return True

    def _finish_response(self) -> ImapResponse:
        # Latin-1 decodes any octet. The parts that are parsed are ASCII.
        response = ImapResponse(text=b"".join(self._lines).decode("latin-1"), literals=tuple(self._literals))
        self._lines, self._literals, self._size = [], [], 0
        return response


def parse_fetch(response: ImapResponse) -> FetchedMessage | None:
    """Parse a FETCH response. Return `None` for any other response, and for an unsolicited one without UID and text.

    Raise `ProtocolError` if the response has a message's text but no UID, or a text that cannot be parsed. Otherwise
    the message would count as removed by another client.
    """
    if (match := _FETCH.match(response.text)) is None:
        return None
    if match[1] is None:
        raise ProtocolError("a FETCH response without its list")
    quoted_body = _QUOTED_BODY.search(response.text)
    # A quoted text of the message is removed before the attributes are searched, because it may contain "UID 1".
    attributes = response.text.replace(quoted_body[0], "") if quoted_body else response.text
    uid, size = _UID.search(attributes), _SIZE.search(attributes)
    has_text = bool(response.literals) or quoted_body is not None or _BODY.search(attributes) is not None
    if uid is None:
        if has_text:
            raise ProtocolError("a FETCH response with text and without a UID")
        return None
    content = response.literals[0] if response.literals else None
    if content is None and quoted_body:
        content = _unquote(quoted_body[1]).encode("latin-1")
    if content is None and has_text and not _NO_BODY.search(attributes):
        raise ProtocolError("a FETCH response whose text cannot be parsed")
    return FetchedMessage(
        uid=_int(uid[1]),
        size=_int(size[1]) if size else None,
        is_marked_deleted=_DELETED.search(attributes) is not None,
        content=content,
        server_time=_internal_date(attributes),
    )


def _internal_date(text: str) -> datetime | None:
    match = _INTERNAL_DATE.search(text)
    if match is None:
        return None
    try:
        # "27-Nov-2026 08:00:00 +0800" (RFC 3501 9, date-time) is like the date of a mail header, but with hyphens.
        return parsedate_to_datetime(match[1].replace("-", " ", 2)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def parse_folder_status(responses: list[ImapResponse]) -> FolderStatus:
    """Parse the responses to SELECT, EXAMINE or STATUS."""
    text = "\n".join(response.text for response in responses)
    return FolderStatus(
        uid_validity=_number(r"UIDVALIDITY (\d+)", text) or 0,
        next_uid=_number(r"UIDNEXT (\d+)", text),
        exists=_number(r"^(\d+) EXISTS", text) or 0,
        is_empty=_number(r"\((?:[^()]* )?MESSAGES (\d+)", text) == 0,
    )


def parse_quota(responses: list[ImapResponse]) -> MailboxQuota | None:
    """Parse QUOTA responses (RFC 9208 5.1). Return the limit with the largest used share, or `None` without a limit."""
    quotas = [
        MailboxQuota(used=_int(used), limit=limit, in_messages=resource.upper() == "MESSAGE")
        for response in responses
        if (match := _QUOTA.match(response.text)) is not None
        for resource, used, limit_digits in _QUOTA_LIMIT.findall(match[1])
        if (limit := _int(limit_digits))
    ]
    return max(quotas, key=lambda each: each.share, default=None)


def parse_search(responses: list[ImapResponse]) -> set[int]:
    """Parse SEARCH responses. Raise `ProtocolError` if a word in them is not a number."""
    words = [response.text.split() for response in responses]
    numbers = [word for line in words if line[:1] == ["SEARCH"] for word in line[1:]]
    if not all(word.isascii() and word.isdecimal() for word in numbers):
        raise ProtocolError("a SEARCH response without the numbers")
    return {_int(word) for word in numbers}


def parse_capabilities(responses: list[ImapResponse]) -> frozenset[str]:
    """Parse CAPABILITY responses; the result is in upper case."""
    words = [response.text.upper().split() for response in responses]
    return frozenset(word for line in words if line[:1] == ["CAPABILITY"] for word in line[1:])


def parse_announced_capabilities(text: str) -> frozenset[str]:
    """Parse the capabilities in a greeting, or in the response to a sign-in (RFC 9051 7.1)."""
    match = _CAPABILITY_CODE.search(text.upper())
    return frozenset(match[1].split()) if match else frozenset()


def parse_list(responses: list[ImapResponse]) -> Iterator[ListedFolder]:
    """Yield the folders of LIST responses, in their order.

    A name with a line break is left out, because in a command the text after the break would be another command.
    """
    for response in responses:
        if (match := _LIST.match(response.text)) is None:
            continue
        name = _folder_name(match[2], response)
        if not any(character in name for character in "\r\n\0"):
            yield ListedFolder(name=name, attributes=frozenset(match[1].lower().split()))


def find_junk_folders(responses: list[ImapResponse]) -> tuple[str, ...]:
    """Return the encoded names of folders that LIST marks as junk (RFC 6154)."""
    return tuple(folder.name for folder in parse_list(responses) if "\\junk" in folder.attributes)


def _folder_name(text: str, response: ImapResponse) -> str:
    if response.literals:
        return response.literals[-1].decode("latin-1")
    return _unquote(text[1:-1]) if text.startswith('"') else text


def encode_folder_name(name: str) -> str:
    """Return a folder's name in modified UTF-7 (RFC 3501 5.1.3)."""
    return re.sub(r"[^\x20-\x7e]+", _encode_base64, name.replace("&", "&-"))


def _encode_base64(match: re.Match[str]) -> str:
    # Modified UTF-7 differs from UTF-7: "&" begins the base64, in which "," replaces "/", the separator of folders.
    return "&" + match[0].encode("utf-7").decode("ascii").strip("+-").replace("/", ",") + "-"


def decode_folder_name(name: str) -> str:
    """Return a folder's encoded name in readable form, on one line of limited length, because users choose names."""
    # Some servers send UTF-8 in place of modified UTF-7 (RFC 6855).
    decoded = name.encode("latin-1", "replace").decode("utf-8", "replace")
    return shorten(re.sub(r"&([^-&]{0,1000})-", _decode_base64, decoded))[:_MAX_NAME]


def _decode_base64(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    try:
        octets = b64decode(match[1].replace(",", "/") + "=" * (-len(match[1]) % 4), validate=True)
        return octets.decode("utf-16-be")
    except (binascii.Error, ValueError):
        return match[0]


def quote_if_needed(name: str) -> str:
    """Return *name*, in quotes if IMAP requires quotes (RFC 3501 9, astring)."""
    return name if _ATOM.fullmatch(name) else quote(name)


def quote(text: str) -> str:
    """Return *text* as a quoted string (RFC 9051 4.3)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _number(pattern: str, text: str) -> int | None:
    match = re.search(pattern, text, re.IGNORECASE | re.MULTILINE)
    return _int(match[1]) if match else None


def _int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ProtocolError("a number larger than IMAP allows")
    return int(digits)
