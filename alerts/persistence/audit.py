"""The audit: the journal as a chain of hashes, how an entry is sealed, and whether a chain that is handed over is whole.

Each entry has the hash of the one before it, so none can be changed, taken out, put in or moved without every later
hash becoming another. docs/explanation/audit.md says how a third person checks a chain with nothing but this form. Decisions only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from alerts.persistence.store import AuditEntry

#: What stands before the first entry.
BEGINNING = "0" * 64

#: The journal's word for a purge, which is also what a tombstone must point to.
PURGED = "records purged"

#: The journal's word for having been followed whole up to here. It names the last such entry before it by number and
#: hash, and so vouches for it: who follows a part of the chain may go from one to the next.
CHECKPOINT = "journal followed"

#: An entry that says by how much the clock was set back.
CLOCK_SET_BACK = "clock set back"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainedEntry:
    """An entry in its place in the chain.

    A *tombstone* is an entry whose content was purged with an authority: number, time and hashes stay, `purged_by` is
    the number of the entry that tells of the purge, and the rest is empty.
    """

    number: int
    at: datetime
    actor: str
    event: str
    incident_id: int | None
    notice_id: int | None
    detail: Mapping[str, Any]
    #: The hash of the entry before it.
    previous: str
    #: SHA-256 of what it says (`canonical`).
    content: str
    #: SHA-256 of `previous` and `content`. So whoever is handed a few entries with their contents, and of the others
    #: only this hash of a hash, can still follow the chain, and learns nothing of what is not theirs.
    hash: str
    purged_by: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """The end of a chain. Whoever keeps a copy of one outside can show later that nothing before it was rewritten."""

    number: int = 0
    hash: str = BEGINNING

    @property
    def fingerprint(self) -> int:
        """The first 13 digits of the hash as a number: as much as a metric's value holds exactly (52 bits)."""
        return int(self.hash[:13], 16)


