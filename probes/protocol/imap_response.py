"""What an IMAP server says, taken apart (RFC 3501 7, RFC 9051 7). Pure: octets in, values out.

The server is not trusted: it may say anything, in any pieces, for ever.
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

#: Our own messages have some 10 KiB, and no line that matters has more than 1.
_LINE_AT_MOST = 64 * 1024
_LITERAL_AT_MOST = 1024 * 1024
#: One answer, all its pieces together. A piece counts for more than its octets, so that many empty ones end, too.
_ANSWER_AT_MOST = 2 * _LITERAL_AT_MOST
_LITERAL_COST = 1024
#: No number in IMAP has more: 63 bits (RFC 9051 9). Python refuses to read one of thousands of digits.
_DIGITS_AT_MOST = 19
#: A folder's name, where people read it.
_NAME_AT_MOST = 80

_LITERAL = re.compile(rb"\{(\d+)\}$")
#: Text for people; braces at its end announce nothing.
_STATUS_LINE = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
_FETCH = re.compile(r"\d+ FETCH\b( \()?", re.IGNORECASE)
_BODY = re.compile(r"\bBODY\[", re.IGNORECASE)
#: The text of a message that is gone (RFC 2180 4.1).
_NO_BODY = re.compile(r"\bBODY\[[^\[\]]*\](?:<\d+>)? NIL\b", re.IGNORECASE)
_UID = re.compile(r"\bUID (\d+)", re.IGNORECASE)
_SIZE = re.compile(r"\bRFC822\.SIZE (\d+)", re.IGNORECASE)
#: Nothing that opens stands in what it opened: from each of many that never close, the end of all would be looked for.
_DELETED = re.compile(r"\bFLAGS \([^()]*\\Deleted\b", re.IGNORECASE)
_INTERNAL_DATE = re.compile(r'\bINTERNALDATE "([^"]{1,40})"', re.IGNORECASE)
_QUOTED_BODY = re.compile(r'BODY\[[^\[\]]*\](?:<\d+>)? "((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_ANNOUNCED = re.compile(r"\[CAPABILITY ([^\[\]]*)\]")
_LIST = re.compile(r'LIST \(([^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (.+)$', re.IGNORECASE)
_QUOTA = re.compile(r'QUOTA (?:"(?:[^"\\]|\\.)*"|[^ ()"]*) ?\(([^()]*)\)', re.IGNORECASE)
_QUOTA_LIMIT = re.compile(r"(?<![\w-])(STORAGE|MESSAGE) (\d+) (\d+)\b", re.IGNORECASE | re.ASCII)
#: Can stand unquoted (RFC 3501 9, astring). Office 365 hangs on a quoted name with "&-" in it.
_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,./:;<=>?@\[\]^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapResponse:
    """One response. Its text keeps the "{n}" of each literal; the literals' octets stand apart."""

    text: str
    literals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a FETCH response says about one message."""

    uid: int
    size: int | None = None
    #: Marked as deleted, by whomever; only not gone yet.
    deleted: bool = False
    content: bytes | None = None
    #: When it came to the server, by the server's clock, if that was asked for and can be read. Whole seconds, UTC.
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A folder that LIST names (RFC 3501 7.2.2)."""

    #: As the server writes it.
    name: str
    #: In small letters: "\\junk", "\\noselect".
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """Where a folder stands: the identity of its UIDs, the next UID, and how many messages there are."""

    validity: int
    next_uid: int | None
    exists: int = 0
    #: STATUS has said that there is none.
    is_empty: bool = False


