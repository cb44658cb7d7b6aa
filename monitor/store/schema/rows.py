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
from alerts.model.incident import Declaration, Incident, IncidentState, Position
from alerts.model.notice import Addressee, Facts, Language, Matter, Plan, Purpose
from alerts.model.urgency import Urgency

BRIEF = TypeAdapter(Brief)
FACTS = TypeAdapter(Facts)
ADDRESSES = TypeAdapter(tuple[Address, ...])
ADDRESSEE = TypeAdapter(Addressee | None)

#: Of what a notice tells of one incident.
PART_COLUMNS = ("incident_id", "person", "facts", "wave", "round", "step")


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


def incident_values(of: Incident) -> dict[str, Any]:
    """Return the columns of an incident that change."""
    declared = of.declared
    return {
        "measured": of.measured,
        "declared_matter": declared and declared.matter,
        "declared_at": declared and declared.at,
        "declared_by": declared and declared.by,
        "declared_why": declared and declared.why,
        "declared_over_at": declared and declared.over_at,
        "declared_over_by": declared and declared.over_by,
        "matter": of.matter,
        "state": of.state,
        "began_at": of.began_at,
        "opened_at": of.opened_at,
        "since": of.since,
        "present": of.present,
        "present_since": of.present_since,
        "unsteady": of.unsteady,
        "wave": of.position.wave,
        "round": of.position.round,
        "step": of.position.step,
        "step_since": of.position.since,
        "acknowledged_at": of.acknowledged_at,
        "acknowledged_by": of.acknowledged_by,
        "heard_at": of.heard_at,
        "reminded_at": of.reminded_at,
        "had_by": of.had_by,
        "handed_on": of.handed_on,
        "released_at": of.released_at,
        "released_by": of.released_by,
        "resolved_at": of.resolved_at,
        "ended_at": of.ended_at,
        "corrected_at": of.corrected_at,
        "corrected_by": of.corrected_by,
        "corrected_why": of.corrected_why,
    }


def to_incident(row: Row[Any]) -> Incident:
    """Return the incident of a row."""
    return Incident(
        id=row.id,
        dedup_key=row.dedup_key,
        number=row.number,
        matter=Matter(row.matter),
        state=IncidentState(row.state),
        brief=BRIEF.validate_json(row.brief),
        began_at=row.began_at,
        opened_at=row.opened_at,
        since=row.since,
        present=Matter(row.present or row.matter),
        present_since=row.present_since or row.since,
        unsteady=row.unsteady,
        measured=None if row.measured is None else Matter(row.measured),
        declared=_to_declaration(row),
        position=Position(wave=row.wave, round=row.round, step=row.step, since=row.step_since),
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        heard_at=row.heard_at,
        reminded_at=row.reminded_at,
        had_by=row.had_by,
        handed_on=row.handed_on,
        released_at=row.released_at,
        released_by=row.released_by,
        resolved_at=row.resolved_at,
        ended_at=row.ended_at,
        corrected_at=row.corrected_at,
        corrected_by=row.corrected_by,
        corrected_why=row.corrected_why,
    )


def _to_declaration(row: Row[Any]) -> Declaration | None:
    if row.declared_matter is None:
        return None
    return Declaration(
        matter=Matter(row.declared_matter),
        at=row.declared_at,
        by=row.declared_by,
        why=row.declared_why,
        over_at=row.declared_over_at,
        over_by=row.declared_over_by,
    )


def to_notice(rows: Sequence[Row[Any]], deliveries: tuple[Delivery, ...]) -> Notice:
    """Return the notice of its rows, one for each part, with its deliveries."""
    row = rows[0]
    parts = tuple(_to_part(each) for each in rows)
    return Notice(
        id=row.id,
        key=row.key,
        parts=parts,
        tells_of=row.tells_of,
        leads=parts[0].incident_id == row.lead,
        plan=Plan(row.plan),
        purpose=Purpose(row.purpose),
        person=parts[0].person,
        language=Language(row.language),
        facts=parts[0].facts,
        state=NoticeState(row.state),
        created_at=row.created_at,
        expires_at=row.expires_at,
        addresses=ADDRESSES.validate_json(row.addresses),
        deliveries=deliveries,
        addressee=ADDRESSEE.validate_json(row.addressee) if row.addressee else None,
        wave=parts[0].wave,
        round=parts[0].round,
        step=parts[0].step,
        urgency=Urgency(row.urgency),
        not_before=row.not_before,
    )


def _to_part(row: Row[Any]) -> Part:
    return Part(
        incident_id=row.part_incident_id,
        person=row.part_person,
        facts=FACTS.validate_json(row.part_facts),
        wave=row.part_wave,
        round=row.part_round,
        step=row.part_step,
    )


def to_attempt(row: Row[Any]) -> Attempt:
    """Return the attempt of a row."""
    return Attempt(
        id=row.id,
        n=row.n,
        reference=row.reference,
        gateway=row.gateway,
        state=AttemptState(row.state),
        started_at=row.started_at,
        look_at=row.look_at,
        asked=row.asked,
        provider_id=row.provider_id,
        error=ErrorClass(row.error) if row.error else None,
        code=row.code,
        detail=row.detail,
        ended_at=row.ended_at,
        response=row.response,
    )


def to_silence(row: Row[Any]) -> Silence:
    """Return the silence of a row."""
    return Silence(id=row.id, about=row.about, begins=row.begins, ends=row.ends, why=row.why, by=row.by)
