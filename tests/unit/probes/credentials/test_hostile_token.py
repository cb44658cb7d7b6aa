"""Hostile or broken sources of access tokens end in time, with a reason that does not concern mail."""

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
from probes.credentials.oauth_endpoint import Client, ClientCredentialsIssuer, RefreshTokenIssuer, RefreshTokenStore
from probes.credentials.oauth_local import TokenCommand, TokenFile
from tests.timeouts import HANG_TIMEOUT

pytestmark = pytest.mark.pitfall


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = (b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Connection: close", *headers)
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", body))


@asynccontextmanager
async def endpoint(response: bytes, *, times: int = 1) -> AsyncIterator[Client]:
    """Give a client of an endpoint that answers with *response* and, if *times*, goes on with as much as is taken."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(times):
                writer.write(response)
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


def file_names(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


async def refused_error(client: Client) -> AccessTokenError:
    async with asyncio.timeout(HANG_TIMEOUT):
        with pytest.raises(AccessTokenError) as caught:
            await TokenCache(ClientCredentialsIssuer(client)).get()
    return caught.value


@pytest.mark.parametrize(
    ("response", "message_part"),
    [
        (answer(b"[" * 20_000), "does not respond like a token endpoint"),
        (answer(b'{"error": ["x"]}', status=b"400 Bad Request"), "['x']"),
        (answer(b'{"error": {"code": 1}}', status=b"400 Bad Request"), "{'code': 1}"),
        (answer(b'{"access_token": "%s"}' % (b"a" * 100_000)), "sends a larger response than a token endpoint should"),
        (answer(compress(b"0" * 50_000_000, compresslevel=1), b"Content-Encoding: gzip"), "compresses its responses"),
    ],
    ids=["nested", "a list for an error", "an object for an error", "a huge token", "a bomb"],
)
async def test_token_response_malformed_is_refused(response: bytes, message_part: str) -> None:
    """Trap: An invalid answer is taken for a token.

    Pantau: It is refused with a reason.
    """
    async with endpoint(response) as client:
        assert message_part in str(await refused_error(client))


async def test_token_response_endless_is_limited() -> None:
    """Trap: A token endpoint sends without end.

    Pantau: Reading stops at a limit.
    """
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with endpoint(head + chunk * 20) as client:
        assert "sends a larger response than a token endpoint should" in str(await refused_error(client))


@pytest.mark.parametrize("refresh_token", [r"a\r\nb", r"\ud800", "rahsia dua", r"\u00e9"])
async def test_refresh_token_rotation_impossible_value_is_not_stored(tmp_path: Path, refresh_token: str) -> None:
    """Trap: A provider sends an impossible refresh token.

    Pantau: The old one stays.
    """
    body = b'{"access_token": "tanda", "refresh_token": "%s"}' % refresh_token.encode()
    rotation = RefreshTokenStore("asal", tmp_path / "putaran")
    async with endpoint(answer(body)) as client:
        assert (await RefreshTokenIssuer(client, rotation).issue()).secret == "tanda"
    assert await rotation.current() == "asal"
    assert file_names(tmp_path) == []


async def test_token_file_pipe_or_device_is_refused_without_stuck_thread(tmp_path: Path) -> None:
    """Trap: A pipe is in place of the token file.

    Pantau: It is not opened.
    """
    os.mkfifo(tmp_path / "paip")
    before = threading.active_count()
    for _ in range(3):
        async with asyncio.timeout(HANG_TIMEOUT):
            with pytest.raises(AccessTokenError, match="not a regular file"):
                await TokenFile(tmp_path / "paip").get()
    assert threading.active_count() <= before + 3
    with pytest.raises(AccessTokenError, match="not a regular file"):
        await TokenFile(Path("/dev/zero")).get()


async def test_token_command_endless_output_is_terminated() -> None:
    """Trap: A token command prints without end.

    Pantau: It is ended.
    """
    tokens = TokenCache(TokenCommand(["sh", "-c", "echo tanda; yes"]), within=timedelta(seconds=0.3))
    async with asyncio.timeout(HANG_TIMEOUT):
        with pytest.raises(AccessTokenError, match="no response"):
            await tokens.get()


async def test_token_command_background_process_does_not_delay_token() -> None:
    """Trap: A token command leaves a process that holds its output open.

    Pantau: Nobody waits for it.
    """
    # An agent started by the first command holds the output open.
    async with asyncio.timeout(HANG_TIMEOUT):
        assert (await TokenCommand(["sh", "-c", "setsid sleep 30 & echo tanda"]).issue()).secret == "tanda"


async def test_token_source_name_with_null_byte_is_refused(tmp_path: Path) -> None:
    """Trap: A host name is one that no system accepts.

    Pantau: It is reported as our own fault.
    """
    with pytest.raises(AccessTokenError, match="cannot be started: embedded null byte"):
        await TokenCommand(["a\0b"]).issue()
    with pytest.raises(AccessTokenError, match="cannot be read: embedded null byte"):
        await TokenFile(tmp_path / "a\0b").get()