class Framer:
    """Cuts the stream into answers, however it is cut into packets."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._text: list[bytes] = []
        self._literals: list[bytes] = []
        self._missing = 0
        #: Octets of the answer so far, in text and literals: a server may not fill our memory, nor our time.
        self._size = 0

    @property
    def is_empty(self) -> bool:
        """Whether every octet so far belongs to a whole answer."""
        return not (self._unread or self._text)

    def feed(self, octets: bytes) -> Iterator[ImapResponse]:
        """Yield the answers that are whole now. Raise `ProtocolError` when a line or a literal has no end."""
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
        # Latin-1 takes every octet; what we look for in the text is ASCII.
        answer = ImapResponse(text=b"".join(self._text).decode("latin-1"), literals=tuple(self._literals))
        self._text, self._literals, self._size = [], [], 0
        return answer


def fetched(answer: ImapResponse) -> Fetched | None:
    """Read a FETCH response; `None` when it is something else or has no UID (a flag changed meanwhile).

    Raise `ProtocolError` when it shows a message, and not which one or not its text: taken for one that is gone, it would be
    blamed on another client.
    """
    if (begin := _FETCH.match(answer.text)) is None:
        return None
    if begin[1] is None:
        raise ProtocolError("a FETCH answer without its list")
    quoted = _QUOTED_BODY.search(answer.text)
    # What a message says in a quoted string must not be taken for the server's own UID.
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
        # "27-Nov-2026 08:00:00 +0800" (RFC 3501 9, date-time), but for its hyphens a date as headers have it.
        return parsedate_to_datetime(match[1].replace("-", " ", 2)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def folder_status(answers: list[ImapResponse]) -> FolderStatus:
    """Read what SELECT or STATUS said about a folder."""
    text = "\n".join(answer.text for answer in answers)
    return FolderStatus(
        validity=_number(r"UIDVALIDITY (\d+)", text) or 0,
        next_uid=_number(r"UIDNEXT (\d+)", text),
        exists=_number(r"^(\d+) EXISTS", text) or 0,
        is_empty=_number(r"\((?:[^()]* )?MESSAGES (\d+)", text) == 0,
    )


def quota(answers: list[ImapResponse]) -> MailboxQuota | None:
    """Read QUOTA responses (RFC 9208 5.1): of all limits the one that is nearest; `None` where there is none."""
    found = [
        MailboxQuota(used=_int(used), limit=limit, in_messages=resource.upper() == "MESSAGE")
        for answer in answers
        if (match := _QUOTA.match(answer.text)) is not None
        for resource, used, limit_ in _QUOTA_LIMIT.findall(match[1])
        if (limit := _int(limit_))
    ]
    return max(found, key=lambda each: each.share, default=None)


def searched(answers: list[ImapResponse]) -> set[int]:
    """Read what SEARCH found. Raise `ProtocolError` when it is something else than numbers."""
    words = [answer.text.split() for answer in answers]
    found = [word for line in words if line[:1] == ["SEARCH"] for word in line[1:]]
    if not all(word.isascii() and word.isdecimal() for word in found):
        raise ProtocolError("no numbers where SEARCH has them")
    return {_int(word) for word in found}


def capabilities(answers: list[ImapResponse]) -> frozenset[str]:
    """Read CAPABILITY responses, in capitals."""
    words = [answer.text.upper().split() for answer in answers]
    return frozenset(word for line in words if line[:1] == ["CAPABILITY"] for word in line[1:])


def announced(text: str) -> frozenset[str]:
    """Read the capabilities that a server names by the way, with its greeting or a sign-in (RFC 9051 7.1)."""
    match = _ANNOUNCED.search(text.upper())
    return frozenset(match[1].split()) if match else frozenset()


def listed(answers: list[ImapResponse]) -> Iterator[Listed]:
    """Yield the folders that LIST names, as they come.

    One whose name is no line is left out: what follows its first line would be another command.
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
    """Write a folder's name as IMAP does: modified UTF-7 (RFC 3501 5.1.3)."""
    return re.sub(r"[^\x20-\x7e]+", _base64, name.replace("&", "&-"))


def _base64(match: re.Match[str]) -> str:
    # UTF-7 differs in its shift character and in "/", which separates folders.
    return "&" + match[0].encode("utf-7").decode("ascii").strip("+-").replace("/", ",") + "-"


def legible_name(name: str) -> str:
    """Return a folder's name, as a server writes it, as people read it: one line, of no more than some letters.

    Whoever may make folders in a mailbox chooses their names.
    """
    # Some servers write letters as they are (RFC 6855).
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
