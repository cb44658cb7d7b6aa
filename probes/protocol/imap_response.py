"""Parser of IMAP responses (RFC 3501 7, RFC 9051 7). Pure: octets in, values out.

The server is not trusted: it may send anything, in any pieces, without end.
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
from probes.model.reply import shortened

#: Octets: our own messages have some 10 KiB, and no relevant line has more than 1.
_LINE_AT_MOST = 64 * 1024
_LITERAL_AT_MOST = 1024 * 1024
#: Octets of one response with all its pieces. Each piece has a minimum cost, so that many empty ones are limited, too.
_ANSWER_AT_MOST = 2 * _LITERAL_AT_MOST
_LITERAL_COST = 1024
#: No number in IMAP has more: 63 bits (RFC 9051 9). Python refuses to parse one of thousands of digits.
_DIGITS_AT_MOST = 19
#: Characters of a folder's name as shown to people.
_NAME_AT_MOST = 80

_LITERAL = re.compile(rb"\{(\d+)\}$")
#: Text for people; braces at its end announce no literal.
_STATUS_LINE = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
_FETCH = re.compile(r"\d+ FETCH\b( \()?", re.IGNORECASE)
_BODY = re.compile(r"\bBODY\[", re.IGNORECASE)
#: The text of a message that is gone (RFC 2180 4.1).
_NO_BODY = re.compile(r"\bBODY\[[^\[\]]*\](?:<\d+>)? NIL\b", re.IGNORECASE)
_UID = re.compile(r"\bUID (\d+)", re.IGNORECASE)
_SIZE = re.compile(r"\bRFC822\.SIZE (\d+)", re.IGNORECASE)
#: The pattern excludes a nested opening parenthesis: otherwise the end would be searched for from each of many.
_DELETED = re.compile(r"\bFLAGS \([^()]*\\Deleted\b", re.IGNORECASE)
_INTERNAL_DATE = re.compile(r'\bINTERNALDATE "([^"]{1,40})"', re.IGNORECASE)
_QUOTED_BODY = re.compile(r'BODY\[[^\[\]]*\](?:<\d+>)? "((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_ANNOUNCED = re.compile(r"\[CAPABILITY ([^\[\]]*)\]")
_LIST = re.compile(r'LIST \(([^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (.+)$', re.IGNORECASE)
_QUOTA = re.compile(r'QUOTA (?:"(?:[^"\\]|\\.)*"|[^ ()"]*) ?\(([^()]*)\)', re.IGNORECASE)
_QUOTA_LIMIT = re.compile(r"(?<![\w-])(STORAGE|MESSAGE) (\d+) (\d+)\b", re.IGNORECASE | re.ASCII)
#: May be sent unquoted (RFC 3501 9, astring). Office 365 hangs on a quoted name with "&-" in it.
_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,./:;<=>?@\[\]^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapResponse:
    """One response. Its text keeps the "{n}" of each literal; the literals' octets are stored separately."""

    text: str
    literals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Content of a FETCH response about one message."""

    uid: int
    size: int | None = None
    #: Marked as deleted, by any client, and not expunged.
    deleted: bool = False
    content: bytes | None = None
    #: Time of arrival by the server's clock, if it was requested and can be parsed. Whole seconds, UTC.
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Folder in a LIST response (RFC 3501 7.2.2)."""

    #: As the server writes it.
    name: str
    #: In lower case, such as "\\junk".
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """Status of a folder: UIDVALIDITY, the next UID, and the number of messages."""

    validity: int
    next_uid: int | None
    exists: int = 0
    #: STATUS has reported that it is empty.
    is_empty: bool = False


