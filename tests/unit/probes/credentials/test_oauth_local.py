"""A token that another program looks after: in a file, or printed by a command."""

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
from tests.hanging import HANGS


@pytest.mark.pitfall
async def test_a_file_is_read_for_each_sign_in(tmp_path: Path) -> None:
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
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "holds no access token"),
        (b"\n", "holds no access token"),
        (b"kata laluan", "holds something else"),
        (b"\xff\xfe", "holds something else"),
    ],
)
async def test_a_file_without_a_token_is_our_own_fault(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "tanda"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AccessTokenError, match=words) as caught:
        await TokenFile(file).get()
    assert not caught.value.refused
    assert "kata laluan" not in str(caught.value)


@pytest.mark.pitfall
async def test_the_first_line_that_a_command_prints_is_the_token() -> None:
    """Trap: Commands print more than the token.

    Pantau: The first line is used.
    """
    command = TokenCommand([sys.executable, "-c", "print('tanda'); print('lain')"])
    assert (await command.issue()).secret == "tanda"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["/tiada/program"], "/tiada/program cannot be started: No such file or directory"),
        (["sh", "-c", "echo tanda; exit 3"], "sh ended with status 3"),
        (["sh", "-c", "echo rahsia kata >&2; exit 1"], "sh ended with status 1"),
        (["true"], "true holds no access token"),
        (["sh", "-c", "head -c 200000 /dev/zero"], "longer than any token"),
    ],
)
async def test_a_command_that_fails_is_our_own_fault(command: list[str], words: str) -> None:
    with pytest.raises(AccessTokenError, match=words) as caught:
        await TokenCommand(command).issue()
    assert not caught.value.refused
    assert "rahsia" not in str(caught.value)


async def test_a_command_does_not_outlive_its_deadline(tmp_path: Path) -> None:
    note = tmp_path / "nombor"
    script = f"sleep 60 & echo $! $$ > {note}.x; mv {note}.x {note}; wait"
    tokens = TokenCache(TokenCommand(["sh", "-c", script]), within=timedelta(seconds=3))
    async with asyncio.timeout(HANGS):
        with pytest.raises(AccessTokenError, match="no answer"):
            await tokens.get()
    for number in map(int, note.read_text().split()):
        async with asyncio.timeout(HANGS):
            while _lives(number):  # noqa: ASYNC110 - another process gives no notice of its end
                await asyncio.sleep(0.01)


def _lives(number: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(number, 0)
        # What has ended and was not asked for yet still has its number.
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
