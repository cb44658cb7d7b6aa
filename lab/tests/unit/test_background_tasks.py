"""Background requests of the simulated providers."""

from __future__ import annotations

import asyncio

from pantau_lab.background_tasks import BackgroundTasks


async def test_kept_alive_connection_closed_by_customer_is_retried() -> None:
    served: list[asyncio.StreamWriter] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        # Servers close a kept-alive connection when it has been idle too long.
        await reader.read(1)
        writer.close()

    background = BackgroundTasks(errors=[])
    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server, background.open(timeout=5):
        host, port = server.sockets[0].getsockname()
        statuses = [(await background.client.get(f"http://{host}:{port}/")).status_code for _ in range(2)]
        for writer in served:
            await writer.wait_closed()
    assert statuses == [204, 204]
