"""A store's file without a thread: for stories whose clock is advanced when nothing is under way any more.

To hand a thread each statement, and to be woken by it, is a quarter of what such a story costs, and nothing that it tells of.
What the thread is for, that no statement holds up what happens beside it, is proved where the clock is the machine's.
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


class _InTheLoop(PrefetchingConnection):
    """Runs what it is asked at once; whatever else is due in the loop still has its turn at each statement."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._running or not self._connection:
            raise ValueError("Connection closed")
        await asyncio.sleep(0)
        return fn(*args, **kwargs)


@asynccontextmanager
async def opened_in_the_loop(directory: Path, server: PostgresServer | None = None) -> AsyncIterator[Database]:
    """Open a store; the statements of a file run in the loop."""
    with patch("monitor.store.backend.sqlite.PrefetchingConnection", _InTheLoop):
        async with Database.open(directory, server) as database:
            yield database
