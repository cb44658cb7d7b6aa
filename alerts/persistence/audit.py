"""Audit log as a hash chain: appending of entries, and verification. Pure.

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
    """Entry in the chain.

    A *tombstone* is an entry whose content was deleted by an authorised purge: number, time and hashes remain,
    `purged_by` is the number of the entry that records the purge, and the rest is empty.
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
    #: SHA-256 of `previous` and `content`. The chain can be verified with the content of some entries, and only the hashes
    #: of the others, so that these need not be disclosed.
    hash: str
    purged_by: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """Last entry of a chain. A copy that is kept elsewhere proves later that nothing before it was rewritten."""

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
    return compact(_content_of(entry))


def _content_of(entry: ChainedEntry) -> dict[str, Any]:
    return {
        "actor": entry.actor,
        "at": moment(entry.at),
        "detail": entry.detail,
        "event": entry.event,
        "incident": entry.incident_id,
        "notice": entry.notification_id,
        "number": entry.number,
    }


def link_hash(previous: str, content: str) -> str:
    """Return the hash of an entry: the SHA-256 of the previous hash, a blank, and the hash of its content."""
    return digest(f"{previous} {content}")


def entry_to_json(entry: ChainedEntry) -> dict[str, Any]:
    """Return the export format of an entry: content, three hashes, and for a tombstone `purged_by`."""
    values = _content_of(entry) | {"previous": entry.previous, "content": entry.content, "hash": entry.hash}
    return values if entry.purged_by is None else values | {"purged_by": entry.purged_by}


def entry_from_json(values: Mapping[str, Any]) -> ChainedEntry:
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


# Created once, because an audit log of several years has very many entries.
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def compact(values: Mapping[str, Any]) -> str:
    """Return JSON in the form of RFC 8785, limited to integers, texts and containers."""
    return _ENCODER.encode(values)


