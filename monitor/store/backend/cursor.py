"""SQLite connection that executes a statement and fetches its rows in one call to its thread.

aiosqlite makes one call per step: create a cursor, execute, fetch, close. Each call waits for the thread and then for
the event loop. These waits cost more than most statements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final, Self

import aiosqlite

#: Number of rows fetched in the call that executes a statement. Most results have fewer rows.
PREFETCHED_ROWS: Final = 1000


class PrefetchingConnection(aiosqlite.Connection):
    """Connection whose cursors SQLAlchemy's dialect uses like those of aiosqlite."""

    def cursor(self) -> PrefetchingCursor:  # type: ignore[override]  # the dialect uses only the methods below
        """Return a cursor, without a call to the thread."""
        return PrefetchingCursor(self)

    async def run_in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Run *function* in the connection's thread. Raise its errors."""
        return await self._execute(function, *arguments)  # type: ignore[no-untyped-call]  # aiosqlite has no type here

    def execute_and_prefetch(self, execute: Callable[[sqlite3.Cursor], object]) -> tuple[sqlite3.Cursor, Sequence[Any]]:
        """Execute a statement; return its cursor and its first rows. Must be called in the connection's thread.

        The cursor is closed if there are no further rows.
        """
        cursor = self._conn.cursor()
        rows: Sequence[Any] = ()
        try:
            execute(cursor)
            if cursor.description:
                rows = cursor.fetchmany(PREFETCHED_ROWS)
        finally:
            if len(rows) < PREFETCHED_ROWS:
                cursor.close()
        return cursor, rows


class PrefetchingCursor:
    """Cursor (PEP 249) that holds the first rows of the latest statement and fetches the others on demand."""

    #: Default size of `fetchmany` (PEP 249).
    arraysize = 1

    def __init__(self, connection: PrefetchingConnection) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        #: The driver's cursor while it may have further rows.
        self._open: sqlite3.Cursor | None = None
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, operation: str, parameters: Sequence[Any] = ()) -> Self:
        """Execute a statement. Raise the driver's errors."""
        return await self._begin(lambda cursor: cursor.execute(operation, parameters))

    async def executemany(self, operation: str, parameters: Iterable[Sequence[Any]]) -> Self:
        """Execute a statement for each of *parameters*. Raise the driver's errors."""
        return await self._begin(lambda cursor: cursor.executemany(operation, parameters))

    async def _begin(self, execute: Callable[[sqlite3.Cursor], object]) -> Self:
        await self.close()
        cursor, self._rows = await self._connection.run_in_thread(self._connection.execute_and_prefetch, execute)
        self._open = cursor if len(self._rows) == PREFETCHED_ROWS else None
        self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
        return self

    async def fetchone(self) -> Any:
        """Return the next row; `None` after the last."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return up to *size* of the next rows; an empty sequence after the last."""
        size = size or self.arraysize
        if len(self._rows) < size and self._open is not None:
            more = await self._connection.run_in_thread(self._open.fetchmany, max(size, PREFETCHED_ROWS))
            self._rows = [*self._rows, *more]
            if not more:
                await self._close_cursor()
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def fetchall(self) -> Sequence[Any]:
        """Return all remaining rows."""
        rows, self._rows = self._rows, ()
        if self._open is not None:
            rows = [*rows, *await self._connection.run_in_thread(self._open.fetchall)]
            await self._close_cursor()
        return rows

    async def __aiter__(self) -> AsyncIterator[Any]:
        while rows := await self.fetchmany(PREFETCHED_ROWS):
            for row in rows:
                yield row

    async def close(self) -> None:
        """Discard the remaining rows."""
        self._rows = ()
        await self._close_cursor()

    async def _close_cursor(self) -> None:
        if (cursor := self._open) is not None:
            self._open = None
            await self._connection.run_in_thread(cursor.close)
