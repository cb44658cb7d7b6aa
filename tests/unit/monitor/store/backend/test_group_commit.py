"""Group commit: writes share a transaction, fail separately and return after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from alerts.engine.group_commit import GroupCommit
from monitor.store.backend.database import Database
from monitor.store.backend.repository import Statement, group_statements
from monitor.store.schema.tables import callback_event, counter
from tests.unit.monitor.world import T0

_COUNTED = insert(counter)
_CALLBACK = insert(callback_event)


def counted(name: str, number: int = 1) -> Statement:
    return _COUNTED, {"name": name, "next": number}


def callback(event: str) -> Statement:
    return _CALLBACK, {"gateway": "sms", "event_id": event, "at": T0}


@dataclass
class Disk:
    """Database that counts its commits, and can hang or fail."""

    database: Database
    commits: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    full: bool = False

    async def commit(self, writes: Sequence[Sequence[Statement]]) -> Sequence[None]:
        async with self.database.write() as connection:
            for statement, rows in group_statements(writes):
                await connection.execute(statement, rows)
            await self.open.wait()
            if self.full:
                raise OSError("no space left on device")
            self.commits += 1
        return [None] * len(writes)

    async def names(self) -> list[str]:
        async with self.database.read() as connection:
            return sorted((await connection.execute(select(counter.c.name))).scalars())


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    async with Database.open(tmp_path) as database:
        disk = Disk(database)
        disk.open.set()
        yield disk


async def began(*writing: asyncio.Task[Any]) -> None:
    """Let each task run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in writing)


async def test_group_commit_single_write_is_immediate(disk: Disk) -> None:
    together = GroupCommit(disk.commit)
    await together.write([counted("a")])
    await together.write([counted("b"), callback("1")])

    assert (disk.commits, await disk.names()) == (2, ["a", "b"])


async def test_group_commit_writes_during_commit_share_next(disk: Disk) -> None:
    together = GroupCommit(disk.commit)
    disk.open.clear()
    async with asyncio.TaskGroup() as tasks:
        writing = [tasks.create_task(together.write([counted(str(n)), callback(str(n))])) for n in range(3)]
        await began(*writing)
        writing += [tasks.create_task(together.write([counted(str(n))])) for n in range(3, 100)]
        await began(*writing)
        disk.open.set()

    assert disk.commits == 2
    assert len(await disk.names()) == 100


async def test_group_commit_write_returns_after_commit(disk: Disk) -> None:
    together = GroupCommit(disk.commit)
    disk.open.clear()
    writing = asyncio.create_task(together.write([counted("a")]))
    await began(writing)
    assert await disk.names() == []

    disk.open.set()
    await writing
    assert await disk.names() == ["a"]


async def test_group_commit_failing_write_fails_alone(disk: Disk) -> None:
    together = GroupCommit(disk.commit)
    await together.write([counted("twice")])
    results = await asyncio.gather(
        together.write([counted("a")]),
        together.write([callback("lost with the rest"), counted("twice")]),
        together.write([counted("b"), callback("kept")]),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [type(None), IntegrityError, type(None)]
    assert await disk.names() == ["a", "b", "twice"]
    async with disk.database.read() as connection:
        assert list((await connection.execute(select(callback_event.c.event_id))).scalars()) == ["kept"]


async def test_group_commit_full_disk_fails_all_and_later_write_succeeds(disk: Disk) -> None:
    together = GroupCommit(disk.commit)
    disk.full = True
    results = await asyncio.gather(*(together.write([counted(str(n))]) for n in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["no space left on device"] * 3

    disk.full = False
    await together.write([counted("a")])
    assert await disk.names() == ["a"]


async def test_group_commit_later_write_wins(disk: Disk) -> None:
    upsert = counter.update().where(counter.c.name == "a")
    together = GroupCommit(disk.commit)
    await together.write([counted("a")])
    disk.open.clear()
    writing = [asyncio.create_task(together.write([(upsert, {"next": n})])) for n in range(10)]
    await began(*writing)
    disk.open.set()
    await asyncio.gather(*writing)
    async with disk.database.read() as connection:
        assert (await connection.execute(select(counter.c.next))).scalar_one() == 9


async def test_group_commit_cancelled_write_is_stored_with_others(disk: Disk) -> None:
    together = GroupCommit(disk.commit)
    disk.open.clear()
    first, second, third = (asyncio.create_task(together.write([counted(name)])) for name in ("a", "b", "c"))
    await began(first, second, third)
    first.cancel()
    second.cancel()
    disk.open.set()

    await third
    assert first.cancelled()
    assert second.cancelled()
    assert await disk.names() == ["a", "b", "c"]


async def test_database_close_writes_pending_first(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        writing = [asyncio.create_task(database.group_commit.write([counted(str(n))])) for n in range(20)]
        await began(*writing)
        for task in writing:
            task.cancel()
    async with Database.open(tmp_path) as database:
        assert len(await Disk(database).names()) == 20
