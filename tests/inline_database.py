"""SQLite database without a thread, for stories whose clock is advanced.

Passing each statement to a thread is a quarter of the cost of such a story. Tests with the machine's clock prove
that a statement does not block the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from monitor.store.backend.cursor import PrefetchingConnection
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer


class _InlineConnection(PrefetchingConnection):
    """Connection that runs statements inline; each yields once to the event loop."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._running or not self._connection:
            raise ValueError("Connection closed")
        await asyncio.sleep(0)
        return fn(*args, **kwargs)


@asynccontextmanager
async def open_inline_database(directory: Path, server: PostgresServer | None = None) -> AsyncIterator[Database]:
    """Open a store; the statements of a SQLite file run in the event loop."""
    with patch("monitor.store.backend.sqlite.PrefetchingConnection", _InlineConnection):
        async with Database.open(directory, server) as database:
            yield database
