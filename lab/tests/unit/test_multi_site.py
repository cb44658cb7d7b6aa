"""Start of a demo with several sites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, cast

from pantau_lab.sites.multi_site import _start


class Server:
    """Server that starts at once, or never."""

    def __init__(self, *, will_start: bool) -> None:
        self.will_start = will_start
        self.runs = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Server]:
        if not self.will_start:
            await asyncio.Event().wait()
        self.runs = True
        try:
            yield self
        finally:
            self.runs = False


async def test_cancelled_start_stops_started_servers() -> None:
    started = Server(will_start=True)

    async def start() -> None:
        async with AsyncExitStack() as stack:
            await _start(cast(Any, [started, Server(will_start=False)]), stack)

    starting = asyncio.create_task(start())
    while not started.runs:  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(0)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    assert not started.runs
