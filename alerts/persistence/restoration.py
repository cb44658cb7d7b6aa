"""Whether a store is an older copy of itself, and which numbers may be on paper that it does not know of. Pure.

An old copy that is put back believes to be the present. A *mark* is what was kept outside of the store of how far it had
come: the head of its journal, and the highest numbers that were given. Where no mark is further than the store, only its
silence can tell: whoever was still for an hour may have missed an hour, or be a snapshot of a machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from alerts.persistence.audit import ChainHead

#: A store in which nothing was written for longer may be an older copy. An upgrade takes less.
SILENT_FOR = timedelta(hours=1)
#: So many numbers are left out where nobody knows which were given: far more than there are incidents between two copies.
LEFT_OUT = 100
#: Staff are told of what the copy believes to be open only after so long: the probes see first whether it still is.
SEE_FIRST = timedelta(minutes=10)
#: Of so many incidents, the latest, a mark keeps which pages went out.
_KEPT = 500

_WORD = re.compile(r"([A-Z0-9]+)-(\d{1,6})(?:/(\d{1,4}))?", re.ASCII)


class DetectionMethod(StrEnum):
    """By what it was noticed that a store may be an older copy."""

    #: `pantau restore` has put it there.
    RESTORED = "restored"
    #: A mark is further than the store, or knows another journal.
    OLDER = "older"
    #: The store is empty, and a mark is not.
    EMPTY = "empty"
    #: Nothing was written into it for longer than an hour.
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class HighWaterMark:
    """How far a store had come, as it was kept outside of it."""

    #: The hash of the journal's first entry, by which one store is told from another.
    chain: str
    head: ChainHead
    #: The highest number that was given, by what the numbers begin with: {"JCM": 7}.
    numbers: Mapping[str, int] = field(default_factory=dict)
    #: The highest enclosure that went on paper, by the incident's number: {"JCM-07": 3}; the latest last.
    pages: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is written into a file."""
        return {
            "chain": self.chain,
            "number": self.head.number,
            "hash": self.head.hash,
            "numbers": dict(self.numbers),
            "pages": dict(self.pages),
        }


def mark_of(values: Any) -> HighWaterMark:
    """Return the mark of a file. Raise `KeyError`, `TypeError` or `ValueError` when it is none."""
    head = ChainHead(number=int(values["number"]), hash=str(values["hash"]))
    numbers, pages = ({str(k): int(v) for k, v in values[name].items()} for name in ("numbers", "pages"))
    return HighWaterMark(chain=str(values["chain"]), head=head, numbers=numbers, pages=pages)


def highest(maps: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the highest number of each, the latest that were named last."""
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
    """How far a store has come, as it says itself."""

    #: The hash of the journal's first entry; "": it is empty.
    chain: str
    head: ChainHead
    #: The hashes that it has at the marks' heads; nothing where it has no such entry.
    hashes: Mapping[int, str]
    #: When something was last written into it; `None`: never.
    heard_at: datetime | None
    #: The next number, by what the numbers begin with.
    following: Mapping[str, int]


def ahead(standing: StorePosition, marks: Collection[HighWaterMark]) -> Sequence[HighWaterMark]:
    """Return the marks that know more than the store, or something else. One of another store says nothing of this."""
    return [
        mark
        for mark in marks
        if not standing.chain
        or (mark.chain == standing.chain and standing.hashes.get(mark.head.number) != mark.head.hash)
    ]


def noticed(
    standing: StorePosition, marks: Collection[HighWaterMark], now: datetime, *, was_away: bool
) -> DetectionMethod | None:
    """Return by what a store shows that it may be an older copy; `None`: it does not.

    *was_away*: nobody of ours has watched it meanwhile, so that its silence says something.
    """
    if ahead(standing, marks):
        return DetectionMethod.OLDER if standing.chain else DetectionMethod.EMPTY
    if was_away and standing.heard_at is not None and now - standing.heard_at > SILENT_FOR:
        return DetectionMethod.SILENT
    return None


def left_out(
    standing: StorePosition, marks: Collection[HighWaterMark], words: Mapping[str, int], prefixes: Collection[str]
) -> Mapping[str, tuple[int, int]]:
    """Return which numbers are not given, the first and the last, by what they begin with.

    Those that a mark knows to be given, or a person (*words*); where neither knows anything, the next hundred.
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
    """Return after which enclosure the pages about an incident go on. *marks*: those that know more than the store."""
    if not marks and number not in words:
        return LEFT_OUT
    return highest([*(mark.pages for mark in marks), words]).get(number, 0)


class BadNumberError(ValueError):
    """Somebody has written a number as no letter bears it."""


def last_on_paper(words: Iterable[str]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Return the numbers and the pages after which it goes on, as a person says: "JCM-23", or "JCM-07/3" of its pages.

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
    """One time that a store was, or may have been, an older copy. Until somebody confirms it, paper waits."""

    id: int
    how: DetectionMethod
    noticed_at: datetime
    #: The last that the store knew.
    since: datetime | None
    #: Who put it back; "": it was noticed.
    by: str
    #: After which numbers it goes on, as that person said.
    numbers: Mapping[str, int] = field(default_factory=dict)
    pages: Mapping[str, int] = field(default_factory=dict)
    #: The numbers that are not given, the first and the last; `None`: that has still to be found out.
    left_out: Mapping[str, tuple[int, int]] | None = None
    confirmed_at: datetime | None = None
    confirmed_by: str = ""
    why: str = ""
