"""Limits on the memory and the time for Alertmanager webhooks, so that many alerts do not delay the probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

#: Maximum of octets of all webhooks in memory: two webhooks of the maximum size, or about 300 of 100 alerts each.
MAX_OCTETS: Final = 16 * 1024 * 1024
#: Delay after which a client may retry after an `IntakeFullError`.
RETRY_AFTER: Final = timedelta(seconds=30)
#: The pause after a part (see `AlertIntake`), as a multiple of the time in which the part was stored: storing alerts uses
#: at most a quarter of the time, unless the maximum pause applies.
_PAUSE_FACTOR: Final = 3
#: Maximum pause in seconds.
_MAX_PAUSE: Final = 5.0


class IntakeFullError(Exception):
    """The webhooks in memory would exceed the limit of their number or of their octets."""


def pause_after(duration: float) -> float:
    """Return the pause in seconds after a part that took *duration* seconds."""
    return min(_MAX_PAUSE, _PAUSE_FACTOR * duration)


class AlertIntake:
    """Limiter of webhooks. A caller stores a webhook in parts of some hundred alerts, one at a time, with pauses."""

    def __init__(self, limit: int = 256) -> None:
        """Take *limit*, the maximum number of concurrent webhooks. Each one occupies a connection."""
        self._limit = limit
        #: Number and total size of the webhooks in memory.
        self._open_webhooks = 0
        self._reserved_octets = 0
        #: Held while a part is stored.
        self._part_lock = asyncio.Lock()
        #: Time from which the next part may be stored, by the loop's clock.
        self._next_at = 0.0

    @contextmanager
    def reserve(self, octets: int) -> Iterator[None]:
        """Reserve memory for a webhook of *octets* while the context lasts. Raise `IntakeFullError` if none is left.

        If no other webhook is in memory, a webhook may exceed the limit of octets.
        """
        if self._open_webhooks >= self._limit or (self._open_webhooks and self._reserved_octets + octets > MAX_OCTETS):
            raise IntakeFullError
        self._open_webhooks += 1
        self._reserved_octets += octets
        try:
            yield
        finally:
            self._open_webhooks -= 1
            self._reserved_octets -= octets

    @asynccontextmanager
    async def part_slot(self) -> AsyncIterator[None]:
        """Wait until the next part may be stored. No other part is stored while the context lasts."""
        loop = asyncio.get_running_loop()
        async with self._part_lock:
            await asyncio.sleep(self._next_at - loop.time())
            started_at = loop.time()
            try:
                yield
            finally:
                self._next_at = loop.time() + pause_after(loop.time() - started_at)
