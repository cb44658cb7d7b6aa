"""Lock on a process name in a shared store: bound to a database session, and renewed after its end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import NoReturn

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from monitor.store.backend.availability import StoreInUseError
from monitor.store.schema.lock import NAMES

log = structlog.get_logger()

#: A process that was just killed may still have a session on the server.
_TRIES, _BETWEEN_TRIES = 6, 0.5
#: Seconds between two checks of the session.
_LOOKED_EVERY = 5.0
#: Seconds; a slower answer counts as missing.
_ANSWERED_WITHIN = 10.0
#: Seconds. A session lost by the network lives on at the server until its keepalives fail, after half of this.
LET_GO_WITHIN = 60.0

_TAKE = text("SELECT pg_try_advisory_lock(:names, hashtext(:name))")
_ALIVE = text("SELECT 1")

#: A server that restarts, ends sessions, or does not answer.
_BROKEN = (DBAPIError, PoolTimeoutError, TimeoutError, OSError)


class ProcessNameLock:
    """Held by one process at a time: two of one name would delete each other's messages."""

    def __init__(self, engine: AsyncEngine, name: str, server: str) -> None:
        """*server*: its name for messages."""
        self._engine = engine
        self._name = name
        self._server = server
        self._session: AsyncConnection | None = None
        #: Since when another session holds the lock.
        self._refused_at: float | None = None

    async def take(self) -> None:
        """Take the lock. Raise `StoreInUseError` when another process has it."""
        for _ in range(_TRIES):
            if await self._try():
                return
            await asyncio.sleep(_BETWEEN_TRIES)
        raise self._taken()

    async def keep(self) -> NoReturn:
        """Take the lock again whenever its session has ended, until cancelled.

        Raise `StoreInUseError` when another process has it by then.
        """
        while True:
            await asyncio.sleep(_LOOKED_EVERY)
            await self.look(time.monotonic())

    async def look(self, now: float) -> None:
        """Check the lock once, at *now* seconds of the monotonic clock; raise the errors of `keep`."""
        try:
            if await self._is_held():
                return
            is_locked = await self._try()
        except _BROKEN:
            return  # No other process gets it either; retried later.
        if is_locked:
            log.warning("database session with the process name lock ended; lock acquired again")
            self._refused_at = None
        elif self._refused_at is None:
            self._refused_at = now
        elif now - self._refused_at > LET_GO_WITHIN:
            raise self._taken()

    async def let_go(self) -> None:
        """End the session, which releases the lock."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(*_BROKEN):
                # Close it instead of returning it to the pool, whose next user would hold the lock.
                await session.invalidate()
                await session.close()

    async def _is_held(self) -> bool:
        if self._session is None:
            return False
        try:
            async with asyncio.timeout(_ANSWERED_WITHIN):
                await self._session.execute(_ALIVE)
        except _BROKEN:
            await self.let_go()
            return False
        return True

    async def _try(self) -> bool:
        async with asyncio.timeout(_ANSWERED_WITHIN):
            session = await self._engine.connect()
            try:
                await session.execution_options(isolation_level="AUTOCOMMIT")
                is_locked = bool((await session.execute(_TAKE, {"names": NAMES, "name": self._name})).scalar_one())
            except BaseException:
                await session.close()
                raise
        if is_locked:
            self._session = session
        else:
            await session.close()
        return is_locked

    def _taken(self) -> StoreInUseError:
        return StoreInUseError(
            f"another pantau process called {self._name} uses the store, {self._server}; stop that one, or give this "
            f"one another name (process_name: in the settings)"
        )
