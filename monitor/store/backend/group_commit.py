"""Writes that share a transaction: one flush of the disk for all who wait for one.

A commit that survives a power cut costs milliseconds, and thousands of runs a minute write twice each. Whoever writes
while a commit is under way waits for the next one, together with all others who do; who is alone is written at once.
A caller goes on only when its own statements are on the disk, as if it had written by itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable

from alerts.record.store import StoreAway

#: A statement and the values of its parameters. The statement is a constant: equal ones are run together.
Statement = tuple[Executable, Mapping[str, Any]]
#: Statements of one commit, each with the values of all its runs.
Batch = Sequence[tuple[Executable, Sequence[Mapping[str, Any]]]]

#: From the beginning of a commit to that of the next, in seconds: however little is in it, it costs a flush of the disk
#: and a tenth of what a run does.
_APART = 0.01


@dataclass(frozen=True, slots=True)
class _Request:
    statements: Sequence[Statement]
    done: asyncio.Future[None]


class GroupCommit:
    """Commits what waits, as long as anything does."""

    def __init__(self, commit: Callable[[Batch], Awaitable[None]]) -> None:
        """*commit* runs what it is given in one transaction."""
        self.commit = commit
        self._waiting: list[_Request] = []
        self._committing: asyncio.Task[None] | None = None
        #: When the next commit may begin, by the loop's clock.
        self._next_at = -math.inf

    async def write(self, *statements: Statement) -> None:
        """Return when all *statements* are stored, or raise what the database raises; then none of them is.

        `StoreAway` is raised to all who wait; of a connection that broke during the commit, nobody knows.

        They are stored also when the caller is cancelled while it waits. Within a commit, statements of one kind are
        run in the order in which they came, but kinds are not kept apart: none may depend on another kind's.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(statements, done))
        if self._committing is None or self._committing.done():
            # Not the caller's own work: it may be cancelled, and others wait for the same commit.
            self._committing = asyncio.create_task(self._commit())
        try:
            await done
        finally:
            # Its error would hold this call, and this call it: only the collector would free them.
            del done

    async def settle(self) -> None:
        """Wait until nothing waits any more: before the database is closed."""
        while self._committing is not None and not self._committing.done():
            await asyncio.wait({self._committing})

    async def _commit(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(self._next_at - loop.time())
            self._next_at = loop.time() + _APART
            batch, self._waiting = self._waiting, []
            try:
                await self._store(batch)
            # Whatever the database raises belongs to one of those who wait, and is raised there.
            except Exception as error:  # noqa: BLE001
                await self._one_by_one(batch, error)
            for request in batch:
                if not request.done.done():
                    request.done.set_result(None)

    async def _one_by_one(self, batch: Sequence[_Request], error: Exception) -> None:
        """Find out whose statement was wrong: one that cannot be stored must not cost the others theirs."""
        if isinstance(error, StoreAway):
            for request in batch:
                # To each its own, without where it was raised: that is no bug of ours, and holds all who wait.
                _fail(request, type(error)(*error.args))
            return
        if len(batch) == 1:
            _fail(batch[0], error)
            return
        for request in batch:
            try:
                await self._store([request])
            except Exception as own:  # noqa: BLE001 - as above
                _fail(request, own)

    async def _store(self, batch: Sequence[_Request]) -> None:
        together: dict[int, tuple[Executable, list[Mapping[str, Any]]]] = {}
        for request in batch:
            for statement, values in request.statements:
                together.setdefault(id(statement), (statement, []))[1].append(values)
        await self.commit([*together.values()])


def _fail(request: _Request, error: Exception) -> None:
    if not request.done.done():
        request.done.set_exception(error)
