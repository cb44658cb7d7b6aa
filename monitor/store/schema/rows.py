"""Conversion of rows to values and back. Nested values are JSON, validated when read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, Protocol, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from sqlalchemy import CursorResult, Row

from alerts.model.contact import Address
from alerts.model.delivery import Delivery, Notification, NotificationIncident
from alerts.model.incident import Declaration, Incident, ManualClosure, Position
from alerts.model.notification import Addressee, Facts, IncidentType
from alerts.model.policy_snapshot import PolicySnapshot

POLICY = TypeAdapter(PolicySnapshot)
FACTS = TypeAdapter(Facts)
ADDRESSES = TypeAdapter(tuple[Address, ...])
ADDRESSEE = TypeAdapter(Addressee | None)

#: Columns of an incident that never change, are written separately (the policy), or form one field together.
_ELSEWHERE = frozenset({"id", "dedup_key", "number", "policy", "position", "declared", "closed"})
_PLACE = ("restarts", "round", "step")
#: Recipient of a notification's incident, and its place in the incident's policy.
PART = ("person", *_PLACE)

#: Columns of one incident within a notification.
PART_COLUMNS = ("incident_id", "facts", *PART)


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


N = TypeVar("N", bound=_Numbered)
T = TypeVar("T")


def by_id(found: Iterable[N]) -> list[N]:
    """Return the values, oldest first.

    With an ORDER BY, SQLite reads the table in its stored order rather than the few rows of an index.
    """
    return sorted(found, key=lambda each: each.id)


def portions(of: Sequence[T], at_most: int = 500) -> Iterator[Sequence[T]]:
    """Yield the values in portions of at most *at_most*; by default as many as one statement may name."""
    return (of[first : first + at_most] for first in range(0, len(of), at_most))


def new_id(result: CursorResult[Any]) -> int:
    """Return the id of the row just inserted."""
    key = result.inserted_primary_key
    if key is None:
        raise RuntimeError("the insert made no row")
    return int(key[0])


def named(of: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the attributes of these names."""
    return {name: getattr(of, name) for name in names}


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


@cache
def _columns(kind: Any, prefix: str, given: tuple[str, ...]) -> tuple[tuple[str, str, type[StrEnum] | None], ...]:
    """Return the columns and enumerations of the fields of *kind*. Cached: thousands of rows share them."""
    hints = get_type_hints(kind)
    return tuple((name, f"{prefix}{name}", _words_of(hints[name])) for name in _fields(kind) if name not in given)


def _words_of(hint: Any) -> type[StrEnum] | None:
    """Return the enumeration of a field's type; `None`: it has none."""
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return next((each for each in kinds if isinstance(each, type) and issubclass(each, StrEnum)), None)


def from_row(kind: type[T], row: Any, prefix: str = "", **given: Any) -> T:
    """Return the dataclass of a row: fields that are not *given* are read from the columns of the same names.

    *prefix*: the prefix of those columns.
    """
    for name, column, words in _columns(cast(Any, kind), prefix, tuple(given)):
        value = getattr(row, column)
        given[name] = words(value) if words is not None and value is not None else value
    return kind(**given)


def incident_values(of: Incident) -> dict[str, Any]:
    """Return the columns of an incident that change."""
    return {
        **named(of, (name for name in _fields(Incident) if name not in _ELSEWHERE)),
        **{f"declared_{name}": of.declared and getattr(of.declared, name) for name in _fields(Declaration)},
        **{f"closed_{name}": of.closed and getattr(of.closed, name) for name in _fields(ManualClosure)},
        **named(of.position, _PLACE),
        "step_since": of.position.since,
    }


def to_incident(row: Row[Any]) -> Incident:
    """Return the incident of a row."""
    return from_row(
        Incident,
        row,
        policy=POLICY.validate_json(row.policy),
        current_type=IncidentType(row.current_type or row.type),
        current_type_since=row.current_type_since or row.since,
        declared=None if row.declared_type is None else from_row(Declaration, row, "declared_"),
        closed=None if row.closed_at is None else from_row(ManualClosure, row, "closed_"),
        position=from_row(Position, row, since=row.step_since),
    )


def to_notice(rows: Sequence[Row[Any]], deliveries: tuple[Delivery, ...]) -> Notification:
    """Return the notification of its rows, one for each incident, with its deliveries."""
    row = rows[0]
    parts = tuple(
        from_row(NotificationIncident, each, "part_", facts=FACTS.validate_json(each.part_facts)) for each in rows
    )
    return from_row(
        Notification,
        row,
        **named(parts[0], ("facts", *PART)),
        parts=parts,
        leads=parts[0].incident_id == row.lead,
        addresses=ADDRESSES.validate_json(row.addresses),
        deliveries=deliveries,
        addressee=ADDRESSEE.validate_json(row.addressee) if row.addressee else None,
    )
