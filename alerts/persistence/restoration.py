"""Detection of a database that was restored from an older copy, and of the numbers that the copy lacks. Pure.

Letters and faxes carry numbers of incidents and pages (enclosures), which must not be assigned twice. A *high-water mark*
outside of the database contains the head of its audit log and the highest assigned numbers. A mark beyond the database
proves an older copy. Without a mark, only a period without writes indicates a copy, such as a snapshot of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from alerts.persistence.audit import ChainHead

#: A database without writes for longer may be an older copy. An upgrade takes less time.
MAX_SILENCE = timedelta(hours=1)
#: How many numbers are skipped if the assigned ones are unknown: far more than the incidents between two backups.
DEFAULT_SKIP = 100
#: Delay of notifications about incidents that are open in the copy: the probes first find out whether they still are.
RECHECK_DELAY = timedelta(minutes=10)
#: Maximum number of incidents whose pages a mark records: the latest ones.
_MAX_INCIDENTS = 500

#: "JCM-23" or, with the number of a page, "JCM-07/3".
_STATED_NUMBER = re.compile(r"([A-Z0-9]+)-(\d{1,6})(?:/(\d{1,4}))?", re.ASCII)


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
    """Position of a database, kept outside of it."""

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


def read_mark(values: Any) -> HighWaterMark:
    """Return the mark of a file's content. Raise `KeyError`, `TypeError` or `ValueError` when it is invalid."""
    head = ChainHead(number=int(values["number"]), hash=str(values["hash"]))
    numbers, pages = ({str(k): int(v) for k, v in values[name].items()} for name in ("numbers", "pages"))
    return HighWaterMark(chain=str(values["chain"]), head=head, numbers=numbers, pages=pages)


def merge_highest(maps: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the highest number of each key. Keys of later maps are last."""
    result: dict[str, int] = {}
    for numbers in maps:
        for name, number in numbers.items():
            result[name] = max(number, result.pop(name, 0))
    return result


def latest_pages(pages: Mapping[str, int]) -> dict[str, int]:
    """Return the pages of the latest incidents."""
    return dict(list(pages.items())[-_MAX_INCIDENTS:])


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePosition:
    """Position of a database by its own content."""

    #: Hash of the audit log's first entry; "": empty.
    chain: str
    head: ChainHead
    #: Hashes of the entries at the marks' heads; missing where there is no such entry.
    hashes: Mapping[int, str]
    #: Last write; `None`: never.
    received_at: datetime | None
    #: Next number by prefix.
    following: Mapping[str, int]


def marks_beyond(position: StorePosition, marks: Collection[HighWaterMark]) -> Sequence[HighWaterMark]:
    """Return the marks that are not part of the database's past. Marks of another database are ignored."""
    return [
        mark
        for mark in marks
        if not position.chain
        or (mark.chain == position.chain and position.hashes.get(mark.head.number) != mark.head.hash)
    ]


def detect_restore(
    position: StorePosition, marks: Collection[HighWaterMark], now: datetime, *, was_unchecked: bool
) -> DetectionMethod | None:
    """Return how the database was detected as an older copy; `None` if it does not seem to be one.

    *was_unchecked*: no process of Pantau was running, so that a long time without writes is significant.
    """
    if marks_beyond(position, marks):
        return DetectionMethod.OLDER if position.chain else DetectionMethod.EMPTY
    if was_unchecked and position.received_at is not None and now - position.received_at > MAX_SILENCE:
        return DetectionMethod.SILENT
    return None


def skipped_numbers(
    position: StorePosition, marks: Collection[HighWaterMark], stated: Mapping[str, int], prefixes: Collection[str]
) -> Mapping[str, tuple[int, int]]:
    """Return the numbers to skip, the first and the last by prefix.

    They are known from a mark, or stated by a person (*stated*). Without either, the next hundred are skipped.
    """
    beyond = marks_beyond(position, marks)
    known = merge_highest([*(mark.numbers for mark in beyond), stated])
    skipped: dict[str, tuple[int, int]] = {}
    for prefix in {*position.following, *prefixes, *known}:
        first = position.following.get(prefix, 1)
        is_known = bool(beyond) or prefix in stated
        last = known.get(prefix, 0) if is_known else first + DEFAULT_SKIP - 1
        if last >= first:
            skipped[prefix] = (first, last)
    return skipped


def last_used_page(number: str, marks: Collection[HighWaterMark], stated: Mapping[str, int]) -> int:
    """Return the last used enclosure of an incident. *marks*: those beyond the database."""
    if not marks and number not in stated:
        return DEFAULT_SKIP
    return merge_highest([*(mark.pages for mark in marks), stated]).get(number, 0)


class BadNumberError(ValueError):
    """A number in an invalid format."""


def parse_last_numbers(stated: Iterable[str]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Return the last used numbers and pages as a person states them: "JCM-23", or "JCM-07/3" for pages.

    Raise `BadNumberError`.
    """
    numbers: list[Mapping[str, int]] = []
    pages: list[Mapping[str, int]] = []
    for text in stated:
        if (match := _STATED_NUMBER.fullmatch(text.strip().upper())) is None:
            raise BadNumberError(f"{text}: write the last number that is on paper, as JCM-23; of its pages as JCM-07/3")
        prefix, number, page = match.groups()
        numbers.append({prefix: int(number)})
        if page is not None:
            pages.append({f"{prefix}-{int(number):02d}": int(page)})
    return merge_highest(numbers), merge_highest(pages)


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
