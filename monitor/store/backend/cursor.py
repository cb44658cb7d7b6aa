"""A connection to the file that asks its thread once for a statement and its result.

The driver hands its thread each step by itself: to make a cursor, to execute, to fetch, to close. Each of them waits for the
thread and then for its turn of the loop, which together cost more than most statements do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final, Self

import aiosqlite

#: Rows that are read with a statement: of most results all, and of a long one never more than so many beforehand.
AT_ONCE: Final = 1000


class PrefetchingConnection(aiosqlite.Connection):
    """Has cursors that SQLAlchemy's dialect uses as it does the driver's."""

    def cursor(self) -> PrefetchingCursor:  # type: ignore[override]  # the dialect enters it, and nothing else
        """Return a cursor; there is none in the thread yet."""
        return PrefetchingCursor(self)

    async def ask(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Run *function* in the connection's thread. Raise what it raises."""
        return await self._execute(function, *arguments)  # type: ignore[no-untyped-call]  # the driver has no types there

    def begin(self, execute: Callable[[sqlite3.Cursor], object]) -> tuple[sqlite3.Cursor, Sequence[Any]]:
        """Execute a statement and return its first rows; where those are all, the cursor is closed. In the thread."""
        cursor = self._conn.cursor()
        rows: Sequence[Any] = ()
        try:
            execute(cursor)
            if cursor.description:
                rows = cursor.fetchmany(AT_ONCE)
        finally:
            if len(rows) < AT_ONCE:
                cursor.close()
        return cursor, rows


class PrefetchingCursor:
    """Has the first rows of the latest statement, and asks for those that follow."""

    arraysize = 1

    def __init__(self, connection: PrefetchingConnection) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self._open: sqlite3.Cursor | None = None
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, operation: str, parameters: Sequence[Any] = ()) -> Self:
        """Execute a statement. Raise what the driver raises."""
        return await self._begin(lambda cursor: cursor.execute(operation, parameters))

    async def executemany(self, operation: str, parameters: Iterable[Sequence[Any]]) -> Self:
        """Execute a statement for each of *parameters*. Raise what the driver raises."""
        return await self._begin(lambda cursor: cursor.executemany(operation, parameters))

    async def _begin(self, execute: Callable[[sqlite3.Cursor], object]) -> Self:
        await self.close()
        cursor, self._rows = await self._connection.ask(self._connection.begin, execute)
        self._open = cursor if len(self._rows) == AT_ONCE else None
        self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
        return self

    async def fetchone(self) -> Any:
        """Return the next row; `None` after the last."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return so many of the rows that follow, or those that are left."""
        size = size or self.arraysize
        if len(self._rows) < size and self._open is not None:
            more = await self._connection.ask(self._open.fetchmany, max(size, AT_ONCE))
            self._rows = [*self._rows, *more]
            if not more:
                await self._let_go()
        found, self._rows = self._rows[:size], self._rows[size:]
        return found

    async def fetchall(self) -> Sequence[Any]:
        """Return all rows that are left."""
        found, self._rows = self._rows, ()
        if self._open is not None:
            found = [*found, *await self._connection.ask(self._open.fetchall)]
            await self._let_go()
        return found

    async def __aiter__(self) -> AsyncIterator[Any]:
        while rows := await self.fetchmany(AT_ONCE):
            for row in rows:
                yield row

    async def close(self) -> None:
        """Forget what is left of the result."""
        self._rows = ()
        await self._let_go()

    async def _let_go(self) -> None:
        if (cursor := self._open) is not None:
            self._open = None
            await self._connection.ask(cursor.close)
