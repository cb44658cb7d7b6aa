"""A statement asks the file's thread once, and its result is what it would be else."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.backend.cursor import AT_ONCE, PrefetchingConnection
from monitor.store.backend.database import Database

#: So many rows are one more than the first reading has, exactly those, one less, and many more.
LENGTHS = [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE + 7]
NUMBERS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT :count")


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note what the thread is asked for."""
    seen: list[Any] = []
    ask = PrefetchingConnection._execute

    async def noted(connection: PrefetchingConnection, function: Callable[..., Any], *arguments: Any) -> Any:
        seen.append(function)
        return await ask(connection, function, *arguments)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(PrefetchingConnection, "_execute", noted)
    return seen


@pytest.fixture
async def reading(tmp_path: Path) -> AsyncIterator[AsyncConnection]:
    async with Database.open(tmp_path) as database, database.read() as connection:
        yield connection


@pytest.mark.parametrize("count", LENGTHS)
async def test_all_rows_come_and_no_row_twice_whole_or_a_few_at_a_time(reading: AsyncConnection, count: int) -> None:
    expected = list(range(1, count + 1))
    assert (await reading.execute(NUMBERS, {"count": count})).scalars().all() == expected
    assert [row.i async for row in await reading.stream(NUMBERS, {"count": count})] == expected
    streamed = await reading.stream(NUMBERS, {"count": count})
    found = [row.i for row in await streamed.fetchmany(3)]
    if (one := await streamed.fetchone()) is not None:
        found.append(one.i)
    assert [*found, *[row.i for row in await streamed.fetchall()]] == expected


async def test_a_statement_asks_the_thread_once(reading: AsyncConnection, asked: list[Any]) -> None:
    await reading.execute(NUMBERS, {"count": 10})  # The transaction has begun.
    asked.clear()
    for _ in range(3):
        await reading.execute(NUMBERS, {"count": AT_ONCE - 1})
    assert len(asked) == 3


async def test_of_a_long_result_that_is_streamed_no_more_is_read_than_is_asked_for(
    reading: AsyncConnection, asked: list[Any]
) -> None:
    endless = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
    streamed = await reading.stream(endless)
    assert [row.i for row in await streamed.fetchmany(2)] == [1, 2]
    await streamed.close()
    assert (await reading.execute(NUMBERS, {"count": 1})).scalar_one() == 1


async def test_what_was_changed_is_counted_and_what_was_wrong_is_raised_and_holds_nothing_up(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        async with database.write() as connection:
            add = text("INSERT INTO counter (name, next) VALUES (:name, 1)")
            assert (await connection.execute(add, {"name": "a"})).rowcount == 1
            await connection.execute(add, [{"name": "b"}, {"name": "c"}])
            assert (await connection.execute(text("UPDATE counter SET next = 2"))).rowcount == 3
        with pytest.raises(IntegrityError):
            async with database.write() as connection:
                await connection.execute(add, {"name": "a"})
        with pytest.raises(DBAPIError) as raised:
            async with database.read() as connection:
                await connection.execute(text("SELECT abs(-9223372036854775808) FROM counter"))
        assert isinstance(raised.value.orig, sqlite3.Error)
        async with database.write() as connection:
            assert (await connection.execute(text("DELETE FROM counter"))).rowcount == 3
