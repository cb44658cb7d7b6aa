"""Retention of probe runs, hourly counts, days, tokens and received alerts.

Expired rows are deleted in small parts, so that other writers do not wait long. Incidents, notifications and the audit
log are not included (Act 629): only an authorised purge deletes them (`monitor.store.admin.purge`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

import structlog
from sqlalchemy import Column, ColumnElement, Table, delete, select, tuple_

from alerts.persistence.clock import Clock
from monitor.model.day import day_of
from monitor.runtime.repeat import run_periodically
from monitor.store.backend.database import Database
from monitor.store.probing.history import DUPLICATE_MEMORY, TOKEN_MEMORY
from monitor.store.probing.site_runs import PUBLISHED_RETENTION
from monitor.store.schema.tables import day, hour, received_alert, run, site_hour, site_run, token
from probes.model.result import Outcome

log = structlog.get_logger()

#: Number of rows per transaction. Such a transaction takes ten milliseconds on a slow disk; other writers wait for it.
BATCH_SIZE = 200
#: Pause between two transactions. In the pauses, results of probes are written.
_PAUSE_SECONDS = 0.01

#: Interval between two deletions. With 10,000 routes, a daily deletion would have two million rows.
_INTERVAL = timedelta(hours=1)

#: Retention of received alerts. Alertmanager repeats a firing alert at least once a day, so an older alert is obsolete.
_ALERT_RETENTION = timedelta(days=90)
#: Maximum time in the future of rows of other sites (places from which mail is probed). Later rows are deleted, because
#: they would never expire.
_MAX_FUTURE = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """Retention of runs by their outcome, of hourly counts and of days."""

    #: Runs whose message was delivered.
    delivered: timedelta
    #: Runs with any other outcome.
    failed: timedelta
    #: Counts of runs per hour.
    hourly: timedelta
    #: Daily minute states of agencies, for history bars and availability.
    daily: timedelta = timedelta(days=1096)

    def since(self, outcome: str, now: datetime) -> datetime:
        """Return the earliest start of runs with this outcome that are retained."""
        return now - (self.delivered if outcome == Outcome.DELIVERED else self.failed)


class Retention:
    """Task that deletes rows older than their retention."""

    #: Delay of the first deletion, because other work is more urgent after the start of the process.
    FIRST_AFTER = timedelta(minutes=1)

    def __init__(self, database: Database, site: str = "") -> None:
        """*site*: this site, whose own published rows are deleted after `PUBLISHED_RETENTION`."""
        self._database = database
        self._site = site

    async def keep_deleting_expired(self, policy: Callable[[], RetentionPolicy], clock: Clock) -> NoReturn:
        """Delete expired rows after `FIRST_AFTER`, and then once an hour, until cancelled.

        *policy* returns the current policy. If a deletion fails, the next one deletes the rows.
        """

        async def delete_and_log() -> None:
            runs = await self.delete_expired(policy(), clock.now())
            if runs:
                log.info("old results deleted", runs=runs)

        await asyncio.sleep(self.FIRST_AFTER.total_seconds())
        await run_periodically("retention", delete_and_log, _INTERVAL)

    async def delete_expired(self, policy: RetentionPolicy, now: datetime) -> int:
        """Delete expired runs, hours, days, tokens and alerts; return the number of deleted runs."""
        runs = 0
        for outcome in Outcome:
            is_expired = (run.c.outcome == outcome) & (run.c.started_at < policy.since(outcome, now))
            runs += await self._delete(run, is_expired, run.c.started_at)
        await self._delete(hour, hour.c.starts_at < now - policy.hourly, hour.c.starts_at)
        await self._delete(day, day.c.date < day_of(now - policy.daily), day.c.date)
        for memory, condition in (
            (DUPLICATE_MEMORY, token.c.arrived_at.is_not(None)),
            (TOKEN_MEMORY, token.c.arrived_at.is_(None)),
        ):
            await self._delete(token, condition & (token.c.sent_at < now - memory), token.c.sent_at)
        for table, at, retention in (
            (site_run, site_run.c.started_at, policy.failed),
            (site_hour, site_hour.c.starts_at, policy.hourly),
        ):
            is_own = table.c.site == self._site
            await self._delete(table, is_own & (at < now - PUBLISHED_RETENTION), at)
            await self._delete(table, ~is_own & (at < now - retention), at)
            await self._delete(table, at > now + _MAX_FUTURE, at)
        await self._delete(
            received_alert, received_alert.c.received_at < now - _ALERT_RETENTION, received_alert.c.received_at
        )
        return runs

    async def _delete(self, table: Table, condition: ColumnElement[bool], order: Column[Any]) -> int:
        """Delete the rows that fulfil *condition*, in the order of a column with an index; return their number."""
        key = tuple(table.primary_key)
        batch = select(*key).where(condition).order_by(order).limit(BATCH_SIZE)
        deletion = delete(table).where((tuple_(*key) if len(key) > 1 else key[0]).in_(batch))
        deleted = 0
        while True:
            count = await self._database.change(deletion)
            deleted += count
            if count < BATCH_SIZE:
                return deleted
            await asyncio.sleep(_PAUSE_SECONDS)
