"""Embedded backend: one SQLite file, locked against a second process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import structlog
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.availability import StoreInUseError
from monitor.store.backend.cursor import PrefetchingConnection
from monitor.store.backend.repository import Batch
from monitor.store.schema.migrations import upgrade

log = structlog.get_logger()

#: Execution option of read transactions.
READING = "pantau_read"


@asynccontextmanager
async def embedded(directory: Path) -> AsyncIterator[tuple[AsyncEngine, Writer, OpenFile]]:
    """Open the file in *directory* and migrate its schema; close it at the end of the block.

    Raise `StoreInUseError` if another process has opened the file: two engines on one file would notify twice. Raise
    `StoreTooNewError` if a newer version has migrated the schema, and `StoreBarredError` if the store was moved.
    """
    # Resolve symbolic links, so that all paths lead to one lock.
    file = (directory / "pantau.sqlite").resolve()
    with lock_store(file.parent):
        opened = OpenFile(path=file, identity=_make_private(file))
        url = f"sqlite+aiosqlite:///{file}"
        in_a_thread = url.replace("+aiosqlite", "")
        await asyncio.to_thread(upgrade, in_a_thread)
        arguments = {"timeout": 30, "factory": _Connection, "check_same_thread": False}
        opening = partial(_opened, file, arguments)
        engine = create_async_engine(url, async_creator=opening, hide_parameters=True)
        writer = Writer(create_engine(in_a_thread, connect_args=arguments, hide_parameters=True))
        for each in (engine.sync_engine, writer.engine):
            event.listen(each, "connect", _prepare)
            event.listen(each, "begin", _begin)
        try:
            yield engine, writer, opened
        finally:
            writer.close()
            await engine.dispose()


@dataclass(frozen=True, slots=True)
class OpenFile:
    """The open file, which may have been deleted or moved since."""

    path: Path
    #: Device and inode.
    identity: tuple[int, int]

    def see(self) -> None:
        """Raise `StoreUnavailable` if the path does not lead to the open file any more. Takes microseconds."""
        with suppress(FileNotFoundError):
            if _identity(os.stat(self.path)) == self.identity:  # noqa: PTH116 - asked before each transaction
                return
        raise StoreUnavailable(
            f"{self.path} was deleted, moved or replaced while Pantau had it open, and what is written would be lost: "
            "put the file back as it was, or restart Pantau, which goes on with what is there then"
        )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Writer:
    """Executes whole transactions in a thread of its own.

    The asynchronous driver makes one call per statement, and each call waits for the event loop. So a small transaction
    would take three times the CPU and ten cycles of the loop, which is a second under load.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # A separate thread, because hanging DNS queries may occupy all threads of the default executor.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def store(self, batch: Batch) -> None:
        """Execute *batch* in one transaction. Raise the database's errors without storing anything."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store, batch)

    def _store(self, batch: Batch) -> None:
        with self.engine.begin() as connection:
            for statement, rows in batch:
                connection.execute(statement, rows)

    def close(self) -> None:
        """Close the file after the transaction in progress."""
        self._thread.shutdown()
        self.engine.dispose()


class _Connection(sqlite3.Connection):
    """Connection that releases the file when it is closed, even with open cursors.

    If a statement is cancelled, its connection is closed without a rollback. SQLite keeps the connection and its lock
    while a cursor exists, and a traceback may refer to a cursor.
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


async def _opened(file: Path, arguments: Mapping[str, Any]) -> aiosqlite.Connection:
    """Open the file. If that is cancelled, close it again, because the driver would leave the connection open."""
    connection = PrefetchingConnection(partial(sqlite3.connect, file, **arguments), iter_chunk_size=64)
    connection._thread.daemon = True  # noqa: SLF001 - whatever is left open must not keep the process from ending
    opening = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with suppress(sqlite3.Error):
            await (await opening).close()
        raise


@contextmanager
def lock_store(directory: Path) -> Iterator[None]:
    """Lock the store in *directory*. Raise `StoreInUseError` if another process has locked it."""
    with ExitStack() as locks:
        locks.enter_context(_locked(directory / "pantau.lock", os.O_RDWR | os.O_CREAT))
        # Lock the directory too, because a person may delete a lock file as a leftover. Not all file systems support
        # this.
        with suppress(OSError):
            locks.enter_context(_locked(directory, os.O_RDONLY | os.O_DIRECTORY))
        yield


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
        raise  # A file system without locks is another error than a second process.
    try:
        yield
    finally:
        os.close(descriptor)


def _make_private(path: Path) -> tuple[int, int]:
    """Make the file private, also in a directory that others can read.

    Return its identity. SQLite creates its -wal and -shm files with the same mode.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        status = os.fstat(descriptor)
        if status.st_nlink > 1:
            log.warning(
                "database file has a hard link; its lock does not protect against access by the other name",
                file=str(path),
            )
        return _identity(status)
    finally:
        os.close(descriptor)


def _prepare(connection: Any, _record: Any) -> None:
    """Set the pragmas of a new connection. With `synchronous=FULL`, committed data survives a power cut."""
    connection.isolation_level = None  # Transactions are begun here; the driver's own BEGIN comes too late.
    cursor = connection.cursor()
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
    except BaseException:
        # Close here, because no other code does: while the disk is full, each attempt would leave the file open until
        # its exception is collected.
        cursor.close()
        connection.close()
        raise
    cursor.close()


def _begin(connection: Any) -> None:
    # IMMEDIATE takes the write lock at once. A transaction that first reads and then writes could fail halfway.
    read_only = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
