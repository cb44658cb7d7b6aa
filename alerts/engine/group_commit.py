"""Writes that share a commit: whoever comes while another's transaction is under way shares the next one.

A commit that survives a power cut waits for the disk: thousands of runs a minute write twice each, and in a mass outage a
thousand events and answers come within seconds. Who is alone is written at once. A caller goes on only when its own work
is stored, as if it had come alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from alerts.persistence.store import Store, StoreUnavailable, UnitOfWork

Work = TypeVar("Work")

#: What somebody wants done with the ledger. It reads and writes nothing else: where another's cannot be stored, it is done
#: once more.
LedgerWork = Callable[[UnitOfWork], Awaitable[Any]]


@dataclass(slots=True)
class _Waiting(Generic[Work]):
    """Work that somebody waits for, until it is answered."""

    work: Work
    answer: asyncio.Future[Any] | None

    def end(self, result: Any) -> None:
        if (answer := self._taken()) is not None:
            answer.set_result(result)

    def fail(self, error: Exception) -> None:
        if (answer := self._taken()) is not None:
            answer.set_exception(error)

    def _taken(self) -> asyncio.Future[Any] | None:
        # Let go of at once: an error holds the call that raised it, which holds this, and this held the answer with the error.
        answer, self.answer = self.answer, None
        return None if answer is None or answer.done() else answer  # Whoever waited may have been cancelled.


class GroupCommit(Generic[Work]):
    """Commits what waits, as long as anything does."""

    def __init__(
        self,
        commit: Callable[[Sequence[Work]], Awaitable[Sequence[Any]]],
        *,
        at_once: int | None = None,
        apart: float = 0,
    ) -> None:
        """*commit* does all of some work in one transaction, and returns what comes of each.

        *at_once*: so much of it; while that lasts, nothing else is written. *apart*: from the beginning of a commit to that
        of the next, in seconds.
        """
        self._commit = commit
        self._at_once = at_once
        self._apart = apart
        self._waiting: list[_Waiting[Work]] = []
        self._committing: asyncio.Task[None] | None = None
        #: When the next commit may begin, by the loop's clock.
        self._next_at = -math.inf

    async def write(self, work: Work) -> Any:
        """Do *work* and return what comes of it; it is stored when this returns, also for one who is cancelled meanwhile.

        Raise what it or the store raises; then nothing of it is stored. `StoreUnavailable` is raised to all who wait; of a
        connection that broke during the commit, nobody knows.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, answer))
        if self._committing is None or self._committing.done():
            # Not the caller's own work: it may be cancelled, and others wait for the same commit.
            self._committing = asyncio.create_task(self._keep_committing())
        try:
            return await answer
        finally:
            # Its error would hold this call, and this call it: only the collector would free them.
            del answer

    async def settle(self) -> None:
        """Wait until nothing waits any more: before the store is closed."""
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
        """Do work in one transaction; if that fails each by itself, so that one costs no other its own."""
        apart = False
        try:
            results = await self._commit([each.work for each in batch])
        except StoreUnavailable as error:
            for each in batch:
                # To each its own, without where it was raised: that is no bug of ours, and holds all who wait.
                each.fail(type(error)(*error.args))
        # What else is raised belongs to one of those who wait, and is raised there.
        except Exception as error:  # noqa: BLE001 - as above
            apart = len(batch) > 1
            if not apart:
                # Without this call, which holds whom it is told to.
                batch[0].fail(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        else:
            for each, result in zip(batch, results, strict=True):
                each.end(result)
        if apart:
            for each in batch:
                await self._store([each])


def with_ledger(store: Store) -> GroupCommit[LedgerWork]:
    """Return a group whose work is done with the ledger of *store*."""

    async def commit(works: Sequence[LedgerWork]) -> Sequence[Any]:
        async with store.transaction() as ledger:
            return [await work(ledger) for work in works]

    return GroupCommit(commit, at_once=16)
