"""Access tokens that another program maintains, in a file or printed by a command."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from probes.credentials.oauth import AccessTokenError, TokenCache
from probes.credentials.oauth_local import TokenCommand, TokenFile
from tests.timeouts import HANG_TIMEOUT


@pytest.mark.pitfall
async def test_token_file_is_read_for_each_sign_in(tmp_path: Path) -> None:
    """Trap: Another program renews the token file.

    Pantau: The file is read for each sign-in.
    """
    file = tmp_path / "tanda"
    tokens = TokenFile(file)
    file.write_text("satu\n# dan apa-apa lagi\n")
    first = await tokens.get()
    assert (first.secret, first.expires_at) == ("satu", None)
    file.write_text("dua\n")
    assert tokens.reject(first)
    assert (await tokens.get()).secret == "dua"


@pytest.mark.parametrize(
    ("content", "message_part"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "contains no access token"),
        (b"\n", "contains no access token"),
        (b"kata laluan", "contains something else"),
        (b"\xff\xfe", "contains something else"),
    ],
)
async def test_token_file_without_token_is_error_not_refusal(
    tmp_path: Path, content: bytes | None, message_part: str
) -> None:
    file = tmp_path / "tanda"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AccessTokenError, match=message_part) as caught:
        await TokenFile(file).get()
    assert not caught.value.refused
    assert "kata laluan" not in str(caught.value)


@pytest.mark.pitfall
async def test_token_command_uses_first_line() -> None:
    """Trap: Commands print more than the token.

    Pantau: The first line is used.
    """
    command = TokenCommand([sys.executable, "-c", "print('tanda'); print('lain')"])
    assert (await command.issue()).secret == "tanda"


@pytest.mark.parametrize(
    ("command", "message_part"),
    [
        (["/tiada/program"], "/tiada/program cannot be started: No such file or directory"),
        (["sh", "-c", "echo tanda; exit 3"], "sh ended with status 3"),
        (["sh", "-c", "echo rahsia kata >&2; exit 1"], "sh ended with status 1"),
        (["true"], "true contains no access token"),
        (["sh", "-c", "head -c 200000 /dev/zero"], "too long for a token"),
    ],
)
async def test_token_command_failure_is_error_not_refusal(command: list[str], message_part: str) -> None:
    with pytest.raises(AccessTokenError, match=message_part) as caught:
        await TokenCommand(command).issue()
    assert not caught.value.refused
    assert "rahsia" not in str(caught.value)


async def test_token_command_processes_end_at_deadline(tmp_path: Path) -> None:
    pid_file = tmp_path / "nombor"
    script = f"sleep 60 & echo $! $$ > {pid_file}.x; mv {pid_file}.x {pid_file}; wait"
    tokens = TokenCache(TokenCommand(["sh", "-c", script]), within=timedelta(seconds=3))
    async with asyncio.timeout(HANG_TIMEOUT):
        with pytest.raises(AccessTokenError, match="no response"):
            await tokens.get()
    for pid in map(int, pid_file.read_text().split()):
        async with asyncio.timeout(HANG_TIMEOUT):
            while _is_alive(pid):  # noqa: ASYNC110 - another process gives no notice of its end
                await asyncio.sleep(0.01)


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        # A zombie process still has its number.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
