"""Limits on concurrent webhooks and on the time spent on them, so that a storm of alerts does not delay mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

#: Two of the largest, or about three hundred of a hundred alerts each.
MOST_OCTETS: Final = 16 * 1024 * 1024
#: Delay after which a refused client may retry.
RETRY_AFTER: Final = timedelta(seconds=30)
#: After each part the next waits this many times as long as that part took: alerts use a quarter of the time.
_REST: Final = 3
#: In seconds, at most.
_LONGEST_REST: Final = 5.0


class IntakeFullError(Exception):
    """The webhooks in memory exceed the limit."""


def rest_after(took: float) -> float:
    """Return the pause in seconds before the next part is stored; *took*: seconds that the last one took."""
    return min(_LONGEST_REST, _REST * took)


class AlertIntake:
    """Admission of webhooks; their parts are stored one after the other, with pauses in between."""

    def __init__(self, most: int = 256) -> None:
        """*most*: concurrent webhooks; each holds a connection."""
        self._most = most
        self._held = 0
        self._octets = 0
        self._turn = asyncio.Lock()
        #: When the next part may begin, by the loop's clock.
        self._next_at = 0.0

    @contextmanager
    def place(self, octets: int) -> Iterator[None]:
        """Reserve memory for a webhook of so many octets. Raise `IntakeFullError`."""
        if self._held >= self._most or (self._held and self._octets + octets > MOST_OCTETS):
            raise IntakeFullError
        self._held += 1
        self._octets += octets
        try:
            yield
        finally:
            self._held -= 1
            self._octets -= octets

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the next part may be stored, then hold the turn while it is stored."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(self._next_at - loop.time())
            began = loop.time()
            try:
                yield
            finally:
                self._next_at = loop.time() + rest_after(loop.time() - began)
