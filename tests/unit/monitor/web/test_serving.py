"""HTTP server: timeouts, slow clients, connection limits and trusted proxies."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import structlog
import trustme
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from monitor.web.connection import ConnectionLimits
from monitor.web.serving import _TrustedProxies, listener_url, open_port, serve
from tests.timeouts import HANG_TIMEOUT

SHORT = timedelta(milliseconds=100)
#: Long enough to send a request on a busy machine.
LONG = timedelta(seconds=1)


async def _length(request: Request) -> PlainTextResponse:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return PlainTextResponse("")


async def _slow(_: Request) -> PlainTextResponse:
    await asyncio.sleep(1.2 * LONG.total_seconds())
    return PlainTextResponse("at last")


@asynccontextmanager
async def connected(asking: timedelta = SHORT) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    app = Starlette(routes=[Route("/", _length, methods=["POST"]), Route("/ponder", _slow)])
    listener = open_port("127.0.0.1", 0)
    async with serve(app, listener, request_timeout=asking), asyncio.timeout(HANG_TIMEOUT):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, Path]:
    """Return a certificate of this machine with its authority's, and its key."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes() + authority.cert_pem.bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
GET = b"GET /ponder HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"POST / HT", POST[:-2], POST, POST + b"four"], ids=len)
async def test_serve_unfinished_request_is_closed(sent: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(sent)
        try:
            received = await reader.read()
        except ConnectionResetError:
            received = b""

    assert received == b""


@pytest.mark.blind
async def test_serve_header_timeout_is_shorter_than_body() -> None:
    """Defect: A client that sends nothing holds a connection for 20 s.

    Pantau: Headers have 5 s, a body 20.
    """
    app = Starlette(routes=[Route("/", _length, methods=["POST"])])
    listener = open_port("127.0.0.1", 0)
    async with serve(app, listener, header_timeout=SHORT), asyncio.timeout(HANG_TIMEOUT):
        silent, dumb = await asyncio.open_connection(*listener.getsockname())
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(POST)
        with suppress(ConnectionResetError):
            assert await silent.read() == b""
        writer.write(b"fives")
        assert (await reader.readuntil(b"\r\n\r\n5")).startswith(b"HTTP/1.1 200")
        for each in (dumb, writer):
            each.close()


@pytest.mark.blind
async def test_serve_tls_handshake_has_header_timeout(tls: tuple[Path, Path]) -> None:
    """Defect: An unfinished TLS handshake holds a connection for a minute.

    Pantau: It has 5 s.
    """
    listener = open_port("127.0.0.1", 0)
    async with serve(Starlette(), listener, header_timeout=SHORT, certificate=tls), asyncio.timeout(HANG_TIMEOUT):
        silent, writer = await asyncio.open_connection(*listener.getsockname())
        with suppress(ConnectionResetError):
            assert await silent.read() == b""
        writer.close()


async def test_serve_slow_bytes_do_not_extend_timeout() -> None:
    async with connected() as (reader, writer):
        sender = asyncio.create_task(_send_slowly(writer))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        sender.cancel()


async def _send_slowly(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"P")
        await asyncio.sleep(SHORT.total_seconds() / 10)


async def test_serve_unread_response_is_closed() -> None:
    stopped = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while not stopped.is_set():
            yield b"x" * 65536
            await asyncio.sleep(0)

    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(endless())(scope, receive, send)
        stopped.set()

    listener = open_port("127.0.0.1", 0)
    async with serve(flood, listener, response_timeout=SHORT), asyncio.timeout(HANG_TIMEOUT):
        with socket.create_connection(listener.getsockname()) as deaf:
            deaf.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await stopped.wait()


async def test_serve_slow_response_and_next_request_are_served() -> None:
    async with connected(LONG) as (reader, writer):
        for _ in range(2):
            writer.write(GET)
            assert (await reader.readuntil(b"at last")).startswith(b"HTTP/1.1 200")
            writer.write(POST)
            writer.write(b"fives")
            assert (await reader.readuntil(b"\r\n\r\n5")).startswith(b"HTTP/1.1 200")


async def test_serve_stop_cuts_requests_and_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Semaphore(0)

    async def endless() -> AsyncIterator[bytes]:
        begun.release()
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    async def scrape(_: Request) -> StreamingResponse:
        return StreamingResponse(endless())

    async def page(_: Request) -> PlainTextResponse:
        begun.release()
        await asyncio.sleep(3600)
        return PlainTextResponse("never")

    app = Starlette(routes=[Route("/metrics", scrape), Route("/", page)])
    listener = open_port("127.0.0.1", 0)
    async with asyncio.timeout(10):
        async with serve(app, listener):
            callers = [await asyncio.open_connection(*listener.getsockname()) for _ in range(4)]
            for (_, writer), path in zip(callers, (b"/", b"/metrics", b"/metrics", b"/"), strict=True):
                writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await begun.acquire()
        answers = []
        for reader, writer in callers:
            answers.append(await reader.read())
            writer.close()
    assert (answers[0], answers[3]) == (b"", b"")
    assert answers[1].startswith(b"HTTP/1.1 200")
    assert not answers[1].endswith(b"0\r\n\r\n"), "whoever reads it sees that it is not whole"
    assert caplog.records == []


async def test_serve_client_disconnect_in_body_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    over = asyncio.Event()

    async def read(request: Request) -> PlainTextResponse:
        try:
            return PlainTextResponse(str(len(await request.body())))
        finally:
            over.set()

    listener = open_port("127.0.0.1", 0)
    async with serve(Starlette(routes=[Route("/", read, methods=["POST"])]), listener), asyncio.timeout(HANG_TIMEOUT):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(POST + b"four")
        await writer.drain()
        writer.close()
        await over.wait()
    assert caplog.records == []


FEW = ConnectionLimits(total=4, per_address=4)


@pytest.mark.blind
async def test_serve_all_connections_idle_closes_oldest_for_new() -> None:
    """Defect: A listener full of idle connections answers nobody.

    Pantau: A new request is answered, and the oldest idle connection closes.
    """
    app = Starlette(routes=[Route("/", _length, methods=["POST"])])
    listener = open_port("127.0.0.1", 0)
    async with serve(app, listener, limits=FEW), asyncio.timeout(HANG_TIMEOUT):
        idle = [await asyncio.open_connection(*listener.getsockname()) for _ in range(6)]
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(listener_url(listener), content=b"fives")).text == "5"
        for reader, _ in idle[:3]:
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert not idle[-1][0].at_eof()
        for _, writer in idle:
            writer.close()


