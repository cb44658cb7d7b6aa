"""Deletion of expired runs and tokens, also during an outage of the database."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.database import Database
from monitor.store.probing.history import History
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.schema.tables import token
from tests.integration.alerts.dispatcher_env import Clock
from tests.unit.monitor.world import T0, agency_routes, arrived

ROUTE = agency_routes("JCM")[0]
DAY = timedelta(days=1)
KEEP = RetentionPolicy(delivered=10 * DAY, failed=365 * DAY, hourly=365 * DAY)


class Once(Retention):
    """Retention that runs once, at once."""

    FIRST_AFTER = timedelta(0)
    away = False
    done: asyncio.Event

    async def delete_expired(self, keep: RetentionPolicy, now: datetime) -> int:
        try:
            if self.away:
                raise StoreUnavailable("disk full")
            return await super().delete_expired(keep, now)
        finally:
            self.done.set()


@pytest.mark.parametrize("away", [False, True])
async def test_keep_deleting_expired_removes_old_and_survives_outage(tmp_path: Path, *, away: bool) -> None:
    clock = Clock()
    clock.moment = T0 + 30 * DAY
    async with Database.open(tmp_path) as database:
        history, retention = History(database), Once(database)
        retention.away, retention.done = away, asyncio.Event()
        for age in (11, 9, 1):
            at = clock.moment - age * DAY
            await history.record_sent_token(f"{age:016x}", ROUTE.name, at, at)
            await history.record_run(arrived(ROUTE, at), "JCM", {})
        with capture_logs() as logged:
            keeping = asyncio.create_task(retention.keep_deleting_expired(lambda: KEEP, clock))
            async with asyncio.timeout(60):
                await retention.done.wait()
            await asyncio.sleep(0)
            assert not keeping.done()
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        runs = await history.between("JCM", T0, clock.moment)
        async with database.read() as connection:
            tokens = (await connection.execute(select(token.c.id))).scalars().all()
    assert len(runs) == (3 if away else 2)
    told = [(line["event"], line.get("runs")) for line in logged]
    if away:
        assert told == [("task waits for the database", None)]
    else:
        assert told == [("old results deleted", 1)]
        assert tokens == [f"{1:016x}"], "older mail is not searched"
