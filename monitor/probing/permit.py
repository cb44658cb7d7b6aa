"""Submission permits: runs wait for the concurrency limits of `monitor.planning.concurrency`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from monitor.planning.concurrency import ConcurrencyLimits
from probes.model.result import Phase


class SubmissionPermit:
    """Permit of one run, which ends when the message is submitted.

    Waiting for the arrival uses no server, and takes minutes where mail is lost.
    """

    def __init__(self, name: str, turns: SubmissionPermits) -> None:
        self._name = name
        self._turns: SubmissionPermits | None = turns

    def follow(self, phase: Phase) -> None:
        """Record that the run enters *phase*."""
        if phase is Phase.TRANSIT:
            self.end()

    def end(self) -> None:
        """Release the permit. Idempotent."""
        if self._turns is not None:
            self._turns.give(self._name)
            self._turns = None


class SubmissionPermits:
    """Permits in use, and runs that wait for one."""

    def __init__(self, lanes: ConcurrencyLimits) -> None:
        self._lanes = lanes
        self._waiting: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def take(self, name: str, needs: Sequence[str]) -> AsyncIterator[SubmissionPermit]:
        """Wait for the slots *needs* of the run *name*."""
        if not self._lanes.enter(name, needs):
            await self._let_in(name)
        turn = SubmissionPermit(name, self)
        try:
            yield turn
        finally:
            turn.end()

    async def _let_in(self, name: str) -> None:
        waiting = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            await waiting
        except asyncio.CancelledError:
            # Its route was removed: release it, so that nobody waits for it.
            if self._waiting.pop(name, None) is None:
                self.give(name)
            else:
                self._lanes.withdraw(name)
            raise

    def give(self, name: str) -> None:
        """Release the permit of the run *name*, and grant waiting ones."""
        self._begin(self._lanes.leave(name))

    def resize(self, room: Mapping[str, int]) -> None:
        """Replace the limits."""
        self._begin(self._lanes.resize(room))

    def _begin(self, names: Iterable[str]) -> None:
        for name in names:
            waiting = self._waiting.pop(name)
            # It may just have been cancelled, and then releases its permit itself.
            if not waiting.done():
                waiting.set_result(None)
