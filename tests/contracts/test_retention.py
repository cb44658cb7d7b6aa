"""What stays of runs for how long: each is counted once in its hour, and goes when its time is over."""

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
from monitor.store.probing.retention import AT_ONCE, Retention, RetentionPolicy
from monitor.store.schema.tables import hour, run, run_before
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, SECOND, T0
from tests.unit.monitor.store.probing.test_history import ended

Open = Callable[[], AbstractAsyncContextManager[Database]]

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
#: T0 is a quarter past.
NOON = T0 - 15 * MINUTE
KEEP = RetentionPolicy(delivered=30 * DAY, failed=365 * DAY, hourly=400 * DAY)
FIVE = timedelta(minutes=5)


async def count_of(database: Database, *, route: str = "JCM/internal") -> Mapping[tuple[datetime, str, str], Any]:
    """Return the hours of a route, by their beginning, outcome and grade."""
    async with database.read() as connection:
        rows = await connection.execute(select(hour).where(hour.c.route == route))
        return {(row.starts_at, row.outcome, row.grade): row for row in rows}


async def runs_in(database: Database, table: Any = run) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


def lasting(number: int, at: datetime, transit: float, outcome: Outcome = Outcome.DELIVERED) -> ProbeResult:
    phases = {Phase.TRANSIT: timedelta(seconds=transit)}
    return replace(ended(number, outcome, at), phases=phases, duration=timedelta(seconds=transit + 1))


# -- remembered ------------------------------------------------------------------------------------------------------


async def test_a_streak_is_known_after_a_restart_until_it_is_over(database: Database) -> None:
    runs = [
        GradedRun(token_id=f"{number:016x}", started_at=NOON + number * MINUTE, outcome=Outcome.LOST, grade=Grade.BAD)
        for number in range(2)
    ]
    await History(database).record_run(ended(1, Outcome.LOST, NOON), "JCM", {}, streaks={"JCM/internal": runs})
    assert await History(database).streaks() == {"JCM/internal": runs}

    await History(database).record_run(ended(2, at=NOON + FIVE), "JCM", {}, streaks={"JCM/internal": ()})
    assert await History(database).streaks() == {}


# -- counted ---------------------------------------------------------------------------------------------------------


async def test_an_hour_knows_how_many_runs_ended_how_and_how_long_they_took(database: Database) -> None:
    history = History(database)
    for number, transit in enumerate((2.0, 5.0, 3.0)):
        at = NOON + number * FIVE
        await history.record_run(lasting(number, at, transit), "JCM", {}, grade=Grade.GOOD, interval=FIVE)
    await history.record_run(lasting(3, NOON + 15 * MINUTE, 90.0), "JCM", {}, grade=Grade.SLOW, interval=FIVE)
    await history.record_run(ended(4, Outcome.LOST, NOON + 20 * MINUTE), "JCM", {}, grade=Grade.PENDING, interval=FIVE)
    await history.record_run(ended(5, at=NOON + HOUR), "JCM", {}, grade=Grade.GOOD, interval=FIVE)

    hours = await count_of(database)
    assert {key: row.runs for key, row in hours.items()} == {
        (NOON, "delivered", "good"): 3,
        (NOON, "delivered", "slow"): 1,
        (NOON, "lost", "pending"): 1,
        (NOON + HOUR, "delivered", "good"): 1,
    }
    good = hours[NOON, "delivered", "good"]
    assert (good.agency, good.interval) == ("JCM", 300)
    assert (good.transit, good.slowest, good.duration, good.longest) == pytest.approx((10, 5, 13, 6))


async def test_minutes_in_which_nobody_watched_can_be_told_from_an_hour(database: Database) -> None:
    history = History(database)
    # Nothing from 06:10 to 06:40; a confirmation after a failure must not make up for it.
    for number, minute in enumerate((0, 5, 6, 7, 8, 9, 10, 40, 45, 50, 55)):
        outcome = Outcome.LOST if 6 <= minute <= 8 else Outcome.DELIVERED
        await history.record_run(ended(number, outcome, NOON + minute * MINUTE), "JCM", {}, interval=FIVE)

    rows = (await count_of(database)).values()
    seen = {minute for minute in range(60) for row in rows if row.minutes >> minute & 1}
    every = next(iter(rows)).interval // 60
    unwatched = {m for m in range(60) if not seen & set(range(m - every + 1, m + 1))}
    assert unwatched == set(range(15, 40))
    assert max(row.minutes for row in rows) < 2**60


