"""Retention of runs, hours, days and tokens. Expired rows are deleted in small parts, so that no writer waits long.

Incidents, notifications and the audit log are not included (Act 629): they are deleted by an authorised purge only
(`monitor.store.admin.purge`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

import structlog
from sqlalchemy import Column, ColumnElement, Row, Table, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.clock import Clock
from monitor.model.day import day_of
from monitor.runtime.repeat import run_periodically
from monitor.store.backend.database import Database
from monitor.store.probing.history import CAME_MEMORY, TOKEN_MEMORY
from monitor.store.probing.hours import STORE, counting, hour_values, run_values, to_result
from monitor.store.probing.site_runs import TOLD_MEMORY
from monitor.store.schema.tables import day, hour, received_alert, run, run_before, site_hour, site_run, token
from probes.model.result import Outcome

log = structlog.get_logger()

#: Number of rows per transaction. Such a transaction takes ten milliseconds on a slow disk; other writers wait for it.
AT_ONCE = 200
#: In seconds, between two transactions, so that results of probes are written even while, after an upgrade, a hundred
#: million rows are moved.
_PAUSE = 0.01

#: Time between two deletions. With ten thousand routes, a daily deletion would have two million rows.
_EVERY = timedelta(hours=1)

#: Retention of received alerts. Alertmanager repeats a firing alert at least once a day, so an older alert is obsolete.
_ALERT_MEMORY = timedelta(days=90)
#: Rows of other sites (places with a prober) that are further in the future are deleted: they would never expire.
_AHEAD = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """Retention of runs by their outcome, of hourly counts and of days."""

    delivered: timedelta
    #: Runs with any other outcome.
    failed: timedelta
    hourly: timedelta
    #: Daily minute states of agencies, for history bars and availability.
    daily: timedelta = timedelta(days=1096)

    def since(self, outcome: str, now: datetime) -> datetime:
        """Return the earliest start of runs with this outcome that are kept."""
        return now - (self.delivered if outcome == Outcome.DELIVERED else self.failed)


class Retention:
    """Task that deletes rows older than their retention."""

    #: Delay after the start of the process, when other work is more urgent.
    FIRST_AFTER = timedelta(minutes=1)

    def __init__(self, database: Database, site: str = "") -> None:
        """*site*: this site, whose published rows have a different retention."""
        self._database = database
        self._site = site
        self._counted = counting(database)

    async def keep_disposing(self, keep: Callable[[], RetentionPolicy], clock: Clock) -> NoReturn:
        """Delete expired rows after `FIRST_AFTER`, and then once an hour; *keep* returns the policy.

        A failed deletion does no harm: the next one deletes the rows.
        """

        async def tidy() -> None:
            runs = await self.dispose(keep(), clock.now())
            if runs:
                log.info("old results deleted", runs=runs)

        await asyncio.sleep(self.FIRST_AFTER.total_seconds())
        await run_periodically("retention", tidy, _EVERY)

    async def dispose(self, keep: RetentionPolicy, now: datetime) -> int:
        """Delete expired runs, hours, days, tokens and alerts; return the number of runs."""
        runs = await self._move(keep, now)
        for outcome in Outcome:
            ended = (run.c.outcome == outcome) & (run.c.started_at < keep.since(outcome, now))
            runs += await self._delete(run, ended, run.c.started_at)
        await self._delete(hour, hour.c.starts_at < now - keep.hourly, hour.c.starts_at)
        await self._delete(day, day.c.date < day_of(now - keep.daily), day.c.date)
        for memory, old in (
            (CAME_MEMORY, token.c.arrived_at.is_not(None)),
            (TOKEN_MEMORY, token.c.arrived_at.is_(None)),
        ):
            await self._delete(token, old & (token.c.sent_at < now - memory), token.c.sent_at)
        for table, at, retention in (
            (site_run, site_run.c.started_at, keep.failed),
            (site_hour, site_hour.c.starts_at, keep.hourly),
        ):
            is_own = table.c.site == self._site
            await self._delete(table, is_own & (at < now - TOLD_MEMORY), at)
            await self._delete(table, ~is_own & (at < now - retention), at)
            await self._delete(table, at > now + _AHEAD, at)
        await self._delete(
            received_alert, received_alert.c.received_at < now - _ALERT_MEMORY, received_alert.c.received_at
        )
        return runs

    async def _move(self, keep: RetentionPolicy, now: datetime) -> int:
        """Count the runs that an earlier version stored, and move the recent ones; return how many were deleted.

        Begin with the newest runs, because they are requested most.
        """
        newest = select(run_before.c.id).order_by(run_before.c.id.desc()).limit(AT_ONCE).scalar_subquery()
        # Each row is deleted, and therefore counted, by one process only.
        taking = delete(run_before).where(run_before.c.id.in_(newest)).returning(run_before)
        moved = 0
        while True:
            async with self._database.write() as connection:
                rows = (await connection.execute(taking)).all()
                if not rows:
                    return moved
                moved += len(rows) - await self._keep_young(connection, rows, keep, now)
            await asyncio.sleep(_PAUSE)

    async def _keep_young(
        self, connection: AsyncConnection, rows: Sequence[Row[Any]], keep: RetentionPolicy, now: datetime
    ) -> int:
        """Count runs from the old table, and store the recent ones; return the number of stored runs."""
        results = [(to_result(row), row.agency) for row in rows]
        await connection.execute(self._counted, [hour_values(*each, None, timedelta(0)) for each in results])
        young = [each for each in results if each[0].started_at >= keep.since(each[0].outcome, now)]
        if young:
            await connection.execute(STORE, [run_values(*each) for each in young])
        return len(young)

    async def _delete(self, table: Table, old: ColumnElement[bool], order: Column[Any]) -> int:
        """Delete the rows that are *old*, in the *order* of a suitable index; return their number."""
        key = tuple(table.primary_key)
        batch = select(*key).where(old).order_by(order).limit(AT_ONCE)
        deletion = delete(table).where((tuple_(*key) if len(key) > 1 else key[0]).in_(batch))
        deleted = 0
        while True:
            more = await self._database.change(deletion)
            deleted += more
            if more < AT_ONCE:
                return deleted
            await asyncio.sleep(_PAUSE)
