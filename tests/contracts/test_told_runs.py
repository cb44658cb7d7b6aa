"""What sites tell their hub of runs, on both stores: told once and in parts, read with distrust, and gone when it is old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from monitor.model.renaming import Renamed, Renaming
from monitor.store.admin.renames import Renames
from monitor.store.backend.database import Database
from monitor.store.probing import site_runs
from monitor.store.probing.history import History
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.probing.site_runs import TOLD_MEMORY, SiteFailures, SiteRecords, SiteRunWriter
from monitor.store.schema.lock import LOCKS
from monitor.store.schema.tables import site_hour, site_run
from probes.model.result import Failure, Outcome, Party, Phase
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, SECOND, T0
from tests.unit.monitor.store.probing.test_history import ended

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: T0 is a quarter past.
NOON = T0 - 15 * MINUTE
ROUTE = "JCM/outbound/rujukan-a"
WHY = Failure(phase=Phase.SUBMIT, party=Party.SENDER, reason="refused", detail="5.7.1 tidak", code=550, status="5.7.1")
REFUSED = replace(ended(1, Outcome.REJECTED, T0, ROUTE), failure=WHY, phases={})


@pytest.fixture
async def shared(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path, postgres.store()) as database:
        yield database


async def failures(database: Database, most: int = 100, until: datetime = T0 + DAY) -> SiteFailures:
    (found,) = await SiteRecords(database, "noc", ["johor"]).failed("JCM", NOON, until, most)
    return found


async def rows_in(database: Database, table: Any) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def tell(database: Database, *results: Any, now: datetime = T0) -> None:
    history = History(database)
    for each in results:
        await history.record_run(each, "JCM", {})
    teller = SiteRunWriter(database, "johor")
    await teller.publish_failed(0, await teller.newest(), now)


async def write(database: Database, table: Any, values: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    async with database.write() as connection:
        await connection.execute(insert(table), values)


async def test_what_did_not_deliver_is_told_with_what_was_seen_and_what_delivered_is_not(database: Database) -> None:
    await tell(database, REFUSED, ended(2, at=T0 + SECOND, route=ROUTE))
    assert await failures(database) == SiteFailures(site="johor", results=[REFUSED])
    assert await SiteRecords(database, "noc", ()).failed("JCM", NOON, T0, 9) == ()


async def test_a_run_is_told_once_and_those_that_follow_by_their_number(database: Database) -> None:
    teller, history = SiteRunWriter(database, "johor"), History(database)
    await history.record_run(REFUSED, "JCM", {})
    newest = await teller.newest()
    assert [await teller.publish_failed(0, newest, T0) for _ in range(2)] == [1, 0]
    # Written late: it began before what was told already.
    await history.record_run(ended(2, Outcome.LOST, NOON - DAY, ROUTE), "JCM", {})
    assert await teller.publish_failed(newest, newest, T0) == 0
    assert await teller.publish_failed(newest, newest + 1, T0) == 1
    assert await teller.newest() == newest + 1


async def test_telling_begins_before_the_first_that_failed_since(database: Database) -> None:
    teller, history = SiteRunWriter(database, "johor"), History(database)
    assert await teller.before(NOON) == 0
    outcomes = (Outcome.LOST, Outcome.DELIVERED, Outcome.TIMEOUT, Outcome.LOST)
    for number, outcome in enumerate(outcomes):
        await history.record_run(ended(number, outcome, NOON + number * MINUTE, ROUTE), "JCM", {})
    newest = await teller.newest()
    assert [newest - await teller.before(NOON + after * MINUTE) for after in (0, 1, 3, 4)] == [4, 2, 1, 0]


async def test_an_hour_is_told_in_parts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_runs, "AT_ONCE", 2)
    for number in range(3):
        await History(database).record_run(ended(number, at=NOON, route=f"{ROUTE}-{number}"), "JCM", {})
    assert [await SiteRunWriter(database, "johor").publish_hour(NOON, T0) for _ in range(3)] == [2, 1, 0]


async def test_the_same_told_twice_is_one(database: Database) -> None:
    await tell(database, REFUSED)
    async with database.write() as connection:
        row = (await connection.execute(select(site_run))).one()._mapping
    await write(database, site_run, {**row, "published_at": T0 + HOUR})
    assert (await failures(database)).results == [REFUSED]


async def test_of_many_the_newest_are_read_the_oldest_first(database: Database) -> None:
    await tell(database, *(ended(number, Outcome.LOST, T0 + number * SECOND, ROUTE) for number in range(4)))
    found = await failures(database, most=2)
    assert [each.token_id[-1] for each in found.results] == ["2", "3"]


@pytest.mark.parametrize(
    "wrong",
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
async def test_what_makes_no_sense_is_counted_and_hides_nothing_else(
    database: Database, wrong: Mapping[str, object]
) -> None:
    await tell(database, REFUSED)
    async with database.read() as connection:
        row = (await connection.execute(select(site_run))).one()._mapping
    await write(database, site_run, {**row, "token_id": "f" * 16, **wrong})
    assert await failures(database) == SiteFailures(site="johor", results=[REFUSED], unclear=1)


async def test_words_of_a_site_are_on_one_line_and_of_a_length(database: Database) -> None:
    loud = replace(WHY, reason="a\n\x1b[31mb\u202e", detail="x" * 7000, status="5" * 90)
    await tell(database, replace(REFUSED, failure=loud))
    (found,) = (await failures(database)).results
    assert found.failure is not None
    assert found.failure.reason == "a\ufffd\ufffd[31mb\ufffd"
    assert (len(found.failure.detail), len(found.failure.status or "")) == (500, 16)


async def test_what_is_too_long_to_be_told_is_told_without_its_words(database: Database) -> None:
    await tell(database, replace(REFUSED, failure=replace(WHY, detail="x" * 9000)))
    (found,) = (await failures(database)).results
    assert (found.outcome, found.failure) == (Outcome.REJECTED, None)


@pytest.mark.real
@pytest.mark.parametrize("time", ["infinity", "-infinity", "294000-01-01"])
async def test_times_that_no_program_can_read_are_not_read_and_not_kept_for_ever(shared: Database, time: str) -> None:
    await tell(shared, REFUSED)
    odd = (f"'{time}', 'f', published_at", f"started_at, 'e', '{time}'")
    async with shared.write() as connection:
        for each in odd:
            copied = f"SELECT 'johor', agency, {each}, route, duration, outcome, result FROM site_run LIMIT 1"
            names = "site, agency, started_at, token_id, published_at, route, duration, outcome, result"
            await connection.execute(text(f"INSERT INTO site_run ({names}) {copied}"))
    found = await failures(shared)
    assert {each.token_id for each in found.results} == {REFUSED.token_id, "e"}
    await Retention(shared, "noc").dispose(RetentionPolicy(delivered=DAY, failed=DAY, hourly=DAY), T0)
    assert await rows_in(shared, site_run) == 2


async def test_hours_are_told_when_they_are_over_and_again_when_more_was_counted(database: Database) -> None:
    history, teller = History(database), SiteRunWriter(database, "johor")
    await history.record_run(ended(1, at=NOON, route=ROUTE), "JCM", {})
    for _ in range(2):
        await teller.publish_hour(NOON, T0 + HOUR)
    await history.record_run(ended(2, at=NOON + MINUTE, route=ROUTE), "JCM", {})
    await history.record_run(ended(3, Outcome.LOST, NOON + MINUTE, ROUTE), "JCM", {})
    await history.record_run(ended(4, Outcome.INCONCLUSIVE, NOON + MINUTE, ROUTE), "JCM", {})
    await teller.publish_hour(NOON, T0 + 2 * HOUR)
    assert await rows_in(database, site_hour) == 4
    ours, theirs = await SiteRecords(database, "noc", ["johor"]).sums("JCM", NOON)
    assert (ours.site, theirs.site) == ("noc", "johor")
    assert replace(theirs, site="noc") == ours
    assert (theirs.runs, theirs.delivered, theirs.timed, theirs.transit, theirs.slowest) == (3, 2, 2, 2.0, 1.0)
    assert await SiteRecords(database, "noc", ()).sums("JCM", NOON) == ()


async def test_the_first_hour_in_which_anything_was_counted_is_found(database: Database) -> None:
    history, teller = History(database), SiteRunWriter(database, "johor")
    week = (NOON - 7 * DAY, NOON)
    assert await teller.first_hour(*week) is None
    for number, at in enumerate((NOON, NOON - 30 * HOUR, NOON - 8 * DAY)):
        await history.record_run(ended(number, at=at + MINUTE, route=ROUTE), "JCM", {})
    assert await teller.first_hour(*week) == NOON - 30 * HOUR
    assert await teller.first_hour(NOON - 29 * HOUR, NOON) == NOON
    assert await teller.first_hour(NOON - 29 * HOUR, NOON - HOUR) is None


async def test_an_hour_that_is_told_again_after_the_sites_clock_was_set_back_counts_with_all_its_runs(
    database: Database,
) -> None:
    history, teller = History(database), SiteRunWriter(database, "johor")
    await history.record_run(ended(1, at=NOON, route=ROUTE), "JCM", {})
    await teller.publish_hour(NOON, T0 + 2 * HOUR)
    await history.record_run(ended(2, at=NOON + MINUTE, route=ROUTE), "JCM", {})
    await teller.publish_hour(NOON, T0 + HOUR)
    _, theirs = await SiteRecords(database, "noc", ["johor"]).sums("JCM", NOON)
    assert theirs.runs == 2


async def test_sums_that_nothing_can_come_to_are_left_out(database: Database) -> None:
    await History(database).record_run(ended(1, at=NOON, route=ROUTE), "JCM", {})
    await SiteRunWriter(database, "johor").publish_hour(NOON, T0)
    async with database.read() as connection:
        row = (await connection.execute(select(site_hour))).one()._mapping
    odd: Sequence[Mapping[str, object]]
    odd = ({"runs": -5}, {"transit": float("inf")}, {"slowest": -1.0}, {"outcome": "x"})
    for number, wrong in enumerate(odd):
        await write(database, site_hour, {**row, "route": f"JCM/{number}", **wrong})
    _, theirs = await SiteRecords(database, "noc", ["johor"]).sums("JCM", NOON)
    assert (theirs.runs, theirs.delivered, theirs.transit) == (1, 1, 1.0)
    _, nobody = await SiteRecords(database, "noc", ["kuching"]).sums("JCM", NOON)
    assert (nobody.runs, nobody.timed) == (0, 0)


async def test_each_end_keeps_by_its_own_rules(database: Database) -> None:
    await tell(database, REFUSED, now=T0)
    await SiteRunWriter(database, "johor").publish_hour(NOON, T0)
    keep = RetentionPolicy(delivered=DAY, failed=365 * DAY, hourly=400 * DAY)
    for site, after, left in (
        ("johor", TOLD_MEMORY - HOUR, (1, 1)),
        ("noc", 364 * DAY, (1, 1)),
        ("noc", 370 * DAY, (0, 1)),
        ("noc", 401 * DAY, (0, 0)),
    ):
        await Retention(database, site).dispose(keep, T0 + after)
        assert (await rows_in(database, site_run), await rows_in(database, site_hour)) == left
    await tell(database, REFUSED, now=T0 + MINUTE)
    await Retention(database, "johor").dispose(keep, T0 + TOLD_MEMORY + HOUR)
    assert await rows_in(database, site_run) == 0


async def test_what_is_said_to_have_been_long_after_now_is_not_kept_for_ever(database: Database) -> None:
    await tell(database, REFUSED)
    async with database.write() as connection:
        await connection.execute(update(site_run).values(started_at=T0 + 9999 * DAY))
    await Retention(database, "noc").dispose(RetentionPolicy(delivered=DAY, failed=DAY, hourly=DAY), T0)
    assert await rows_in(database, site_run) == 0


async def test_what_sites_have_told_follows_who_is_called_otherwise(database: Database) -> None:
    await tell(database, REFUSED, ended(2, Outcome.LOST, T0, "JCM/internal"))
    await SiteRunWriter(database, "johor").publish_hour(NOON, T0)
    renaming = Renaming(kind=Renamed.AGENCY, old="JCM", new="JKM")
    await Renames(database, "noc").rename(renaming, by="Siti Contoh", now=T0)
    (found,) = await SiteRecords(database, "noc", ["johor"]).failed("JKM", NOON, T0, 9)
    assert {each.route for each in found.results} == {"JKM/outbound/rujukan-a", "JKM/internal"}
    _, theirs = await SiteRecords(database, "noc", ["johor"]).sums("JKM", NOON)
    assert theirs.runs == 2


@pytest.mark.real
async def test_of_a_sites_processes_one_tells_at_a_time(shared: Database) -> None:
    await History(shared).record_run(REFUSED, "JCM", {})
    teller = SiteRunWriter(shared, "johor")
    async with shared.write() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:locks, 3)"), {"locks": LOCKS})
        assert await teller.publish_failed(0, 9, T0) is None
        assert await teller.publish_hour(NOON, T0) is None
    assert await teller.publish_failed(0, 9, T0) == 1


async def test_a_store_has_a_hub_once_it_has_a_part_of_its_own(database: Database) -> None:
    teller = SiteRunWriter(database, "kuala-lumpur")
    assert not await teller.has_hub()
    assert not await teller.is_heard()
    if database.is_shared:
        async with database.write() as connection:
            part = """CREATE TABLE "site_run_kuala-lumpur" PARTITION OF site_run FOR VALUES IN ('kuala-lumpur')"""
            await connection.execute(text(part))
        assert await teller.has_hub()