class Framer:
    """Splits the stream into responses, however it is split into packets."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._text: list[bytes] = []
        self._literals: list[bytes] = []
        self._missing = 0
        #: Octets of the response so far, in text and literals: a server must not fill our memory, nor take our time.
        self._size = 0

    @property
    def is_empty(self) -> bool:
        """Whether all octets so far belong to complete responses."""
        return not (self._unread or self._text)

    def feed(self, octets: bytes) -> Iterator[ImapResponse]:
        """Yield the responses that are now complete. Raise `ProtocolError` when a line or a literal has no end."""
        self._unread += octets
        while True:
            if self._missing:
                if len(self._unread) < self._missing:
                    return
                self._literals.append(self._cut(self._missing))
                self._missing = 0
            end = self._unread.find(b"\n")
            if end < 0:
                if len(self._unread) > _LINE_AT_MOST:
                    raise ProtocolError("a line without an end")
                return
            line = self._cut(end + 1).rstrip(b"\r\n")
            self._text.append(line)
            self._size += len(line) + _LITERAL_COST
            if self._size > _ANSWER_AT_MOST:
                raise ProtocolError("an answer larger than any we ask for")
            if not self._announces_literal(line):
                yield self._whole()

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._unread[:size])
        del self._unread[:size]
        return piece

    def _announces_literal(self, line: bytes) -> bool:
        first = self._text[0]
        match = _LITERAL.search(line)
        if match is None or not first.startswith(b"* ") or _STATUS_LINE.match(first):
            return False
        self._missing = _int(match[1].decode("ascii"))
        if self._missing > _LITERAL_AT_MOST or self._size + self._missing > _ANSWER_AT_MOST:
            raise ProtocolError("a literal larger than any we ask for")
        self._size += self._missing
        if not self._missing:
            self._literals.append(b"")
        return True

    def _whole(self) -> ImapResponse:
        # Latin-1 decodes every octet; the parsed text is ASCII.
        answer = ImapResponse(text=b"".join(self._text).decode("latin-1"), literals=tuple(self._literals))
        self._text, self._literals, self._size = [], [], 0
        return answer


def fetched(answer: ImapResponse) -> Fetched | None:
    """Parse a FETCH response; return `None` when it is another response or has no UID (a flag changed meanwhile).

    Raise `ProtocolError` when it contains a message without its UID or text: it would otherwise count as deleted by
    another client.
    """
    if (begin := _FETCH.match(answer.text)) is None:
        return None
    if begin[1] is None:
        raise ProtocolError("a FETCH answer without its list")
    quoted = _QUOTED_BODY.search(answer.text)
    # Text of a message in a quoted string must not be parsed as the server's own UID.
    text = answer.text.replace(quoted[0], "") if quoted else answer.text
    uid, size = _UID.search(text), _SIZE.search(text)
    shows = bool(answer.literals) or quoted is not None or _BODY.search(text) is not None
    if uid is None:
        if shows:
            raise ProtocolError("a FETCH answer that does not say whose text it holds")
        return None
    deleted = _DELETED.search(text) is not None
    content = answer.literals[0] if answer.literals else None
    if content is None and quoted:
        content = _unquoted(quoted[1]).encode("latin-1")
    if content is None and shows and not _NO_BODY.search(text):
        raise ProtocolError("a FETCH answer whose text cannot be read")
    return Fetched(
        uid=_int(uid[1]),
        size=_int(size[1]) if size else None,
        deleted=deleted,
        content=content,
        since=_moment(text),
    )


def _moment(text: str) -> datetime | None:
    match = _INTERNAL_DATE.search(text)
    if match is None:
        return None
    try:
        # "27-Nov-2026 08:00:00 +0800" (RFC 3501 9, date-time): a header date except for its hyphens.
        return parsedate_to_datetime(match[1].replace("-", " ", 2)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def folder_status(answers: list[ImapResponse]) -> FolderStatus:
    """Parse the responses to SELECT or STATUS about a folder."""
    text = "\n".join(answer.text for answer in answers)
    return FolderStatus(
        validity=_number(r"UIDVALIDITY (\d+)", text) or 0,
        next_uid=_number(r"UIDNEXT (\d+)", text),
        exists=_number(r"^(\d+) EXISTS", text) or 0,
        is_empty=_number(r"\((?:[^()]* )?MESSAGES (\d+)", text) == 0,
    )


def quota(answers: list[ImapResponse]) -> MailboxQuota | None:
    """Parse QUOTA responses (RFC 9208 5.1): of several limits the nearest; `None` without one."""
    found = [
        MailboxQuota(used=_int(used), limit=limit, in_messages=resource.upper() == "MESSAGE")
        for answer in answers
        if (match := _QUOTA.match(answer.text)) is not None
        for resource, used, limit_ in _QUOTA_LIMIT.findall(match[1])
        if (limit := _int(limit_))
    ]
    return max(found, key=lambda each: each.share, default=None)


def searched(answers: list[ImapResponse]) -> set[int]:
    """Parse SEARCH responses. Raise `ProtocolError` when they are no numbers."""
    words = [answer.text.split() for answer in answers]
    found = [word for line in words if line[:1] == ["SEARCH"] for word in line[1:]]
    if not all(word.isascii() and word.isdecimal() for word in found):
        raise ProtocolError("no numbers where SEARCH has them")
    return {_int(word) for word in found}


def capabilities(answers: list[ImapResponse]) -> frozenset[str]:
    """Parse CAPABILITY responses; the result is in upper case."""
    words = [answer.text.upper().split() for answer in answers]
    return frozenset(word for line in words if line[:1] == ["CAPABILITY"] for word in line[1:])


def announced(text: str) -> frozenset[str]:
    """Parse the capabilities in the text of a greeting or of a sign-in (RFC 9051 7.1)."""
    match = _ANNOUNCED.search(text.upper())
    return frozenset(match[1].split()) if match else frozenset()


def listed(answers: list[ImapResponse]) -> Iterator[Listed]:
    """Yield the folders of LIST responses, in their order.

    A name with a line break is left out: the text after it would be sent as another command.
    """
    for answer in answers:
        if (match := _LIST.match(answer.text)) is None:
            continue
        name = _name(match[2], answer)
        if not any(character in name for character in "\r\n\0"):
            yield Listed(name=name, marks=frozenset(match[1].lower().split()))


def junk_folders(answers: list[ImapResponse]) -> tuple[str, ...]:
    """Return the names, as the server writes them, of folders that LIST marks as junk (RFC 6154)."""
    return tuple(one.name for one in listed(answers) if "\\junk" in one.marks)


def _name(text: str, answer: ImapResponse) -> str:
    if answer.literals:
        return answer.literals[-1].decode("latin-1")
    return _unquoted(text[1:-1]) if text.startswith('"') else text


def folder_name(name: str) -> str:
    """Return a folder's name in modified UTF-7 (RFC 3501 5.1.3)."""
    return re.sub(r"[^\x20-\x7e]+", _base64, name.replace("&", "&-"))


