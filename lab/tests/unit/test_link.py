"""TCP links that can be disconnected: data waits and arrives after the reconnection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable

import pytest

from pantau_lab.sites.link import HUB, SiteLinks, TcpLink

#: In seconds. On loopback data arrives within a fraction of a millisecond.
NO_DATA_TIMEOUT = 0.1


class LinkedServer:
    """Link to a server that answers in capitals and records closed connections."""

    def __init__(self) -> None:
        self.closed = asyncio.Queue[str]()
        self.link: TcpLink

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        last = ""
        while line := (await reader.readline()).decode():
            last = line.strip()
            writer.write(line.upper().encode())
        writer.close()
        self.closed.put_nowait(last)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.link.port)


@pytest.fixture
async def server() -> AsyncIterator[LinkedServer]:
    server = LinkedServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as end, asyncio.TaskGroup() as tasks:
        server.link = TcpLink(end.sockets[0].getsockname()[1], tasks)
        yield server
        server.link.close()


async def assert_pending(what: Awaitable[object]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(what, NO_DATA_TIMEOUT)


async def test_link_passes_data_and_close_both_ways(server: LinkedServer) -> None:
    reader, writer = await server.connect()
    writer.write(b"apa khabar\n")
    assert await reader.readline() == b"APA KHABAR\n"
    writer.write_eof()
    assert await server.closed.get() == "apa khabar"
    assert await reader.read() == b""
    writer.close()


async def test_link_disconnected_holds_data_until_reconnected(server: LinkedServer) -> None:
    reader, writer = await server.connect()
    writer.write(b"satu\n")
    assert await reader.readline() == b"SATU\n"
    assert server.link.disconnect()
    writer.write(b"dua\n")
    await assert_pending(reader.readline())
    assert server.link.reconnect()
    assert await reader.readline() == b"DUA\n"
    writer.close()


async def test_link_disconnected_holds_close_until_reconnected(server: LinkedServer) -> None:
    reader, writer = await server.connect()
    writer.write(b"satu\n")
    assert await reader.readline() == b"SATU\n"
    server.link.disconnect()
    writer.close()
    await assert_pending(server.closed.get())
    server.link.reconnect()
    assert await server.closed.get() == "satu"


async def test_link_disconnected_neither_accepts_nor_refuses_connections(server: LinkedServer) -> None:
    assert server.link.disconnect()
    await assert_pending(server.connect())
    # Several times, as a client that lost its connection does.
    await assert_pending(server.connect())
    assert server.link.reconnect()
    reader, writer = await server.connect()
    writer.write(b"ada\n")
    assert await reader.readline() == b"ADA\n"
    writer.close()


async def test_link_reconnected_completes_pending_connection(server: LinkedServer) -> None:
    server.link.disconnect()
    connecting = asyncio.create_task(server.connect())
    await assert_pending(asyncio.shield(connecting))
    server.link.reconnect()
    # The kernel sends SYN again after a second.
    reader, writer = await connecting
    writer.write(b"akhirnya\n")
    assert await reader.readline() == b"AKHIRNYA\n"
    writer.close()


async def test_link_disconnect_and_reconnect_report_change_once(server: LinkedServer) -> None:
    assert not server.link.reconnect()
    assert [server.link.disconnect(), server.link.disconnect()] == [True, False]
    assert server.link.is_disconnected
    assert [server.link.reconnect(), server.link.reconnect()] == [True, False]
    assert not server.link.is_disconnected


async def test_link_without_listener_closes_connection_and_goes_on() -> None:
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        async with asyncio.TaskGroup() as tasks:
            link = TcpLink(not_listening.getsockname()[1], tasks)
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
                assert await reader.read() == b""
                writer.close()
            link.close()


async def test_site_links_disconnect_hub_and_mail_separately() -> None:
    async with asyncio.TaskGroup() as tasks:
        hub, *mail = links = [TcpLink(1, tasks) for _ in range(3)]
        site = SiteLinks(hub=hub, mail={"JCM": mail[:1], "MDC": mail[1:]})
        assert site.disconnect("MDC")
        assert site.disconnect(None)
        assert not site.disconnect(None)
        assert [link.is_disconnected for link in links] == [True, False, True]
        assert site.disconnected() == [HUB, "MDC"]
        assert site.reconnect("JCM") == []
        assert site.reconnect("MDC") == ["MDC"]
        site.disconnect("JCM")
        assert site.reconnect(None) == [HUB, "JCM"]
        assert site.disconnected() == []
        for link in links:
            link.close()
