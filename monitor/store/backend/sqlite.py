"""Embedded backend: one SQLite file, which is locked so that no second process uses it."""

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

#: SQLAlchemy execution option that marks read transactions.
READ_ONLY_OPTION = "pantau_read"


@asynccontextmanager
async def open_sqlite(directory: Path) -> AsyncIterator[tuple[AsyncEngine, Writer, OpenFile]]:
    """Open the file in *directory* and migrate its schema; close it at the end of the block.

    Raise `StoreInUseError` if another process has opened the file: two processes on one file would send each
    notification twice. Raise `StoreTooNewError` if a newer version has migrated the schema, and `StoreBlockedError` if
    the store was moved to another place.
    """
    # Resolve symbolic links, so that all paths lead to one lock.
    file = (directory / "pantau.sqlite").resolve()
    with lock_store(file.parent):
        open_file = OpenFile(path=file, identity=_create_private(file))
        async_url = f"sqlite+aiosqlite:///{file}"
        sync_url = async_url.replace("+aiosqlite", "")
        await asyncio.to_thread(upgrade, sync_url)
        arguments = {"timeout": 30, "factory": _Connection, "check_same_thread": False}
        engine = create_async_engine(async_url, async_creator=partial(_connect, file, arguments), hide_parameters=True)
        writer = Writer(create_engine(sync_url, connect_args=arguments, hide_parameters=True))
        for each in (engine.sync_engine, writer.engine):
            event.listen(each, "connect", _set_pragmas)
            event.listen(each, "begin", _begin)
        try:
            yield engine, writer, open_file
        finally:
            writer.close()
            await engine.dispose()


@dataclass(frozen=True, slots=True)
class OpenFile:
    """The open SQLite file. A person may delete or move it while it is open."""

    path: Path
    #: Device and inode.
    identity: tuple[int, int]

    def check_in_place(self) -> None:
        """Raise `StoreUnavailable` if the path does not lead to the open file any more. Takes microseconds."""
        with suppress(FileNotFoundError):
            if _identity(os.stat(self.path)) == self.identity:  # noqa: PTH116 - called before each transaction
                return
        raise StoreUnavailable(
            f"{self.path} was deleted, moved or replaced while Pantau had it open, and new data would be lost: "
            "put the file back as it was, or restart Pantau, which then uses the file at that path"
        )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Writer:
    """Executes whole transactions in a thread of its own.

    The asynchronous driver makes one call per statement, and each call waits for the event loop. A small transaction
    would take three times the CPU time and ten cycles of the event loop: a second in all under load.
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
        """Close the file when the transaction in progress has ended."""
        self._thread.shutdown()
        self.engine.dispose()


class _Connection(sqlite3.Connection):
    """Connection whose `close` releases SQLite's lock, even if cursors are still open.

    If a statement is cancelled, the driver closes the connection without a rollback. SQLite keeps the connection and
    its lock as long as a cursor exists, and the traceback of an exception may refer to a cursor.
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


async def _connect(file: Path, arguments: Mapping[str, Any]) -> aiosqlite.Connection:
    """Open the file. If the opening is cancelled, close the connection, because the driver would leave it open."""
    connection = PrefetchingConnection(partial(sqlite3.connect, file, **arguments), iter_chunk_size=64)
    connection._thread.daemon = True  # noqa: SLF001 - an open connection must not keep the process from ending
    opening = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with suppress(sqlite3.Error):
            await (await opening).close()
        raise


@contextmanager
def lock_store(directory: Path) -> Iterator[None]:
    """Lock the store in *directory* during the block. Raise `StoreInUseError` if another process has locked it."""
    with ExitStack() as locks:
        locks.enter_context(_lock_path(directory / "pantau.lock", os.O_RDWR | os.O_CREAT))
        # Lock the directory too, because a person may delete a lock file that seems to be a leftover. Some file systems
        # cannot lock directories.
        with suppress(OSError):
            locks.enter_context(_lock_path(directory, os.O_RDONLY | os.O_DIRECTORY))
        yield


@contextmanager
def _lock_path(path: Path, flags: int) -> Iterator[None]:
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
        raise  # The file system does not support locks. This does not mean that a second process runs.
    try:
        yield
    finally:
        os.close(descriptor)


def _create_private(path: Path) -> tuple[int, int]:
    """Create the file if it does not exist, and let only its owner read it. Return its device and inode.

    SQLite creates its -wal and -shm files with the same mode.
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


def _set_pragmas(connection: Any, _record: Any) -> None:
    """Set the pragmas of a new connection. With `synchronous=FULL`, committed data survives a power cut."""
    # `_begin` starts transactions, because the driver's own BEGIN comes too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
    except BaseException:
        # Close the connection, because no other code does. Otherwise, while the disk is full, each attempt would leave
        # a file open until its exception is garbage-collected.
        cursor.close()
        connection.close()
        raise
    cursor.close()


def _begin(connection: Any) -> None:
    # IMMEDIATE takes the write lock at once. A transaction that first reads and then writes could fail halfway.
    read_only = connection.get_execution_options().get(READ_ONLY_OPTION, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
