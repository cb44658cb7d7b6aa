"""SQL statements that the engine executes constantly, built once: building one takes as long as executing it.

The comment at a statement names its bind parameters in *stars*. In an UPDATE, SQLAlchemy rejects a bind parameter with
the name of a column; hence names such as *new_state*.

A notification to one person may be about several incidents: then it is a *bundle*. The table `notification_incident`
has a row for each incident of a notification. The first incident, with the lowest id, sends the notification.
"""

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

_ALL_INCIDENTS = notification_incident.alias("all_incidents")
_IS_OF_NOTIFICATION = (_ALL_INCIDENTS.c.notification_id == notification.c.id) & _ALL_INCIDENTS.c.left_at.is_(None)
_FIRST_INCIDENT = select(func.min(_ALL_INCIDENTS.c.incident_id)).where(_IS_OF_NOTIFICATION).scalar_subquery()


def _build_notifications() -> Select[Any]:
    """Return the query for notifications, with one row per incident.

    The columns `part_…` are those of the row's incident; `incident_count` and `first_incident_id` are the number of
    incidents and the id of the first one. Incidents that have left the notification are not counted.
    """
    return (
        select(
            notification,
            *(notification_incident.c[name].label(f"part_{name}") for name in PART_COLUMNS),
            select(func.count()).where(_IS_OF_NOTIFICATION).scalar_subquery().label("incident_count"),
            _FIRST_INCIDENT.label("first_incident_id"),
        )
        .join(notification_incident, notification_incident.c.notification_id == notification.c.id)
        .where(notification_incident.c.left_at.is_(None))
        .order_by(notification.c.id, notification_incident.c.incident_id)
    )


#: All notifications; the caller adds conditions.
NOTIFICATIONS = _build_notifications()
#: All notifications, each only with the row of its first incident. A thousand incidents may share a notification, and a
#: list does not need their facts.
LISTED_NOTIFICATIONS = NOTIFICATIONS.where(notification_incident.c.incident_id == _FIRST_INCIDENT)
#: *incident_id*
NOTIFICATIONS_OF_INCIDENT = NOTIFICATIONS.where(notification_incident.c.incident_id == bindparam("incident_id"))
#: *notification_id*
NOTIFICATION = NOTIFICATIONS.where(notification.c.id == bindparam("notification_id"))

#: *notification_ids*. One row for each attempt, and one for a delivery without attempts.
DELIVERIES = (
    select(
        delivery.c.id.label("delivery"),
        *(delivery.c.notification_id, delivery.c.channel, delivery.c.number),
        delivery.c.extension,
    )
    .add_columns(attempt)
    .join_from(delivery, attempt, attempt.c.delivery_id == delivery.c.id, isouter=True)
    .where(delivery.c.notification_id.in_(bindparam("notification_ids", expanding=True)))
    .order_by(delivery.c.id, attempt.c.n)
)

#: Ids of the active incidents: those for which an action may be due.
ACTIVE = select(incident.c.id).where(incident.c.at_rest.is_(False)).order_by(incident.c.id)
#: *now*
SILENCES = select(silence).where(silence.c.ends_at > bindparam("now"))
#: *number*
SMS_NUMBER = select(sms_number).where(sms_number.c.number == bindparam("number"))

#: *incident_id*
INCIDENT = select(incident).where(incident.c.id == bindparam("incident_id"))
_NEWEST = select(func.max(incident.c.id)).where(incident.c.dedup_key == bindparam("dedup_key"))
#: *dedup_key*
NEWEST_INCIDENT = select(incident).where(incident.c.id == _NEWEST.scalar_subquery())
#: Assigns incident numbers. *prefix*: name of the counter; *times*: how many numbers. Returns the number after them.
NEXT_NUMBER = (
    update(counter)
    .where(counter.c.name == bindparam("prefix"))
    .values(next=counter.c.next + bindparam("times"))
    .returning(counter.c.next)
)
#: The columns of a row.
ADD_INCIDENT = insert(incident)
#: *incident_id*, and the columns that change.
UPDATE_INCIDENT = update(incident).where(incident.c.id == bindparam("incident_id"))

#: The columns of a row, as for the next three statements.
ADD_NOTIFICATION = insert(notification)
ADD_NOTIFICATION_INCIDENT = insert(notification_incident)
ADD_DELIVERY = insert(delivery)
ADD_ATTEMPT = insert(attempt)
#: *attempt_id*, the columns that change, *new_rank*: the rank of the new state (its position in the life of an
#: attempt), *protected_state*: a state or `None`. Changes nothing if the stored state has a higher rank, or is the
#: protected one.
UPDATE_ATTEMPT = update(attempt).where(
    attempt.c.id == bindparam("attempt_id"),
    attempt.c.rank <= bindparam("new_rank"),
    attempt.c.state.is_distinct_from(bindparam("protected_state")),
)

#: *attempt_id*
ATTEMPT_STATE = select(attempt.c.state).where(attempt.c.id == bindparam("attempt_id"))