async def _whole(_: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * 8_000_000)


async def _in_parts(_: Request) -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 8_000_000
            await asyncio.sleep(0)

    return StreamingResponse(parts())


@pytest.mark.blind
@pytest.mark.parametrize("path", ["/whole", "/parts"])
@pytest.mark.parametrize("closing", ["", "Connection: close\r\n"])
async def test_serve_all_connections_unread_closes_them_for_new(path: str, closing: str) -> None:
    """Defect: Clients that do not read a long answer hold all connections for two minutes.

    Pantau: They are closed for new ones.
    """
    routes = [Route("/", _length, methods=["POST"]), Route("/whole", _whole), Route("/parts", _in_parts)]
    listener = open_port("127.0.0.1", 0)
    async with serve(Starlette(routes=routes), listener, limits=FEW), asyncio.timeout(HANG_TIMEOUT):
        unread = [await asyncio.open_connection(*listener.getsockname(), limit=1024) for _ in range(FEW.total)]
        for reader, writer in unread:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{closing}\r\n".encode())
            await reader.readexactly(4096)
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(listener_url(listener), content=b"fives")).text == "5"
        for _, writer in unread:
            writer.close()


async def test_serve_ended_connections_are_not_counted() -> None:
    app = Starlette(routes=[Route("/", _length, methods=["POST"])])
    listener = open_port("127.0.0.1", 0)
    async with serve(app, listener, limits=FEW), asyncio.timeout(HANG_TIMEOUT):
        for _ in range(FEW.total + 2):
            async with httpx.AsyncClient(trust_env=False, headers={"Connection": "close"}) as client:
                assert (await client.post(listener_url(listener), content=b"fives")).text == "5"


