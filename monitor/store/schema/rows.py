"""From rows to values and back. Nested values are JSON, validated when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import CursorResult, Row

from alerts.decide.silence import Silence
from alerts.model.brief import Brief
from alerts.model.contact import Address
from alerts.model.delivery import Attempt, AttemptState, Delivery, Notice, NoticeState, Part
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Closing, Declaration, Incident, IncidentState, Position
from alerts.model.notice import Addressee, Facts, Language, Matter, Plan, Purpose
from alerts.model.urgency import Urgency

BRIEF = TypeAdapter(Brief)
FACTS = TypeAdapter(Facts)
ADDRESSES = TypeAdapter(tuple[Address, ...])
ADDRESSEE = TypeAdapter(Addressee | None)

#: What is in a column as it is in the value: of an incident, a declaration, a closing, the place in an escalation, an attempt.
_INCIDENT = (
    *("began_at", "opened_at", "since", "unsteady", "acknowledged_at", "acknowledged_by", "heard_at", "reminded_at"),
    *("had_by", "handed_on", "released_at", "released_by", "resolved_at", "ended_at"),
    *("corrected_at", "corrected_by", "corrected_why", "pages_left_out"),
)
_DECLARATION = ("at", "by", "why", "over_at", "over_by")
_CLOSING = ("at", "by", "why", "recovered")
_PLACE = ("wave", "round", "step")
_ATTEMPT = (
    *("id", "n", "reference", "gateway", "started_at", "look_at", "asked", "provider_id", "code", "detail"),
    *("ended_at", "response"),
)
#: To whom a part of a notice goes, and where in its incident's plan.
PART = ("person", *_PLACE)
#: Of what a notice tells of one incident.
PART_COLUMNS = ("incident_id", "facts", *PART)


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


N = TypeVar("N", bound=_Numbered)


def by_id(found: Iterable[N]) -> list[N]:
    """Return what was found, oldest first.

    Asked for that order SQLite rather reads a table from its beginning, where it already is in it, than the few rows
    that an index leads to.
    """
    return sorted(found, key=lambda each: each.id)


def new_id(result: CursorResult[Any]) -> int:
    """Return the id of the row that was just inserted."""
    key = result.inserted_primary_key
    if key is None:
        raise RuntimeError("the insert made no row")
    return int(key[0])


def named(of: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return what has these names in a value or a row."""
    return {name: getattr(of, name) for name in names}


def incident_values(of: Incident) -> dict[str, Any]:
    """Return the columns of an incident that change."""
    return {
        **named(of, (*_INCIDENT, "matter", "state", "present", "present_since", "measured")),
        **{f"declared_{name}": of.declared and getattr(of.declared, name) for name in ("matter", *_DECLARATION)},
        **{f"closed_{name}": of.closed and getattr(of.closed, name) for name in _CLOSING},
        **named(of.position, _PLACE),
        "step_since": of.position.since,
    }


def to_incident(row: Row[Any]) -> Incident:
    """Return the incident of a row."""
    return Incident(
        **named(row, ("id", "dedup_key", "number", *_INCIDENT)),
        matter=Matter(row.matter),
        state=IncidentState(row.state),
        brief=BRIEF.validate_json(row.brief),
        present=Matter(row.present or row.matter),
        present_since=row.present_since or row.since,
        measured=None if row.measured is None else Matter(row.measured),
        declared=_to_declaration(row),
        closed=None if row.closed_at is None else Closing(**{n: getattr(row, f"closed_{n}") for n in _CLOSING}),
        position=Position(since=row.step_since, **named(row, _PLACE)),
    )


def _to_declaration(row: Row[Any]) -> Declaration | None:
    if row.declared_matter is None:
        return None
    rest = {name: getattr(row, f"declared_{name}") for name in _DECLARATION}
    return Declaration(matter=Matter(row.declared_matter), **rest)


def to_notice(rows: Sequence[Row[Any]], deliveries: tuple[Delivery, ...]) -> Notice:
    """Return the notice of its rows, one for each part, with its deliveries."""
    row = rows[0]
    parts = tuple(_to_part(each) for each in rows)
    return Notice(
        **named(row, ("id", "key", "tells_of", "created_at", "expires_at", "not_before")),
        **named(parts[0], ("facts", *PART)),
        parts=parts,
        leads=parts[0].incident_id == row.lead,
        plan=Plan(row.plan),
        purpose=Purpose(row.purpose),
        language=Language(row.language),
        state=NoticeState(row.state),
        addresses=ADDRESSES.validate_json(row.addresses),
        deliveries=deliveries,
        addressee=ADDRESSEE.validate_json(row.addressee) if row.addressee else None,
        urgency=Urgency(row.urgency),
    )


def _to_part(row: Row[Any]) -> Part:
    rest = {name: getattr(row, f"part_{name}") for name in PART}
    return Part(incident_id=row.part_incident_id, facts=FACTS.validate_json(row.part_facts), **rest)


def to_attempt(row: Row[Any]) -> Attempt:
    """Return the attempt of a row."""
    error = ErrorClass(row.error) if row.error else None
    return Attempt(**named(row, _ATTEMPT), state=AttemptState(row.state), error=error)


def to_silence(row: Row[Any]) -> Silence:
    """Return the silence of a row."""
    return Silence(id=row.id, about=row.about, begins=row.begins, ends=row.ends, why=row.why, by=row.by)
