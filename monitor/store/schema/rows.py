"""Conversion of rows to dataclasses and back. Nested values are JSON columns, which pydantic validates when read.

An incident's position in its policy (the escalation policy that was frozen when it opened) has three columns: `step`,
`round` (repetition of all steps) and `restarts` (how often the escalation was started anew).
"""

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

#: Fields of an incident that are not columns to update: they never change, are written separately (the policy), or
#: consist of several columns.
_NOT_UPDATED = frozenset({"id", "dedup_key", "number", "policy", "position", "declared", "closed"})
_POSITION_COLUMNS = ("restarts", "round", "step")
#: Recipient of a notification about one incident, and the position in the incident's policy at the decision to notify.
RECIPIENT_FIELDS = ("person", *_POSITION_COLUMNS)

#: Columns of one incident within a notification (a *part* of the notification).
PART_COLUMNS = ("incident_id", "facts", *RECIPIENT_FIELDS)


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


N = TypeVar("N", bound=_Numbered)
T = TypeVar("T")


def sort_by_id(found: Iterable[N]) -> list[N]:
    """Return the values sorted by id: oldest first.

    Queries omit ORDER BY, because with it SQLite reads the whole table in the order of ids instead of few rows by an
    index.
    """
    return sorted(found, key=lambda each: each.id)


def batched(values: Sequence[T], at_most: int = 500) -> Iterator[Sequence[T]]:
    """Yield *values* in batches of at most *at_most*, by default few enough for the parameters of one statement."""
    return (values[first : first + at_most] for first in range(0, len(values), at_most))


def inserted_id(result: CursorResult[Any]) -> int:
    """Return the id of the row just inserted."""
    key = result.inserted_primary_key
    if key is None:
        raise RuntimeError("the statement inserted no row")
    return int(key[0])


def attributes_of(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the attributes of *value* with these names."""
    return {name: getattr(value, name) for name in names}


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


@cache
def _columns(kind: Any, prefix: str, explicit: tuple[str, ...]) -> tuple[tuple[str, str, type[StrEnum] | None], ...]:
    """Return name, column and enumeration of each field of the dataclass *kind* that is not in *explicit*.

    The result is cached, because thousands of rows are converted alike.
    """
    hints = get_type_hints(kind)
    return tuple((name, f"{prefix}{name}", _enum_of(hints[name])) for name in _fields(kind) if name not in explicit)


def _enum_of(hint: Any) -> type[StrEnum] | None:
    """Return the enumeration in a field's type; `None`: the type has none."""
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return next((each for each in kinds if isinstance(each, type) and issubclass(each, StrEnum)), None)


def from_row(kind: type[T], row: Any, prefix: str = "", **explicit: Any) -> T:
    """Return an instance of the dataclass *kind* from a row.

    *explicit*: values of fields, by name. Each other field is read from the column with its name, preceded by *prefix*.
    """
    for name, column, enumeration in _columns(cast(Any, kind), prefix, tuple(explicit)):
        value = getattr(row, column)
        explicit[name] = enumeration(value) if enumeration is not None and value is not None else value
    return kind(**explicit)


def incident_values(changed: Incident) -> dict[str, Any]:
    """Return the values of the columns of an incident that may change."""
    return {
        **attributes_of(changed, (name for name in _fields(Incident) if name not in _NOT_UPDATED)),
        **{f"declared_{name}": changed.declared and getattr(changed.declared, name) for name in _fields(Declaration)},
        **{f"closed_{name}": changed.closed and getattr(changed.closed, name) for name in _fields(ManualClosure)},
        **attributes_of(changed.position, _POSITION_COLUMNS),
        "step_since": changed.position.since,
    }


def to_incident(row: Row[Any]) -> Incident:
    """Return the incident of a row. Rows of older versions have no `current_type`; then `type` is the current one."""
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


def to_notification(rows: Sequence[Row[Any]], deliveries: tuple[Delivery, ...]) -> Notification:
    """Return a notification with its *deliveries*. *rows*: one for each of its incidents that is read."""
    row = rows[0]
    parts = tuple(
        from_row(NotificationIncident, each, "part_", facts=FACTS.validate_json(each.part_facts)) for each in rows
    )
    return from_row(
        Notification,
        row,
        **attributes_of(parts[0], ("facts", *RECIPIENT_FIELDS)),
        parts=parts,
        # `first_incident_id` is the first of all incidents of the notification, also of those that are not read.
        leads=parts[0].incident_id == row.first_incident_id,
        addresses=ADDRESSES.validate_json(row.addresses),
        deliveries=deliveries,
        addressee=ADDRESSEE.validate_json(row.addressee) if row.addressee else None,
    )
