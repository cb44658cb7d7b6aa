"""Detection of a database that was restored from an older copy, and of the numbers that the copy lacks. Pure.

Letters and faxes carry an incident number and an enclosure number (their page about that incident), which must not be
assigned twice. A *high-water mark* is a file outside of the database with the newest entry of the audit log and the
highest assigned numbers. If the database lacks that entry, it is an older copy. Without a mark, only a long period
without writes suggests a copy, such as a restored snapshot of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from alerts.persistence.audit import ChainHead

#: A database whose last write is longer ago may be an older copy. An upgrade of Pantau takes less time.
MAX_SILENCE = timedelta(hours=1)
#: How many numbers are skipped if the assigned ones are unknown: far more than the incidents between two backups.
DEFAULT_SKIP = 100
#: Delay of notifications about incidents that are open in the copy. In this time the probes find out whether each
#: incident is still open.
RECHECK_DELAY = timedelta(minutes=10)
#: Maximum number of incidents whose pages a mark records: the latest ones.
_MAX_INCIDENTS = 500

#: "JCM-23" or, with the number of a page, "JCM-07/3".
_STATED_NUMBER = re.compile(r"([A-Z0-9]+)-(\d{1,6})(?:/(\d{1,4}))?", re.ASCII)


class DetectionMethod(StrEnum):
    """How a possibly older copy was detected."""

    #: The command `pantau restore` restored it.
    RESTORED = "restored"
    #: A mark names an entry of the audit log that the database lacks.
    OLDER = "older"
    #: The database is empty, although a mark exists.
    EMPTY = "empty"
    #: Nothing was written for longer than an hour.
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class HighWaterMark:
    """Newest audit entry and highest numbers of a database, kept outside of it."""

    #: Hash of the audit log's first entry, which identifies a database.
    chain: str
    #: Newest audit entry.
    head: ChainHead
    #: Highest assigned incident number by prefix (an agency's code): {"JCM": 7}.
    numbers: Mapping[str, int] = field(default_factory=dict)
    #: Highest enclosure number on paper by incident number: {"JCM-07": 3}; the latest incident is last.
    pages: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the content of the mark's file."""
        return {
            "chain": self.chain,
            "number": self.head.number,
            "hash": self.head.hash,
            "numbers": dict(self.numbers),
            "pages": dict(self.pages),
        }


def read_mark(values: Any) -> HighWaterMark:
    """Return the mark that a file contains. Raise `KeyError`, `TypeError` or `ValueError` for invalid *values*."""
    head = ChainHead(number=int(values["number"]), hash=str(values["hash"]))
    numbers, pages = ({str(k): int(v) for k, v in values[name].items()} for name in ("numbers", "pages"))
    return HighWaterMark(chain=str(values["chain"]), head=head, numbers=numbers, pages=pages)


def merge_highest(maps: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the highest number of each key, in the order in which the keys occur last."""
    result: dict[str, int] = {}
    for numbers in maps:
        for name, number in numbers.items():
            result[name] = max(number, result.pop(name, 0))
    return result


def latest_pages(pages: Mapping[str, int]) -> dict[str, int]:
    """Return the highest enclosure numbers of the latest `_MAX_INCIDENTS` incidents."""
    return dict(list(pages.items())[-_MAX_INCIDENTS:])


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePosition:
    """Newest audit entry and next numbers of a database, read from the database."""

    #: Hash of the audit log's first entry; "": the audit log is empty.
    chain: str
    head: ChainHead
    #: For each mark: hash of the stored audit entry that has the number of the mark's head, by this number.
    hashes: Mapping[int, str]
    #: Last write; `None`: never.
    last_write_at: datetime | None
    #: Next incident number by prefix: {"JCM": 8}.
    next_numbers: Mapping[str, int]


def find_newer_marks(position: StorePosition, marks: Collection[HighWaterMark]) -> Sequence[HighWaterMark]:
    """Return the marks whose audit entry the database lacks. Marks of another database are ignored.

    An empty database lacks the entry of every mark.
    """
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

    *was_unchecked*: no check has run for a while, because Pantau was not running or the machine was restored from a
    snapshot. Only then a long time without writes is significant.
    """
    if find_newer_marks(position, marks):
        return DetectionMethod.OLDER if position.chain else DetectionMethod.EMPTY
    if was_unchecked and position.last_write_at is not None and now - position.last_write_at > MAX_SILENCE:
        return DetectionMethod.SILENT
    return None


def skipped_numbers(
    position: StorePosition, marks: Collection[HighWaterMark], stated: Mapping[str, int], prefixes: Collection[str]
) -> Mapping[str, tuple[int, int]]:
    """Return the first and the last incident number to skip, by prefix.

    The last assigned numbers come from the marks that `find_newer_marks` returns, and from *stated*: numbers that a
    person has read on paper, by prefix. Without such a mark, the next hundred numbers of each prefix that is not in
    *stated* are skipped. *prefixes*: also those without a number in the database.
    """
    newer_marks = find_newer_marks(position, marks)
    known = merge_highest([*(mark.numbers for mark in newer_marks), stated])
    skipped: dict[str, tuple[int, int]] = {}
    for prefix in {*position.next_numbers, *prefixes, *known}:
        first = position.next_numbers.get(prefix, 1)
        is_known = bool(newer_marks) or prefix in stated
        last = known.get(prefix, 0) if is_known else first + DEFAULT_SKIP - 1
        if last >= first:
            skipped[prefix] = (first, last)
    return skipped


def last_used_page(number: str, marks: Collection[HighWaterMark], stated: Mapping[str, int]) -> int:
    """Return the last used enclosure number of the incident *number*.

    *marks*: only those that `find_newer_marks` returns; *stated*: enclosure numbers that a person has read on paper, by
    incident number.
    """
    if not marks and number not in stated:
        # The last used number is unknown: skip far more than were used.
        return DEFAULT_SKIP
    return merge_highest([*(mark.pages for mark in marks), stated]).get(number, 0)


class BadNumberError(ValueError):
    """A person has typed a number in an invalid format."""


def parse_last_numbers(stated: Iterable[str]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Parse the last used numbers as a person types them: "JCM-23", or "JCM-07/3" for page 3 about JCM-07.

    Return the highest incident numbers by prefix, and the highest enclosure numbers by incident number. Raise
    `BadNumberError`.
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
    """A proven or possible restore of an older copy. Letters and faxes are paused until a person permits them again."""

    id: int
    how: DetectionMethod
    noticed_at: datetime
    #: Last write in the restored copy; `None`: the copy was empty.
    since: datetime | None
    #: Who restored the copy by command; "": Pantau has detected the restore.
    by: str
    #: Last used incident numbers by prefix, as stated by that person.
    numbers: Mapping[str, int] = field(default_factory=dict)
    #: Last used enclosure numbers by incident number, as stated by that person.
    pages: Mapping[str, int] = field(default_factory=dict)
    #: First and last skipped incident number by prefix; `None`: to be determined.
    skipped: Mapping[str, tuple[int, int]] | None = None
    #: When a person confirmed that paper may be sent again; `None`: not yet.
    confirmed_at: datetime | None = None
    confirmed_by: str = ""
    #: That person's reason.
    reason: str = ""