def _base64(match: re.Match[str]) -> str:
    # Modified UTF-7 has another shift character, and encodes "/", which separates folders.
    return "&" + match[0].encode("utf-7").decode("ascii").strip("+-").replace("/", ",") + "-"


def legible_name(name: str) -> str:
    """Return a folder's name, as a server writes it, in readable form: one line of limited length.

    Users choose the names of folders, so they may contain anything.
    """
    # Some servers send UTF-8 (RFC 6855).
    letters = name.encode("latin-1", "replace").decode("utf-8", "replace")
    return shortened(re.sub(r"&([^-&]{0,1000})-", _letters, letters))[:_NAME_AT_MOST]


def _letters(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    try:
        octets = b64decode(match[1].replace(",", "/") + "=" * (-len(match[1]) % 4), validate=True)
        return octets.decode("utf-16-be")
    except (binascii.Error, ValueError):
        return match[0]


def quoted_if_needed(name: str) -> str:
    """Return *name* as an astring."""
    return name if _ATOM.fullmatch(name) else quoted(name)


def quoted(text: str) -> str:
    """Return *text* as a quoted string (RFC 9051 4.3)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _number(pattern: str, text: str) -> int | None:
    match = re.search(pattern, text, re.IGNORECASE | re.MULTILINE)
    return _int(match[1]) if match else None


def _int(digits: str) -> int:
    if len(digits) > _DIGITS_AT_MOST:
        raise ProtocolError("a number larger than any in IMAP")
    return int(digits)
