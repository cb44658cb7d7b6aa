"""Separate resolver threads: a hanging resolver blocks its callers only."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from monitor.runtime.resolver import separate_resolver


async def test_separate_resolver_hanging_does_not_block_other_threads() -> None:
    hanging = threading.Event()

    def ask(*_: Any, **__: Any) -> Any:
        hanging.wait(30)
        return []

    loop = asyncio.get_running_loop()
    with separate_resolver(ask):
        # More than the loop has threads.
        asked = [asyncio.create_task(loop.getaddrinfo("mel.jabatan-contoh.gov.my", 993)) for _ in range(50)]
        try:
            await asyncio.sleep(0)
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "page"), 10) == "page"
            assert not any(each.done() for each in asked)
        finally:
            hanging.set()
        assert await asyncio.gather(*asked) == [[]] * 50


async def test_separate_resolver_returns_usual_results() -> None:
    loop = asyncio.get_running_loop()
    before = await loop.getaddrinfo("127.0.0.1", 25, type=socket.SOCK_STREAM)
    with separate_resolver():
        assert await loop.getaddrinfo("127.0.0.1", 25, type=socket.SOCK_STREAM) == before
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("mel.jabatan-contoh.gov.my", 25, flags=socket.AI_NUMERICHOST)
        # Connections use it.
        server = await asyncio.start_server(lambda _, writer: writer.close(), "localhost", 0)
        async with server:
            _, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
            writer.close()
    assert await loop.getaddrinfo("127.0.0.1", 25, type=socket.SOCK_STREAM) == before
