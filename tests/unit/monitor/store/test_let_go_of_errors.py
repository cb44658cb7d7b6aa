"""What a failed write went through is freed with its error, and not by Python's collector: that comes by once in an hour.

While the store is away, writes fail every second.
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
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import counter

#: What writes, and fails.
Write = Callable[[Database], Awaitable[object]]
ROW = {"name": "a", "next": 1}


class Broken(Exception):
    pass


async def by_itself(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(counter), ROW)


async def in_a_group(database: Database) -> None:
    await database.together.write([(insert(counter), ROW)])


async def with_a_ledger(database: Database) -> None:
    async def work(uow: UnitOfWork) -> None:
        await uow.activate_incident(1)

    await unit_of_work_commits(SqlStore(database)).write(work)


async def work_of_ours_that_breaks(database: Database) -> None:
    async def work(_: UnitOfWork) -> None:
        raise Broken

    await unit_of_work_commits(SqlStore(database)).write(work)


async def work_of_ours_that_breaks_beside_others(database: Database) -> None:
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
    """Let nothing more be written to any file."""
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


@pytest.mark.parametrize("write", [by_itself, in_a_group, with_a_ledger])
@pytest.mark.parametrize("is_known", [False, True])
async def test_what_failed_because_the_store_is_away_is_freed_with_its_error(
    tmp_path: Path, write: Write, *, is_known: bool
) -> None:
    async with Database.open(tmp_path) as database:
        with full_disk(), capture_logs():
            if is_known:
                with pytest.raises(StoreUnavailable):
                    await by_itself(database)
            errors = await failed(write, database, times=3 if is_known else 1, of=StoreUnavailable)
    assert not any(error() for error in errors)


@pytest.mark.parametrize("write", [work_of_ours_that_breaks, work_of_ours_that_breaks_beside_others])
async def test_what_failed_for_a_bug_is_freed_with_its_error_too(tmp_path: Path, write: Write) -> None:
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
