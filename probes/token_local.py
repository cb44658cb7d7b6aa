"""Access tokens that another program on this machine looks after: in a file, or printed by a command."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from probes.mailbox import AccessToken
from probes.oauth import NoAccessToken
from probes.token_endpoint import is_token

_TOKEN_AT_MOST = 64 * 1024


class TokenFile:
    """Implements `probes.mailbox.AccessTokens`: the first line of a file, read for each sign-in."""

    expires_at: datetime | None = None

    def __init__(self, file: Path) -> None:
        self._file = file

    async def get(self) -> AccessToken:
        """Return what the file holds now. Raise `NoAccessToken`."""
        return await asyncio.to_thread(self._read)

    def reject(self, token: AccessToken) -> bool:  # noqa: ARG002 - whatever was refused, the file may hold another
        """Say that the file is worth another look."""
        return True

    def _read(self) -> AccessToken:
        try:
            with self._file.open("rb") as file:
                line = file.readline(_TOKEN_AT_MOST)
        except OSError as error:
            raise NoAccessToken(f"{self._file} cannot be read: {error.strerror}") from None
        return _token(line, str(self._file))


class TokenCommand:
    """Asks a command, as msmtp and isync do: the first line that it prints. Implements `probes.oauth.Issuer`.

    What it says on standard error is not kept, because it may say anything.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    async def issue(self) -> AccessToken:
        """Return what the command prints. Raise `NoAccessToken`. It does not outlive the caller's deadline."""
        nothing = asyncio.subprocess.DEVNULL
        name = self._command[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=nothing,
                stdout=asyncio.subprocess.PIPE,
                stderr=nothing,
                limit=_TOKEN_AT_MOST,
                # A group of its own, so that what it starts ends with it.
                start_new_session=True,
            )
        except OSError as error:
            raise NoAccessToken(f"{name} cannot be started: {error.strerror}") from None
        try:
            line, status = await _printed(process)
        except ValueError:
            raise NoAccessToken(f"{name} printed a line that is longer than any token") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if status:
            raise NoAccessToken(f"{name} ended with status {status}")
        return _token(line, name)


async def _printed(process: asyncio.subprocess.Process) -> tuple[bytes, int]:
    stdout = process.stdout
    if stdout is None:
        return b"", await process.wait()
    return await stdout.readline(), await process.wait()


def _token(line: bytes, source: str) -> AccessToken:
    text = line.decode("latin-1").strip()
    if not is_token(text):
        raise NoAccessToken(f"{source} holds no access token" if not text else f"{source} holds something else")
    return AccessToken(secret=text)
