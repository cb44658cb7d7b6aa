"""Path of a message by its Received headers (RFC 5321 4.4). Pure.

Only Received headers above our own first header are read: relays prepend headers, so these were added after submission.
A Received header below it was part of the message, and proves nothing. A relay can write anything about itself and
about earlier relays, so hops are for people and statistics, and never affect health.

The first timestamp is from the submission server when it accepts the message, then one is from each relay, and the last
from the delivery agent (LMTP). Timestamps have whole seconds, and each is from another clock. So a delay of less than a
second is noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from probes.mail.message import OUR_HEADERS
from probes.model.reply import shorten
from probes.model.result import Hop, Path

#: Limits of what is parsed: the mail comes from outside and costs our CPU.
_MAX_HEADERS = 30
_MAX_HEADER = 2_000
_MAX_BLOCK = 100_000
_MAX_NAME = 100
#: Depth of nested comments that a pattern removes. Deeper comments are parsed character by character.
_REGEX_DEPTH = 3

#: A timestamp is truncated to whole seconds: the exact time is up to this much later.
_RESOLUTION = timedelta(seconds=1)

_COMMENT = re.compile(r"\([^()]*\)")
_BY = re.compile(r"(?:^|\s)by\s+([^\s;]{1,255})", re.IGNORECASE)
#: With the zones of RFC 5322 4.3; other zone letters are undefined there, and a time without a zone is invalid.
_DATE = re.compile(
    r"(\d{1,2}\s+[a-z]{3})[a-z]{0,6}(\s+[1-9]\d{3}\s+\d{1,2}:\d\d(?::\d\d)?)(?:\.\d{1,9})?\s+"
    r"([+-]\d{4}|UTC?|GMT|Z|[ECMP][DS]T)\b",
    re.IGNORECASE,
)
_LEAP_SECOND = re.compile(r"(:\d\d):60$")


@dataclass(frozen=True, slots=True)
class _Stamp:
    by: str
    at: datetime


def read_path(content: bytes, *, submitted_at: datetime, arrived_at: datetime) -> Path:
    """Return the path of the message *content*, submitted and seen at these times of our clock (UTC).

    A timestamp outside that period shows how much, at least, the relay's clock differs from ours. Its relay gets no
    delay; the time counts as delay of the next relay. Never raises, whatever the mail contains.
    """
    hops: list[Hop] = []
    skew: timedelta | None = None
    latest = submitted_at
    for stamp in _read_stamps(content):
        stamp_skew = _clock_skew(stamp.at, submitted_at, arrived_at)
        if stamp_skew is not None:
            skew = stamp_skew if skew is None or abs(stamp_skew) > abs(skew) else skew
        # Relays' clocks also differ from each other. `latest` never moves back, so that no time is counted twice.
        until = stamp.at if stamp_skew is None else latest
        hops.append(Hop(by=stamp.by, delay=max(timedelta(), until - latest)))
        latest = max(latest, until)
    return Path(hops=tuple(hops), skew=skew)


def _clock_skew(at: datetime, submitted_at: datetime, arrived_at: datetime) -> timedelta | None:
    if at > arrived_at:
        return at - arrived_at
    if at + _RESOLUTION < submitted_at:
        return at + _RESOLUTION - submitted_at
    return None


def _read_stamps(content: bytes) -> Iterator[_Stamp]:
    """Yield the readable timestamps, the first relay's first."""
    headers = _relay_headers(content[:_MAX_BLOCK])
    # Identical headers count as one, because a relay has repeated its header.
    for header in list(dict.fromkeys(reversed(headers)))[:_MAX_HEADERS]:
        clauses, _, date = _without_comments(header).rpartition(";")
        at, by = _parse_date(date), _BY.search(clauses)
        if at is not None:
            yield _Stamp(by=shorten(by[1])[:_MAX_NAME] if by else "", at=at)


def _relay_headers(block: bytes) -> list[str]:
    """Return the Received headers above our first header, unfolded; empty when none of our headers is present."""
    headers: list[str] = []
    unfolded: list[str] = []
    for line in block.decode("latin-1").split("\n"):
        text = line.rstrip("\r")
        if text[:1] in {" ", "\t"}:
            unfolded.append(text)
            continue
        _add_received(headers, unfolded)
        name = text.partition(":")[0].strip().lower()
        if name in OUR_HEADERS:
            return headers
        if not text:
            break
        unfolded = [text]
    return []


def _add_received(headers: list[str], lines: list[str]) -> None:
    if lines and lines[0][:9].lower() == "received:":
        header = " ".join(lines)[9:]
        if len(header) <= _MAX_HEADER:
            headers.append(header)


def _without_comments(text: str) -> str:
    """Remove comments, which nest (RFC 5322 3.2.2), and quoted strings."""
    if "\\" not in text and '"' not in text:
        # The usual case: innermost comments first.
        for _ in range(_REGEX_DEPTH):
            text = _COMMENT.sub("", text)
        if "(" not in text:
            return text
    characters: list[str] = []
    depth, quoted, escaped = 0, False, False
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and (depth or quoted):
            escaped = True
        elif quoted:
            quoted = char != '"'
        elif char == '"' and not depth:
            quoted = True
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif not depth:
            characters.append(char)
    return "".join(characters)


def _parse_date(text: str) -> datetime | None:
    if (match := _DATE.search(text)) is None:
        return None
    day, time, zone = match.groups()
    time = _LEAP_SECOND.sub(r"\1:59", time)
    # The library parses "-0000" into a time without a zone.
    zone = "+0000" if zone == "-0000" else zone
    try:
        return parsedate_to_datetime(f"{day}{time} {zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
