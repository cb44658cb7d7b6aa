"""Background tasks of a simulated provider, in one task group, with an HTTP client for callbacks."""

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
    """Return a TLS context, cached for all simulated providers because loading the CAs takes ten milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


@dataclass(slots=True, kw_only=True)
class BackgroundTasks:
    """Tasks that process submissions while `open` lasts, and are cancelled at its end.

    The provider's customer is the service that submits, such as Pantau; callbacks are posted to it.
    """

    #: Exceptions of tasks are appended here, so that they fail the test instead of ending the provider.
    errors: list[str]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _group: asyncio.TaskGroup | None = None
    _client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def open(self, *, timeout: float) -> AsyncIterator[None]:  # noqa: ASYNC109 - of each callback, not of this
        """Run tasks during the block. *timeout*: time limit for the response to a callback, in seconds."""
        # No keep-alive, because a busy customer could close a connection just when the next callback uses it.
        no_keepalive = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(verify=_trust(), trust_env=False, timeout=timeout, limits=no_keepalive) as client,
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

    async def begin(self, work: Coroutine[Any, Any, None], *, and_wait: bool) -> None:
        """Start *work*. With *and_wait* wait for its end, so that its callbacks precede the response to the submission."""
        if and_wait:
            await self._run_recorded(work)
            return
        if self._group is None:
            raise RuntimeError("the stand-in is not open")
        task = self._group.create_task(self._run_recorded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until all tasks have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run_recorded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - see `errors`
            self.errors.append(f"{type(error).__name__}: {error}")
