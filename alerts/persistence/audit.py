"""Audit log as a hash chain: sealing of entries, and verification. Pure.

Each entry contains the hash of the previous one, so changing, removing, inserting or moving one changes all later
hashes. docs/explanation/audit.md describes how a third party verifies a chain from this format alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from alerts.persistence.store import AuditEntry

#: The hash before the first entry.
BEGINNING = "0" * 64

#: Event of a purge, to which each tombstone must refer.
PURGED = "records purged"

#: Event of a complete verification up to here. It refers to the previous such entry by number and hash, so that a
#: verifier of a part of the chain may continue from one to the next.
CHECKPOINT = "journal followed"

#: Event that states by how much the clock was set back.
CLOCK_SET_BACK = "clock set back"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainedEntry:
    """An entry in the chain.

    A *tombstone* is an entry whose content was purged with authority: number, time and hashes remain, `purged_by` is
    the number of the purge's entry, and the rest is empty.
    """

    number: int
    at: datetime
    actor: str
    event: str
    incident_id: int | None
    notification_id: int | None
    detail: Mapping[str, Any]
    #: Hash of the previous entry.
    previous: str
    #: SHA-256 of the content (`canonical`).
    content: str
    #: SHA-256 of `previous` and `content`. So the chain can be verified with the contents of some entries and only this
    #: hash of the others, without disclosing them.
    hash: str
    purged_by: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """End of a chain. A copy kept elsewhere proves later that nothing before it was rewritten."""

    number: int = 0
    hash: str = BEGINNING

    @property
    def fingerprint(self) -> int:
        """First 13 digits of the hash as a number: the exact range of a metric's value (52 bits)."""
        return int(self.hash[:13], 16)


def moment(at: datetime) -> str:
    """Return *at* in the hashed format: UTC with microseconds, "2026-11-24T06:15:00.000000Z"."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(entry: ChainedEntry) -> str:
    r"""Return the text whose SHA-256, in UTF-8, is the entry's `content`: JSON in the form of RFC 8785.

    That is one object with sorted keys, no blanks, and only `"`, `\\` and control characters escaped.
    """
    return compact(_said(entry))


def _said(entry: ChainedEntry) -> dict[str, Any]:
    return {
        "actor": entry.actor,
        "at": moment(entry.at),
        "detail": entry.detail,
        "event": entry.event,
        "incident": entry.incident_id,
        "notice": entry.notification_id,
        "number": entry.number,
    }


def link(previous: str, content: str) -> str:
    """Return the hash of an entry: of the previous hash, a blank, and the hash of its content."""
    return digest(f"{previous} {content}")


def as_json(entry: ChainedEntry) -> dict[str, Any]:
    """Return the export format of an entry: content, three hashes, and for a tombstone `purged_by`."""
    values = _said(entry) | {"previous": entry.previous, "content": entry.content, "hash": entry.hash}
    return values if entry.purged_by is None else values | {"purged_by": entry.purged_by}


def of_json(values: Mapping[str, Any]) -> ChainedEntry:
    """Return the entry of an exported line. Raise `KeyError` or `ValueError` for an invalid one."""
    return ChainedEntry(
        number=values["number"],
        at=datetime.fromisoformat(values["at"]),
        actor=values["actor"],
        event=values["event"],
        incident_id=values["incident"],
        notification_id=values["notice"],
        detail=values["detail"],
        previous=values["previous"],
        content=values["content"],
        hash=values["hash"],
        purged_by=values.get("purged_by"),
    )


# Created once: an audit log of years has as many texts.
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def compact(values: Mapping[str, Any]) -> str:
    """Return JSON in the form of RFC 8785, limited to integers, texts and containers."""
    return _ENCODER.encode(values)


def digest(text: str) -> str:
    """Return the SHA-256 of *text* in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def seal(entry: AuditEntry, head: ChainHead) -> ChainedEntry:
    """Return the entry as the successor of *head*."""
    sealed = ChainedEntry(
        number=head.number + 1,
        at=entry.at,
        actor=entry.actor,
        event=entry.event,
        incident_id=entry.incident_id,
        notification_id=entry.notification_id,
        detail={key: str(value) for key, value in entry.detail.items()},
        previous=head.hash,
        content="",
        hash="",
    )
    content = digest(canonical(sealed))
    return replace(sealed, content=content, hash=link(head.hash, content))


def tombstones_digest(entries: Iterable[ChainedEntry]) -> str:
    """Return the digest of purged entries for the purge's entry, in the order of the chain."""
    return digest("".join(epitaph(entry) for entry in entries))


def epitaph(entry: ChainedEntry) -> str:
    """Return the remaining data of a purged entry as a line: number, time, hash of the content, hash."""
    return f"{entry.number} {moment(entry.at)} {entry.content} {entry.hash}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainViolation:
    """A violation of the chain at entry `number`."""

    number: int
    what: str

    def __str__(self) -> str:
        return f"entry {self.number}: {self.what}"


@dataclass(slots=True)
class _Grave:
    """Tombstones of one purge."""

    first: int
    lines: Any = field(default_factory=hashlib.sha256)


def checkpoint(at: datetime, actor: str, last: ChainHead) -> AuditEntry:
    """Return the entry of a complete verification; *last*: the previous checkpoint."""
    return AuditEntry(at=at, actor=actor, event=CHECKPOINT, detail={"number": str(last.number), "hash": last.hash})


class Verifier:
    """Verifies a chain entry by entry from its beginning, and collects violations. Pass the entries in order."""

    def __init__(self, since: ChainHead | None = None) -> None:
        """*since*: a checkpoint to start after; then only later entries are verified."""
        self.flaws: list[ChainViolation] = []
        #: The last verified entry.
        self.head = since or ChainHead()
        #: The last checkpoint.
        self.checkpoint = self.head
        self._is_whole = since is None
        self.entries = 0
        self.tombstones = 0
        self._graves: dict[int, _Grave] = {}
        self._purges: dict[int, Mapping[str, Any]] = {}

    def take(self, entry: ChainedEntry) -> None:
        """Verify the next entry."""
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
        """Record an entry with an invalid form; the next one will not match either."""
        self.entries += 1
        self._note(number, "cannot be read: it was changed")
        self.head = ChainHead(number=max(number, self.head.number), hash="")

    @property
    def knows_all(self) -> bool:
        """Whether the verified part is self-contained: a purge may refer to any earlier entry."""
        return self._is_whole or not (self._purges or self._graves)

    def end(self, head: ChainHead) -> None:
        """Compare with *head*, which the store keeps separately, and account for every purge."""
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
        """Compare with a head that was kept elsewhere; *found*: the hash of that entry here, `None` if missing."""
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
        if entry.actor or entry.event or entry.detail or (entry.incident_id, entry.notification_id) != (None, None):
            self._note(entry.number, "was purged, and yet says something")

    def _note(self, number: int, what: str) -> None:
        self.flaws.append(ChainViolation(number=number, what=what))
