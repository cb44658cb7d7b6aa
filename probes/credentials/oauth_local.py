"""Access tokens maintained by another program on this machine: in a file, or printed by a command."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from probes.credentials.oauth import AccessTokenError
from probes.credentials.oauth_endpoint import is_token
from probes.model.mailbox import AccessToken

_TOKEN_AT_MOST = 64 * 1024


class TokenFile:
    """Implementation of `probes.model.mailbox.AccessTokens`: the first line of a file, read for each sign-in."""

    expires_at: datetime | None = None

    def __init__(self, file: Path) -> None:
        self._file = file

    async def get(self) -> AccessToken:
        """Return the token in the file. Raise `AccessTokenError`."""
        return await asyncio.to_thread(self._read)

    def reject(self, token: AccessToken) -> bool:  # noqa: ARG002 - whatever was refused, the file may hold another
        """Return that the file should be read again."""
        return True

    def _read(self) -> AccessToken:
        try:
            # Non-blocking: a pipe without a writer would block a thread for ever, and the thread pool also resolves
            # names.
            with open(self._file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise AccessTokenError(f"{self._file} is no regular file")
                line = file.readline(_TOKEN_AT_MOST)
        except (OSError, ValueError) as error:
            raise AccessTokenError(f"{self._file} cannot be read: {_why(error)}") from None
        return _token(line, str(self._file))


class TokenCommand:
    """Issuer by a command, as in msmtp and isync: the first line of its output.

    Implements `probes.credentials.oauth.Issuer`. Its standard error is discarded, because it may contain secrets.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    async def issue(self) -> AccessToken:
        """Return the output of the command.

        Raise `AccessTokenError`. The command is killed at the caller's deadline.
        """
        name = self._command[0]
        async with _pipe() as (printed, end):
            process = await self._started(end)
            try:
                line = await printed.readline()
                status = await process.wait()
            except ValueError:
                raise AccessTokenError(f"{name} printed a line that is longer than any token") from None
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        if status:
            raise AccessTokenError(f"{name} ended with status {status}")
        return _token(line, name)

    async def _started(self, end: int) -> asyncio.subprocess.Process:
        nothing = asyncio.subprocess.DEVNULL
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=nothing,
                stdout=end,
                stderr=nothing,
                # A new process group, so that its child processes end with it.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise AccessTokenError(f"{self._command[0]} cannot be started: {_why(error)}") from None
        finally:
            os.close(end)


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """Provide the reader of a pipe and the descriptor of its other end, which the user closes.

    With asyncio's own pipe the exit of a process is reported only when the pipe has been read to its end: never, if the
    process printed more than is read, or has left a child that holds it.
    """
    reader = asyncio.StreamReader(limit=_TOKEN_AT_MOST)
    ours, end = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        yield reader, end
    finally:
        transport.close()


def _why(error: OSError | ValueError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def _token(line: bytes, source: str) -> AccessToken:
    text = line.decode("latin-1").strip()
    if not is_token(text):
        raise AccessTokenError(f"{source} holds no access token" if not text else f"{source} holds something else")
    return AccessToken(secret=text)