@pytest.mark.blind
async def test_a_run_is_counted_and_stored_once_however_often_it_is_written(open_database: Open) -> None:
    """Defect: A run is stored twice when its connection breaks during a commit that succeeds.

    Pantau: It is stored and counted once, however often it is written.
    """
    result = ended(1)
    async with open_database() as database:
        for _ in range(2):
            await History(database).record_run(result, "JCM", {})
        # A connection that broke during a commit which went through: the write is repeated when the store is back.
        history = History(database)
        async with Broken(database) as broken:
            await history.record_run(ended(2), "JCM", {})
        assert broken.commits == 1
        assert await history.catch_up() == 0
    async with open_database() as database:
        await History(database).record_run(result, "JCM", {})

        assert await runs_in(database) == 2
        assert [row.runs for row in (await count_of(database)).values()] == [2]


class Broken:
    """Breaks the connection of one commit, right after it."""

    def __init__(self, database: Database) -> None:
        self._together, self.commits = database.together, 0
        self._store = database.together._commit_batch

    async def __aenter__(self) -> Self:
        async def store(batch: Any) -> None:
            await self._store(batch)
            self.commits += 1
            raise StoreUnavailable("the connection broke")

        self._together._commit_batch = store  # type: ignore[method-assign]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._together._commit_batch = self._store  # type: ignore[method-assign]


async def test_two_runs_of_a_route_at_the_same_moment_are_two(database: Database) -> None:
    # By two engines on one store.
    await asyncio.gather(*(History(database).record_run(ended(number), "JCM", {}) for number in range(20)))

    assert await runs_in(database) == 20
    assert [row.runs for row in (await count_of(database)).values()] == [20]


@pytest.mark.real
async def test_engines_that_share_a_store_count_into_the_same_hour(postgres: Postgres, tmp_path: Path) -> None:
    server = postgres.store()
    ours = Database.open(tmp_path / "a", server, name="a"), Database.open(tmp_path / "b", server, name="b")
    async with ours[0] as one, ours[1] as other:
        histories = History(one), History(other)
        await asyncio.gather(*(histories[n % 2].record_run(ended(n), "JCM", {}) for n in range(100)))

        assert [row.runs for row in (await count_of(one)).values()] == [100]


async def test_what_is_written_late_or_by_a_clock_that_was_set_back_is_in_its_own_hour(database: Database) -> None:
    history, retention = History(database), Retention(database)
    await history.record_run(ended(1, at=NOON), "JCM", {})
    # The hour is over, and its delivered runs are gone.
    assert await retention.dispose(KEEP, NOON + 40 * DAY) == 1
    await history.record_run(ended(2, at=NOON + MINUTE), "JCM", {})
    await history.record_run(ended(3, Outcome.LOST, at=NOON + 2 * MINUTE), "JCM", {})

    assert await retention.dispose(KEEP, NOON + 40 * DAY) == 1
    assert {key[1]: row.runs for key, row in (await count_of(database)).items()} == {"delivered": 2, "lost": 1}


async def test_a_run_that_could_not_be_stored_is_not_counted(database: Database) -> None:
    history = History(database)
    wrong = replace(ended(1), token_id=cast("str", None))
    with pytest.raises(Exception, match=r"token_id|NULL"):
        await history.record_run(wrong, "JCM", {})

    assert await count_of(database) == {}


# -- kept and deleted ------------------------------------------------------------------------------------------------


