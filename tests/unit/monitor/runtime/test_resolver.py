"""Names are looked up apart: a resolver that hangs holds up those who asked it, and nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from monitor.runtime.resolver import separate_resolver


async def test_while_the_resolver_hangs_other_work_in_threads_goes_on() -> None:
    hanging = threading.Event()

    def ask(*_: Any, **__: Any) -> Any:
        hanging.wait(30)
        return []

    loop = asyncio.get_running_loop()
    with separate_resolver(ask):
        # As many as a loop has threads for, and more.
        asked = [asyncio.create_task(loop.getaddrinfo("mel.jabatan-contoh.gov.my", 993)) for _ in range(50)]
        try:
            await asyncio.sleep(0)
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "page"), 10) == "page"
            assert not any(each.done() for each in asked)
        finally:
            hanging.set()
        assert await asyncio.gather(*asked) == [[]] * 50


async def test_what_the_resolver_says_comes_back_as_ever() -> None:
    loop = asyncio.get_running_loop()
    before = await loop.getaddrinfo("127.0.0.1", 25, type=socket.SOCK_STREAM)
    with separate_resolver():
        assert await loop.getaddrinfo("127.0.0.1", 25, type=socket.SOCK_STREAM) == before
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("mel.jabatan-contoh.gov.my", 25, flags=socket.AI_NUMERICHOST)
        # Connections go by it.
        server = await asyncio.start_server(lambda _, writer: writer.close(), "localhost", 0)
        async with server:
            _, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
            writer.close()
    assert await loop.getaddrinfo("127.0.0.1", 25, type=socket.SOCK_STREAM) == before
