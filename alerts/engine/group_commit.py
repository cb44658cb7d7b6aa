"""Group commit: writes that arrive during a transaction are committed together in the next one.

A durable commit waits for the disk, and one commit per write would be too slow: thousands of probe runs a minute write
twice each, and a mass outage causes a thousand events and results within seconds. If no transaction runs, a write is
committed at once. Each caller continues only after its own write is stored.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from alerts.persistence.store import Store, StoreUnavailable, UnitOfWork

#: Type of the data or function that describes one write.
Work = TypeVar("Work")

#: Function that writes in a unit of work. It must have no other effects, because it is repeated if the shared
#: transaction fails.
UnitOfWorkTask = Callable[[UnitOfWork], Awaitable[Any]]


@dataclass(slots=True)
class _PendingWork(Generic[Work]):
    """A write with the future that its caller awaits."""

    work: Work
    #: `None`: the result was set.
    future: asyncio.Future[Any] | None

    def succeed(self, result: Any) -> None:
        if (future := self._release_future()) is not None:
            future.set_result(result)

    def fail(self, error: Exception) -> None:
        if (future := self._release_future()) is not None:
            future.set_exception(error)

    def _release_future(self) -> asyncio.Future[Any] | None:
        # The traceback of an exception refers to this object. If this object kept the future that holds the exception,
        # they would form a reference cycle.
        future, self.future = self.future, None
        # The future is done if the caller was cancelled.
        return None if future is None or future.done() else future


class GroupCommit(Generic[Work]):
    """Writer that collects work while a commit runs, and commits the collected work together."""

    def __init__(
        self,
        commit: Callable[[Sequence[Work]], Awaitable[Sequence[Any]]],
        *,
        max_batch: int | None = None,
        min_interval: float = 0,
    ) -> None:
        """*commit* executes a batch of work in one transaction and returns the results, in the same order.

        *max_batch*: maximum size of a batch, because other writers wait during its transaction; `None`: no limit.
        *min_interval*: minimum seconds between the starts of two commits.
        """
        self._commit = commit
        self._max_batch = max_batch
        self._min_interval = min_interval
        self._pending: list[_PendingWork[Work]] = []
        self._commit_task: asyncio.Task[None] | None = None
        #: Earliest start of the next commit, by the loop's clock.
        self._next_at = -math.inf

    async def write(self, work: Work) -> Any:
        """Execute *work* and return its result. The work is stored on return.

        The work is executed even if the caller is cancelled. Raise the error of the work; then nothing of the work is
        stored. If the database is unavailable, all callers of the batch get `StoreUnavailable`; then the work is stored
        only if the connection failed at the end of the commit.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append(_PendingWork(work, future))
        if self._commit_task is None or self._commit_task.done():
            # Commit in a separate task, because this caller may be cancelled while others wait for the same commit.
            self._commit_task = asyncio.create_task(self._commit_all())
        try:
            return await future
        finally:
            # The traceback of an exception refers to this frame. If the frame kept the future that holds the exception,
            # only the garbage collector would free this cycle.
            del future

    async def drain(self) -> None:
        """Wait until no work is left. Call this before the database is closed."""
        while self._commit_task is not None and not self._commit_task.done():
            await asyncio.wait({self._commit_task})

    async def _commit_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pending:
            await asyncio.sleep(self._next_at - loop.time())
            self._next_at = loop.time() + self._min_interval
            batch = self._pending[: self._max_batch]
            del self._pending[: self._max_batch]
            await self._commit_batch(batch)

    async def _commit_batch(self, batch: Sequence[_PendingWork[Work]]) -> None:
        """Commit a batch in one transaction. If that fails, commit each work of it separately."""
        must_split = False
        try:
            results = await self._commit([pending.work for pending in batch])
        except StoreUnavailable as error:
            for pending in batch:
                # Each caller gets a copy without the traceback, because the traceback refers to all callers.
                pending.fail(type(error)(*error.args))
        # Another error comes from the work of one caller, and is raised for that caller only.
        except Exception as error:  # noqa: BLE001 - passed to the caller
            must_split = len(batch) > 1
            if not must_split:
                # Remove this frame from the traceback: it refers to the pending work that receives the exception.
                batch[0].fail(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        else:
            for pending, result in zip(batch, results, strict=True):
                pending.succeed(result)
        if must_split:
            for pending in batch:
                await self._commit_batch([pending])


def unit_of_work_commits(store: Store) -> GroupCommit[UnitOfWorkTask]:
    """Return a group commit for the units of work of *store*."""

    async def commit(batch: Sequence[UnitOfWorkTask]) -> Sequence[Any]:
        async with store.transaction() as uow:
            return [await work(uow) for work in batch]

    return GroupCommit(commit, max_batch=16)
