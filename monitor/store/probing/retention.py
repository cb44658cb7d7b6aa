"""Takes out of the store what was kept long enough: runs, hours, days, tokens. A part at a time, and nobody waits for long.

Incidents, notices and the journal are none of it (Act 629): they leave with an authority only (`monitor.store.admin.purge`).
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
from monitor.store.schema.tables import alert, day, hour, run, run_before, site_hour, site_run, token
from probes.model.result import Outcome

log = structlog.get_logger()

#: Rows that go in one transaction, in about ten milliseconds where the disk is slow: others want to write, too.
AT_ONCE = 200
#: In seconds, between two of those: after an upgrade there may be a hundred million rows to be moved, and results of
#: probes are written meanwhile.
_PAUSE = 0.01

#: A day's worth at once would be two million rows where there are ten thousand routes.
_EVERY = timedelta(hours=1)

#: An alert that fires is heard of once a day at least, or its incident was closed by a person long ago.
_ALERT_MEMORY = timedelta(days=90)
#: Further ahead than a clock that is wrong: what another site tells of then would be kept for ever.
_AHEAD = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """How long ends of runs are kept, and what they are counted in."""

    delivered: timedelta
    #: All other ends.
    failed: timedelta
    hourly: timedelta
    #: Days of agencies: what history bars and availability are shown from.
    daily: timedelta = timedelta(days=1096)

    def since(self, outcome: str, now: datetime) -> datetime:
        """Return from when on runs with this end are kept."""
        return now - (self.delivered if outcome == Outcome.DELIVERED else self.failed)


class Retention:
    """Deletes what is older than it is to be."""

    #: A start has other work, and what is old can wait.
    FIRST_AFTER = timedelta(minutes=1)

    def __init__(self, database: Database, site: str = "") -> None:
        """*site*: our own; of what it has told its hub it keeps no more than what it may tell of."""
        self._database = database
        self._site = site
        self._counted = counting(database)

    async def keep_disposing(self, keep: Callable[[], RetentionPolicy], clock: Clock) -> NoReturn:
        """Delete what is old after a while, and once an hour from then on; *keep* says how old things become.

        What cannot be deleted today may be tomorrow: until then it is kept too long, which harms nobody.
        """

        async def tidy() -> None:
            runs = await self.dispose(keep(), clock.now())
            if runs:
                log.info("old results deleted", runs=runs)

        await asyncio.sleep(self.FIRST_AFTER.total_seconds())
        await run_periodically("deletion of what is old", tidy, _EVERY)

    async def dispose(self, keep: RetentionPolicy, now: datetime) -> int:
        """Delete what was kept long enough: runs, hours, days, tokens, what was known of alerts; return how many runs that were."""
        runs = await self._move(keep, now)
        for outcome in Outcome:
            ended = (run.c.outcome == outcome) & (run.c.started_at < keep.since(outcome, now))
            runs += await self._delete(run, ended, run.c.started_at)
        await self._delete(hour, hour.c.begins < now - keep.hourly, hour.c.begins)
        await self._delete(day, day.c.date < day_of(now - keep.daily), day.c.date)
        for memory, old in ((CAME_MEMORY, token.c.came_at.is_not(None)), (TOKEN_MEMORY, token.c.came_at.is_(None))):
            await self._delete(token, old & (token.c.sent_at < now - memory), token.c.sent_at)
        for table, at, kept in (
            (site_run, site_run.c.started_at, keep.failed),
            (site_hour, site_hour.c.begins, keep.hourly),
        ):
            ours = table.c.site == self._site
            await self._delete(table, ours & (at < now - TOLD_MEMORY), at)
            await self._delete(table, ~ours & (at < now - kept), at)
            await self._delete(table, at > now + _AHEAD, at)
        await self._delete(alert, alert.c.heard_at < now - _ALERT_MEMORY, alert.c.heard_at)
        return runs

    async def _move(self, keep: RetentionPolicy, now: datetime) -> int:
        """Count the runs that an earlier version stored, and keep the young ones of them; return how many were not.

        The newest come first: those are asked for.
        """
        newest = select(run_before.c.id).order_by(run_before.c.id.desc()).limit(AT_ONCE).scalar_subquery()
        # Each row is given to one engine only, and counted in the transaction that takes it away.
        taking = delete(run_before).where(run_before.c.id.in_(newest)).returning(run_before)
        gone = 0
        while True:
            async with self._database.write() as connection:
                rows = (await connection.execute(taking)).all()
                if not rows:
                    return gone
                gone += len(rows) - await self._keep_young(connection, rows, keep, now)
            await asyncio.sleep(_PAUSE)

    async def _keep_young(
        self, connection: AsyncConnection, rows: Sequence[Row[Any]], keep: RetentionPolicy, now: datetime
    ) -> int:
        """Count what was taken away, and store again what is still to be kept; return how much that is."""
        results = [(to_result(row), row.agency) for row in rows]
        await connection.execute(self._counted, [hour_values(*each, None, timedelta(0)) for each in results])
        young = [each for each in results if each[0].started_at >= keep.since(each[0].outcome, now)]
        if young:
            await connection.execute(STORE, [run_values(*each) for each in young])
        return len(young)

    async def _delete(self, table: Table, old: ColumnElement[bool], order: Column[Any]) -> int:
        """Delete the rows that are *old*, in the *order* of an index that leads to them; return how many there were."""
        key = tuple(table.primary_key)
        some = select(*key).where(old).order_by(order).limit(AT_ONCE)
        deletion = delete(table).where((tuple_(*key) if len(key) > 1 else key[0]).in_(some))
        deleted = 0
        while True:
            more = await self._database.change(deletion)
            deleted += more
            if more < AT_ONCE:
                return deleted
            await asyncio.sleep(_PAUSE)
