"""What a stand-in has begun and not finished: each in a task of one group, with a client for its callbacks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx


@cache
def _trust() -> ssl.SSLContext:
    """Read the authorities that are trusted, once for all stand-ins: it takes ten milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


@dataclass(slots=True, kw_only=True)
class BackgroundTasks:
    """Runs what becomes of submissions while `open`, and cuts it off at the end."""

    #: Where our own bugs are noted: they must fail the story, not end the stand-in.
    errors: list[str]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _group: asyncio.TaskGroup | None = None
    _client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def open(self, *, timeout: float) -> AsyncIterator[None]:  # noqa: ASYNC109 - of each callback, not of this
        """Be in service; *timeout* is what a customer has to answer a callback, in seconds."""
        # No kept connections: a customer who is busy closes one just when the next callback is on its way through it.
        once = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(verify=_trust(), trust_env=False, timeout=timeout, limits=once) as client,
            asyncio.TaskGroup() as group,
        ):
            self._client, self._group = client, group
            yield
            for task in self._tasks:
                task.cancel()

    @property
    def client(self) -> httpx.AsyncClient:
        """The client for callbacks. Raise `RuntimeError` before `open`."""
        if self._client is None:
            raise RuntimeError("the stand-in is not open")
        return self._client

    async def begin(self, walk: Coroutine[Any, Any, None], *, and_wait: bool) -> None:
        """Start *walk*; with *and_wait* only return when it is over, so that it overtakes the answer."""
        if and_wait:
            await self._noted(walk)
            return
        if self._group is None:
            raise RuntimeError("the stand-in is not open")
        task = self._group.create_task(self._noted(walk))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until nothing is under way any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _noted(self, walk: Coroutine[Any, Any, None]) -> None:
        try:
            await walk
        except Exception as error:  # noqa: BLE001 - see `errors`
            self.errors.append(f"{type(error).__name__}: {error}")
