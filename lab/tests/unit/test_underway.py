"""What a stand-in does meanwhile, towards customers who do not wait for it."""

from __future__ import annotations

import asyncio

from pantau_lab.underway import BackgroundTasks


async def test_a_customer_who_closes_what_was_kept_gets_the_next_callback_all_the_same() -> None:
    served: list[asyncio.StreamWriter] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        # As a server does whose patience with a kept connection ends when it is asked again.
        await reader.read(1)
        writer.close()

    under_way = BackgroundTasks(errors=[])
    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server, under_way.open(timeout=5):
        host, port = server.sockets[0].getsockname()
        statuses = [(await under_way.client.get(f"http://{host}:{port}/")).status_code for _ in range(2)]
        for writer in served:
            await writer.wait_closed()
    assert statuses == [204, 204]
