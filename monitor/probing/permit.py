"""Lets runs wait for their turn at a server. Which may start is decided by `monitor.planning.concurrency`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from monitor.planning.concurrency import ConcurrencyLimits
from probes.model.result import Phase


class SubmissionPermit:
    """The turn of one run, which is over once the message is handed over.

    Waiting for the message to arrive keeps no server busy, and where mail is lost it takes minutes.
    """

    def __init__(self, name: str, turns: SubmissionPermits) -> None:
        self._name = name
        self._turns: SubmissionPermits | None = turns

    def follow(self, phase: Phase) -> None:
        """Hear that the run enters *phase*."""
        if phase is Phase.TRANSIT:
            self.end()

    def end(self) -> None:
        """Let the next one have it. Again is the same as once."""
        if self._turns is not None:
            self._turns.give(self._name)
            self._turns = None


class SubmissionPermits:
    """Who has a turn, and who waits for one."""

    def __init__(self, lanes: ConcurrencyLimits) -> None:
        self._lanes = lanes
        self._waiting: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def take(self, name: str, needs: Sequence[str]) -> AsyncIterator[SubmissionPermit]:
        """Wait until there is room in all lanes that the run *name* needs."""
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
            # Its route is watched no more: whoever waits behind it must not wait for it.
            if self._waiting.pop(name, None) is None:
                self.give(name)
            else:
                self._lanes.withdraw(name)
            raise

    def give(self, name: str) -> None:
        """End the turn of the run *name*, and begin those that have waited for it."""
        self._begin(self._lanes.leave(name))

    def resize(self, room: Mapping[str, int]) -> None:
        """Let *room* be how many may be in a lane at a time from now on."""
        self._begin(self._lanes.resize(room))

    def _begin(self, names: Iterable[str]) -> None:
        for name in names:
            waiting = self._waiting.pop(name)
            # It may have been cancelled a moment ago; it gives its turn back itself then.
            if not waiting.done():
                waiting.set_result(None)
