"""Lock on a process name in a shared store: an advisory lock of a database session, renewed after the session ends."""

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
from monitor.store.schema.lock import NAME_LOCK_CLASS

log = structlog.get_logger()

#: Attempts at start-up, and seconds between them: a process that was just killed may still have a server session.
_ATTEMPTS, _ATTEMPT_INTERVAL_SECONDS = 6, 0.5
#: Interval between two checks of the session.
_CHECK_INTERVAL_SECONDS = 5.0
#: Timeout of a query.
_QUERY_TIMEOUT_SECONDS = 10.0
#: Time after which a lock that another session holds counts as taken. The other session may be our own one, lost by the
#: network: the server ends it when its keepalives fail, after half of this time.
TAKEN_AFTER_SECONDS = 60.0

_TRY_LOCK = text("SELECT pg_try_advisory_lock(:names, hashtext(:name))")
_PING = text("SELECT 1")

#: Errors when the server restarts, ends sessions, or does not answer.
_CONNECTION_ERRORS = (DBAPIError, PoolTimeoutError, TimeoutError, OSError)


class ProcessNameLock:
    """Lock that one process at a time holds: two processes with one name would delete each other's probe messages."""

    def __init__(self, engine: AsyncEngine, name: str, server: str) -> None:
        """*server*: description of the server for messages."""
        self._engine = engine
        self._name = name
        self._server = server
        self._session: AsyncConnection | None = None
        #: When another session was first found to hold the lock, in seconds of the monotonic clock; `None`: none does.
        self._refused_at: float | None = None

    async def acquire(self) -> None:
        """Acquire the lock. Raise `StoreInUseError` if another process holds it."""
        for _ in range(_ATTEMPTS):
            if await self._try_acquire():
                return
            await asyncio.sleep(_ATTEMPT_INTERVAL_SECONDS)
        raise self._in_use_error()

    async def keep(self) -> NoReturn:
        """Acquire the lock again whenever its session has ended, until cancelled.

        Raise `StoreInUseError` if another process holds it for `TAKEN_AFTER_SECONDS`.
        """
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_SECONDS)
            await self.check_once(time.monotonic())

    async def check_once(self, now: float) -> None:
        """Check the lock once, at *now* (seconds of the monotonic clock). Raise the errors of `keep`."""
        try:
            if await self._is_held():
                return
            is_locked = await self._try_acquire()
        except _CONNECTION_ERRORS:
            return  # The server is unavailable to other processes, too; the next check tries again.
        if is_locked:
            log.warning("database session with the process name lock ended; lock acquired again")
            self._refused_at = None
        elif self._refused_at is None:
            self._refused_at = now
        elif now - self._refused_at > TAKEN_AFTER_SECONDS:
            raise self._in_use_error()

    async def release(self) -> None:
        """End the session, which releases the lock."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(*_CONNECTION_ERRORS):
                # Close the connection. In the pool, it would pass the lock on to its next user.
                await session.invalidate()
                await session.close()

    async def _is_held(self) -> bool:
        if self._session is None:
            return False
        try:
            async with asyncio.timeout(_QUERY_TIMEOUT_SECONDS):
                await self._session.execute(_PING)
        except _CONNECTION_ERRORS:
            await self.release()
            return False
        return True

    async def _try_acquire(self) -> bool:
        async with asyncio.timeout(_QUERY_TIMEOUT_SECONDS):
            session = await self._engine.connect()
            try:
                await session.execution_options(isolation_level="AUTOCOMMIT")
                is_locked = bool(
                    (await session.execute(_TRY_LOCK, {"names": NAME_LOCK_CLASS, "name": self._name})).scalar_one()
                )
            except BaseException:
                await session.close()
                raise
        if is_locked:
            self._session = session
        else:
            await session.close()
        return is_locked

    def _in_use_error(self) -> StoreInUseError:
        return StoreInUseError(
            f"another pantau process called {self._name} uses the store, {self._server}; stop that one, or give this "
            f"one another name (process_name: in the settings)"
        )
