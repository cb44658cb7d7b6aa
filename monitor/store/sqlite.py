"""The embedded store: one SQLite file, and a lock so that no second process uses it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from monitor.store.in_use import StoreInUseError
from monitor.store.migrations import upgrade

log = structlog.get_logger()

#: Set for a transaction that only reads.
READING = "pantau_read"


@asynccontextmanager
async def embedded(directory: Path) -> AsyncIterator[AsyncEngine]:
    """Open the file in *directory*, bringing its schema up to date; close it at the end of the block.

    Raise `StoreInUseError` when another process has it: two schedulers on one file would notify twice;
    `StoreTooNewError` when a newer version has used it.
    """
    # Where it really is: whoever comes by a symbolic link must meet the same lock.
    file = (directory / "pantau.sqlite").resolve()
    with ExitStack() as locks:
        locks.enter_context(_locked(file.parent / "pantau.lock", os.O_RDWR | os.O_CREAT))
        # Of a lock's file somebody may believe that it was left behind, and delete it. Not all file systems can do this.
        with suppress(OSError):
            locks.enter_context(_locked(file.parent, os.O_RDONLY | os.O_DIRECTORY))
        _make_private(file)
        url = f"sqlite+aiosqlite:///{file}"
        await asyncio.to_thread(upgrade, url.replace("+aiosqlite", ""))
        engine = create_async_engine(url, connect_args={"timeout": 30, "factory": _Connection}, hide_parameters=True)
        event.listen(engine.sync_engine, "connect", _prepare)
        event.listen(engine.sync_engine, "begin", _begin)
        try:
            yield engine
        finally:
            await engine.dispose()


class _Connection(sqlite3.Connection):
    """Lets go of the file when it is closed, whatever is left open in it.

    Whoever is cancelled in the middle of a statement has the connection closed without a rollback. SQLite keeps such a
    connection, and its lock, for as long as somebody holds a cursor: a traceback does.
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[None]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        directory = path if path.is_dir() else path.parent
        raise StoreInUseError(
            f"{directory} is in use by another pantau process; stop that one, or give this one another state directory"
        ) from None
    except OSError:
        os.close(descriptor)
        raise  # A file system without locks is another trouble than a second process.
    try:
        yield
    finally:
        os.close(descriptor)


def _make_private(path: Path) -> None:
    """See to it that only we can read the file, also in a directory that others made and can look into.

    SQLite gives its -wal and -shm files the same mode.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        if os.fstat(descriptor).st_nlink > 1:
            log.warning(
                "the store has a second name, a hard link: who opens it by that is not kept out", file=str(path)
            )
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
    read_only = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
