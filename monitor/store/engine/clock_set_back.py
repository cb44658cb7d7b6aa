"""Instants that lie ahead, because the clock was set back after they were written.

What is decided by them would wait until the clock has caught up, and what people read would have begun in the future. All of
them are moved back by the same span, so that how long everything took stays as it was. The audit log stays as it is.
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
    delivery,
    drill,
    exercise,
    incident,
    journal,
    journal_head,
    notice,
    notice_incident,
    silence,
)

#: No claim of an incident lasts so long, and no gateway is left so long without a question about what it has.
_NO_CLAIM = timedelta(minutes=5)
_NO_WAIT = timedelta(minutes=10)
_QUARTER = timedelta(minutes=15)
#: What a gateway is asked about, however old the attempt is.
_ASKED_ABOUT = (AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.ACCEPTED, AttemptState.SENT)

_NOW: BindParameter[datetime] = bindparam("now")
_AHEAD: BindParameter[datetime] = bindparam("ahead")
_PAST_CLAIMS: BindParameter[datetime] = bindparam("past_claims")
_PAST_WAITS: BindParameter[datetime] = bindparam("past_waits")

#: Every decision, attempt and answer is an entry of the audit log. What is looked at are the last ones: since a start a few were
#: added by the clock as it is now, and what comes before an entry of this kind has been moved.
_LATELY = 1000
_LAST_MOVED = select(func.coalesce(func.max(journal.c.id), 0)).where(journal.c.event == CLOCK_SET_BACK)
_LATEST = select(func.max(journal.c.at)).where(
    journal.c.id > select(journal_head.c.number - _LATELY).scalar_subquery(),
    journal.c.id > _LAST_MOVED.scalar_subquery(),
)

_ACTIVE = incident.c.at_rest.is_(False)
#: What ended in the future would hold up a new incident about the same, and what opened there is listed there.
_INCIDENTS = _ACTIVE | (incident.c.opened_at > _AHEAD) | (incident.c.resolved_at > _AHEAD)
_NOTICES = select(notice_incident.c.notice_id).where(
    notice_incident.c.incident_id.in_(select(incident.c.id).where(_INCIDENTS))
)
_DELIVERIES = select(delivery.c.id).where(delivery.c.notice_id.in_(_NOTICES))
_DRILLS = select(drill.c.id).where(drill.c.ended_at.is_(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instants:
    """Which columns of which rows are instants of the engine."""

    table: Table
    rows: ColumnElement[bool]
    #: What has happened: it cannot lie ahead. The first is when the row was written.
    past: tuple[str, ...]
    #: What is counted from the first of these.
    following: tuple[str, ...] = ()
    #: When to look again: sooner costs a question.
    due: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.past, *self.following, *self.due)


TABLES = (
    Instants(
        table=incident,
        rows=_INCIDENTS,
        past=(
            *("opened_at", "began_at", "matter_began_at", "present_began_at", "outage_began_at"),
            *("since", "present_since", "step_since", "acknowledged_at", "heard_at"),
            *("reminded_at", "released_at", "resolved_at", "ended_at", "corrected_at", "declared_at"),
            *("declared_over_at", "closed_at"),
        ),
    ),
    Instants(
        table=notice,
        rows=notice.c.id.in_(_NOTICES),
        past=("created_at",),
        following=("expires_at",),
        due=("not_before",),
    ),
    Instants(
        table=attempt, rows=attempt.c.delivery_id.in_(_DELIVERIES), past=("started_at", "ended_at"), due=("look_at",)
    ),
    Instants(table=silence, rows=silence.c.ends > _AHEAD, past=("begins",), following=("ends",)),
    Instants(table=drill, rows=drill.c.ended_at.is_(None), past=("begins_at",), following=("ends_at",)),
    Instants(
        table=exercise,
        rows=exercise.c.drill_id.in_(_DRILLS),
        past=("begun_at", "delivered_at", "confirmed_at"),
        due=("look_at",),
    ),
)

#: What is written without an entry, with until when it can be at the most.
_FAR_OFF = (
    (incident, _ACTIVE & (incident.c.owned_until > _PAST_CLAIMS), "owned_until"),
    (attempt, attempt.c.state.in_(_ASKED_ABOUT) & (attempt.c.look_at > _PAST_WAITS), "look_at"),
)
_IS_ANY_FAR_OFF = select(or_(*(exists().where(rows) for _, rows, _ in _FAR_OFF)))
_BRING_NEAR = [update(table).where(rows).values({column: _NOW}) for table, rows, column in _FAR_OFF]


class SqlSetBack(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` that is about clocks which were set back."""

    async def move_back(self, now: datetime, latest: datetime | None = None) -> timedelta:
        """Move what lies ahead of *now* back; return by how much, which is nothing where the clock was not set back.

        *latest*: what time it would be by an engine that has seen the time go on; without one the audit log says it.
        """
        times = {"now": now, "past_claims": now + _NO_CLAIM, "past_waits": now + _NO_WAIT}
        # Asked twice a minute for as long as the engine runs, and nearly always there is nothing.
        if (await self._connection.execute(_IS_ANY_FAR_OFF, times)).scalar_one():
            for each in _BRING_NEAR:
                await self._connection.execute(each, times)
        latest = latest or (await self._connection.execute(_LATEST)).scalar_one()
        if latest is None or latest - now <= TOLERANCE:
            return timedelta(0)
        back = _as_zones_differ(latest - now)
        for instants in TABLES:
            moved = await self._move(instants, now, back)
            if instants.table is notice:
                await self._move_keys(moved, now, back)
        return back

    async def _move(self, instants: Instants, now: datetime, back: timedelta) -> Sequence[int]:
        """Move the instants of a table; return the ids of the rows that have changed."""
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
        """Move the instants at the end of notices' keys: who was told of what is still to come is told when it has come."""
        for ids in portions(notice_ids):
            for table, its in ((notice, notice.c.id), (notice_incident, notice_incident.c.notice_id)):
                found = (await self._connection.execute(select(table.c.key).where(its.in_(ids)))).scalars()
                keys = [{"old": key, "new": anew} for key in found if (anew := _moved_key(key, now, back)) != key]
                if keys:
                    await self._connection.execute(
                        update(table).where(table.c.key == bindparam("old")).values(key=bindparam("new")), keys
                    )


def _as_zones_differ(back: timedelta) -> timedelta:
    """Return the whole quarters of an hour that it is nearly: a clock of another zone is the usual cause.

    It is known with an error of a few seconds, and turns of people end at full quarters: none begins a second time then.
    """
    whole = round(back / _QUARTER) * _QUARTER
    return whole if whole and abs(whole - back) <= TOLERANCE else back


def _moved(row: Row[Any], instants: Instants, now: datetime, back: timedelta) -> dict[str, datetime | None]:
    """Return the columns of a row as they are from now on, by the name of the parameter; nothing where none lies ahead."""
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
    if at.tzinfo is None or at <= now:  # A date has no zone.
        return key
    return f"{begin}{slash}{(at - back).isoformat(timespec='seconds')}"
