"""Prefetching cursor: one thread call per statement, with the usual results."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.backend.cursor import PREFETCHED_ROWS, PrefetchingConnection
from monitor.store.backend.database import Database

#: Result lengths around the number of prefetched rows, and a long one.
LENGTHS = [0, 1, PREFETCHED_ROWS - 1, PREFETCHED_ROWS, PREFETCHED_ROWS + 1, 3 * PREFETCHED_ROWS + 7]
NUMBERS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT :count")


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the calls of the thread."""
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
async def test_cursor_returns_each_row_once_by_any_method(reading: AsyncConnection, count: int) -> None:
    expected = list(range(1, count + 1))
    assert (await reading.execute(NUMBERS, {"count": count})).scalars().all() == expected
    assert [row.i async for row in await reading.stream(NUMBERS, {"count": count})] == expected
    streamed = await reading.stream(NUMBERS, {"count": count})
    found = [row.i for row in await streamed.fetchmany(3)]
    if (one := await streamed.fetchone()) is not None:
        found.append(one.i)
    assert [*found, *[row.i for row in await streamed.fetchall()]] == expected


async def test_cursor_statement_needs_one_thread_call(reading: AsyncConnection, asked: list[Any]) -> None:
    await reading.execute(NUMBERS, {"count": 10})  # The transaction has begun.
    asked.clear()
    for _ in range(3):
        await reading.execute(NUMBERS, {"count": PREFETCHED_ROWS - 1})
    assert len(asked) == 3


async def test_cursor_streamed_result_is_read_on_demand(reading: AsyncConnection, asked: list[Any]) -> None:
    endless = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
    streamed = await reading.stream(endless)
    assert [row.i for row in await streamed.fetchmany(2)] == [1, 2]
    await streamed.close()
    assert (await reading.execute(NUMBERS, {"count": 1})).scalar_one() == 1


async def test_cursor_gives_rowcount_and_raises_database_errors(tmp_path: Path) -> None:
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
