"""The days of agencies in the store: whoever adds, however often, a minute is one minute."""

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
from monitor.model.renaming import Renamed, Renaming
from monitor.store.admin.renames import Renames
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.probing.days import AT_ONCE, DayRecords, Key
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.schema.tables import day
from monitor.views.days import read_days
from tests.contracts.test_store_plans import overhearing
from tests.unit.alerts.people import T0

Open = Callable[[], AbstractAsyncContextManager[Database]]

TODAY = date(2026, 11, 24)
DAY = timedelta(days=1)
WELL, OUT = MinuteState.UP, MinuteState.NO_MAIL


def sheets(written: str, *agencies: str, on: date = TODAY) -> dict[Key, DayTimeline]:
    return {(agency, on): DayTimeline(written) for agency in agencies or ("JCM",)}


async def kept(database: Database, agency: str = "JCM") -> dict[date, str]:
    return {on: str(sheet) for on, sheet in (await DayRecords(database).since(agency, TODAY - 999 * DAY)).items()}


async def test_what_is_added_joins_what_is_there(database: Database) -> None:
    records = DayRecords(database)
    for written in ("w10", "-10w10", "-5s3", "-5r2", "-5r2"):
        await records.add(sheets(written))
    assert await kept(database) == {TODAY: "w5b2s1w12"}
    assert await kept(database, "MDC") == {}


async def test_the_days_of_many_agencies_come_as_one_text_each(database: Database) -> None:
    records = DayRecords(database)
    assert await records.gathered(["JCM"], TODAY) == {}
    for ago in range(3):
        await records.add(sheets(f"w{ago + 1}", "JCM", "MDC", on=TODAY - ago * DAY))
    await records.add(sheets("", "KOSONG"))
    found = await records.gathered(["JCM", "KOSONG", "LAIN"], TODAY - DAY)
    assert {code: read_days(text) for code, text in found.items()} == {
        "JCM": {TODAY: "w1", TODAY - DAY: "w2"},
        "KOSONG": {TODAY: ""},
    }


async def test_what_is_stored_is_owed_no_more(database: Database) -> None:
    owed = sheets("w1", *(f"A{n:03}" for n in range(2 * AT_ONCE + 1)))
    await DayRecords(database).add(owed)
    assert owed == {}


async def test_two_that_watch_the_same_agencies_lose_nothing_of_each_other_and_count_nothing_twice(
    open_database: Open, server: PostgresServer | None
) -> None:
    codes = [f"A{n:03}" for n in range(3)]

    async def watch(records: DayRecords, odd: int) -> None:
        for minute in range(odd, 60, 2):
            # Each sees every other minute, both the tenth and, of the twentieth, one sending fail and one receiving.
            await records.add(sheets(f"-{minute}w1", *codes))
            await records.add(sheets(f"-10w1-9{'sr'[odd]}1", *reversed(codes)))

    async with open_database() as one:
        if server is None:
            await asyncio.gather(watch(DayRecords(one), 0), watch(DayRecords(one), 1))
        else:
            async with Database.open(Path(), server, name="lain") as other:
                await asyncio.gather(watch(DayRecords(one), 0), watch(DayRecords(other), 1))
        for code in codes:
            assert await kept(one, code) == {TODAY: "w20b1w39"}


async def test_what_a_store_that_is_away_did_not_take_is_still_owed(database: Database) -> None:
    owed = sheets("w1", *(f"A{n:03}" for n in range(2 * AT_ONCE)))
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
        await records.add(owed)
    assert len(owed) == AT_ONCE
    database.write = write  # type: ignore[method-assign]
    await records.add(owed)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(day))).scalar_one() == 2 * AT_ONCE


async def test_all_agencies_of_some_days_are_read_at_once(database: Database) -> None:
    records = DayRecords(database)
    await records.add(sheets("w1", "JCM", "MDC") | sheets("w2", on=TODAY - DAY) | sheets("w3", on=TODAY - 2 * DAY))
    found = await records.on([TODAY, TODAY - DAY])
    assert {key: str(sheet) for key, sheet in found.items()} == {
        ("JCM", TODAY): "w1",
        ("MDC", TODAY): "w1",
        ("JCM", TODAY - DAY): "w2",
    }


async def test_days_go_when_they_were_kept_long_enough(database: Database) -> None:
    records, today = DayRecords(database), day_of(T0)
    for ago in (0, 399, 400, 401, 900):
        await records.add(sheets("w1", on=today - ago * DAY))
    keep = RetentionPolicy(delivered=DAY, failed=DAY, hourly=DAY, daily=400 * DAY)
    await Retention(database).dispose(keep, T0)
    assert set(await kept(database)) == {today, today - 399 * DAY, today - 400 * DAY}


async def test_days_follow_an_agency_that_is_called_otherwise(database: Database) -> None:
    records = DayRecords(database)
    await records.add(sheets("w10") | sheets("w9", on=TODAY - DAY) | sheets("w8", "UCM"))
    # It was watched under the new name before anybody said that it is the same one.
    await records.add(sheets("-5b10", "JKM"))
    await Renames(database).rename(Renaming(kind=Renamed.AGENCY, old="JCM", new="JKM"), by="Siti Contoh", now=T0)
    assert await kept(database, "JKM") == {TODAY: "w5b10", TODAY - DAY: "w9"}
    assert await kept(database) == {}
    assert await kept(database, "UCM") == {TODAY: "w8"}

    await Renames(database).rename(
        Renaming(kind=Renamed.MAILBOX, old="JKM/utama", new="JKM/lain"), by="Siti Contoh", now=T0
    )
    assert await kept(database, "JKM") == {TODAY: "w5b10", TODAY - DAY: "w9"}


async def test_ninety_days_of_one_among_many_are_found_by_the_key_whatever_the_history(
    database: Database, server: PostgresServer | None, tmp_path: Path
) -> None:
    rows = [
        {"agency": f"A{n:03}", "date": TODAY - ago * DAY, "minutes": "w1440"} for n in range(60) for ago in range(400)
    ]
    # Not in one transaction: a busy machine may not end it before its deadline.
    for begin in range(0, len(rows), 4000):
        async with database.write() as connection:
            await connection.execute(insert(day), rows[begin : begin + 4000])
    with overhearing() as said:
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
