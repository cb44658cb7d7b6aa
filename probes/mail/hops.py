"""Path of a message by its Received headers (RFC 5321 4.4). Pure.

Only Received headers above the first of our own headers are read: relays prepend headers, so these were added after
submission. A Received header below it was part of the message, and proves nothing. A relay can write anything about
itself and about earlier relays, so hops are for people and statistics, and never affect health.

The first timestamp is from the submission server at acceptance, then each relay adds one, and the last is from the
delivery agent (LMTP). Timestamps have whole seconds, and each is from another clock, so delays below a second are
noise.
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

#: Limits of parsing, because the mail comes from outside: Received headers, characters of one header, octets of all
#: headers, and characters of a relay's name.
_MAX_HEADERS = 30
_MAX_HEADER = 2_000
_MAX_HEADER_BLOCK = 100_000
_MAX_NAME = 100
#: Depth up to which a pattern removes nested comments. Deeper comments are parsed character by character.
_MAX_REGEX_DEPTH = 3

#: Timestamps are truncated to whole seconds, so the exact time is up to this much later.
_TIMESTAMP_RESOLUTION = timedelta(seconds=1)

_COMMENT = re.compile(r"\([^()]*\)")
_BY = re.compile(r"(?:^|\s)by\s+([^\s;]{1,255})", re.IGNORECASE)
#: A time with a zone of RFC 5322 4.3. Other zone letters are undefined there, and a time without a zone is invalid.
_DATE = re.compile(
    r"(\d{1,2}\s+[a-z]{3})[a-z]{0,6}(\s+[1-9]\d{3}\s+\d{1,2}:\d\d(?::\d\d)?)(?:\.\d{1,9})?\s+"
    r"([+-]\d{4}|UTC?|GMT|Z|[ECMP][DS]T)\b",
    re.IGNORECASE,
)
_LEAP_SECOND = re.compile(r"(:\d\d):60$")


@dataclass(frozen=True, slots=True)
class _Stamp:
    """Timestamp of one relay."""

    #: The relay's own name.
    by: str
    stamped_at: datetime


def read_path(content: bytes, *, submitted_at: datetime, arrived_at: datetime) -> Path:
    """Return the path of the message *content*. The times of its submission and arrival are by our clock (UTC).

    A timestamp outside that period proves that the relay's clock differs from ours; the distance to the period is the
    minimum of the difference. Such a relay has no delay; its time counts as delay of the next relay. No content raises
    an exception.
    """
    hops: list[Hop] = []
    skew: timedelta | None = None
    latest = submitted_at
    for stamp in _read_stamps(content):
        stamp_skew = _clock_skew(stamp.stamped_at, submitted_at, arrived_at)
        if stamp_skew is not None:
            skew = stamp_skew if skew is None or abs(stamp_skew) > abs(skew) else skew
        # `latest` never decreases, so that no time is counted twice although the relays' clocks differ from each other.
        passed_at = stamp.stamped_at if stamp_skew is None else latest
        hops.append(Hop(by=stamp.by, delay=max(timedelta(), passed_at - latest)))
        latest = max(latest, passed_at)
    return Path(hops=tuple(hops), skew=skew)


def _clock_skew(stamped_at: datetime, submitted_at: datetime, arrived_at: datetime) -> timedelta | None:
    if stamped_at > arrived_at:
        return stamped_at - arrived_at
    if stamped_at + _TIMESTAMP_RESOLUTION < submitted_at:
        return stamped_at + _TIMESTAMP_RESOLUTION - submitted_at
    return None


def _read_stamps(content: bytes) -> Iterator[_Stamp]:
    """Yield the timestamps that can be parsed, in the order of the relays."""
    headers = _relay_headers(content[:_MAX_HEADER_BLOCK])
    # Identical headers count once, because they are repetitions by one relay.
    for header in list(dict.fromkeys(reversed(headers)))[:_MAX_HEADERS]:
        clauses, _, date = _without_comments(header).rpartition(";")
        stamped_at, by = _parse_date(date), _BY.search(clauses)
        if stamped_at is not None:
            yield _Stamp(by=shorten(by[1])[:_MAX_NAME] if by else "", stamped_at=stamped_at)


def _relay_headers(block: bytes) -> list[str]:
    """Return the unfolded Received headers above our first header; empty if none of our headers is present."""
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
        # In this usual case a pattern removes the comments, the innermost first.
        for _ in range(_MAX_REGEX_DEPTH):
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
