"""Hash chain of the audit log: every change, removal, insertion or move is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.persistence.audit import (
    INITIAL_HASH,
    PURGED,
    ChainedEntry,
    ChainHead,
    Verifier,
    canonical,
    canonical_json,
    entry_from_json,
    entry_to_json,
    seal,
    sha256_hex,
    tombstones_digest,
)
from alerts.persistence.store import AuditEntry
from tests.unit.alerts.people import MINUTE, T0

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ENTRIES = st.builds(
    AuditEntry,
    at=st.integers(0, 10**12).map(lambda us: T0 + timedelta(microseconds=us)),
    actor=TEXTS,
    event=TEXTS.filter(lambda event: event != PURGED),
    incident_id=st.none() | st.integers(1, 9),
    notification_id=st.none() | st.integers(1, 9),
    detail=st.dictionaries(TEXTS, TEXTS, max_size=3),
)


def chain(entries: Iterable[AuditEntry], head: ChainHead | None = None) -> list[ChainedEntry]:
    head, sealed = head or ChainHead(), []
    for entry in entries:
        sealed.append(seal(entry, head))
        head = end_of(sealed)
    return sealed


def end_of(sealed: Sequence[ChainedEntry]) -> ChainHead:
    return ChainHead(number=sealed[-1].number, hash=sealed[-1].hash) if sealed else ChainHead()


def violations(sealed: Iterable[ChainedEntry], head: ChainHead) -> list[str]:
    verifier = Verifier()
    for entry in sealed:
        verifier.verify(entry)
    verifier.end(head)
    return [str(violation) for violation in verifier.violations]


def entry(event: str = "incident opened", **detail: str) -> AuditEntry:
    return AuditEntry(at=T0, actor="engine", event=event, incident_id=1, detail=detail)


THREE = chain([entry("incident opened"), entry("incident acknowledged"), entry("incident resolved")])


def purged(sealed: Sequence[ChainedEntry], *numbers: int) -> list[ChainedEntry]:
    """Purge the content of some entries and add the entry that records the purge."""
    gone = [each for each in sealed if each.number in numbers]
    detail = {"authority": "ANM.100-1/2 (3)", "entries": str(len(gone)), "tombstones": tombstones_digest(gone)}
    record = seal(AuditEntry(at=T0, actor="Siti Contoh", event=PURGED, detail=detail), end_of(sealed))
    return [emptied(e, record.number) if e in gone else e for e in sealed] + [record]


def emptied(of: ChainedEntry, by: int) -> ChainedEntry:
    return replace(of, actor="", event="", incident_id=None, notification_id=None, detail={}, purged_by=by)


# -- canonical form ---------------------------------------------------------------------------------------------------


def test_canonical_form_matches_documentation() -> None:
    given_entry = AuditEntry(
        at=T0.astimezone(timezone(timedelta(hours=8))),
        actor='Siti "Contoh" \\ Ŝ',
        event="incident opened",
        incident_id=7,
        detail={"b": "2\n", "a": "1"},
    )
    sealed = seal(given_entry, ChainHead())

    assert canonical(sealed) == (
        '{"actor":"Siti \\"Contoh\\" \\\\ Ŝ","at":"2026-11-24T06:15:00.000000Z","detail":{"a":"1","b":"2\\n"},'
        '"event":"incident opened","incident":7,"notice":null,"number":1}'
    )
    assert sealed.content == hashlib.sha256(canonical(sealed).encode()).hexdigest()
    assert sealed.hash == hashlib.sha256(f"{INITIAL_HASH} {sealed.content}".encode()).hexdigest()


@given(ENTRIES)
def test_canonical_form_is_one_json_line_with_entry_data(given_entry: AuditEntry) -> None:
    sealed = seal(given_entry, ChainHead(number=41, hash="f" * 64))
    text = canonical(sealed)

    assert len(text.split("\n")) == 1
    read = json.loads(text)
    assert (read["actor"], read["detail"], read["number"]) == (given_entry.actor, given_entry.detail, 42)
    assert entry_from_json(json.loads(canonical_json(entry_to_json(sealed)))) == sealed


def test_hash_has_microseconds_and_is_independent_of_time_zone() -> None:
    here, there = entry(), replace(entry(), at=T0.astimezone(timezone(timedelta(hours=-5))))
    later = replace(entry(), at=T0 + timedelta(microseconds=1))

    assert seal(here, ChainHead()).hash == seal(there, ChainHead()).hash != seal(later, ChainHead()).hash


# -- violations -------------------------------------------------------------------------------------------------------


@given(st.lists(ENTRIES, max_size=6))
def test_unchanged_chain_has_no_violation(entries: list[AuditEntry]) -> None:
    sealed = chain(entries)
    assert violations(sealed, end_of(sealed)) == []


def _changes(data: st.DataObject, of: ChainedEntry) -> ChainedEntry:
    """Change exactly one column of an entry to another value."""
    name = data.draw(
        st.sampled_from(
            ["at", "actor", "event", "incident_id", "notification_id", "detail", "previous", "content", "hash"]
        )
    )
    values: dict[str, st.SearchStrategy[object]] = {
        "at": st.integers(1, 10**9).map(lambda us: of.at + timedelta(microseconds=us)),
        "actor": TEXTS,
        "event": TEXTS,
        "incident_id": st.none() | st.integers(),
        "notification_id": st.none() | st.integers(),
        "detail": st.dictionaries(TEXTS, TEXTS | st.integers() | st.none(), max_size=3),
        "previous": st.text("0123456789abcdef", min_size=64, max_size=64),
        "content": st.text("0123456789abcdef", min_size=64, max_size=64),
        "hash": st.text("0123456789abcdef", min_size=64, max_size=64),
    }
    new = data.draw(values[name].filter(lambda value: value != getattr(of, name)))
    return replace(of, **{name: new})  # type: ignore[arg-type]


@given(st.lists(ENTRIES, min_size=1, max_size=6), st.data())
def test_any_single_change_is_found_at_its_place(entries: list[AuditEntry], data: st.DataObject) -> None:
    sealed = chain(entries)
    place = data.draw(st.integers(0, len(sealed) - 1))
    end = end_of(sealed)
    changed = _changes(data, sealed[place])

    found = violations([*sealed[:place], changed, *sealed[place + 1 :]], end)
    assert found, changed
    # The violation is reported at the entry or at the following one.
    assert found[0].startswith((f"entry {place + 1}:", f"entry {place + 2}:"))


@given(st.lists(ENTRIES, min_size=1, max_size=6), st.data())
def test_removed_entry_is_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    sealed = chain(entries)
    gone = data.draw(st.integers(0, len(sealed) - 1))
    assert violations(sealed[:gone] + sealed[gone + 1 :], end_of(sealed))


@given(st.lists(ENTRIES, min_size=2, max_size=6), st.data())
def test_swapped_entries_are_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    sealed = chain(entries)
    one, other = data.draw(st.lists(st.integers(0, len(sealed) - 1), min_size=2, max_size=2, unique=True))
    moved = list(sealed)
    moved[one], moved[other] = moved[other], moved[one]
    assert violations(moved, end_of(sealed))


@given(st.lists(ENTRIES, max_size=6), ENTRIES, st.data())
def test_inserted_entry_with_valid_hash_is_found(
    entries: list[AuditEntry], forged: AuditEntry, data: st.DataObject
) -> None:
    sealed = chain(entries)
    place = data.draw(st.integers(0, len(sealed)))
    # Its own hash is valid and continues the previous entry.
    put_in = seal(forged, end_of(sealed[:place]))
    assert violations([*sealed[:place], put_in, *sealed[place:]], end_of(sealed))


def test_missing_entries_are_reported_with_place() -> None:
    assert violations([THREE[0], THREE[2]], end_of(THREE)) == ["entry 3: entry 2 is missing before it"]
    assert violations([THREE[2]], end_of(THREE)) == ["entry 3: entries 1 to 2 are missing before it"]
    assert violations(THREE[:2], end_of(THREE)) == [
        "entry 3: was written last, but entry 2 is the last one present",
    ]


def test_changed_head_is_found() -> None:
    assert violations(THREE, ChainHead(number=3, hash="f" * 64)) == ["entry 3: differs from the last one written"]
    assert violations(THREE, ChainHead(number=2, hash=THREE[1].hash)) == [
        "entry 3: is the last one present, but entry 2 was written last"
    ]


def test_changed_entry_is_reported() -> None:
    changed = replace(THREE[1], actor="Ravi Contoh")
    assert violations([THREE[0], changed, THREE[2]], end_of(THREE)) == [
        "entry 2: was changed: its content does not match its hash"
    ]
    changed = replace(changed, content=sha256_hex(canonical(changed)))
    assert violations([THREE[0], changed, THREE[2]], end_of(THREE)) == [
        "entry 2: was changed: its hash does not match its data"
    ]


def test_rehashed_entry_does_not_continue_chain() -> None:
    changed = seal(replace(entry("incident acknowledged"), actor="Ravi Contoh"), end_of(THREE[:1]))
    assert violations([THREE[0], changed, THREE[2]], end_of(THREE)) == [
        "entry 3: does not continue the entry before it: one of the two was inserted, moved or changed"
    ]


def test_unreadable_entry_is_violation_and_verification_continues() -> None:
    verifier = Verifier()
    verifier.verify(THREE[0])
    verifier.add_unreadable(2)
    verifier.verify(THREE[2])
    verifier.end(end_of(THREE))
    assert [violation.number for violation in verifier.violations] == [2, 3]
    assert verifier.entries == 3


def test_rewritten_chain_is_found_only_by_kept_head() -> None:
    forged = chain([entry("incident opened"), entry("nothing happened"), entry("incident resolved")])
    assert violations(forged, end_of(forged)) == []

    verifier = Verifier()
    verifier.compare_kept_head(ChainHead(number=2, hash=THREE[1].hash), forged[1].hash)
    assert [str(violation) for violation in verifier.violations] == [
        "entry 2: differs from the copy of the head: the chain was rewritten"
    ]


def test_chain_shorter_than_kept_head_is_found() -> None:
    verifier = Verifier()
    verifier.compare_kept_head(ChainHead(number=9, hash="a" * 64), None)
    assert [str(violation) for violation in verifier.violations] == [
        "entry 9: is missing, but was present when the copy of the head was made"
    ]


def test_fingerprint_is_exact_as_float() -> None:
    head = ChainHead(number=1, hash="f" * 64)
    assert head.fingerprint == 2**52 - 1 == int(float(head.fingerprint))


# -- purges -----------------------------------------------------------------------------------------------------------


@given(st.lists(ENTRIES, min_size=1, max_size=6), st.data())
def test_purge_with_authority_leaves_no_violation(entries: list[AuditEntry], data: st.DataObject) -> None:
    sealed = chain(entries)
    numbers = data.draw(st.sets(st.integers(1, len(sealed))))
    after = purged(sealed, *numbers)
    assert violations(after, end_of(after)) == []


def test_purge_of_nothing_leaves_no_violation() -> None:
    after = purged(THREE)
    assert violations(after, end_of(after)) == []


def test_entry_emptied_beside_purge_is_found() -> None:
    after = purged(THREE, 1)
    after[1] = emptied(after[1], by=4)
    assert violations(after, end_of(after)) == ["entry 4: records a purge of other entries than the empty ones"]


def test_entry_emptied_without_purge_is_found() -> None:
    emptied_one = [THREE[0], emptied(THREE[1], by=3), THREE[2]]
    assert violations(emptied_one, end_of(THREE)) == ["entry 2: is empty, but entry 3 records no purge"]


def test_content_in_tombstone_is_found() -> None:
    after = purged(THREE, 1)
    after[0] = replace(after[0], actor="Ravi Contoh")
    assert violations(after, end_of(after)) == ["entry 1: was purged, but has content"]


@pytest.mark.parametrize(
    "change",
    [
        lambda e: replace(e, at=e.at + MINUTE),
        lambda e: replace(e, hash="0" * 64),
        lambda e: replace(e, content="0" * 64),
        lambda e: replace(e, purged_by=None),
        lambda e: replace(e, purged_by=2),
    ],
)
def test_changed_tombstone_is_found(change: Callable[[ChainedEntry], ChainedEntry]) -> None:
    after = purged(THREE, 1)
    after[0] = change(after[0])
    assert violations(after, end_of(after))


def test_removed_tombstone_is_found() -> None:
    after = purged(THREE, 1)
    assert violations(after[1:], end_of(after))
