"""Wakes the one who waits. An `asyncio.Event` keeps a queue for those who do, of 600 octets: too much for each mailbox."""

from __future__ import annotations

import asyncio


class Bell:
    """Is rung by many and heard by one."""

    __slots__ = ("_hearing", "_is_rung")

    def __init__(self) -> None:
        self._is_rung = False
        self._hearing: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake who waits, or who will: once, however often it is rung."""
        self._is_rung = True
        if self._hearing is not None and not self._hearing.done():
            self._hearing.set_result(None)

    async def heard(self) -> None:
        """Wait until it is rung, or return at once when it has been since this was last returned from."""
        while not self._is_rung:
            self._hearing = asyncio.get_running_loop().create_future()
            try:
                await self._hearing
            finally:
                self._hearing = None
        self._is_rung = False
