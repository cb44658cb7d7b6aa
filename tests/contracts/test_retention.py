"""Retention of runs and hourly sums on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, cast

import pytest
from sqlalchemy import UpdateBase, func, insert, select

from alerts.persistence.store import StoreUnavailable
from monitor.evaluation.health_tracker import GradedRun
from monitor.model.health import Grade
from monitor.store.backend.database import Database
from monitor.store.probing.history import History
from monitor.store.probing.hours import run_values
from monitor.store.probing.retention import BATCH_SIZE, Retention, RetentionPolicy
from monitor.store.schema.tables import hour, run
from probes.model.result import Outcome, Phase, ProbeResult
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, SECOND, T0
from tests.unit.monitor.store.probing.test_history import ended

Open = Callable[[], AbstractAsyncContextManager[Database]]

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
#: T0 is 15 minutes after a full hour.
HOUR_START = T0 - 15 * MINUTE
POLICY = RetentionPolicy(delivered=30 * DAY, failed=365 * DAY, hourly=400 * DAY)
FIVE_MINUTES = timedelta(minutes=5)


async def hours_of(database: Database, *, route: str = "JCM/internal") -> Mapping[tuple[datetime, str, str], Any]:
    """Return the hours of a route, by their beginning, outcome and grade."""
    async with database.read() as connection:
        rows = await connection.execute(select(hour).where(hour.c.route == route))
        return {(row.starts_at, row.outcome, row.grade): row for row in rows}


async def run_count(database: Database, table: Any = run) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


def delivered_after(number: int, at: datetime, transit: float, outcome: Outcome = Outcome.DELIVERED) -> ProbeResult:
    phases = {Phase.TRANSIT: timedelta(seconds=transit)}
    return replace(ended(number, outcome, at), phases=phases, duration=timedelta(seconds=transit + 1))


# -- streaks ---------------------------------------------------------------------------------------------------------


async def test_streak_is_restored_after_restart_until_it_ends(database: Database) -> None:
    runs = [
        GradedRun(
            token_id=f"{number:016x}", started_at=HOUR_START + number * MINUTE, outcome=Outcome.LOST, grade=Grade.BAD
        )
        for number in range(2)
    ]
    await History(database).record_run(ended(1, Outcome.LOST, HOUR_START), "JCM", {}, streaks={"JCM/internal": runs})
    assert await History(database).streaks() == {"JCM/internal": runs}

    await History(database).record_run(ended(2, at=HOUR_START + FIVE_MINUTES), "JCM", {}, streaks={"JCM/internal": ()})
    assert await History(database).streaks() == {}


# -- hourly sums -----------------------------------------------------------------------------------------------------


async def test_hour_sums_runs_by_outcome_grade_and_duration(database: Database) -> None:
    history = History(database)
    for number, transit in enumerate((2.0, 5.0, 3.0)):
        at = HOUR_START + number * FIVE_MINUTES
        await history.record_run(
            delivered_after(number, at, transit), "JCM", {}, grade=Grade.GOOD, interval=FIVE_MINUTES
        )
    await history.record_run(
        delivered_after(3, HOUR_START + 15 * MINUTE, 90.0), "JCM", {}, grade=Grade.SLOW, interval=FIVE_MINUTES
    )
    await history.record_run(
        ended(4, Outcome.LOST, HOUR_START + 20 * MINUTE), "JCM", {}, grade=Grade.PENDING, interval=FIVE_MINUTES
    )
    await history.record_run(ended(5, at=HOUR_START + HOUR), "JCM", {}, grade=Grade.GOOD, interval=FIVE_MINUTES)

    hours = await hours_of(database)
    assert {key: row.runs for key, row in hours.items()} == {
        (HOUR_START, "delivered", "good"): 3,
        (HOUR_START, "delivered", "slow"): 1,
        (HOUR_START, "lost", "pending"): 1,
        (HOUR_START + HOUR, "delivered", "good"): 1,
    }
    good = hours[HOUR_START, "delivered", "good"]
    assert (good.agency, good.interval) == ("JCM", 300)
    assert (good.transit, good.slowest, good.duration, good.longest) == pytest.approx((10, 5, 13, 6))


async def test_hour_minutes_show_time_without_runs(database: Database) -> None:
    history = History(database)
    # No runs from 06:10 to 06:40. The repeated runs after a failure must not hide that.
    for number, minute in enumerate((0, 5, 6, 7, 8, 9, 10, 40, 45, 50, 55)):
        outcome = Outcome.LOST if 6 <= minute <= 8 else Outcome.DELIVERED
        await history.record_run(ended(number, outcome, HOUR_START + minute * MINUTE), "JCM", {}, interval=FIVE_MINUTES)

    rows = (await hours_of(database)).values()
    seen = {minute for minute in range(60) for row in rows if row.minutes >> minute & 1}
    every = next(iter(rows)).interval // 60
    without_data = {m for m in range(60) if not seen & set(range(m - every + 1, m + 1))}
    assert without_data == set(range(15, 40))
    assert max(row.minutes for row in rows) < 2**60


@pytest.mark.blind
async def test_run_written_again_is_stored_and_counted_once(open_database: Open) -> None:
    """Defect: A run is stored twice when its connection breaks during a commit that succeeds.

    Pantau: It is stored and counted once, however often it is written.
    """
    result = ended(1)
    async with open_database() as database:
        for _ in range(2):
            await History(database).record_run(result, "JCM", {})
        # The connection breaks during a successful commit: the write is repeated when the store is available.
        history = History(database)
        async with BrokenCommit(database) as broken:
            await history.record_run(ended(2), "JCM", {})
        assert broken.commits == 1
        assert await history.catch_up() == 0
    async with open_database() as database:
        await History(database).record_run(result, "JCM", {})

        assert await run_count(database) == 2
        assert [row.runs for row in (await hours_of(database)).values()] == [2]


class BrokenCommit:
    """Break the connection of one commit right after it."""

    def __init__(self, database: Database) -> None:
        self._group_commit, self.commits = database.group_commit, 0
        self._store = database.group_commit._commit_batch

    async def __aenter__(self) -> Self:
        async def store(batch: Any) -> None:
            await self._store(batch)
            self.commits += 1
            raise StoreUnavailable("the connection broke")

        self._group_commit._commit_batch = store  # type: ignore[method-assign]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._group_commit._commit_batch = self._store  # type: ignore[method-assign]


async def test_simultaneous_runs_of_route_are_all_counted(database: Database) -> None:
    # As by two engines on one store.
    await asyncio.gather(*(History(database).record_run(ended(number), "JCM", {}) for number in range(20)))

    assert await run_count(database) == 20
    assert [row.runs for row in (await hours_of(database)).values()] == [20]


@pytest.mark.real
async def test_engines_on_shared_store_count_into_same_hour(postgres: Postgres, tmp_path: Path) -> None:
    server = postgres.store()
    databases = Database.open(tmp_path / "a", server, name="a"), Database.open(tmp_path / "b", server, name="b")
    async with databases[0] as one, databases[1] as other:
        histories = History(one), History(other)
        await asyncio.gather(*(histories[n % 2].record_run(ended(n), "JCM", {}) for n in range(100)))

        assert [row.runs for row in (await hours_of(one)).values()] == [100]


async def test_late_run_is_counted_in_its_own_hour(database: Database) -> None:
    history, retention = History(database), Retention(database)
    await history.record_run(ended(1, at=HOUR_START), "JCM", {})
    # The hour is over, and its delivered runs are gone.
    assert await retention.delete_expired(POLICY, HOUR_START + 40 * DAY) == 1
    await history.record_run(ended(2, at=HOUR_START + MINUTE), "JCM", {})
    await history.record_run(ended(3, Outcome.LOST, at=HOUR_START + 2 * MINUTE), "JCM", {})

    assert await retention.delete_expired(POLICY, HOUR_START + 40 * DAY) == 1
    assert {key[1]: row.runs for key, row in (await hours_of(database)).items()} == {"delivered": 2, "lost": 1}


async def test_run_not_stored_is_not_counted(database: Database) -> None:
    history = History(database)
    wrong = replace(ended(1), token_id=cast("str", None))
    with pytest.raises(Exception, match=r"token_id|NULL"):
        await history.record_run(wrong, "JCM", {})

    assert await hours_of(database) == {}


# -- retention -------------------------------------------------------------------------------------------------------


@pytest.mark.blind
async def test_delivered_runs_deleted_after_month_failures_after_year(database: Database) -> None:
    """Defect: All runs are kept for a year: 760 GB for 10,000 routes every five minutes.

    Pantau: Delivered runs are deleted after 30 days, others after a year; hourly sums stay for a year.
    """
    history, retention = History(database), Retention(database)
    now = HOUR_START + 400 * DAY
    ages = {Outcome.DELIVERED: (31, 29), Outcome.JUNK: (366, 364), Outcome.LOST: (366, 364, 31)}
    for number, (outcome, age) in enumerate((outcome, age) for outcome, days in ages.items() for age in days):
        await history.record_run(ended(number, outcome, now - age * DAY), "JCM", {})
    await history.record_run(ended(9, Outcome.INCONCLUSIVE, now - 401 * DAY), "JCM", {})

    assert await retention.delete_expired(POLICY, now) == 4
    kept = await history.between("JCM", HOUR_START - 10 * DAY, now)
    assert [(result.outcome, (now - result.started_at).days) for result in kept] == [
        (Outcome.JUNK, 364),
        (Outcome.LOST, 364),
        (Outcome.LOST, 31),
        (Outcome.DELIVERED, 29),
    ]
    # The run of 401 days ago is no longer in the hourly sums either.
    assert sum(row.runs for row in (await hours_of(database)).values()) == 7


async def test_delete_expired_in_batches_lets_others_write(database: Database) -> None:
    history, retention = History(database), Retention(database)
    rows = [run_values(ended(n, at=HOUR_START + n * SECOND), "JCM") for n in range(15 * BATCH_SIZE)]
    async with database.write() as connection:
        await connection.execute(insert(run), rows)
    change, written_at = database.change, list[int]()

    async def change_and_let_write(statement: UpdateBase) -> int:
        gone = await change(statement)
        written_at.append(await run_count(database))
        await history.record_late_arrival("x", HOUR_START)
        return gone

    database.change = change_and_let_write  # type: ignore[method-assign]
    assert await retention.delete_expired(POLICY, HOUR_START + 40 * DAY) == 15 * BATCH_SIZE
    # Concurrent writers see the count fall by one batch at a time.
    assert written_at[:16] == [max(0, number) * BATCH_SIZE for number in range(14, -2, -1)]
