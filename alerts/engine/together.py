"""Writes that share a commit: whoever comes while another's transaction is under way shares the next one.

A commit waits for the disk, and in a mass outage a thousand events and answers come within seconds. A caller goes on
only when its own work is stored, as if it had come alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from alerts.record.store import Ledger, Store, StoreAway

#: So many share a transaction: while it lasts, nothing else is written.
AT_ONCE = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T]):
    """Work that somebody waits for."""

    work: Callable[[Ledger], Awaitable[T]]
    answer: asyncio.Future[T]

    def end(self, result: T) -> None:
        if not self.answer.done():  # Whoever waited may have been cancelled.
            self.answer.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Together:
    """Does the work that waits, so much in a transaction as there is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting[Any]] = []
        self._turn = asyncio.Lock()

    async def write(self, work: Callable[[Ledger], Awaitable[T]]) -> T:
        """Do *work* inside a transaction and return what it returns. Committed when this returns.

        *work* reads and writes nothing but the ledger: where another's cannot be stored, it is done once more. Raise what
        it or the store raises; then nothing of it is stored. Whoever is cancelled while it waits may be stored or not.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, answer))
        async with self._turn:
            while not answer.done():
                await self._write(self._waiting[:AT_ONCE])
        try:
            return await answer
        finally:
            # Its error would hold this call, and this call it: only the collector would free them.
            del answer

    async def _write(self, batch: Sequence[_Waiting[Any]]) -> None:
        """Do work in one transaction; if that fails each by itself, so that one costs no other its own."""
        apart = False
        try:
            async with self._store.transaction() as ledger:
                results = []
                for each in batch:
                    results.append(await each.work(ledger))  # noqa: PERF401 - below, this call is left out of the error
        except StoreAway as error:  # For all of them, to each its own: where it was raised is no bug of ours.
            for each in batch:
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
                await self._write([each])
        self._waiting = [each for each in self._waiting if not each.answer.done()]
