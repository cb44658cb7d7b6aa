"""Database with write transactions, consistent reads and availability, for both backends: SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from sqlalchemy import Row, Table, UpdateBase
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.selectable import TypedReturnsRows

from alerts.engine.group_commit import GroupCommit
from alerts.persistence.clock import Clock
from monitor.runtime.clock import MachineClock
from monitor.store.backend.availability import StoreAvailability, StoreInUseError, convert_unavailable, reason_of
from monitor.store.backend.postgres import (
    PostgresServer,
    ServerClock,
    StoreUnusableError,
    lock_exclusively,
    open_postgres,
)
from monitor.store.backend.process_lock import ProcessNameLock
from monitor.store.backend.repository import Statement, group_statements
from monitor.store.backend.sqlite import READ_ONLY_OPTION, OpenFile, Writer, open_sqlite

__all__ = ["Database", "StoreInUseError", "StoreUnusableError"]

#: Timeout of a transaction on a server. Transactions take milliseconds; if one takes this long, the server hangs.
_TRANSACTION_TIMEOUT_SECONDS = 10.0
#: Minimum interval between two group commits, each of which flushes the disk.
_MIN_COMMIT_INTERVAL_SECONDS = 0.01

Upsert = sqlite.Insert | postgresql.Insert
Ts = TypeVarTuple("Ts")
V = TypeVar("V")


class Database:
    """An open store: a SQLite file that one process uses, or a PostgreSQL database that several processes share.

    Queries raise `StoreUnavailable` when the database is unavailable.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        *,
        writer: Writer | None = None,
        file: OpenFile | None = None,
        name_lock: ProcessNameLock | None = None,
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._file = file
        self._name_lock = name_lock
        #: Clock for decisions: the clock of the PostgreSQL server, or of this machine.
        self.clock = clock
        self.availability = StoreAvailability(clock)
        self._is_shared = isinstance(clock, ServerClock)
        # SQLite has one writer. Waiting for this lock is fair and cheap; SQLite itself polls and may time out. With a
        # server, callers of `exclusive` wait here instead of holding a connection.
        self._writing = asyncio.Lock()
        #: Group commit: many small writes in one transaction. `group_statements` defines the order of their statements.
        self.group_commit = GroupCommit[Sequence[Statement]](self._store, min_interval=_MIN_COMMIT_INTERVAL_SECONDS)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path, server: PostgresServer | None = None, *, name: str = "pantau"
    ) -> AsyncIterator[Database]:
        """Open the store and migrate its schema; close it at the end of the block.

        The store is the PostgreSQL *server*, or the SQLite file in *directory*. *name*: name of this process, which no
        other process on the server may use. Raise `StoreInUseError`, `StoreUnusableError`, `StoreTooNewError` (a newer
        version has migrated it) or `StoreBlockedError` (it was moved); the messages say what to do.
        """
        clock = ServerClock()
        _make_private(directory)
        async with AsyncExitStack() as stack:
            try:
                if server is None:
                    engine, writer, file = await stack.enter_async_context(open_sqlite(directory))
                    database = cls(engine, MachineClock(), writer=writer, file=file)
                else:
                    engine, name_lock = await stack.enter_async_context(open_postgres(server, clock, name))
                    database = cls(engine, clock, name_lock=name_lock)
            except DBAPIError as error:
                if (reason := reason_of(error)) is None:
                    raise
                location = f"the file in {directory}" if server is None else str(server)
                raise StoreUnusableError(f"the store, {location}, cannot be opened: {reason}") from None
            stack.push_async_callback(database.group_commit.drain)
            yield database

    async def keep_process_name(self) -> None:
        """Keep the process name locked on a server, until cancelled. With a SQLite file, return at once.

        Raise `StoreInUseError` if another process has taken the name, for example while the server restarted.
        """
        if self._name_lock is not None:
            await self._name_lock.keep()

    @property
    def is_shared(self) -> bool:
        """Whether other processes may use the store: it is on a PostgreSQL server."""
        return self._is_shared

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Begin a write transaction: committed at the end of the block, rolled back on an error.

        Raise `StoreUnavailable`. Nothing is written then, with one exception: if the connection breaks during the
        commit, the outcome is unknown.
        """
        async with nullcontext() if self.is_shared else self._writing, self._transaction() as connection:
            yield connection

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[AsyncConnection]:
        """Begin a write transaction that excludes all other exclusive transactions, in this and other processes.

        Data that is written only in exclusive transactions does not change until the end of the block.
        """
        async with self._writing, self._transaction() as connection:
            if isinstance(self.clock, ServerClock):
                await lock_exclusively(connection, self.clock)
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Begin a read transaction on a consistent snapshot. Readers and writers do not block each other."""
        options = (
            {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            if self.is_shared
            else {READ_ONLY_OPTION: True}
        )
        self._check_file()
        with convert_unavailable():
            async with self._transaction_timeout(), self._engine.connect() as connection:
                yield await connection.execution_options(**options)

    async def rows(self, query: TypedReturnsRows[*Ts]) -> Sequence[Row[*Ts]]:
        """Return the rows of one query, in a transaction of its own."""
        async with self.read() as connection:
            return (await connection.execute(query)).all()

    async def row(self, query: TypedReturnsRows[*Ts]) -> Row[*Ts] | None:
        """Return the first row of a query, in a transaction of its own; `None`: there is none."""
        return next(iter(await self.rows(query)), None)

    async def values(self, query: TypedReturnsRows[V]) -> Sequence[V]:
        """Return the values of a query with one column, in a transaction of its own."""
        return [row[0] for row in await self.rows(query)]

    async def value(self, query: TypedReturnsRows[V]) -> V | None:
        """Return the first value of a query with one column, in a transaction of its own; `None`: there is none."""
        return next(iter(await self.values(query)), None)

    async def change(self, statement: UpdateBase) -> int:
        """Execute one statement in a transaction of its own; return the number of changed rows."""
        async with self.write() as connection:
            return (await connection.execute(statement)).rowcount

    @property
    def upsert(self) -> Callable[[Table], Upsert]:
        """Return the dialect's insert function, whose statements support ON CONFLICT."""
        return postgresql.insert if self.is_shared else sqlite.insert

    def put(self, table: Table) -> Upsert:
        """Return an insert that replaces rows with the same primary key."""
        insert = self.upsert(table)
        updated = {each.name: insert.excluded[each.name] for each in table.c if not each.primary_key}
        return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=updated)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        with self.availability.writing():
            self._check_file()
            async with self._transaction_timeout(), self._engine.begin() as connection:
                yield connection

    async def _store(self, writes: Sequence[Sequence[Statement]]) -> Sequence[None]:
        """Store a group commit. *writes*: the statements of each caller."""
        if self._writer is None:
            async with self.write() as connection:
                for statement, rows in group_statements(writes):
                    await connection.execute(statement, rows)
        else:
            async with self._writing:
                with self.availability.writing():
                    self._check_file()
                    await self._writer.store(group_statements(writes))
        return [None] * len(writes)

    def _check_file(self) -> None:
        # Before reads too: opening a missing file would create an empty one.
        if self._file is not None:
            self._file.check_in_place()

    def _transaction_timeout(self) -> asyncio.Timeout:
        # SQLite's calls run in a thread, which cannot be interrupted.
        return asyncio.timeout(_TRANSACTION_TIMEOUT_SECONDS if self.is_shared else None)


def _make_private(directory: Path) -> None:
    # The directory also contains the control socket and the key that signs tokens: only its owner may read it.
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