def digest(text: str) -> str:
    """Return the SHA-256 of *text* in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def seal(entry: AuditEntry, head: ChainHead) -> ChainedEntry:
    """Return *entry* chained to *head*."""
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
    return replace(sealed, content=content, hash=link_hash(head.hash, content))


def tombstones_digest(entries: Iterable[ChainedEntry]) -> str:
    """Return the digest of purged entries, in the order of the chain. The entry that records the purge contains it."""
    return digest("".join(tombstone_line(entry) for entry in entries))


def tombstone_line(entry: ChainedEntry) -> str:
    """Return the remaining data of a purged entry as a line: number, time, hash of the content, hash."""
    return f"{entry.number} {moment(entry.at)} {entry.content} {entry.hash}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainViolation:
    """A violation of the chain at entry `number`."""

    number: int
    problem: str

    def __str__(self) -> str:
        return f"entry {self.number}: {self.problem}"


@dataclass(slots=True)
class _Tombstones:
    """Tombstones of one purge: the number of the first, and the digest of all."""

    first: int
    digest: Any = field(default_factory=hashlib.sha256)


def checkpoint(at: datetime, actor: str, last: ChainHead) -> AuditEntry:
    """Return the entry that records a complete verification. *last*: the previous checkpoint."""
    return AuditEntry(at=at, actor=actor, event=CHECKPOINT, detail={"number": str(last.number), "hash": last.hash})


class Verifier:
    """Verifier of a chain, to which all entries are passed in order. It collects violations."""

    def __init__(self, since: ChainHead | None = None) -> None:
        """Start after the checkpoint *since*, or at the beginning of the chain without one."""
        self.flaws: list[ChainViolation] = []
        #: The last verified entry.
        self.head = since or ChainHead()
        #: The last checkpoint.
        self.checkpoint = self.head
        self._is_whole = since is None
        self.entries = 0
        self.tombstones = 0
        self._tombstones: dict[int, _Tombstones] = {}
        self._purges: dict[int, Mapping[str, Any]] = {}

    def verify(self, entry: ChainedEntry) -> None:
        """Verify the next entry."""
        self.entries += 1
        expected = self.head.number + 1
        if entry.number > expected:
            is_single = entry.number == expected + 1
            missing = f"entry {expected} is" if is_single else f"entries {expected} to {entry.number - 1} are"
            self._add_violation(entry.number, f"{missing} missing before it")
        elif entry.number < expected:
            self._add_violation(entry.number, f"follows entry {self.head.number}: it was inserted or moved")
        elif entry.previous != self.head.hash:
            self._add_violation(
                entry.number, "does not continue the entry before it: one of the two was inserted, moved or changed"
            )
        if link_hash(entry.previous, entry.content) != entry.hash:
            self._add_violation(entry.number, "was changed: its hash does not match its data")
        elif entry.purged_by is None:
            self._verify_content(entry)
        else:
            self._add_tombstone(entry)
        self.head = ChainHead(number=max(entry.number, self.head.number), hash=entry.hash)

    def add_unreadable(self, number: int) -> None:
        """Record an entry that cannot be parsed. The next entry will not match, either."""
        self.entries += 1
        self._add_violation(number, "is invalid: it was changed")
        self.head = ChainHead(number=max(number, self.head.number), hash="")

    @property
    def is_self_contained(self) -> bool:
        """Whether no entry of the verified part refers to an entry before it, as tombstones and purges may."""
        return self._is_whole or not (self._purges or self._tombstones)

    def end(self, head: ChainHead) -> None:
        """Compare the end of the chain with *head*, which the store keeps separately, and each purge with its tombstones."""
        if self.head.number < head.number:
            self._add_violation(head.number, f"was written last, but entry {self.head.number} is the last one present")
        elif self.head.number == head.number and self.head.hash != head.hash:
            self._add_violation(head.number, "differs from the last one written")
        elif self.head != head:
            self._add_violation(self.head.number, f"is the last one present, but entry {head.number} was written last")
        for number, tombstones in self._tombstones.items():
            purge = self._purges.get(number)
            if purge is None:
                self._add_violation(tombstones.first, f"is empty, but entry {number} records no purge")
            elif purge.get("tombstones") != tombstones.digest.hexdigest():
                self._add_violation(number, "records a purge of other entries than the empty ones")
        for number, purge in self._purges.items():
            if number not in self._tombstones and purge.get("entries") != "0":
                self._add_violation(number, "records a purge, but no entry is empty")

    def compare_kept_head(self, head: ChainHead, present_hash: str | None) -> None:
        """Compare with *head*, which was kept elsewhere. *present_hash*: hash of this entry now, `None` if it is missing."""
        if present_hash is None:
            self._add_violation(head.number, "is missing, but was present when the copy of the head was made")
        elif present_hash != head.hash:
            self._add_violation(head.number, "differs from the copy of the head: the chain was rewritten")

    def _verify_content(self, entry: ChainedEntry) -> None:
        if digest(canonical(entry)) != entry.content:
            self._add_violation(entry.number, "was changed: its content does not match its hash")
        if entry.event == CHECKPOINT:
            self._verify_checkpoint(entry)
        if entry.event == PURGED and isinstance(entry.detail, Mapping):
            self._purges[entry.number] = entry.detail

    def _verify_checkpoint(self, entry: ChainedEntry) -> None:
        last = {"number": str(self.checkpoint.number), "hash": self.checkpoint.hash}
        if entry.detail != last:
            self._add_violation(entry.number, "refers to another checkpoint than the one before it")
        self.checkpoint = ChainHead(number=entry.number, hash=entry.hash)

    def _add_tombstone(self, entry: ChainedEntry) -> None:
        self.tombstones += 1
        number = entry.purged_by or 0
        tombstones = self._tombstones.setdefault(number, _Tombstones(first=entry.number))
        tombstones.digest.update(tombstone_line(entry).encode())
        if entry.actor or entry.event or entry.detail or (entry.incident_id, entry.notification_id) != (None, None):
            self._add_violation(entry.number, "was purged, but has content")

    def _add_violation(self, number: int, problem: str) -> None:
        self.flaws.append(ChainViolation(number=number, problem=problem))
