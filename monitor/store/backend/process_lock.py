"""An engine's name on a shared store: a lock that ends with the session that took it, and is taken again after that."""

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

#: A process that was just killed may still be known to the server.
_TRIES, _BETWEEN_TRIES = 6, 0.5
#: In seconds. So often it is seen whether the session lives.
_LOOKED_EVERY = 5.0
#: In seconds; an answer that takes longer will not come.
_ANSWERED_WITHIN = 10.0
#: In seconds. A session of ours that only the network has ended lives on at the server until its keepalives give up,
#: which is half of this.
LET_GO_WITHIN = 60.0

_TAKE = text("SELECT pg_try_advisory_lock(:names, hashtext(:name))")
_ALIVE = text("SELECT 1")

#: A server that restarts, ends sessions, or does not answer.
_BROKEN = (DBAPIError, PoolTimeoutError, TimeoutError, OSError)


class ProcessNameLock:
    """Held by one process at a time: two of one name would delete each other's mail."""

    def __init__(self, engine: AsyncEngine, name: str, server: str) -> None:
        """*server*: as people know it."""
        self._engine = engine
        self._name = name
        self._server = server
        self._session: AsyncConnection | None = None
        #: Since when somebody has it who is not this session.
        self._refused_at: float | None = None

    async def take(self) -> None:
        """Take it. Raise `StoreInUseError` when another process has it."""
        for _ in range(_TRIES):
            if await self._try():
                return
            await asyncio.sleep(_BETWEEN_TRIES)
        raise self._taken()

    async def keep(self) -> NoReturn:
        """Take it again whenever the session that held it has ended, until cancelled.

        Raise `StoreInUseError` when another process has it by then.
        """
        while True:
            await asyncio.sleep(_LOOKED_EVERY)
            await self.look(time.monotonic())

    async def look(self, now: float) -> None:
        """See once whether it is held, at *now* seconds of the clock that nobody sets; raise what `keep` raises."""
        try:
            if await self._is_held():
                return
            taken = await self._try()
        except _BROKEN:
            return  # Nobody else gets it either; it is tried again.
        if taken:
            log.warning("the session that held our name on the store had ended; the name is taken again")
            self._refused_at = None
        elif self._refused_at is None:
            self._refused_at = now
        elif now - self._refused_at > LET_GO_WITHIN:
            raise self._taken()

    async def let_go(self) -> None:
        """End the session, and with it the lock."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(*_BROKEN):
                # Closed and not given back to the pool, whose next user would hold the lock.
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
                taken = bool((await session.execute(_TAKE, {"names": NAMES, "name": self._name})).scalar_one())
            except BaseException:
                await session.close()
                raise
        if taken:
            self._session = session
        else:
            await session.close()
        return taken

    def _taken(self) -> StoreInUseError:
        return StoreInUseError(
            f"another pantau process called {self._name} uses the store, {self._server}; stop that one, or give this "
            f"one another name (prober: in the settings)"
        )
