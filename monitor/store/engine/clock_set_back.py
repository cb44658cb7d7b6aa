"""Correction of times in the future after the clock was set back.

Without the correction, decisions would wait until the clock reaches the stored times, and events would begin in the
future. All times are moved back by the same duration, so that intervals between them do not change. The audit log is
not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Row, Table, bindparam, exists, func, or_, select, update

from alerts.hours.elapsed import TOLERANCE
from alerts.model.delivery import AttemptState
from alerts.persistence.audit import CLOCK_SET_BACK
from monitor.store.backend.repository import Repository
from monitor.store.schema.rows import batched
from monitor.store.schema.tables import (
    attempt,
    audit_head,
    audit_log,
    delivery,
    drill,
    drill_notification,
    incident,
    notification,
    notification_incident,
    silence,
)

#: Maximum duration of a lease (an engine's exclusive right to process an incident), and maximum interval between two
#: status queries of a gateway. A time that is further in the future is from before the clock was set back.
_MAX_LEASE = timedelta(minutes=5)
_MAX_QUERY_INTERVAL = timedelta(minutes=10)
_QUARTER_HOUR = timedelta(minutes=15)
#: States in which a gateway is queried, whatever the attempt's age.
_QUERIED_STATES = (AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.ACCEPTED, AttemptState.SENT)

#: Present time of the clock, which was perhaps set back.
_NOW: BindParameter[datetime] = bindparam("now")
_LATEST_LEASE: BindParameter[datetime] = bindparam("latest_lease")
_LATEST_QUERY: BindParameter[datetime] = bindparam("latest_query")

#: Number of the last audit entries that are searched for the latest time, which the clock had before it was set back.
#: The last entry is not enough, because entries since then have times of the changed clock. Entries before the last
#: correction are ignored.
_EXAMINED_ENTRIES = 1000
_LAST_CORRECTION = select(func.coalesce(func.max(audit_log.c.id), 0)).where(audit_log.c.event == CLOCK_SET_BACK)
_LATEST_ENTRY_TIME = select(func.max(audit_log.c.at)).where(
    audit_log.c.id > select(audit_head.c.number - _EXAMINED_ENTRIES).scalar_subquery(),
    audit_log.c.id > _LAST_CORRECTION.scalar_subquery(),
)

_ACTIVE = incident.c.at_rest.is_(False)
#: Active incidents (for which an action may be due), and incidents that were opened or resolved in the future: a
#: resolution in the future would block a new incident with the same dedup key.
_IS_MOVED_INCIDENT = _ACTIVE | (incident.c.opened_at > _NOW) | (incident.c.resolved_at > _NOW)
_NOTIFICATIONS = select(notification_incident.c.notification_id).where(
    notification_incident.c.incident_id.in_(select(incident.c.id).where(_IS_MOVED_INCIDENT))
)
_DELIVERIES = select(delivery.c.id).where(delivery.c.notification_id.in_(_NOTIFICATIONS))
_DRILLS = select(drill.c.id).where(drill.c.ended_at.is_(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeColumns:
    """Time columns of a table, and the rows whose times are moved."""

    table: Table
    #: Condition that these rows meet.
    rows: ColumnElement[bool]
    #: Columns with times of events, which cannot be in the future. The first column is the creation of the row.
    past: tuple[str, ...]
    #: Columns with times that were set relative to the creation, such as ends. They may be in the future, and are moved
    #: only if the creation is.
    following: tuple[str, ...] = ()
    #: Columns with times at which something is due. A time in the future becomes the present time, which at worst
    #: repeats a query.
    due: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All time columns."""
        return (*self.past, *self.following, *self.due)


TABLES = (
    TimeColumns(
        table=incident,
        rows=_IS_MOVED_INCIDENT,
        past=(
            *("opened_at", "began_at", "type_began_at", "current_type_began_at", "outage_began_at"),
            *("since", "current_type_since", "step_since", "acknowledged_at", "last_response_at"),
            *("reminded_at", "released_at", "resolved_at", "ended_at", "false_alarm_at", "declared_at"),
            *("declared_ended_at", "closed_at"),
        ),
    ),
    TimeColumns(
        table=notification,
        rows=notification.c.id.in_(_NOTIFICATIONS),
        past=("created_at",),
        following=("expires_at",),
        due=("not_before",),
    ),
    TimeColumns(
        table=attempt, rows=attempt.c.delivery_id.in_(_DELIVERIES), past=("started_at", "ended_at"), due=("query_at",)
    ),
    TimeColumns(table=silence, rows=silence.c.ends_at > _NOW, past=("starts_at",), following=("ends_at",)),
    TimeColumns(table=drill, rows=drill.c.ended_at.is_(None), past=("starts_at",), following=("ends_at",)),
    TimeColumns(
        table=drill_notification,
        rows=drill_notification.c.drill_id.in_(_DRILLS),
        past=("started_at", "delivered_at", "confirmed_at"),
        due=("query_at",),
    ),
)

