"""What a demo of several sites has started, it ends, whatever becomes of its start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, cast

from pantau_lab.sites.multi_site import _started


class Server:
    """A server that is there at once, or never."""

    def __init__(self, *, comes: bool) -> None:
        self.comes = comes
        self.runs = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Server]:
        if not self.comes:
            await asyncio.Event().wait()
        self.runs = True
        try:
            yield self
        finally:
            self.runs = False


async def test_a_start_that_is_given_up_leaves_no_server_behind() -> None:
    there = Server(comes=True)

    async def start() -> None:
        async with AsyncExitStack() as stack:
            await _started(cast(Any, [there, Server(comes=False)]), stack)

    starting = asyncio.create_task(start())
    while not there.runs:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    assert not there.runs