@pytest.mark.blind
async def test_delivered_runs_go_after_a_month_and_the_evidence_of_failures_after_a_year(database: Database) -> None:
    """Defect: All runs are kept for a year: 760 GB for 10,000 routes every five minutes.

    Pantau: Delivered runs are deleted after 30 days, others after a year; hourly sums stay for a year.
    """
    history, retention = History(database), Retention(database)
    now = NOON + 400 * DAY
    ages = {Outcome.DELIVERED: (31, 29), Outcome.JUNK: (366, 364), Outcome.LOST: (366, 364, 31)}
    for number, (outcome, age) in enumerate((outcome, age) for outcome, days in ages.items() for age in days):
        await history.record_run(ended(number, outcome, now - age * DAY), "JCM", {})
    await history.record_run(ended(9, Outcome.INCONCLUSIVE, now - 401 * DAY), "JCM", {})

    assert await retention.dispose(KEEP, now) == 4
    kept = await history.between("JCM", NOON - 10 * DAY, now)
    assert [(result.outcome, (now - result.started_at).days) for result in kept] == [
        (Outcome.JUNK, 364),
        (Outcome.LOST, 364),
        (Outcome.LOST, 31),
        (Outcome.DELIVERED, 29),
    ]
    # The one of 401 days is gone from the hours, too.
    assert sum(row.runs for row in (await count_of(database)).values()) == 7


async def test_thousands_of_rows_go_a_part_at_a_time_and_others_write_in_between(database: Database) -> None:
    history, retention = History(database), Retention(database)
    rows = [run_values(ended(n, at=NOON + n * SECOND), "JCM") for n in range(15 * AT_ONCE)]
    async with database.write() as connection:
        await connection.execute(insert(run), rows)
    change, written_at = database.change, list[int]()

    async def change_and_let_write(statement: UpdateBase) -> int:
        gone = await change(statement)
        written_at.append(await runs_in(database))
        await history.record_late_arrival("x", NOON)
        return gone

    database.change = change_and_let_write  # type: ignore[method-assign]
    assert await retention.dispose(KEEP, NOON + 40 * DAY) == 15 * AT_ONCE
    # Whoever writes meanwhile sees it grow less, and less by no more than so many at once.
    assert written_at[:16] == [max(0, number) * AT_ONCE for number in range(14, -2, -1)]


# -- what an earlier version stored ----------------------------------------------------------------------------------


async def store_as_before(database: Database, *results: ProbeResult) -> None:
    async with database.write() as connection:
        await connection.execute(insert(run_before), [run_values(result, "JCM") for result in results])


async def test_runs_that_an_earlier_version_stored_are_counted_and_the_young_ones_kept(database: Database) -> None:
    history, retention = History(database), Retention(database)
    now = NOON + 100 * DAY
    lost = replace(
        ended(3, Outcome.LOST, NOON), failure=Failure(phase=Phase.TRANSIT, party=Party.RECIPIENT, reason="not arrived")
    )
    young = ended(2, at=now - DAY)
    await store_as_before(database, ended(1, at=NOON), young, lost)
    # Also before they are moved nothing is missing from a dossier.
    assert len(await history.between("JCM", NOON, now)) == 3

    assert await retention.dispose(KEEP, now) == 1
    assert await history.between("JCM", NOON, now) == [lost, young]
    assert await runs_in(database, run_before) == 0
    assert {key: row.runs for key, row in (await count_of(database)).items()} == {
        (NOON, "delivered", ""): 1,
        (NOON, "lost", ""): 1,
        (now.replace(minute=0) - DAY, "delivered", ""): 1,
    }


async def test_a_crash_while_they_are_moved_loses_none_and_counts_none_twice(database: Database) -> None:
    await store_as_before(database, *(ended(n, at=NOON + n * SECOND) for n in range(3 * AT_ONCE)))

    class Crash(Exception):
        pass

    class Crashing(Retention):
        parts = 0

        async def _keep_young(self, *given: Any) -> int:
            await super()._keep_young(*given)
            self.parts += 1
            if self.parts == 2:
                raise Crash
            return 0

    with pytest.raises(Crash):
        await Crashing(database).dispose(KEEP, NOON + DAY)
    assert await runs_in(database, run_before) == 2 * AT_ONCE

    # Two at once: each row is given to one of them.
    await asyncio.gather(*(Retention(database).dispose(KEEP, NOON + DAY) for _ in range(2)))
    assert await runs_in(database) == 3 * AT_ONCE
    assert [row.runs for row in (await count_of(database)).values()] == [3 * AT_ONCE]
