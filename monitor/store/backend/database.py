"""Database: write transactions, consistent reads, availability. The same for both backends."""

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
from monitor.store.backend.postgres import PostgresServer, ServerClock, StoreUnusableError, shared, take_turn
from monitor.store.backend.process_lock import ProcessNameLock
from monitor.store.backend.repository import Statement, joined
from monitor.store.backend.sqlite import READING, OpenFile, Writer, embedded

__all__ = ["Database", "StoreInUseError", "StoreUnusableError"]

#: Seconds. A transaction on a server takes milliseconds; if a transaction takes this long, the server hangs.
_DEADLINE = 10.0
#: Minimum number of seconds between two group commits, each of which flushes the disk.
_APART = 0.01

Upsert = sqlite.Insert | postgresql.Insert
Ts = TypeVarTuple("Ts")
V = TypeVar("V")


class Database:
    """An open store: the embedded SQLite file, or a PostgreSQL that several engines share."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        *,
        writer: Writer | None = None,
        file: OpenFile | None = None,
        name: ProcessNameLock | None = None,
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._file = file
        self._name = name
        #: Clock for decisions: that of the PostgreSQL server, or of this machine.
        self.clock = clock
        self.presence = StoreAvailability(clock)
        self._is_shared = isinstance(clock, ServerClock)
        # SQLite has one writer. Waiting for this lock is fair and cheap; SQLite itself polls and may time out. With a
        # server, callers wait here instead of holding a connection.
        self._writing = asyncio.Lock()
        #: Group commit for many small writes; `joined` defines their order.
        self.together = GroupCommit[Sequence[Statement]](self._store, min_interval=_APART)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path, server: PostgresServer | None = None, *, name: str = "pantau"
    ) -> AsyncIterator[Database]:
        """Open the store and migrate its schema; close it at the end of the block.

        The store is the file in *directory*, or *server*, on which no other process may use *name*. Raise
        `StoreInUseError`, `StoreUnusableError`, `StoreTooNewError` or `StoreBarredError` with what to do.
        """
        clock = ServerClock()
        _make(directory)
        async with AsyncExitStack() as stack:
            try:
                if server is None:
                    engine, writer, file = await stack.enter_async_context(embedded(directory))
                    database = cls(engine, MachineClock(), writer=writer, file=file)
                else:
                    engine, own = await stack.enter_async_context(shared(server, clock, name))
                    database = cls(engine, clock, name=own)
            except DBAPIError as error:
                if (why := reason_of(error)) is None:
                    raise
                place = f"the file in {directory}" if server is None else str(server)
                raise StoreUnusableError(f"the store, {place}, cannot be opened: {why}") from None
            stack.push_async_callback(database.together.drain)
            yield database

    async def keep_name(self) -> None:
        """Keep the process name locked on a server, until cancelled. With a file, return at once.

        Raise `StoreInUseError` if another process has taken the name, for example while the server restarted.
        """
        if self._name is not None:
            await self._name.keep()

    @property
    def is_shared(self) -> bool:
        """Whether engines of other processes may use the store."""
        return self._is_shared

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Begin a write transaction: committed at the end of the block, rolled back on an error.

        Raise `StoreUnavailable`. Then nothing is written, unless the connection broke during the commit: then
        everything may be written.
        """
        async with nullcontext() if self.is_shared else self._writing, self._transaction() as connection:
            yield connection

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[AsyncConnection]:
        """Begin a write transaction that excludes all other exclusive transactions, in this and other processes.

        Data that only exclusive transactions write does not change until the end of the block.
        """
        async with self._writing, self._transaction() as connection:
            if isinstance(self.clock, ServerClock):
                await take_turn(connection, self.clock)
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Begin a consistent read transaction; readers and writers do not block each other."""
        options = (
            {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if self.is_shared else {READING: True}
        )
        self._check_file()
        with convert_unavailable():
            async with self._within_deadline(), self._engine.connect() as connection:
                yield await connection.execution_options(**options)

    async def rows(self, query: TypedReturnsRows[*Ts]) -> Sequence[Row[*Ts]]:
        """Return the rows of one query, in a transaction of its own."""
        async with self.read() as connection:
            return (await connection.execute(query)).all()

    async def row(self, query: TypedReturnsRows[*Ts]) -> Row[*Ts] | None:
        """Return the only row of a query, in a transaction of its own."""
        return next(iter(await self.rows(query)), None)

    async def values(self, query: TypedReturnsRows[V]) -> Sequence[V]:
        """Return the values of a query with one column, in a transaction of its own."""
        return [row[0] for row in await self.rows(query)]

    async def value(self, query: TypedReturnsRows[V]) -> V | None:
        """Return the only value of a query, in a transaction of its own."""
        return next(iter(await self.values(query)), None)

    async def change(self, statement: UpdateBase) -> int:
        """Execute one statement in a transaction of its own; return the number of changed rows."""
        async with self.write() as connection:
            return (await connection.execute(statement)).rowcount

    @property
    def upsert(self) -> Callable[[Table], Upsert]:
        """Return the insert with a conflict clause, which the dialects write differently."""
        return postgresql.insert if self.is_shared else sqlite.insert

    def put(self, table: Table) -> Upsert:
        """Return the insert that replaces rows with the same keys."""
        insert = self.upsert(table)
        updated = {each.name: insert.excluded[each.name] for each in table.c if not each.primary_key}
        return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=updated)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        with self.presence.writing():
            self._check_file()
            async with self._within_deadline(), self._engine.begin() as connection:
                yield connection

    async def _store(self, writes: Sequence[Sequence[Statement]]) -> Sequence[None]:
        if self._writer is None:
            async with self.write() as connection:
                for statement, rows in joined(writes):
                    await connection.execute(statement, rows)
        else:
            async with self._writing:
                with self.presence.writing():
                    self._check_file()
                    await self._writer.store(joined(writes))
        return [None] * len(writes)

    def _check_file(self) -> None:
        # Also for reads: opening a missing file would create an empty one.
        if self._file is not None:
            self._file.see()

    def _within_deadline(self) -> asyncio.Timeout:
        # SQLite has no deadline: a thread executes its calls, and could not be interrupted.
        return asyncio.timeout(_DEADLINE if self.is_shared else None)


def _make(directory: Path) -> None:
    # Private, because it also contains the control socket and the key that signs tokens.
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