#: Table, condition and column of times that become the present time whenever they exceed their maximum. Writing these
#: times adds no audit entry, so the latest time in the audit log may not show that the clock was set back.
_BOUNDED_TIMES = (
    (incident, _ACTIVE & (incident.c.owned_until > _LATEST_LEASE), "owned_until"),
    (attempt, attempt.c.state.in_(_QUERIED_STATES) & (attempt.c.query_at > _LATEST_QUERY), "query_at"),
)
_IS_ANY_OUT_OF_BOUNDS = select(or_(*(exists().where(rows) for _, rows, _ in _BOUNDED_TIMES)))
_RESET_TO_NOW = [update(table).where(rows).values({column: _NOW}) for table, rows, column in _BOUNDED_TIMES]


class SqlSetBack(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for a clock that was set back."""

    async def move_times_back(self, now: datetime, latest: datetime | None = None) -> timedelta:
        """Move times after *now* back; return by how much, zero if the clock was not set back.

        *latest*: the time that it would be now without the change of the clock, if the caller was running meanwhile;
        `None`: use the latest time in the audit log.
        """
        times = {"now": now, "latest_lease": now + _MAX_LEASE, "latest_query": now + _MAX_QUERY_INTERVAL}
        # A cheap query decides first, because this method is called twice a minute and hardly ever has an effect.
        if (await self._connection.execute(_IS_ANY_OUT_OF_BOUNDS, times)).scalar_one():
            for statement in _RESET_TO_NOW:
                await self._connection.execute(statement, times)
        latest = latest or (await self._connection.execute(_LATEST_ENTRY_TIME)).scalar_one()
        if latest is None or latest - now <= TOLERANCE:
            return timedelta(0)
        back = _round_to_zone_difference(latest - now)
        for time_columns in TABLES:
            moved = await self._move_table(time_columns, now, back)
            if time_columns.table is notification:
                await self._move_keys(moved, now, back)
        return back

    async def _move_table(self, time_columns: TimeColumns, now: datetime, back: timedelta) -> Sequence[int]:
        """Move the times of a table; return the ids of the changed rows."""
        table, columns = time_columns.table, time_columns.columns
        found = await self._connection.execute(
            select(table.c.id, *(table.c[name] for name in columns)).where(time_columns.rows), {"now": now}
        )
        moved = [
            {"row": row.id, **new_times} for row in found if (new_times := _moved_values(row, time_columns, now, back))
        ]
        if moved:
            change = update(table).where(table.c.id == bindparam("row"))
            new_values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in columns}
            await self._connection.execute(change.values(new_values), moved)
        return [each["row"] for each in moved]

    async def _move_keys(self, notification_ids: Sequence[int], now: datetime, back: timedelta) -> None:
        """Move the times at the end of the keys of notifications. Otherwise a later event could have an equal key."""
        for ids in batched(notification_ids):
            for table, notification_column in (
                (notification, notification.c.id),
                (notification_incident, notification_incident.c.notification_id),
            ):
                keys_found = (
                    await self._connection.execute(select(table.c.key).where(notification_column.in_(ids)))
                ).scalars()
                keys = [
                    {"old": key, "new": new_key} for key in keys_found if (new_key := _moved_key(key, now, back)) != key
                ]
                if keys:
                    await self._connection.execute(
                        update(table).where(table.c.key == bindparam("old")).values(key=bindparam("new")), keys
                    )


def _round_to_zone_difference(back: timedelta) -> timedelta:
    """Return *back*, rounded to a multiple of a quarter of an hour if it is close to one.

    The usual cause is a wrong time zone, and *back* is known only to a few seconds. Repeated notifications and requests
    for a release begin at full quarters of an hour. With the exact difference of the time zones, none of them begins
    twice.
    """
    rounded = round(back / _QUARTER_HOUR) * _QUARTER_HOUR
    return rounded if rounded and abs(rounded - back) <= TOLERANCE else back


def _moved_values(
    row: Row[Any], time_columns: TimeColumns, now: datetime, back: timedelta
) -> dict[str, datetime | None]:
    """Return the new times of a row, by parameter name; empty if no time must be changed."""
    before: dict[str, datetime | None] = {name: getattr(row, name) for name in time_columns.columns}
    after = dict(before)
    is_created_in_future = (first := before[time_columns.past[0]]) is not None and first > now
    for name, at in before.items():
        if at is None or at <= now:
            continue
        if name in time_columns.past:
            after[name] = min(at - back, now)
        elif name in time_columns.due:
            after[name] = now
        elif is_created_in_future:
            after[name] = at - back
    return {} if after == before else {f"new_{name}": at for name, at in after.items()}


def _moved_key(key: str, now: datetime, back: timedelta) -> str:
    """Return a key with the time after its last slash moved back, if that is a time in the future."""
    prefix, slash, time_text = key.rpartition("/")
    try:
        at = datetime.fromisoformat(time_text)
    except ValueError:
        return key
    if at.tzinfo is None or at <= now:  # Without a time zone, the text is a date.
        return key
    return f"{prefix}{slash}{(at - back).isoformat(timespec='seconds')}"