def moment(at: datetime) -> str:
    """Return *at* as it is hashed: UTC with microseconds, "2026-11-24T06:15:00.000000Z"."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(entry: ChainedEntry) -> str:
    r"""Return the text whose SHA-256, in UTF-8, is the entry's `content`: JSON in the form of RFC 8785.

    That is: one object, keys sorted, no blanks, characters as they are and only `"`, `\` and controls escaped.
    """
    return compact(_said(entry))


def _said(entry: ChainedEntry) -> dict[str, Any]:
    return {
        "actor": entry.actor,
        "at": moment(entry.at),
        "detail": entry.detail,
        "event": entry.event,
        "incident": entry.incident_id,
        "notice": entry.notice_id,
        "number": entry.number,
    }


def link(previous: str, content: str) -> str:
    """Return the hash of an entry: of the hash before it, a blank, and its content's hash."""
    return digest(f"{previous} {content}")


def as_json(entry: ChainedEntry) -> dict[str, Any]:
    """Return the entry as it is exported: what it says, its three hashes, and for a tombstone `purged_by`."""
    values = _said(entry) | {"previous": entry.previous, "content": entry.content, "hash": entry.hash}
    return values if entry.purged_by is None else values | {"purged_by": entry.purged_by}


def of_json(values: Mapping[str, Any]) -> ChainedEntry:
    """Return the entry of an exported line. Raise `KeyError` or `ValueError` when it is none."""
    return ChainedEntry(
        number=values["number"],
        at=datetime.fromisoformat(values["at"]),
        actor=values["actor"],
        event=values["event"],
        incident_id=values["incident"],
        notice_id=values["notice"],
        detail=values["detail"],
        previous=values["previous"],
        content=values["content"],
        hash=values["hash"],
        purged_by=values.get("purged_by"),
    )


# Made once: a journal of years is as many texts.
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def compact(values: Mapping[str, Any]) -> str:
    """Return JSON in the form of RFC 8785, as far as we have need of it: integers, texts and what holds them."""
    return _ENCODER.encode(values)


def digest(text: str) -> str:
    """Return the SHA-256 of *text* in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def seal(entry: AuditEntry, head: ChainHead) -> ChainedEntry:
    """Return the entry as it follows *head*."""
    sealed = ChainedEntry(
        number=head.number + 1,
        at=entry.at,
        actor=entry.actor,
        event=entry.event,
        incident_id=entry.incident_id,
        notice_id=entry.notice_id,
        detail={key: str(value) for key, value in entry.detail.items()},
        previous=head.hash,
        content="",
        hash="",
    )
    content = digest(canonical(sealed))
    return replace(sealed, content=content, hash=link(head.hash, content))


def tombstones_digest(entries: Iterable[ChainedEntry]) -> str:
    """Return what the entry of a purge says of the entries whose content it takes away, in the order of the chain."""
    return digest("".join(epitaph(entry) for entry in entries))


def epitaph(entry: ChainedEntry) -> str:
    """Return what stays of a purged entry, as a line: its number, its time, its content's hash and its own."""
    return f"{entry.number} {moment(entry.at)} {entry.content} {entry.hash}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainViolation:
    """Something that is not as it was written. `number` is the entry where it shows."""

    number: int
    what: str

    def __str__(self) -> str:
        return f"entry {self.number}: {self.what}"


@dataclass(slots=True)
class _Grave:
    """What was seen of one purge's tombstones."""

    first: int
    lines: Any = field(default_factory=hashlib.sha256)


def checkpoint(at: datetime, actor: str, last: ChainHead) -> AuditEntry:
    """Return the entry that says that all before it was followed and is whole; *last*: the checkpoint before it."""
    return AuditEntry(at=at, actor=actor, event=CHECKPOINT, detail={"number": str(last.number), "hash": last.hash})


class Verifier:
    """Follows a chain from its beginning, entry by entry, and notes what is wrong. Give the entries in their order."""

    def __init__(self, since: ChainHead | None = None) -> None:
        """*since*: the checkpoint to begin after, instead of the beginning; only what follows it is vouched for then."""
        self.flaws: list[ChainViolation] = []
        #: The last entry that was taken.
        self.head = since or ChainHead()
        #: The last checkpoint that was.
        self.checkpoint = self.head
        self._is_whole = since is None
        self.entries = 0
        self.tombstones = 0
        self._graves: dict[int, _Grave] = {}
        self._purges: dict[int, Mapping[str, Any]] = {}

    def take(self, entry: ChainedEntry) -> None:
        """Look at the next entry."""
        self.entries += 1
        expected = self.head.number + 1
        if entry.number > expected:
            alone = entry.number == expected + 1
            gone = f"entry {expected} is" if alone else f"entries {expected} to {entry.number - 1} are"
            self._note(entry.number, f"{gone} missing before it")
        elif entry.number < expected:
            self._note(entry.number, f"stands after entry {self.head.number}: it was put in, or moved")
        elif entry.previous != self.head.hash:
            self._note(entry.number, "does not follow the entry before it: one of the two was put in, moved or changed")
        if link(entry.previous, entry.content) != entry.hash:
            self._note(entry.number, "was changed: its hash is not that of what it holds")
        elif entry.purged_by is None:
            self._look(entry)
        else:
            self._bury(entry)
        self.head = ChainHead(number=max(entry.number, self.head.number), hash=entry.hash)

    def unreadable(self, number: int) -> None:
        """Note an entry of which not even the form is right; the next one will not follow either."""
        self.entries += 1
        self._note(number, "cannot be read: it was changed")
        self.head = ChainHead(number=max(number, self.head.number), hash="")

    @property
    def knows_all(self) -> bool:
        """Whether what it has seen can be judged by itself: what a purge emptied lies anywhere before it."""
        return self._is_whole or not (self._purges or self._graves)

    def end(self, head: ChainHead) -> None:
        """Compare with *head*, which the store keeps apart from the entries, and account for every purge."""
        if self.head.number < head.number:
            self._note(head.number, f"is the last one written, and entry {self.head.number} is the last one there")
        elif self.head.number == head.number and self.head.hash != head.hash:
            self._note(head.number, "is another than the last one written")
        elif self.head != head:
            self._note(self.head.number, f"is the last one there, and entry {head.number} is the last one written")
        for number, grave in self._graves.items():
            told = self._purges.get(number)
            if told is None:
                self._note(grave.first, f"is empty, and entry {number} tells of no purge")
            elif told.get("tombstones") != grave.lines.hexdigest():
                self._note(number, "tells of a purge of other entries than those that are empty")
        for number, told in self._purges.items():
            if number not in self._graves and told.get("entries") != "0":
                self._note(number, "tells of a purge, and nothing is empty")

    def against(self, head: ChainHead, found: str | None) -> None:
        """Compare with a head that somebody kept outside; *found* is the hash of that entry here, `None` if not here."""
        if found is None:
            self._note(head.number, "is not there, and was when the copy of the head was made")
        elif found != head.hash:
            self._note(head.number, "is another than when the copy of the head was made: the chain was rewritten")

    def _look(self, entry: ChainedEntry) -> None:
        if digest(canonical(entry)) != entry.content:
            self._note(entry.number, "was changed: it says something else than was written")
        if entry.event == CHECKPOINT:
            self._pass(entry)
        if entry.event == PURGED and isinstance(entry.detail, Mapping):
            self._purges[entry.number] = entry.detail

    def _pass(self, entry: ChainedEntry) -> None:
        last = {"number": str(self.checkpoint.number), "hash": self.checkpoint.hash}
        if entry.detail != last:
            self._note(entry.number, "vouches for another checkpoint than the one before it")
        self.checkpoint = ChainHead(number=entry.number, hash=entry.hash)

    def _bury(self, entry: ChainedEntry) -> None:
        self.tombstones += 1
        number = entry.purged_by or 0
        grave = self._graves.setdefault(number, _Grave(first=entry.number))
        grave.lines.update(epitaph(entry).encode())
        if entry.actor or entry.event or entry.detail or (entry.incident_id, entry.notice_id) != (None, None):
            self._note(entry.number, "was purged, and yet says something")

    def _note(self, number: int, what: str) -> None:
        self.flaws.append(ChainViolation(number=number, what=what))
