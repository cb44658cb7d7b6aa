"""The way of a message, as its Received headers tell it (RFC 5321 4.4). Pure.

Only what stands above the header that we wrote ourselves is read: relays put theirs on top, so those were added after
we had handed the message over. What stands below came with it and proves nothing. A relay can still say what it likes
about itself and those before it: hops are for people and for statistics, and judge nobody.

Stamps have whole seconds and each is written by another clock, in the order of the standard: the submission server's
when it takes the message, then each relay's, at last the delivery agent's (LMTP). A delay of less than a second is
noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from probes.mail.message import OUR_HEADERS
from probes.model.reply import shortened
from probes.model.result import Hop, Path

#: Whoever sends more is not read further: the mail is a stranger's, the CPU is ours.
_HEADERS_AT_MOST = 30
_HEADER_AT_MOST = 2_000
_BLOCK_AT_MOST = 100_000
_NAME_AT_MOST = 100
#: Comments in each other that are taken out by patterns; deeper ones take a walk from sign to sign.
_DEPTH_AT_ONCE = 3

#: A stamp is cut to whole seconds: the moment itself lies up to this much later.
_RESOLUTION = timedelta(seconds=1)

_COMMENT = re.compile(r"\([^()]*\)")
_BY = re.compile(r"(?:^|\s)by\s+([^\s;]{1,255})", re.IGNORECASE)
#: With the zones of RFC 5322 4.3; other letters mean nothing certain there, and a time without a zone is no time.
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


def path_of(content: bytes, *, handed_over: datetime, seen: datetime) -> Path:
    """Return the way of the message *content*, which was handed over and seen at these moments of our clock (UTC).

    A stamp outside that span shows that its clock and ours differ by at least so much; it tells nothing of the delay,
    which then counts for the next relay. Never raises, whatever the mail holds.
    """
    hops: list[Hop] = []
    skew: timedelta | None = None
    latest = handed_over
    for stamp in _stamps(content):
        off = _skew(stamp.at, handed_over, seen)
        if off is not None:
            skew = off if skew is None or abs(off) > abs(skew) else skew
        # Relays' clocks disagree among themselves, too: time that has passed once does not pass again.
        until = stamp.at if off is None else latest
        hops.append(Hop(by=stamp.by, delay=max(timedelta(), until - latest)))
        latest = max(latest, until)
    return Path(hops=tuple(hops), skew=skew)


def _skew(at: datetime, handed_over: datetime, seen: datetime) -> timedelta | None:
    if at > seen:
        return at - seen
    if at + _RESOLUTION < handed_over:
        return at + _RESOLUTION - handed_over
    return None


def _stamps(content: bytes) -> Iterator[_Stamp]:
    """Yield the stamps that can be read, the first relay's first."""
    headers = _added(content[:_BLOCK_AT_MOST])
    # The same header twice is one relay that repeats itself.
    for header in list(dict.fromkeys(reversed(headers)))[:_HEADERS_AT_MOST]:
        words, _, date = _without_comments(header).rpartition(";")
        at, by = _moment(date), _BY.search(words)
        if at is not None:
            yield _Stamp(by=shortened(by[1])[:_NAME_AT_MOST] if by else "", at=at)


def _added(block: bytes) -> list[str]:
    """Return the Received headers that stand above the first header of ours, unfolded; none if there is none of ours."""
    found: list[str] = []
    unfolded: list[str] = []
    for line in block.decode("latin-1").split("\n"):
        text = line.rstrip("\r")
        if text[:1] in {" ", "\t"}:
            unfolded.append(text)
            continue
        _keep(found, unfolded)
        name = text.partition(":")[0].strip().lower()
        if name in OUR_HEADERS:
            return found
        if not text:
            break
        unfolded = [text]
    return []


def _keep(found: list[str], lines: list[str]) -> None:
    if lines and lines[0][:9].lower() == "received:":
        header = " ".join(lines)[9:]
        if len(header) <= _HEADER_AT_MOST:
            found.append(header)


def _without_comments(text: str) -> str:
    """Drop comments, which nest (RFC 5322 3.2.2), and what is quoted."""
    if "\\" not in text and '"' not in text:
        # As nearly always: the innermost go first.
        for _ in range(_DEPTH_AT_ONCE):
            text = _COMMENT.sub("", text)
        if "(" not in text:
            return text
    kept: list[str] = []
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
            kept.append(char)
    return "".join(kept)


def _moment(text: str) -> datetime | None:
    if (match := _DATE.search(text)) is None:
        return None
    day, time, zone = match.groups()
    time = _LEAP_SECOND.sub(r"\1:59", time)
    # Of "-0000" the library makes a time without a zone.
    zone = "+0000" if zone == "-0000" else zone
    try:
        return parsedate_to_datetime(f"{day}{time} {zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
