"""Lets runs wait for their turn at a server. Which may start is decided by `monitor.probing.lane`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from monitor.probing.lane import Lanes
from probes.result import Phase


class Turn:
    """The turn of one run, which is over once the message is handed over.

    Waiting for the message to arrive keeps no server busy, and where mail is lost it takes minutes.
    """

    def __init__(self, name: str, turns: Turns) -> None:
        self._name = name
        self._turns: Turns | None = turns

    def follow(self, phase: Phase) -> None:
        """Hear that the run enters *phase*."""
        if phase is Phase.TRANSIT:
            self.end()

    def end(self) -> None:
        """Let the next one have it. Again is the same as once."""
        if self._turns is not None:
            self._turns.give(self._name)
            self._turns = None


class Turns:
    """Who has a turn, and who waits for one."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._waiting: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def take(self, name: str, needs: Sequence[str]) -> AsyncIterator[Turn]:
        """Wait until there is room in all lanes that the run *name* needs."""
        if not self._lanes.enter(name, needs):
            self._waiting[name] = asyncio.get_running_loop().create_future()
            await self._waiting[name]
        turn = Turn(name, self)
        try:
            yield turn
        finally:
            turn.end()

    def give(self, name: str) -> None:
        """End the turn of the run *name*, and begin those that have waited for it."""
        for other in self._lanes.leave(name):
            waiting = self._waiting.pop(other)
            # It may have been cancelled; then all of us are.
            if not waiting.done():
                waiting.set_result(None)