#: *part_key*: key of a decision to notify somebody about an incident. Finds the notification, if it was written.
DECIDED_NOTIFICATION = select(notification_incident.c.notification_id).where(
    notification_incident.c.key == bindparam("part_key")
)

#: *notification_id*. Finds an attempt, if there is one.
ANY_ATTEMPT = (
    select(attempt.c.id)
    .join(delivery, delivery.c.id == attempt.c.delivery_id)
    .where(delivery.c.notification_id == bindparam("notification_id"))
    .limit(1)
)
#: *notification_id*. Only for PostgreSQL, because SQLite has a single writer.
LOCK_NOTIFICATION = select(notification.c.id).where(notification.c.id == bindparam("notification_id")).with_for_update()
#: *notification_id*, *new_state*
SET_NOTIFICATION_STATE = (
    update(notification).where(notification.c.id == bindparam("notification_id")).values(state=bindparam("new_state"))
)


def _build_bundle_candidates() -> Select[Any]:
    """Return the query for notifications with one bundle key, and whether each has, or had, a certain incident."""
    is_started = exists().where(attempt.c.delivery_id == delivery.c.id, delivery.c.notification_id == notification.c.id)
    this = (notification_incident.c.notification_id == notification.c.id) & (
        notification_incident.c.incident_id == bindparam("incident_id")
    )
    has_incident = exists().where(this, notification_incident.c.left_at.is_(None))
    had_incident = exists().where(this, notification_incident.c.left_at.is_not(None))
    return (
        select(
            *(notification.c.id, notification.c.state, notification.c.created_at, notification.c.not_before),
            is_started.label("is_started"),
            has_incident.label("has_incident"),
            had_incident.label("had_incident"),
        )
        .where(notification.c.bundle_key == bindparam("key"), notification.c.created_at > bindparam("since"))
        .order_by(notification.c.id)
    )


#: *key*, *since*, *incident_id*
BUNDLE_CANDIDATES = _build_bundle_candidates()


def _limit_to_latest(query: Select[Any], at: ColumnElement[Any]) -> Select[Any]:
    """Limit one query of a union to its latest rows, so that it uses its own index and reads no older rows."""
    latest = query.order_by(at.desc()).limit(bindparam("at_most", type_=Integer)).subquery()
    return select(latest)


def _latest_receipts_of(gateway: str) -> list[Select[Any]]:
    """Return the three queries for the latest receipts of one gateway.

    *gateway*: the bind parameter for its name. The start of an attempt counts as the time of its acceptance.
    """
    notifications = select(
        attempt.c.gateway, attempt.c.started_at.label("accepted_at"), attempt.c.ended_at.label("received_at")
    ).where(
        attempt.c.gateway == bindparam(gateway),
        attempt.c.state == AttemptState.DELIVERED,
        attempt.c.ended_at.is_not(None),
    )
    drills = select(
        drill_notification.c.gateway,
        drill_notification.c.started_at.label("accepted_at"),
        drill_notification.c.delivered_at.label("received_at"),
    ).where(drill_notification.c.gateway == bindparam(gateway), drill_notification.c.delivered_at.is_not(None))
    states = (DrillState.DELIVERED, DrillState.CONFIRMED)
    return [
        _limit_to_latest(notifications, attempt.c.started_at),
        *(
            _limit_to_latest(drills.where(drill_notification.c.state == state), drill_notification.c.started_at)
            for state in states
        ),
    ]


@cache
def build_latest_receipts(gateways: int) -> CompoundSelect[Any]:
    """Return the query for the latest receipts of this number of *gateways*.

    Its parameters are *gateway_0*, *gateway_1* and so on, and *at_most*.
    """
    return union_all(*(latest for n in range(gateways) for latest in _latest_receipts_of(f"gateway_{n}")))


def _build_missing_receipts() -> CompoundSelect[Any]:
    notifications = (
        select(attempt.c.started_at.label("accepted_at"), delivery.c.number)
        .join(delivery, delivery.c.id == attempt.c.delivery_id)
        .where(
            attempt.c.gateway == bindparam("gateway"),
            attempt.c.started_at > bindparam("after"),
            attempt.c.started_at <= bindparam("until"),
        )
    )
    drills = select(drill_notification.c.started_at.label("accepted_at"), drill_notification.c.number).where(
        drill_notification.c.gateway == bindparam("gateway"),
        drill_notification.c.state == DrillState.ACCEPTED,
        drill_notification.c.started_at > bindparam("after"),
        drill_notification.c.started_at <= bindparam("until"),
    )
    states = (AttemptState.ACCEPTED, AttemptState.SENT)
    return union_all(
        *(_limit_to_latest(notifications.where(attempt.c.state == state), attempt.c.started_at) for state in states),
        _limit_to_latest(drills, drill_notification.c.started_at),
    )


#: *gateway*, *after*, *until*, *at_most*
MISSING_RECEIPTS = _build_missing_receipts()
