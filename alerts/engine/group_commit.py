"""Group commit: work that arrives during a transaction shares the next one.

A durable commit waits for the disk: thousands of runs a minute write twice each, and a mass outage brings a thousand
events and results within seconds. Single work is committed at once. A caller continues only after its own work is
stored.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from alerts.persistence.store import Store, StoreUnavailable, UnitOfWork

Work = TypeVar("Work")

#: Work on the unit of work. It has no other effects: if the shared transaction fails it is repeated.
LedgerWork = Callable[[UnitOfWork], Awaitable[Any]]


@dataclass(slots=True)
class _Waiting(Generic[Work]):
    """Work with its waiting caller."""

    work: Work
    answer: asyncio.Future[Any] | None

    def end(self, result: Any) -> None:
        if (answer := self._taken()) is not None:
            answer.set_result(result)

    def fail(self, error: Exception) -> None:
        if (answer := self._taken()) is not None:
            answer.set_exception(error)

    def _taken(self) -> asyncio.Future[Any] | None:
        # Release the future at once: an exception refers to its call, which refers to this object, which would form a
        # cycle.
        answer, self.answer = self.answer, None
        return None if answer is None or answer.done() else answer  # The caller may have been cancelled.


class GroupCommit(Generic[Work]):
    """Commits waiting work while there is any."""

    def __init__(
        self,
        commit: Callable[[Sequence[Work]], Awaitable[Sequence[Any]]],
        *,
        at_once: int | None = None,
        apart: float = 0,
    ) -> None:
        """*commit* executes a batch of work in one transaction and returns the results.

        *at_once*: maximum size of a batch; other writes wait meanwhile. *apart*: minimum seconds between the start of
        two commits.
        """
        self._commit = commit
        self._at_once = at_once
        self._apart = apart
        self._waiting: list[_Waiting[Work]] = []
        self._committing: asyncio.Task[None] | None = None
        #: Earliest start of the next commit, by the loop's clock.
        self._next_at = -math.inf

    async def write(self, work: Work) -> Any:
        """Execute *work* and return its result. It is stored on return, even for a caller that is cancelled meanwhile.

        Raise the errors of the work or the store; then nothing of it is stored. All waiting callers get a
        `StoreUnavailable`; after a connection failure during the commit the result is unknown.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, answer))
        if self._committing is None or self._committing.done():
            # A task of its own: a caller may be cancelled while others wait for the same commit.
            self._committing = asyncio.create_task(self._keep_committing())
        try:
            return await answer
        finally:
            # The exception refers to this call and back: only the garbage collector would free the cycle.
            del answer

    async def settle(self) -> None:
        """Wait until no work is left, before the store is closed."""
        while self._committing is not None and not self._committing.done():
            await asyncio.wait({self._committing})

    async def _keep_committing(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(self._next_at - loop.time())
            self._next_at = loop.time() + self._apart
            batch = self._waiting[: self._at_once]
            del self._waiting[: self._at_once]
            await self._store(batch)

    async def _store(self, batch: Sequence[_Waiting[Work]]) -> None:
        """Execute work in one transaction; if that fails, one by one, so that a failure affects no other."""
        apart = False
        try:
            results = await self._commit([each.work for each in batch])
        except StoreUnavailable as error:
            for each in batch:
                # A copy for each caller, without the traceback, which would refer to all of them.
                each.fail(type(error)(*error.args))
        # Other errors belong to one caller, and are raised there.
        except Exception as error:  # noqa: BLE001 - as above
            apart = len(batch) > 1
            if not apart:
                # Without this frame, which refers to the receiver of the exception.
                batch[0].fail(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        else:
            for each, result in zip(batch, results, strict=True):
                each.end(result)
        if apart:
            for each in batch:
                await self._store([each])


def with_ledger(store: Store) -> GroupCommit[LedgerWork]:
    """Return a group commit for the units of work of *store*."""

    async def commit(works: Sequence[LedgerWork]) -> Sequence[Any]:
        async with store.transaction() as ledger:
            return [await work(ledger) for work in works]

    return GroupCommit(commit, at_once=16)
