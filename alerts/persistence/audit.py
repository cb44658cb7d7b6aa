"""Audit log as a hash chain: appending of entries, and verification. Pure.

Each entry contains the hash of the previous entry. Changing, removing, inserting or moving an entry therefore changes
all later hashes. docs/explanation/audit.md describes how a third party verifies a chain from this format alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from alerts.persistence.store import AuditEntry

#: Stands for the previous hash in the first entry.
INITIAL_HASH = "0" * 64

# The texts of these events are part of hashed entries and never change.
#: Event of a purge (deletion of old records). Each emptied entry (tombstone) must refer to the entry of its purge.
PURGED = "records purged"

#: Event of a verification of all earlier entries. The entry of the event, a checkpoint, contains number and hash of the
#: previous checkpoint, so that a verifier may follow the chain from checkpoint to checkpoint.
CHECKPOINT = "journal followed"

#: Event that states by how much the system clock was set back.
CLOCK_SET_BACK = "clock set back"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainedEntry:
    """Entry in the chain.

    A *tombstone* is an entry whose content an authorised purge has deleted. Its number, time and hashes remain, and the
    other fields are empty.
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
    #: SHA-256 of the content: the fields above except `previous`, in the form of `canonical`.
    content: str
    #: SHA-256 of `previous` and `content`. It needs only the hash of the content, so that a chain can be verified
    #: although the contents of some entries are not disclosed.
    hash: str
    #: For a tombstone: number of the entry that records the purge; `None` otherwise.
    purged_by: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """Number and hash of the last entry of a chain.

    A copy that is kept elsewhere proves later that no entry up to this one was rewritten.
    """

    number: int = 0
    hash: str = INITIAL_HASH

    @property
    def fingerprint(self) -> int:
        """The first 13 digits (52 bits) of the hash as a number, which the float of a metric represents exactly."""
        return int(self.hash[:13], 16)


def format_time(at: datetime) -> str:
    """Return *at* in the hashed format: UTC with microseconds, "2026-11-24T06:15:00.000000Z"."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(entry: ChainedEntry) -> str:
    r"""Return the text whose SHA-256, in UTF-8, is the entry's `content`: JSON in the form of RFC 8785.

    The text is one object with sorted keys and no blanks, in which only `"`, `\\` and control characters are escaped.
    """
    return canonical_json(_content_of(entry))


def _content_of(entry: ChainedEntry) -> dict[str, Any]:
    # The keys are hashed and never change: "notice" is the id of the notification.
    return {
        "actor": entry.actor,
        "at": format_time(entry.at),
        "detail": entry.detail,
        "event": entry.event,
        "incident": entry.incident_id,
        "notice": entry.notification_id,
        "number": entry.number,
    }


def link_hash(previous: str, content: str) -> str:
    """Return the hash of an entry: the SHA-256 of the previous hash, a blank, and the hash of its content."""
    return sha256_hex(f"{previous} {content}")


def entry_to_json(entry: ChainedEntry) -> dict[str, Any]:
    """Return the export format of an entry: content, three hashes, and for a tombstone `purged_by`."""
    values = _content_of(entry) | {"previous": entry.previous, "content": entry.content, "hash": entry.hash}
    return values if entry.purged_by is None else values | {"purged_by": entry.purged_by}


def entry_from_json(values: Mapping[str, Any]) -> ChainedEntry:
    """Return the entry of an exported line, the inverse of `entry_to_json`.

    Raise `KeyError` or `ValueError` for invalid *values*.
    """
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


# The encoder is created once, because a verification encodes every entry of the log.
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def canonical_json(values: Mapping[str, Any]) -> str:
    """Return *values* as JSON in the form of RFC 8785. Floats are not supported."""
    return _ENCODER.encode(values)


def sha256_hex(text: str) -> str:
    """Return the SHA-256 of *text* in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def seal(entry: AuditEntry, head: ChainHead) -> ChainedEntry:
    """Return *entry* as the next entry of a chain that ends with *head*."""
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
    content = sha256_hex(canonical(sealed))
    return replace(sealed, content=content, hash=link_hash(head.hash, content))


def tombstones_digest(entries: Iterable[ChainedEntry]) -> str:
    """Return the SHA-256 over the tombstones of a purge, in the order of the chain.

    The entry that records the purge contains this digest, so that other entries cannot be emptied later.
    """
    return sha256_hex("".join(tombstone_line(entry) for entry in entries))


def tombstone_line(entry: ChainedEntry) -> str:
    """Return the remaining data of a purged entry as a line: number, time, hash of the content, hash."""
    return f"{entry.number} {format_time(entry.at)} {entry.content} {entry.hash}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainViolation:
    """A violation of the chain."""

    #: Number of the entry.
    number: int
    #: Continues the sentence "entry 7: ...".
    problem: str

    def __str__(self) -> str:
        return f"entry {self.number}: {self.problem}"


@dataclass(slots=True)
class _Tombstones:
    """Tombstones of one purge."""

    #: Number of the first.
    first: int
    #: Hash object, updated with each tombstone; see `tombstones_digest`.
    digest: Any = field(default_factory=hashlib.sha256)


def checkpoint(at: datetime, actor: str, last: ChainHead) -> AuditEntry:
    """Return the entry that records a complete verification. *last*: number and hash of the previous checkpoint."""
    return AuditEntry(at=at, actor=actor, event=CHECKPOINT, detail={"number": str(last.number), "hash": last.hash})


class Verifier:
    """Verifier of a chain. The caller passes all entries in order to `verify`, then calls `end`."""

    def __init__(self, since: ChainHead | None = None) -> None:
        """Start after the checkpoint *since*, or at the beginning of the chain without one."""
        self.violations: list[ChainViolation] = []
        #: The last verified entry.
        self.head = since or ChainHead()
        #: The last checkpoint.
        self.checkpoint = self.head
        #: Whether the verification starts at the beginning of the chain.
        self._is_whole = since is None
        #: How many entries were verified, and how many of them are tombstones.
        self.entries = 0
        self.tombstones = 0
        #: Tombstones and details of purges, by the number of the entry that records the purge.
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
        """Record an entry that cannot be parsed. As its hash is unknown, the next entry is reported as well."""
        self.entries += 1
        self._add_violation(number, "is invalid: it was changed")
        self.head = ChainHead(number=max(number, self.head.number), hash="")

    @property
    def is_self_contained(self) -> bool:
        """Whether the verification needs no entries before the verified part of the chain.

        Tombstones and purges may refer to such entries.
        """
        return self._is_whole or not (self._purges or self._tombstones)

    def end(self, head: ChainHead) -> None:
        """Compare the last entry with *head*, which is stored separately, and each purge with its tombstones."""
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
            # "entries": how many entries the purge has emptied.
            if number not in self._tombstones and purge.get("entries") != "0":
                self._add_violation(number, "records a purge, but no entry is empty")

    def compare_kept_head(self, head: ChainHead, present_hash: str | None) -> None:
        """Compare the chain with *head*, a copy of an earlier head that was kept elsewhere.

        *present_hash*: hash that the entry with the number of *head* has now; `None`: the entry is missing.
        """
        if present_hash is None:
            self._add_violation(head.number, "is missing, but was present when the copy of the head was made")
        elif present_hash != head.hash:
            self._add_violation(head.number, "differs from the copy of the head: the chain was rewritten")

    def _verify_content(self, entry: ChainedEntry) -> None:
        if sha256_hex(canonical(entry)) != entry.content:
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
        self.violations.append(ChainViolation(number=number, problem=problem))
