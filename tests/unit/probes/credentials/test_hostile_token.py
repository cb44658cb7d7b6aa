"""Where access tokens come from may be hostile, or broken: it ends in time, and as a reason that is about nobody's mail."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from gzip import compress
from pathlib import Path

import pytest

from probes.credentials.oauth import AccessTokenError, TokenCache
from probes.credentials.oauth_endpoint import Client, ClientCredentials, RefreshToken, Rotation
from probes.credentials.oauth_local import TokenCommand, TokenFile
from tests.hanging import HANGS

pytestmark = pytest.mark.pitfall


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = (b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Connection: close", *headers)
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", body))


@asynccontextmanager
async def endpoint(said: bytes, *, again: int = 1) -> AsyncIterator[Client]:
    """Give a client of an endpoint that answers with *said* and, if *again*, goes on with as much as is taken."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(again):
                writer.write(said)
                await writer.drain()
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Client(
            token_url=f"http://127.0.0.1:{port}/token",
            client_id="pantau-ujian",
            client_secret="rahsia-klien",
            tls=ssl.create_default_context(),
        )
    finally:
        server.close()


def names(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


async def refusal(client: Client) -> AccessTokenError:
    async with asyncio.timeout(HANGS):
        with pytest.raises(AccessTokenError) as caught:
            await TokenCache(ClientCredentials(client)).get()
    return caught.value


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(b"[" * 20_000), "does not answer as a token endpoint does"),
        (answer(b'{"error": ["x"]}', status=b"400 Bad Request"), "['x']"),
        (answer(b'{"error": {"code": 1}}', status=b"400 Bad Request"), "{'code': 1}"),
        (answer(b'{"access_token": "%s"}' % (b"a" * 100_000)), "says more than a token endpoint has to say"),
        (answer(compress(b"0" * 50_000_000, compresslevel=1), b"Content-Encoding: gzip"), "packs its answers"),
    ],
    ids=["nested", "a list for an error", "an object for an error", "a huge token", "a bomb"],
)
async def test_an_answer_that_nobody_expects_is_no_token(said: bytes, words: str) -> None:
    """Trap: An invalid answer is taken for a token.

    Pantau: It is refused with a reason.
    """
    async with endpoint(said) as client:
        assert words in str(await refusal(client))


async def test_an_endpoint_that_talks_without_end_is_not_listened_to_without_end() -> None:
    """Trap: A token endpoint sends without end.

    Pantau: Reading stops at a limit.
    """
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with endpoint(head + chunk * 20) as client:
        assert "says more than a token endpoint has to say" in str(await refusal(client))


@pytest.mark.parametrize("following", [r"a\r\nb", r"\ud800", "rahsia dua", r"\u00e9"])
async def test_a_refresh_token_that_cannot_be_one_is_not_kept(tmp_path: Path, following: str) -> None:
    """Trap: A provider sends an impossible refresh token.

    Pantau: The old one stays.
    """
    body = b'{"access_token": "tanda", "refresh_token": "%s"}' % following.encode()
    rotation = Rotation("asal", tmp_path / "putaran")
    async with endpoint(answer(body)) as client:
        assert (await RefreshToken(client, rotation).issue()).secret == "tanda"
    assert await rotation.current() == "asal"
    assert names(tmp_path) == []


async def test_a_pipe_in_the_place_of_a_token_file_keeps_no_thread(tmp_path: Path) -> None:
    """Trap: A pipe is in place of the token file.

    Pantau: It is not opened.
    """
    os.mkfifo(tmp_path / "paip")
    before = threading.active_count()
    for _ in range(3):
        async with asyncio.timeout(HANGS):
            with pytest.raises(AccessTokenError, match="no regular file"):
                await TokenFile(tmp_path / "paip").get()
    assert threading.active_count() <= before + 3
    with pytest.raises(AccessTokenError, match="no regular file"):
        await TokenFile(Path("/dev/zero")).get()


async def test_a_command_that_prints_without_end_is_ended() -> None:
    """Trap: A token command prints without end.

    Pantau: It is ended.
    """
    tokens = TokenCache(TokenCommand(["sh", "-c", "echo tanda; yes"]), within=timedelta(seconds=0.3))
    async with asyncio.timeout(HANGS):
        with pytest.raises(AccessTokenError, match="no answer"):
            await tokens.get()


async def test_what_a_command_leaves_running_keeps_nobody_waiting() -> None:
    """Trap: A token command leaves a process that holds its output open.

    Pantau: Nobody waits for it.
    """
    # As an agent does that is started with the first question: it holds the output open.
    async with asyncio.timeout(HANGS):
        assert (await TokenCommand(["sh", "-c", "setsid sleep 30 & echo tanda"]).issue()).secret == "tanda"


async def test_a_name_that_no_system_takes_is_our_own_fault(tmp_path: Path) -> None:
    """Trap: A host name is one that no system accepts.

    Pantau: It is reported as our own fault.
    """
    with pytest.raises(AccessTokenError, match="cannot be started: embedded null byte"):
        await TokenCommand(["a\0b"]).issue()
    with pytest.raises(AccessTokenError, match="cannot be read: embedded null byte"):
        await TokenFile(tmp_path / "a\0b").get()
