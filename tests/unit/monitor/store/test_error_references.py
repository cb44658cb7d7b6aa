"""References of a failed write: they are freed with its error, because the collector runs once an hour.

While the database is unavailable, writes fail every second.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from alerts.engine.group_commit import unit_of_work_commits
from alerts.persistence.store import StoreUnavailable, UnitOfWork
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import counter

#: A write that fails.
Write = Callable[[Database], Awaitable[object]]
ROW = {"name": "a", "next": 1}


class Broken(Exception):
    pass


async def alone(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(counter), ROW)


async def in_group_commit(database: Database) -> None:
    await database.group_commit.write([(insert(counter), ROW)])


async def in_unit_of_work(database: Database) -> None:
    async def work(uow: UnitOfWork) -> None:
        await uow.activate_incident(1)

    await unit_of_work_commits(SqlStore(database)).write(work)


async def failing_unit_of_work(database: Database) -> None:
    async def work(_: UnitOfWork) -> None:
        raise Broken

    await unit_of_work_commits(SqlStore(database)).write(work)


async def failing_unit_of_work_with_others(database: Database) -> None:
    async def work(_: UnitOfWork) -> int:
        return 1

    async def broken(_: UnitOfWork) -> int:
        raise Broken

    together = unit_of_work_commits(SqlStore(database))
    done = await asyncio.gather(*map(together.write, (work, broken, work)), return_exceptions=True)
    assert (done[0], done[2]) == (1, 1)
    try:
        assert isinstance(done[1], Broken)
        raise done[1]
    finally:
        del done


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("write", [alone, in_group_commit, in_unit_of_work])
@pytest.mark.parametrize("is_known", [False, True])
async def test_failed_write_of_unavailable_store_is_freed_with_error(
    tmp_path: Path, write: Write, *, is_known: bool
) -> None:
    async with Database.open(tmp_path) as database:
        with full_disk(), capture_logs():
            if is_known:
                with pytest.raises(StoreUnavailable):
                    await alone(database)
            errors = await failed(write, database, times=3 if is_known else 1, of=StoreUnavailable)
    assert not any(error() for error in errors)


@pytest.mark.parametrize("write", [failing_unit_of_work, failing_unit_of_work_with_others])
async def test_failed_unit_of_work_is_freed_with_error(tmp_path: Path, write: Write) -> None:
    async with Database.open(tmp_path) as database:
        errors = await failed(write, database, times=2, of=Broken)
    assert not any(error() for error in errors)


async def failed(
    write: Write, database: Database, *, times: int, of: type[Exception]
) -> list[weakref.ref[BaseException]]:
    errors: list[weakref.ref[BaseException]] = []
    for _ in range(times):
        try:
            await write(database)
        except of as error:
            errors += [weakref.ref(each) for each in chain_of(error)]
        await asyncio.sleep(0)
    assert len(errors) >= times
    return errors


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__context__