@pytest.mark.blind
async def test_serve_tls_unfinished_handshakes_close_for_new(tls: tuple[Path, Path]) -> None:
    """Defect: A listener full of unfinished TLS handshakes answers nobody.

    Pantau: A new request is answered.
    """
    trust = ssl.create_default_context(cafile=tls[0])
    app = Starlette(routes=[Route("/", _length, methods=["POST"])])
    listener = open_port("127.0.0.1", 0)
    async with serve(app, listener, limits=FEW, certificate=tls), asyncio.timeout(HANG_TIMEOUT):
        silent = [await asyncio.open_connection(*listener.getsockname()) for _ in range(5)]
        async with httpx.AsyncClient(trust_env=False, verify=trust) as client:
            answer = await client.post(f"https://localhost:{listener.getsockname()[1]}", content=b"fives")
        assert answer.text == "5"
        for reader, _ in silent[:2]:
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        for _, writer in silent:
            writer.close()


@pytest.mark.blind
async def test_serve_without_free_descriptor_logs_once_and_accepts_later() -> None:
    """Defect: Without a free descriptor asyncio's server writes 2,048 log lines at each attempt.

    Pantau: It writes one line and tries once a second.
    """
    app = Starlette(routes=[Route("/", _length, methods=["POST"])])
    listener = open_port("127.0.0.1", 0)
    callers = [socket.socket() for _ in range(20)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with structlog.testing.capture_logs() as logged:
        async with serve(app, listener), asyncio.timeout(HANG_TIMEOUT):
            await asyncio.sleep(0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(each.fileno() for each in callers) + 1, hard))
            try:
                taken = _take_all()
                for each in callers:
                    each.connect(listener.getsockname())
                while not logged:  # noqa: ASYNC110 - it is only logged
                    await asyncio.sleep(0)
            finally:
                for descriptor in taken:
                    os.close(descriptor)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            callers[0].sendall(POST + b"fives")
            assert (await asyncio.to_thread(callers[0].recv, 1000)).startswith(b"HTTP/1.1 200")
            for each in callers:
                each.close()
    assert [each["event"] for each in logged] == ["connections cannot be accepted; retrying each second"]


def _take_all() -> list[int]:
    """Open files until no descriptor is free."""
    taken: list[int] = []
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    return taken


async def test_serve_forwarded_headers_are_trusted_from_named_proxy_only() -> None:
    async def whose(scope: Scope, _receive: Receive, send: Send) -> None:
        body = f"{scope['client'][0]} {scope['scheme']}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    sent = {"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "https"}
    answers = []
    for proxies in (["127.0.0.1"], ["10.20.0.0/24"], []):
        listener = open_port("127.0.0.1", 0)
        async with serve(whose, listener, trusted_proxies=proxies), httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(listener_url(listener), headers=sent)
            answers.append((answer.status_code, answer.text.partition("{")[0]))
    assert answers == [(200, "10.9.8.7 https"), (200, "127.0.0.1 http"), (200, "127.0.0.1 http")]


@pytest.mark.parametrize(
    ("address", "status"),
    [("10.20.0.5", 204), ("10.20.1.5", 403), ("192.168.7.9", 204), ("127.0.0.1", 204), ("::1", 204), ("", 403)],
)
async def test_trusted_proxies_admits_allowed_addresses_only(address: str, status: int) -> None:
    async def empty(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = _TrustedProxies(empty, ["10.20.0.0/24"], ["192.168.7.9"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app, client=(address, 1))) as client:
        assert (await client.get("http://localhost/")).status_code == status
