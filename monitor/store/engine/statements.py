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
    drill_notification,
    incident,
    notification,
    notification_incident,
    silence,
    sms_number,
)

_THEIRS = notification_incident.alias("theirs")
_OF_THIS = (_THEIRS.c.notification_id == notification.c.id) & _THEIRS.c.left_at.is_(None)
_LEAD = select(func.min(_THEIRS.c.incident_id)).where(_OF_THIS).scalar_subquery()


def _notices() -> Select[Any]:
    """Return the query for notifications with a row per incident, and the number of incidents."""
    return (
        select(
            notification,
            *(notification_incident.c[name].label(f"part_{name}") for name in PART_COLUMNS),
            select(func.count()).where(_OF_THIS).scalar_subquery().label("tells_of"),
            _LEAD.label("lead"),
        )
        .join(notification_incident, notification_incident.c.notification_id == notification.c.id)
        .where(notification_incident.c.left_at.is_(None))
        .order_by(notification.c.id, notification_incident.c.incident_id)
    )


#: To be narrowed further.
NOTICES = _notices()
#: Each with one row: a thousand incidents may share a notification, and a list needs none of their facts.
LED = NOTICES.where(notification_incident.c.incident_id == _LEAD)
#: *incident_id*
NOTICES_OF = NOTICES.where(notification_incident.c.incident_id == bindparam("incident_id"))
#: *notification_id*
NOTICE = NOTICES.where(notification.c.id == bindparam("notification_id"))

#: *notice_ids*. A row for each attempt, and one for a delivery without attempts.
DELIVERIES = (
    select(
        delivery.c.id.label("delivery"),
        *(delivery.c.notification_id, delivery.c.channel, delivery.c.number),
        delivery.c.extension,
    )
    .add_columns(attempt)
    .join_from(delivery, attempt, attempt.c.delivery_id == delivery.c.id, isouter=True)
    .where(delivery.c.notification_id.in_(bindparam("notice_ids", expanding=True)))
    .order_by(delivery.c.id, attempt.c.n)
)

ACTIVE = select(incident.c.id).where(incident.c.at_rest.is_(False)).order_by(incident.c.id)
#: *now*
SILENCES = select(silence).where(silence.c.ends_at > bindparam("now"))
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
ADD_NOTICE = insert(notification)
ADD_PART = insert(notification_incident)
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
DECIDED = select(notification_incident.c.notification_id).where(notification_incident.c.key == bindparam("part_key"))

#: *notification_id*
BEGUN = (
    select(attempt.c.id)
    .join(delivery, delivery.c.id == attempt.c.delivery_id)
    .where(delivery.c.notification_id == bindparam("notification_id"))
    .limit(1)
)
#: *notification_id*. SQLite has a single writer anyway.
LOCK_NOTICE = select(notification.c.id).where(notification.c.id == bindparam("notification_id")).with_for_update()
#: *notification_id*, *new_state*
SETTLE = (
    update(notification).where(notification.c.id == bindparam("notification_id")).values(state=bindparam("new_state"))
)


def _gathered() -> Select[Any]:
    begun = exists().where(attempt.c.delivery_id == delivery.c.id, delivery.c.notification_id == notification.c.id)
    this = (notification_incident.c.notification_id == notification.c.id) & (
        notification_incident.c.incident_id == bindparam("incident_id")
    )
    of_this = exists().where(this, notification_incident.c.left_at.is_(None))
    was_of_this = exists().where(this, notification_incident.c.left_at.is_not(None))
    return (
        select(
            *(notification.c.id, notification.c.state, notification.c.created_at, notification.c.not_before),
            begun.label("begun"),
            of_this.label("of_this"),
            was_of_this.label("was_of_this"),
        )
        .where(notification.c.bundle_key == bindparam("key"), notification.c.created_at > bindparam("since"))
        .order_by(notification.c.id)
    )


#: *key*, *since*, *incident_id*
GATHERED = _gathered()


def _latest(query: Select[Any], at: ColumnElement[Any]) -> Select[Any]:
    """Limit a query to its latest rows, as part of a union: each follows its own index and reads no history."""
    latest = query.order_by(at.desc()).limit(bindparam("at_most", type_=Integer)).subquery()
    return select(latest)


def _answered(gateway: str) -> list[Select[Any]]:
    notices = select(
        attempt.c.gateway, attempt.c.started_at.label("taken_at"), attempt.c.ended_at.label("received_at")
    ).where(
        attempt.c.gateway == bindparam(gateway),
        attempt.c.state == AttemptState.DELIVERED,
        attempt.c.ended_at.is_not(None),
    )
    exercises = select(
        drill_notification.c.gateway,
        drill_notification.c.started_at.label("taken_at"),
        drill_notification.c.delivered_at.label("received_at"),
    ).where(drill_notification.c.gateway == bindparam(gateway), drill_notification.c.delivered_at.is_not(None))
    states = (DrillState.DELIVERED, DrillState.CONFIRMED)
    return [
        _latest(notices, attempt.c.started_at),
        *(
            _latest(exercises.where(drill_notification.c.state == state), drill_notification.c.started_at)
            for state in states
        ),
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
    exercises = select(drill_notification.c.started_at.label("taken_at"), drill_notification.c.number).where(
        drill_notification.c.gateway == bindparam("gateway"),
        drill_notification.c.state == DrillState.ACCEPTED,
        drill_notification.c.started_at > bindparam("after"),
        drill_notification.c.started_at <= bindparam("until"),
    )
    states = (AttemptState.ACCEPTED, AttemptState.SENT)
    return union_all(
        *(_latest(notices.where(attempt.c.state == state), attempt.c.started_at) for state in states),
        _latest(exercises, drill_notification.c.started_at),
    )


#: *gateway*, *after*, *until*, *at_most*
UNANSWERED = _unanswered()
