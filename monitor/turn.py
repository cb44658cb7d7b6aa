"""Lets runs wait for their turn at a server. Which may start is decided by `monitor.lane`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from monitor.lane import Lanes
from probes.result import Party, Phase
from probes.trace import Recorder


class Turn(Recorder):
    """The notes of a run that has its turn, which is over once the message is handed over.

    Waiting for the message to arrive keeps no server busy, and where mail is lost it takes minutes.
    """

    def __init__(self, name: str, turns: Turns) -> None:
        super().__init__()
        self._name = name
        self._turns: Turns | None = turns

    @contextmanager
    def phase(self, phase: Phase, party: Party) -> Iterator[None]:
        if phase is Phase.TRANSIT:
            self.end()
        with super().phase(phase, party):
            yield

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
        for other in self._lanes.leave(name):
            waiting = self._waiting.pop(other)
            # It may have been cancelled; then all of us are.
            if not waiting.done():
                waiting.set_result(None)
