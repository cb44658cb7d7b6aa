"""How many webhooks are held at a time, and how much of the time is spent on them. A storm of alerts must not delay mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

#: Two of the largest, or some three hundred of a hundred alerts each.
MOST_OCTETS: Final = 16 * 1024 * 1024
#: When whoever is refused may try again.
RETRY_AFTER: Final = timedelta(seconds=30)
#: After each part the next one waits for so many times as long as that took: a quarter of the time is the alerts'.
_REST: Final = 3
#: In seconds, at most.
_LONGEST_REST: Final = 5.0


class IntakeFullError(Exception):
    """More webhooks are held than there is room for."""


def rest_after(took: float) -> float:
    """Return how long nothing is stored for alerts after something was that *took* so long, in seconds."""
    return min(_LONGEST_REST, _REST * took)


class AlertIntake:
    """Admits webhooks, and lets their parts be stored one after the other, with rests in between."""

    def __init__(self, most: int = 256) -> None:
        """*most*: webhooks at a time; each holds a connection."""
        self._most = most
        self._held = 0
        self._octets = 0
        self._turn = asyncio.Lock()
        #: When the next part may begin, by the loop's clock.
        self._next_at = 0.0

    @contextmanager
    def place(self, octets: int) -> Iterator[None]:
        """Hold a webhook of so many octets. Raise `IntakeFullError`."""
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
        """Wait until the next part may be stored, and store it."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(self._next_at - loop.time())
            began = loop.time()
            try:
                yield
            finally:
                self._next_at = loop.time() + rest_after(loop.time() - began)
