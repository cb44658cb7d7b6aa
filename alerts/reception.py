"""Takes events in, together: whoever comes while another's transaction is under way shares the next one.

A commit waits for the disk, and in a mass outage a thousand events come within seconds. A caller goes on only when its
own event is stored, as if it had come alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from alerts.event import Event
from alerts.incident import Incident
from alerts.intake import take_in
from alerts.store import Store

#: So many share a transaction: while it lasts, nothing else is written.
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An event that somebody waits to have taken in."""

    event: Event
    answer: asyncio.Future[Incident | None]

    def end(self, incident: Incident | None) -> None:
        if not self.answer.done():  # Whoever waited may have been cancelled.
            self.answer.set_result(incident)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Reception:
    """Where events come in."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()

    async def take_in(self, event: Event) -> Incident | None:
        """Take an event in and return the incident it is about, as it stands after it; `None` if there is none.

        Committed when this returns. Raise what the store raises; then it is not stored.
        """
        mine = _Waiting(event, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        async with self._turn:
            while not mine.answer.done():
                await self._take_in(self._waiting[:AT_ONCE])
        return await mine.answer

    async def _take_in(self, waiting: Sequence[_Waiting]) -> None:
        """Take events in, in one transaction; if that fails each by itself, so that one costs no other its own."""
        try:
            async with self._store.transaction() as ledger:
                incidents = [await take_in(ledger, each.event) for each in waiting]
        # What the store raises belongs to one of those who wait, and is raised there.
        except Exception as error:  # noqa: BLE001 - as above
            if len(waiting) > 1:
                for each in waiting:
                    await self._take_in([each])
                return
            waiting[0].fail(error)
        else:
            for each, incident in zip(waiting, incidents, strict=True):
                each.end(incident)
        self._waiting = [each for each in self._waiting if not each.answer.done()]
