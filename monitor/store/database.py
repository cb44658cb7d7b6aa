"""The database: one engine, writing transactions, and a lock so that no second process uses the same file."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from monitor.store.group_commit import GroupCommit
from monitor.store.migrations import upgrade


class StoreInUseError(Exception):
    """Another process has the store."""


class Database:
    """The embedded store: one SQLite file, one process, one writer at a time."""

    def __init__(self, engine: AsyncEngine, lock: int) -> None:
        self._engine = engine
        self._lock = lock
        # SQLite has one writer. Waiting here is fair and free; waiting in SQLite is a loop of sleeps that can time out.
        self._writing = asyncio.Lock()
        #: For writes that are many and small.
        self.together = GroupCommit(self.write)

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path) -> AsyncIterator[Database]:
        """Open the store in *directory*, bringing its schema up to date; close it at the end of the block.

        Raise `StoreInUseError` when another process has it: two schedulers on one file would notify twice;
        `StoreTooNewError` when a newer version has used it.
        """
        lock = _lock(directory / "pantau.lock")
        url = f"sqlite+aiosqlite:///{directory / 'pantau.sqlite'}"
        try:
            _make_private(directory / "pantau.sqlite")
            await asyncio.to_thread(upgrade, url.replace("+aiosqlite", ""))
            engine = create_async_engine(url, connect_args={"timeout": 30})
            event.listen(engine.sync_engine, "connect", _prepare)
            event.listen(engine.sync_engine, "begin", _begin)
            database = cls(engine, lock)
            try:
                yield database
            finally:
                await database.together.settle()
                await engine.dispose()
        finally:
            os.close(lock)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Begin a writing transaction: committed at the end of the block, rolled back on an error."""
        async with self._writing, self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a consistent view; readers do not wait for the writer (WAL)."""
        async with self._engine.connect() as connection:
            yield await connection.execution_options(pantau_read=True)


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise  # A file system without locks is another trouble than a second process.
        raise StoreInUseError(
            f"{path.parent} is in use by another pantau process; stop that one, or give this one another state directory"
        ) from None
    return descriptor


def _make_private(path: Path) -> None:
    """See to it that only we can read the file, also in a directory that others made and can look into.

    SQLite gives its -wal and -shm files the same mode.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _prepare(connection: Any, _record: Any) -> None:
    """Set what SQLite forgets between connections. FULL: a committed notice survives a power cut."""
    connection.isolation_level = None  # The transaction is ours; the driver's own BEGIN comes too late.
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    # IMMEDIATE takes the write lock at once; a reader that becomes a writer later may fail at the worst moment.
    read_only = connection.get_execution_options().get("pantau_read", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
