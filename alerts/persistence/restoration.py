"""Detection of a restored database, and of numbers used on paper that it does not contain. Pure.

A restored copy takes itself for the present. A *high-water mark* outside of the database holds the head of its audit
log and the highest assigned numbers. Without a mark beyond the database, only a silence indicates a copy: after an hour
without writes an hour may be missing, or the machine is a snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from alerts.persistence.audit import ChainHead

#: A database without writes for longer may be an older copy. An upgrade takes less.
SILENT_FOR = timedelta(hours=1)
#: Numbers skipped when the assigned ones are unknown: far more than the incidents between two backups.
LEFT_OUT = 100
#: Delay of notifications about incidents that the copy has open: the probes first see whether they are.
SEE_FIRST = timedelta(minutes=10)
#: Number of incidents, the latest, whose pages a mark records.
_KEPT = 500

_WORD = re.compile(r"([A-Z0-9]+)-(\d{1,6})(?:/(\d{1,4}))?", re.ASCII)


class DetectionMethod(StrEnum):
    """How a possibly older copy was detected."""

    #: `pantau restore` restored it.
    RESTORED = "restored"
    #: A mark is beyond the database, or belongs to another audit log.
    OLDER = "older"
    #: The database is empty, and a mark is not.
    EMPTY = "empty"
    #: Nothing was written for longer than an hour.
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class HighWaterMark:
    """Progress of a database, kept outside of it."""

    #: Hash of the audit log's first entry, which identifies a database.
    chain: str
    head: ChainHead
    #: Highest assigned number by prefix: {"JCM": 7}.
    numbers: Mapping[str, int] = field(default_factory=dict)
    #: Highest enclosure on paper by incident number: {"JCM-07": 3}; the latest last.
    pages: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the file format."""
        return {
            "chain": self.chain,
            "number": self.head.number,
            "hash": self.head.hash,
            "numbers": dict(self.numbers),
            "pages": dict(self.pages),
        }


def mark_of(values: Any) -> HighWaterMark:
    """Return the mark of a file's content. Raise `KeyError`, `TypeError` or `ValueError` when it is invalid."""
    head = ChainHead(number=int(values["number"]), hash=str(values["hash"]))
    numbers, pages = ({str(k): int(v) for k, v in values[name].items()} for name in ("numbers", "pages"))
    return HighWaterMark(chain=str(values["chain"]), head=head, numbers=numbers, pages=pages)


def highest(maps: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the highest number of each key, the last named keys last."""
    found: dict[str, int] = {}
    for each in maps:
        for name, number in each.items():
            found[name] = max(number, found.pop(name, 0))
    return found


def latest(pages: Mapping[str, int]) -> dict[str, int]:
    """Return the pages of the latest incidents."""
    return dict(list(pages.items())[-_KEPT:])


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePosition:
    """Progress of a database by its own content."""

    #: Hash of the audit log's first entry; "": empty.
    chain: str
    head: ChainHead
    #: Hashes of the entries at the marks' heads; missing where there is no such entry.
    hashes: Mapping[int, str]
    #: Last write; `None`: never.
    received_at: datetime | None
    #: Next number by prefix.
    following: Mapping[str, int]


def ahead(standing: StorePosition, marks: Collection[HighWaterMark]) -> Sequence[HighWaterMark]:
    """Return the marks beyond or beside the database. A mark of another database says nothing."""
    return [
        mark
        for mark in marks
        if not standing.chain
        or (mark.chain == standing.chain and standing.hashes.get(mark.head.number) != mark.head.hash)
    ]


def noticed(
    standing: StorePosition, marks: Collection[HighWaterMark], now: datetime, *, was_away: bool
) -> DetectionMethod | None:
    """Return how the database appears to be an older copy; `None`: it does not.

    *was_away*: none of our processes was running, so that a silence is significant.
    """
    if ahead(standing, marks):
        return DetectionMethod.OLDER if standing.chain else DetectionMethod.EMPTY
    if was_away and standing.received_at is not None and now - standing.received_at > SILENT_FOR:
        return DetectionMethod.SILENT
    return None


def left_out(
    standing: StorePosition, marks: Collection[HighWaterMark], words: Mapping[str, int], prefixes: Collection[str]
) -> Mapping[str, tuple[int, int]]:
    """Return the numbers to skip, the first and the last by prefix.

    Those known from a mark or from a person (*words*); without either the next hundred.
    """
    further = ahead(standing, marks)
    known = highest([*(mark.numbers for mark in further), words])
    found: dict[str, tuple[int, int]] = {}
    for prefix in {*standing.following, *prefixes, *known}:
        first = standing.following.get(prefix, 1)
        is_known = bool(further) or prefix in words
        last = known.get(prefix, 0) if is_known else first + LEFT_OUT - 1
        if last >= first:
            found[prefix] = (first, last)
    return found


def pages_left_out(number: str, marks: Collection[HighWaterMark], words: Mapping[str, int]) -> int:
    """Return the last used enclosure of an incident. *marks*: those beyond the database."""
    if not marks and number not in words:
        return LEFT_OUT
    return highest([*(mark.pages for mark in marks), words]).get(number, 0)


class BadNumberError(ValueError):
    """A number in an invalid format."""


def last_on_paper(words: Iterable[str]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Return the last used numbers and pages as a person states them: "JCM-23", or "JCM-07/3" for pages.

    Raise `BadNumberError`.
    """
    numbers: list[Mapping[str, int]] = []
    pages: list[Mapping[str, int]] = []
    for word in words:
        if (found := _WORD.fullmatch(word.strip().upper())) is None:
            raise BadNumberError(f"{word}: write the last number that is on paper, as JCM-23; of its pages as JCM-07/3")
        prefix, number, page = found.groups()
        numbers.append({prefix: int(number)})
        if page is not None:
            pages.append({f"{prefix}-{int(number):02d}": int(page)})
    return highest(numbers), highest(pages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """A detected or possible restore of an older copy. Paper is paused until a person confirms it."""

    id: int
    how: DetectionMethod
    noticed_at: datetime
    #: Last write of the restored copy.
    since: datetime | None
    #: Who restored it; "": detected.
    by: str
    #: Last used numbers, as stated by that person.
    numbers: Mapping[str, int] = field(default_factory=dict)
    pages: Mapping[str, int] = field(default_factory=dict)
    #: Skipped numbers, the first and the last; `None`: to be determined.
    skipped: Mapping[str, tuple[int, int]] | None = None
    confirmed_at: datetime | None = None
    confirmed_by: str = ""
    reason: str = ""
