"""Correction of times in the future after the clock was set back.

Otherwise decisions would wait until the clock has caught up, and events would begin in the future. All times are moved
back by the same span, so that durations stay. The audit log is not changed.
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
from monitor.store.schema.rows import portions
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

#: Upper bounds of a lease, and of the interval between two queries of a gateway.
_NO_CLAIM = timedelta(minutes=5)
_NO_WAIT = timedelta(minutes=10)
_QUARTER = timedelta(minutes=15)
#: States in which a gateway is queried, whatever the attempt's age.
_ASKED_ABOUT = (AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.ACCEPTED, AttemptState.SENT)

_NOW: BindParameter[datetime] = bindparam("now")
_AHEAD: BindParameter[datetime] = bindparam("ahead")
_PAST_CLAIMS: BindParameter[datetime] = bindparam("past_claims")
_PAST_WAITS: BindParameter[datetime] = bindparam("past_waits")

#: Every decision, attempt and answer has an entry in the audit log. The last ones are examined: since a start a few
#: have the present clock's time, and those before a correction have been moved.
_LATELY = 1000
_LAST_MOVED = select(func.coalesce(func.max(audit_log.c.id), 0)).where(audit_log.c.event == CLOCK_SET_BACK)
_LATEST = select(func.max(audit_log.c.at)).where(
    audit_log.c.id > select(audit_head.c.number - _LATELY).scalar_subquery(),
    audit_log.c.id > _LAST_MOVED.scalar_subquery(),
)

_ACTIVE = incident.c.at_rest.is_(False)
#: An end in the future would block a new incident with the same key, and an opening would list it there.
_INCIDENTS = _ACTIVE | (incident.c.opened_at > _AHEAD) | (incident.c.resolved_at > _AHEAD)
_NOTICES = select(notification_incident.c.notification_id).where(
    notification_incident.c.incident_id.in_(select(incident.c.id).where(_INCIDENTS))
)
_DELIVERIES = select(delivery.c.id).where(delivery.c.notification_id.in_(_NOTICES))
_DRILLS = select(drill.c.id).where(drill.c.ended_at.is_(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instants:
    """Time columns of a table, and its rows."""

    table: Table
    rows: ColumnElement[bool]
    #: Past events, which cannot be in the future. The first is the creation of the row.
    past: tuple[str, ...]
    #: Times relative to the first of these.
    following: tuple[str, ...] = ()
    #: Due times: an earlier one costs a query.
    due: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.past, *self.following, *self.due)


TABLES = (
    Instants(
        table=incident,
        rows=_INCIDENTS,
        past=(
            *("opened_at", "began_at", "type_began_at", "current_type_began_at", "outage_began_at"),
            *("since", "current_type_since", "step_since", "acknowledged_at", "last_response_at"),
            *("reminded_at", "released_at", "resolved_at", "ended_at", "false_alarm_at", "declared_at"),
            *("declared_ended_at", "closed_at"),
        ),
    ),
    Instants(
        table=notification,
        rows=notification.c.id.in_(_NOTICES),
        past=("created_at",),
        following=("expires_at",),
        due=("not_before",),
    ),
    Instants(
        table=attempt, rows=attempt.c.delivery_id.in_(_DELIVERIES), past=("started_at", "ended_at"), due=("query_at",)
    ),
    Instants(table=silence, rows=silence.c.ends_at > _AHEAD, past=("starts_at",), following=("ends_at",)),
    Instants(table=drill, rows=drill.c.ended_at.is_(None), past=("starts_at",), following=("ends_at",)),
    Instants(
        table=drill_notification,
        rows=drill_notification.c.drill_id.in_(_DRILLS),
        past=("started_at", "delivered_at", "confirmed_at"),
        due=("query_at",),
    ),
)

#: Times without an entry in the audit log, with their latest possible value.
_FAR_OFF = (
    (incident, _ACTIVE & (incident.c.owned_until > _PAST_CLAIMS), "owned_until"),
    (attempt, attempt.c.state.in_(_ASKED_ABOUT) & (attempt.c.query_at > _PAST_WAITS), "query_at"),
)
_IS_ANY_FAR_OFF = select(or_(*(exists().where(rows) for _, rows, _ in _FAR_OFF)))
_BRING_NEAR = [update(table).where(rows).values({column: _NOW}) for table, rows, column in _FAR_OFF]


class SqlSetBack(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for clocks that were set back."""

    async def move_back(self, now: datetime, latest: datetime | None = None) -> timedelta:
        """Move times after *now* back; return by how much, zero if the clock was not set back.

        *latest*: the expected time, from an engine that was running; otherwise the audit log tells.
        """
        times = {"now": now, "past_claims": now + _NO_CLAIM, "past_waits": now + _NO_WAIT}
        # Called twice a minute, and nearly always without effect.
        if (await self._connection.execute(_IS_ANY_FAR_OFF, times)).scalar_one():
            for each in _BRING_NEAR:
                await self._connection.execute(each, times)
        latest = latest or (await self._connection.execute(_LATEST)).scalar_one()
        if latest is None or latest - now <= TOLERANCE:
            return timedelta(0)
        back = _as_zones_differ(latest - now)
        for instants in TABLES:
            moved = await self._move(instants, now, back)
            if instants.table is notification:
                await self._move_keys(moved, now, back)
        return back

    async def _move(self, instants: Instants, now: datetime, back: timedelta) -> Sequence[int]:
        """Move the times of a table; return the ids of the changed rows."""
        table, columns = instants.table, instants.columns
        found = await self._connection.execute(
            select(table.c.id, *(table.c[name] for name in columns)).where(instants.rows), {"ahead": now}
        )
        moved = [{"row": row.id, **values} for row in found if (values := _moved(row, instants, now, back))]
        if moved:
            change = update(table).where(table.c.id == bindparam("row"))
            anew = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in columns}
            await self._connection.execute(change.values(anew), moved)
        return [each["row"] for each in moved]

    async def _move_keys(self, notice_ids: Sequence[int], now: datetime, back: timedelta) -> None:
        """Move the times in the keys of notifications: a notification of a future event must be sent again when it comes."""
        for ids in portions(notice_ids):
            for table, its in (
                (notification, notification.c.id),
                (notification_incident, notification_incident.c.notification_id),
            ):
                found = (await self._connection.execute(select(table.c.key).where(its.in_(ids)))).scalars()
                keys = [{"old": key, "new": anew} for key in found if (anew := _moved_key(key, now, back)) != key]
                if keys:
                    await self._connection.execute(
                        update(table).where(table.c.key == bindparam("old")).values(key=bindparam("new")), keys
                    )


