"""Runs and hourly sums that sites publish for their hub, on both stores: publishing, validation and retention."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from monitor.model.renaming import RenamedKind, Renaming
from monitor.store.admin.renames import Renames
from monitor.store.backend.database import Database
from monitor.store.probing import site_runs
from monitor.store.probing.history import History
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.probing.site_runs import PUBLISHED_RETENTION, SiteFailures, SiteRecords, SiteRunWriter
from monitor.store.schema.lock import LOCK_CLASS
from monitor.store.schema.tables import site_hour, site_run
from probes.model.result import Failure, Outcome, Party, Phase
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, SECOND, T0
from tests.unit.monitor.store.probing.test_history import ended

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: T0 is 15 minutes after a full hour.
HOUR_START = T0 - 15 * MINUTE
ROUTE = "JCM/outbound/rujukan-a"
FAILURE = Failure(
    phase=Phase.SUBMIT, party=Party.SENDER, reason="refused", detail="5.7.1 tidak", code=550, status="5.7.1"
)
REFUSED = replace(ended(1, Outcome.REJECTED, T0, ROUTE), failure=FAILURE, phases={})


@pytest.fixture
async def shared(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path, postgres.store()) as database:
        yield database


async def failures(database: Database, most: int = 100, until: datetime = T0 + DAY) -> SiteFailures:
    (found,) = await SiteRecords(database, "noc", ["johor"]).failed("JCM", HOUR_START, until, most)
    return found


async def row_count(database: Database, table: Any) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def publish(database: Database, *results: Any, now: datetime = T0) -> None:
    history = History(database)
    for each in results:
        await history.record_run(each, "JCM", {})
    writer = SiteRunWriter(database, "johor")
    await writer.publish_failed(0, await writer.latest_run_id(), now)


async def write(database: Database, table: Any, values: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    async with database.write() as connection:
        await connection.execute(insert(table), values)


async def test_publish_failed_contains_failure_and_no_delivered_runs(database: Database) -> None:
    await publish(database, REFUSED, ended(2, at=T0 + SECOND, route=ROUTE))
    assert await failures(database) == SiteFailures(site="johor", results=[REFUSED])
    assert await SiteRecords(database, "noc", ()).failed("JCM", HOUR_START, T0, 9) == ()


async def test_publish_failed_each_run_once_in_order_of_ids(database: Database) -> None:
    writer, history = SiteRunWriter(database, "johor"), History(database)
    await history.record_run(REFUSED, "JCM", {})
    newest = await writer.latest_run_id()
    assert [await writer.publish_failed(0, newest, T0) for _ in range(2)] == [1, 0]
    # Stored late: the run began before published ones.
    await history.record_run(ended(2, Outcome.LOST, HOUR_START - DAY, ROUTE), "JCM", {})
    assert await writer.publish_failed(newest, newest, T0) == 0
    assert await writer.publish_failed(newest, newest + 1, T0) == 1
    assert await writer.latest_run_id() == newest + 1


async def test_run_id_before_is_before_first_failure_since(database: Database) -> None:
    writer, history = SiteRunWriter(database, "johor"), History(database)
    assert await writer.run_id_before(HOUR_START) == 0
    outcomes = (Outcome.LOST, Outcome.DELIVERED, Outcome.TIMEOUT, Outcome.LOST)
    for number, outcome in enumerate(outcomes):
        await history.record_run(ended(number, outcome, HOUR_START + number * MINUTE, ROUTE), "JCM", {})
    newest = await writer.latest_run_id()
    assert [newest - await writer.run_id_before(HOUR_START + after * MINUTE) for after in (0, 1, 3, 4)] == [4, 2, 1, 0]


async def test_publish_hour_large_hour_is_published_in_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_runs, "MAX_BATCH_ROWS", 2)
    for number in range(3):
        await History(database).record_run(ended(number, at=HOUR_START, route=f"{ROUTE}-{number}"), "JCM", {})
    assert [await SiteRunWriter(database, "johor").publish_hour(HOUR_START, T0) for _ in range(3)] == [2, 1, 0]


async def test_site_run_published_twice_is_one(database: Database) -> None:
    await publish(database, REFUSED)
    async with database.write() as connection:
        row = (await connection.execute(select(site_run))).one()._mapping
    await write(database, site_run, {**row, "published_at": T0 + HOUR})
    assert (await failures(database)).results == [REFUSED]


async def test_failed_limit_returns_newest_in_order(database: Database) -> None:
    await publish(database, *(ended(number, Outcome.LOST, T0 + number * SECOND, ROUTE) for number in range(4)))
    found = await failures(database, most=2)
    assert [each.token_id[-1] for each in found.results] == ["2", "3"]


@pytest.mark.parametrize(
    "invalid",
    [
        {"result": "nothing that can be read"},
        {"result": '{"failure": {"phase": "teleport", "party": "sender", "reason": ""}}'},
        {"result": "[]"},
        {"result": '{"failure": null, "uncertain": "' + "x" * 9000 + '"}'},
        {"outcome": "splendid"},
        {"outcome": "delivered"},
        {"route": "UCM/outbound/rujukan-a"},
        {"route": "JCM/outbound\n/x"},
        {"duration": float("inf")},
        {"duration": -1.0},
    ],
)
async def test_invalid_site_run_is_counted_and_hides_no_other(
    database: Database, invalid: Mapping[str, object]
) -> None:
    await publish(database, REFUSED)
    async with database.read() as connection:
        row = (await connection.execute(select(site_run))).one()._mapping
    await write(database, site_run, {**row, "token_id": "f" * 16, **invalid})
    assert await failures(database) == SiteFailures(site="johor", results=[REFUSED], invalid=1)


async def test_site_run_text_is_single_line_and_truncated(database: Database) -> None:
    unclean = replace(FAILURE, reason="a\n\x1b[31mb\u202e", detail="x" * 7000, status="5" * 90)
    await publish(database, replace(REFUSED, failure=unclean))
    (found,) = (await failures(database)).results
    assert found.failure is not None
    assert found.failure.reason == "a\ufffd\ufffd[31mb\ufffd"
    assert (len(found.failure.detail), len(found.failure.status or "")) == (500, 16)


async def test_publish_failed_too_long_failure_is_published_without_text(database: Database) -> None:
    await publish(database, replace(REFUSED, failure=replace(FAILURE, detail="x" * 9000)))
    (found,) = (await failures(database)).results
    assert (found.outcome, found.failure) == (Outcome.REJECTED, None)


@pytest.mark.real
@pytest.mark.parametrize("time", ["infinity", "-infinity", "294000-01-01"])
async def test_out_of_range_times_are_not_read_and_expire(shared: Database, time: str) -> None:
    await publish(shared, REFUSED)
    invalid_rows = (f"'{time}', 'f', published_at", f"started_at, 'e', '{time}'")
    async with shared.write() as connection:
        for each in invalid_rows:
            copied = f"SELECT 'johor', agency, {each}, route, duration, outcome, result FROM site_run LIMIT 1"
            names = "site, agency, started_at, token_id, published_at, route, duration, outcome, result"
            await connection.execute(text(f"INSERT INTO site_run ({names}) {copied}"))
    found = await failures(shared)
    assert {each.token_id for each in found.results} == {REFUSED.token_id, "e"}
    await Retention(shared, "noc").delete_expired(RetentionPolicy(delivered=DAY, failed=DAY, hourly=DAY), T0)
    assert await row_count(shared, site_run) == 2


async def test_publish_hour_after_its_end_and_again_when_changed(database: Database) -> None:
    history, writer = History(database), SiteRunWriter(database, "johor")
    await history.record_run(ended(1, at=HOUR_START, route=ROUTE), "JCM", {})
    for _ in range(2):
        await writer.publish_hour(HOUR_START, T0 + HOUR)
    await history.record_run(ended(2, at=HOUR_START + MINUTE, route=ROUTE), "JCM", {})
    await history.record_run(ended(3, Outcome.LOST, HOUR_START + MINUTE, ROUTE), "JCM", {})
    await history.record_run(ended(4, Outcome.INCONCLUSIVE, HOUR_START + MINUTE, ROUTE), "JCM", {})
    await writer.publish_hour(HOUR_START, T0 + 2 * HOUR)
    assert await row_count(database, site_hour) == 4
    noc, johor = await SiteRecords(database, "noc", ["johor"]).sums("JCM", HOUR_START)
    assert (noc.site, johor.site) == ("noc", "johor")
    assert replace(johor, site="noc") == noc
    assert (johor.runs, johor.delivered, johor.timed, johor.transit, johor.slowest) == (3, 2, 2, 2.0, 1.0)
    assert await SiteRecords(database, "noc", ()).sums("JCM", HOUR_START) == ()


async def test_first_hour_with_counts_is_found(database: Database) -> None:
    history, writer = History(database), SiteRunWriter(database, "johor")
    week = (HOUR_START - 7 * DAY, HOUR_START)
    assert await writer.first_hour(*week) is None
    for number, at in enumerate((HOUR_START, HOUR_START - 30 * HOUR, HOUR_START - 8 * DAY)):
        await history.record_run(ended(number, at=at + MINUTE, route=ROUTE), "JCM", {})
    assert await writer.first_hour(*week) == HOUR_START - 30 * HOUR
    assert await writer.first_hour(HOUR_START - 29 * HOUR, HOUR_START) == HOUR_START
    assert await writer.first_hour(HOUR_START - 29 * HOUR, HOUR_START - HOUR) is None


async def test_hour_republished_after_clock_set_back_has_all_runs(
    database: Database,
) -> None:
    history, writer = History(database), SiteRunWriter(database, "johor")
    await history.record_run(ended(1, at=HOUR_START, route=ROUTE), "JCM", {})
    await writer.publish_hour(HOUR_START, T0 + 2 * HOUR)
    await history.record_run(ended(2, at=HOUR_START + MINUTE, route=ROUTE), "JCM", {})
    await writer.publish_hour(HOUR_START, T0 + HOUR)
    _, johor = await SiteRecords(database, "noc", ["johor"]).sums("JCM", HOUR_START)
    assert johor.runs == 2


async def test_invalid_site_sums_are_left_out(database: Database) -> None:
    await History(database).record_run(ended(1, at=HOUR_START, route=ROUTE), "JCM", {})
    await SiteRunWriter(database, "johor").publish_hour(HOUR_START, T0)
    async with database.read() as connection:
        row = (await connection.execute(select(site_hour))).one()._mapping
    invalid_rows: Sequence[Mapping[str, object]]
    invalid_rows = ({"runs": -5}, {"transit": float("inf")}, {"slowest": -1.0}, {"outcome": "x"})
    for number, invalid in enumerate(invalid_rows):
        await write(database, site_hour, {**row, "route": f"JCM/{number}", **invalid})
    _, johor = await SiteRecords(database, "noc", ["johor"]).sums("JCM", HOUR_START)
    assert (johor.runs, johor.delivered, johor.transit) == (1, 1, 1.0)
    _, kuching = await SiteRecords(database, "noc", ["kuching"]).sums("JCM", HOUR_START)
    assert (kuching.runs, kuching.timed) == (0, 0)


async def test_site_and_hub_apply_own_retention(database: Database) -> None:
    await publish(database, REFUSED, now=T0)
    await SiteRunWriter(database, "johor").publish_hour(HOUR_START, T0)
    policy = RetentionPolicy(delivered=DAY, failed=365 * DAY, hourly=400 * DAY)
    for site, after, left in (
        ("johor", PUBLISHED_RETENTION - HOUR, (1, 1)),
        ("noc", 364 * DAY, (1, 1)),
        ("noc", 370 * DAY, (0, 1)),
        ("noc", 401 * DAY, (0, 0)),
    ):
        await Retention(database, site).delete_expired(policy, T0 + after)
        assert (await row_count(database, site_run), await row_count(database, site_hour)) == left
    await publish(database, REFUSED, now=T0 + MINUTE)
    await Retention(database, "johor").delete_expired(policy, T0 + PUBLISHED_RETENTION + HOUR)
    assert await row_count(database, site_run) == 0


async def test_site_run_with_future_time_is_deleted(database: Database) -> None:
    await publish(database, REFUSED)
    async with database.write() as connection:
        await connection.execute(update(site_run).values(started_at=T0 + 9999 * DAY))
    await Retention(database, "noc").delete_expired(RetentionPolicy(delivered=DAY, failed=DAY, hourly=DAY), T0)
    assert await row_count(database, site_run) == 0


async def test_rename_agency_renames_site_runs_and_hours(database: Database) -> None:
    await publish(database, REFUSED, ended(2, Outcome.LOST, T0, "JCM/internal"))
    await SiteRunWriter(database, "johor").publish_hour(HOUR_START, T0)
    renaming = Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM")
    await Renames(database, "noc").rename(renaming, by="Siti Contoh", now=T0)
    (found,) = await SiteRecords(database, "noc", ["johor"]).failed("JKM", HOUR_START, T0, 9)
    assert {each.route for each in found.results} == {"JKM/outbound/rujukan-a", "JKM/internal"}
    _, johor = await SiteRecords(database, "noc", ["johor"]).sums("JKM", HOUR_START)
    assert johor.runs == 2


@pytest.mark.real
async def test_publish_one_process_of_a_site_at_a_time(shared: Database) -> None:
    await History(shared).record_run(REFUSED, "JCM", {})
    writer = SiteRunWriter(shared, "johor")
    async with shared.write() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:locks, 3)"), {"locks": LOCK_CLASS})
        assert await writer.publish_failed(0, 9, T0) is None
        assert await writer.publish_hour(HOUR_START, T0) is None
    assert await writer.publish_failed(0, 9, T0) == 1


async def test_has_hub_true_once_site_partition_exists(database: Database) -> None:
    writer = SiteRunWriter(database, "kuala-lumpur")
    assert not await writer.has_hub()
    assert not await writer.is_read_by_hub()
    if database.is_shared:
        async with database.write() as connection:
            part = """CREATE TABLE "site_run_kuala-lumpur" PARTITION OF site_run FOR VALUES IN ('kuala-lumpur')"""
            await connection.execute(text(part))
        assert await writer.has_hub()
