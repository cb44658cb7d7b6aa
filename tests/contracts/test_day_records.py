"""Day timelines on both stores: merging, batches, retention and renaming."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, insert, select

from alerts.persistence.store import StoreUnavailable
from monitor.model.day import DayTimeline, MinuteState, day_of
from monitor.model.renaming import RenamedKind, Renaming
from monitor.store.admin.renames import Renames
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.probing.days import BATCH_SIZE, DayRecords, Key
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.schema.tables import day
from monitor.views.days import read_days
from tests.contracts.test_store_plans import record_statements
from tests.unit.alerts.people import T0

Open = Callable[[], AbstractAsyncContextManager[Database]]

TODAY = date(2026, 11, 24)
DAY = timedelta(days=1)
UP, NO_MAIL = MinuteState.UP, MinuteState.NO_MAIL


def timelines(written: str, *agencies: str, on: date = TODAY) -> dict[Key, DayTimeline]:
    return {(agency, on): DayTimeline(written) for agency in agencies or ("JCM",)}


async def stored(database: Database, agency: str = "JCM") -> dict[date, str]:
    return {on: str(timeline) for on, timeline in (await DayRecords(database).since(agency, TODAY - 999 * DAY)).items()}


async def test_add_merges_with_stored_timeline(database: Database) -> None:
    records = DayRecords(database)
    for written in ("w10", "-10w10", "-5s3", "-5r2", "-5r2"):
        await records.add(timelines(written))
    assert await stored(database) == {TODAY: "w5b2s1w12"}
    assert await stored(database, "MDC") == {}


async def test_joined_days_returns_one_text_per_agency(database: Database) -> None:
    records = DayRecords(database)
    assert await records.joined_days(["JCM"], TODAY) == {}
    for ago in range(3):
        await records.add(timelines(f"w{ago + 1}", "JCM", "MDC", on=TODAY - ago * DAY))
    await records.add(timelines("", "KOSONG"))
    found = await records.joined_days(["JCM", "KOSONG", "LAIN"], TODAY - DAY)
    assert {code: read_days(text) for code, text in found.items()} == {
        "JCM": {TODAY: "w1", TODAY - DAY: "w2"},
        "KOSONG": {TODAY: ""},
    }


async def test_add_removes_stored_days_from_pending(database: Database) -> None:
    pending = timelines("w1", *(f"A{n:03}" for n in range(2 * BATCH_SIZE + 1)))
    await DayRecords(database).add(pending)
    assert pending == {}


async def test_concurrent_writers_of_same_agencies_merge_without_loss(
    open_database: Open, server: PostgresServer | None
) -> None:
    codes = [f"A{n:03}" for n in range(3)]

    async def add_minutes(records: DayRecords, odd: int) -> None:
        for minute in range(odd, 60, 2):
            # Each writer sees every other minute; both see the tenth. In the twentieth each sees one direction fail.
            await records.add(timelines(f"-{minute}w1", *codes))
            await records.add(timelines(f"-10w1-9{'sr'[odd]}1", *reversed(codes)))

    async with open_database() as one:
        if server is None:
            await asyncio.gather(add_minutes(DayRecords(one), 0), add_minutes(DayRecords(one), 1))
        else:
            async with Database.open(Path(), server, name="lain") as other:
                await asyncio.gather(add_minutes(DayRecords(one), 0), add_minutes(DayRecords(other), 1))
        for code in codes:
            assert await stored(one, code) == {TODAY: "w20b1w39"}


async def test_add_store_unavailable_keeps_rest_pending(database: Database) -> None:
    pending = timelines("w1", *(f"A{n:03}" for n in range(2 * BATCH_SIZE)))
    records, commits = DayRecords(database), 0
    write = database.write

    def fails_later() -> AbstractAsyncContextManager[object]:
        nonlocal commits
        commits += 1
        if commits > 1:
            raise StoreUnavailable("contoh")
        return write()

    database.write = fails_later  # type: ignore[assignment, method-assign]
    with pytest.raises(StoreUnavailable):
        await records.add(pending)
    assert len(pending) == BATCH_SIZE
    database.write = write  # type: ignore[method-assign]
    await records.add(pending)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(day))).scalar_one() == 2 * BATCH_SIZE


async def test_on_reads_all_agencies_of_given_days(database: Database) -> None:
    records = DayRecords(database)
    await records.add(
        timelines("w1", "JCM", "MDC") | timelines("w2", on=TODAY - DAY) | timelines("w3", on=TODAY - 2 * DAY)
    )
    found = await records.on([TODAY, TODAY - DAY])
    assert {key: str(timeline) for key, timeline in found.items()} == {
        ("JCM", TODAY): "w1",
        ("MDC", TODAY): "w1",
        ("JCM", TODAY - DAY): "w2",
    }


async def test_days_are_deleted_after_retention(database: Database) -> None:
    records, today = DayRecords(database), day_of(T0)
    for ago in (0, 399, 400, 401, 900):
        await records.add(timelines("w1", on=today - ago * DAY))
    keep = RetentionPolicy(delivered=DAY, failed=DAY, hourly=DAY, daily=400 * DAY)
    await Retention(database).delete_expired(keep, T0)
    assert set(await stored(database)) == {today, today - 399 * DAY, today - 400 * DAY}


async def test_rename_agency_merges_days(database: Database) -> None:
    records = DayRecords(database)
    await records.add(timelines("w10") | timelines("w9", on=TODAY - DAY) | timelines("w8", "UCM"))
    # The agency was probed under the new name before the rename.
    await records.add(timelines("-5b10", "JKM"))
    await Renames(database).rename(Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM"), by="Siti Contoh", now=T0)
    assert await stored(database, "JKM") == {TODAY: "w5b10", TODAY - DAY: "w9"}
    assert await stored(database) == {}
    assert await stored(database, "UCM") == {TODAY: "w8"}

    await Renames(database).rename(
        Renaming(kind=RenamedKind.MAILBOX, old="JKM/utama", new="JKM/lain"), by="Siti Contoh", now=T0
    )
    assert await stored(database, "JKM") == {TODAY: "w5b10", TODAY - DAY: "w9"}


async def test_since_and_on_use_indexes_with_long_history(
    database: Database, server: PostgresServer | None, tmp_path: Path
) -> None:
    rows = [
        {"agency": f"A{n:03}", "date": TODAY - ago * DAY, "minutes": "w1440"} for n in range(60) for ago in range(400)
    ]
    # Not in one transaction: a busy machine may not end it before its deadline.
    for begin in range(0, len(rows), 4000):
        async with database.write() as connection:
            await connection.execute(insert(day), rows[begin : begin + 4000])
    with record_statements() as said:
        found = await DayRecords(database).since("A007", TODAY - 89 * DAY)
        on = await DayRecords(database).on([TODAY, TODAY - DAY])
    assert (len(found), len(on)) == (90, 120)

    engine = create_engine(f"sqlite:///{tmp_path / 'pantau.sqlite'}" if server is None else server.url())
    with engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        explain = "EXPLAIN QUERY PLAN" if server is None else "EXPLAIN"
        by_key, by_date = (
            str(connection.exec_driver_sql(f"{explain} {each.statement}", each.values).all())
            for each in said.values()
            if "FROM day" in each.statement
        )
    engine.dispose()
    assert re.search("PRIMARY KEY \\(agency=\\? AND date>\\?\\)|pk_day", by_key), by_key
    assert "ix_day_date" in by_date
