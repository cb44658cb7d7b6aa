"""A wire that is cut is a cable that was pulled: nothing comes through, nobody is told, and later what was held back comes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable

import pytest

from pantau_lab.sites.link import HUB, SiteLinks, TcpLink

#: In seconds: what has not come by then does not come. On loopback it takes a fraction of a millisecond.
NOT_YET = 0.1


class Line:
    """A wire, and what stands at its far end: it answers in capitals, and notes who hangs up."""

    def __init__(self) -> None:
        self.hung_up = asyncio.Queue[str]()
        self.wire: TcpLink

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = ""
        while line := (await reader.readline()).decode():
            said = line.strip()
            writer.write(line.upper().encode())
        writer.close()
        self.hung_up.put_nowait(said)

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.wire.port)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line()
    async with await asyncio.start_server(line.serve, "127.0.0.1", 0) as end, asyncio.TaskGroup() as tasks:
        line.wire = TcpLink(end.sockets[0].getsockname()[1], tasks)
        yield line
        line.wire.close()


async def comes_not(what: Awaitable[object]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(what, NOT_YET)


async def test_what_is_said_comes_through_both_ways_and_so_does_that_somebody_hangs_up(line: Line) -> None:
    reader, writer = await line.dial()
    writer.write(b"apa khabar\n")
    assert await reader.readline() == b"APA KHABAR\n"
    writer.write_eof()
    assert await line.hung_up.get() == "apa khabar"
    assert await reader.read() == b""
    writer.close()


async def test_through_a_cut_wire_comes_nothing_until_it_is_mended(line: Line) -> None:
    reader, writer = await line.dial()
    writer.write(b"satu\n")
    assert await reader.readline() == b"SATU\n"
    assert line.wire.disconnect()
    writer.write(b"dua\n")
    await comes_not(reader.readline())
    assert line.wire.reconnect()
    assert await reader.readline() == b"DUA\n"
    writer.close()


async def test_that_somebody_hangs_up_is_not_told_through_a_cut_wire(line: Line) -> None:
    reader, writer = await line.dial()
    writer.write(b"satu\n")
    assert await reader.readline() == b"SATU\n"
    line.wire.disconnect()
    writer.close()
    await comes_not(line.hung_up.get())
    line.wire.reconnect()
    assert await line.hung_up.get() == "satu"


async def test_whoever_connects_while_it_is_cut_is_not_even_refused(line: Line) -> None:
    assert line.wire.disconnect()
    await comes_not(line.dial())
    # Several times, as who has lost it tries again.
    await comes_not(line.dial())
    assert line.wire.reconnect()
    reader, writer = await line.dial()
    writer.write(b"ada\n")
    assert await reader.readline() == b"ADA\n"
    writer.close()


async def test_whoever_had_waited_at_a_cut_wire_comes_through_when_it_is_mended(line: Line) -> None:
    line.wire.disconnect()
    dialling = asyncio.create_task(line.dial())
    await comes_not(asyncio.shield(dialling))
    line.wire.reconnect()
    # The system knocks again after a second.
    reader, writer = await dialling
    writer.write(b"akhirnya\n")
    assert await reader.readline() == b"AKHIRNYA\n"
    writer.close()


async def test_a_wire_is_cut_once_and_mended_once(line: Line) -> None:
    assert not line.wire.reconnect()
    assert [line.wire.disconnect(), line.wire.disconnect()] == [True, False]
    assert line.wire.is_disconnected
    assert [line.wire.reconnect(), line.wire.reconnect()] == [True, False]
    assert not line.wire.is_disconnected


async def test_where_nobody_listens_a_connection_ends_and_the_wire_goes_on() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with asyncio.TaskGroup() as tasks:
            wire = TcpLink(nobody.getsockname()[1], tasks)
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
                assert await reader.read() == b""
                writer.close()
            wire.close()


async def test_a_site_is_cut_off_from_the_hub_and_from_mail_apart_and_joined_to_all_at_once() -> None:
    async with asyncio.TaskGroup() as tasks:
        hub, *mail = laid = [TcpLink(1, tasks) for _ in range(3)]
        site = SiteLinks(hub=hub, mail={"JCM": mail[:1], "MDC": mail[1:]})
        assert site.disconnect("MDC")
        assert site.disconnect(None)
        assert not site.disconnect(None)
        assert [wire.is_disconnected for wire in laid] == [True, False, True]
        assert site.disconnected() == [HUB, "MDC"]
        assert site.reconnect("JCM") == []
        assert site.reconnect("MDC") == ["MDC"]
        site.disconnect("JCM")
        assert site.reconnect(None) == [HUB, "JCM"]
        assert site.disconnected() == []
        for wire in laid:
            wire.close()
