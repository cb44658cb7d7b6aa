"""Statements that the engine runs constantly, built once: building one takes as long as running it."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    bindparam,
    exists,
    func,
    insert,
    select,
    union_all,
    update,
)

from alerts.decide.drill import DrillState
from alerts.model.delivery import AttemptState
from monitor.store.schema.rows import PART_COLUMNS
from monitor.store.schema.tables import (
    attempt,
    counter,
    delivery,
    exercise,
    incident,
    notice,
    notice_incident,
    silence,
    sms_number,
)

_THEIRS = notice_incident.alias("theirs")
_OF_THIS = (_THEIRS.c.notice_id == notice.c.id) & _THEIRS.c.left_at.is_(None)
_LEAD = select(func.min(_THEIRS.c.incident_id)).where(_OF_THIS).scalar_subquery()


def _notices() -> Select[Any]:
    """Return the query for notifications with a row per incident, and the number of incidents."""
    return (
        select(
            notice,
            *(notice_incident.c[name].label(f"part_{name}") for name in PART_COLUMNS),
            select(func.count()).where(_OF_THIS).scalar_subquery().label("tells_of"),
            _LEAD.label("lead"),
        )
        .join(notice_incident, notice_incident.c.notice_id == notice.c.id)
        .where(notice_incident.c.left_at.is_(None))
        .order_by(notice.c.id, notice_incident.c.incident_id)
    )


#: To be narrowed further.
NOTICES = _notices()
#: Each with one row: a thousand incidents may share a notification, and a list needs none of their facts.
LED = NOTICES.where(notice_incident.c.incident_id == _LEAD)
#: *incident_id*
NOTICES_OF = NOTICES.where(notice_incident.c.incident_id == bindparam("incident_id"))
#: *notice_id*
NOTICE = NOTICES.where(notice.c.id == bindparam("notice_id"))

#: *notice_ids*. A row for each attempt, and one for a delivery without attempts.
DELIVERIES = (
    select(
        delivery.c.id.label("delivery"),
        *(delivery.c.notice_id, delivery.c.channel, delivery.c.number),
        delivery.c.extension,
    )
    .add_columns(attempt)
    .join_from(delivery, attempt, attempt.c.delivery_id == delivery.c.id, isouter=True)
    .where(delivery.c.notice_id.in_(bindparam("notice_ids", expanding=True)))
    .order_by(delivery.c.id, attempt.c.n)
)

ACTIVE = select(incident.c.id).where(incident.c.at_rest.is_(False)).order_by(incident.c.id)
#: *now*
SILENCES = select(silence).where(silence.c.ends > bindparam("now"))
#: *number*
SMS_NUMBER = select(sms_number).where(sms_number.c.number == bindparam("number"))

#: *incident_id*
INCIDENT = select(incident).where(incident.c.id == bindparam("incident_id"))
_NEWEST = select(func.max(incident.c.id)).where(incident.c.dedup_key == bindparam("dedup_key"))
#: *dedup_key*
LAST_INCIDENT = select(incident).where(incident.c.id == _NEWEST.scalar_subquery())
#: *prefix*, *times*. Returns the number after those that it assigns.
NEXT_NUMBER = (
    update(counter)
    .where(counter.c.name == bindparam("prefix"))
    .values(next=counter.c.next + bindparam("times"))
    .returning(counter.c.next)
)
#: Columns.
ADD_INCIDENT = insert(incident)
#: *incident_id*, and the columns that change.
CHANGE_INCIDENT = update(incident).where(incident.c.id == bindparam("incident_id"))

#: Columns, as for the next three.
ADD_NOTICE = insert(notice)
ADD_PART = insert(notice_incident)
ADD_DELIVERY = insert(delivery)
ADD_ATTEMPT = insert(attempt)
#: *attempt_id*, *reached* (the rank of the new state: a higher stored one stays), *barred* (a state that stays, or
#: none), and the columns that change.
CHANGE_ATTEMPT = update(attempt).where(
    attempt.c.id == bindparam("attempt_id"),
    attempt.c.rank <= bindparam("reached"),
    attempt.c.state.is_distinct_from(bindparam("barred")),
)

#: *attempt_id*
ATTEMPT_STATE = select(attempt.c.state).where(attempt.c.id == bindparam("attempt_id"))

#: *part_key*
DECIDED = select(notice_incident.c.notice_id).where(notice_incident.c.key == bindparam("part_key"))

#: *notice_id*
BEGUN = (
    select(attempt.c.id)
    .join(delivery, delivery.c.id == attempt.c.delivery_id)
    .where(delivery.c.notice_id == bindparam("notice_id"))
    .limit(1)
)
#: *notice_id*. SQLite has a single writer anyway.
LOCK_NOTICE = select(notice.c.id).where(notice.c.id == bindparam("notice_id")).with_for_update()
#: *notice_id*, *new_state*
SETTLE = update(notice).where(notice.c.id == bindparam("notice_id")).values(state=bindparam("new_state"))


def _gathered() -> Select[Any]:
    begun = exists().where(attempt.c.delivery_id == delivery.c.id, delivery.c.notice_id == notice.c.id)
    this = (notice_incident.c.notice_id == notice.c.id) & (notice_incident.c.incident_id == bindparam("incident_id"))
    of_this = exists().where(this, notice_incident.c.left_at.is_(None))
    was_of_this = exists().where(this, notice_incident.c.left_at.is_not(None))
    return (
        select(
            *(notice.c.id, notice.c.state, notice.c.created_at, notice.c.not_before),
            begun.label("begun"),
            of_this.label("of_this"),
            was_of_this.label("was_of_this"),
        )
        .where(notice.c.gathering == bindparam("key"), notice.c.created_at > bindparam("since"))
        .order_by(notice.c.id)
    )


#: *key*, *since*, *incident_id*
GATHERED = _gathered()


def _latest(query: Select[Any], at: ColumnElement[Any]) -> Select[Any]:
    """Limit a query to its latest rows, as part of a union: each follows its own index and reads no history."""
    latest = query.order_by(at.desc()).limit(bindparam("at_most", type_=Integer)).subquery()
    return select(latest)


def _answered(gateway: str) -> list[Select[Any]]:
    notices = select(
        attempt.c.gateway, attempt.c.started_at.label("taken_at"), attempt.c.ended_at.label("heard_at")
    ).where(
        attempt.c.gateway == bindparam(gateway),
        attempt.c.state == AttemptState.DELIVERED,
        attempt.c.ended_at.is_not(None),
    )
    exercises = select(
        exercise.c.gateway, exercise.c.begun_at.label("taken_at"), exercise.c.delivered_at.label("heard_at")
    ).where(exercise.c.gateway == bindparam(gateway), exercise.c.delivered_at.is_not(None))
    states = (DrillState.DELIVERED, DrillState.CONFIRMED)
    return [
        _latest(notices, attempt.c.started_at),
        *(_latest(exercises.where(exercise.c.state == state), exercise.c.begun_at) for state in states),
    ]


@cache
def answered_by(gateways: int) -> CompoundSelect[Any]:
    """Return the query for so many gateways at once: *gateway_0*, *gateway_1* and so on, *at_most*."""
    return union_all(*(latest for n in range(gateways) for latest in _answered(f"gateway_{n}")))


def _unanswered() -> CompoundSelect[Any]:
    notices = (
        select(attempt.c.started_at.label("taken_at"), delivery.c.number)
        .join(delivery, delivery.c.id == attempt.c.delivery_id)
        .where(
            attempt.c.gateway == bindparam("gateway"),
            attempt.c.started_at > bindparam("after"),
            attempt.c.started_at <= bindparam("until"),
        )
    )
    exercises = select(exercise.c.begun_at.label("taken_at"), exercise.c.number).where(
        exercise.c.gateway == bindparam("gateway"),
        exercise.c.state == DrillState.ACCEPTED,
        exercise.c.begun_at > bindparam("after"),
        exercise.c.begun_at <= bindparam("until"),
    )
    states = (AttemptState.ACCEPTED, AttemptState.SENT)
    return union_all(
        *(_latest(notices.where(attempt.c.state == state), attempt.c.started_at) for state in states),
        _latest(exercises, exercise.c.begun_at),
    )


#: *gateway*, *after*, *until*, *at_most*
UNANSWERED = _unanswered()