def _as_zones_differ(back: timedelta) -> timedelta:
    """Return whole quarters of an hour for a span near one: a clock of another time zone is the usual cause.

    The span is known to a few seconds, and turns end at full quarters: so none begins twice.
    """
    whole = round(back / _QUARTER) * _QUARTER
    return whole if whole and abs(whole - back) <= TOLERANCE else back


def _moved(row: Row[Any], instants: Instants, now: datetime, back: timedelta) -> dict[str, datetime | None]:
    """Return the new values of a row by parameter name; empty if none is in the future."""
    before: dict[str, datetime | None] = {name: getattr(row, name) for name in instants.columns}
    anew = dict(before)
    is_ahead = (first := before[instants.past[0]]) is not None and first > now
    for name, at in before.items():
        if at is None or at <= now:
            continue
        if name in instants.past:
            anew[name] = min(at - back, now)
        elif name in instants.due:
            anew[name] = now
        elif is_ahead:
            anew[name] = at - back
    return {} if anew == before else {f"new_{name}": at for name, at in anew.items()}


def _moved_key(key: str, now: datetime, back: timedelta) -> str:
    begin, slash, end = key.rpartition("/")
    try:
        at = datetime.fromisoformat(end)
    except ValueError:
        return key
    if at.tzinfo is None or at <= now:  # A date has no time zone.
        return key
    return f"{begin}{slash}{(at - back).isoformat(timespec='seconds')}"
