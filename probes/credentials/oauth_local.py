"""Access tokens that another program on this machine provides: in a file, or as the output of a command."""

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
from probes.credentials.oauth_endpoint import is_valid_token
from probes.model.mailbox import AccessToken

#: Limit of octets of a token.
_MAX_TOKEN = 64 * 1024


class TokenFile:
    """Implementation of `probes.model.mailbox.AccessTokens`: the first line of a file, read for each sign-in."""

    #: The file does not state the expiry.
    expires_at: datetime | None = None

    def __init__(self, file: Path) -> None:
        self._file = file

    async def get(self) -> AccessToken:
        """Return the token in the file. Raise `AccessTokenError`."""
        return await asyncio.to_thread(self._read)

    def reject(self, token: AccessToken) -> bool:  # noqa: ARG002 - the file may contain another token
        """Return `True`, so that the file is read again."""
        return True

    def _read(self) -> AccessToken:
        try:
            # The file is opened non-blocking: a named pipe without a writer would block a thread of the pool for ever,
            # and the pool also resolves host names.
            with open(self._file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise AccessTokenError(f"{self._file} is not a regular file")
                line = file.readline(_MAX_TOKEN)
        except (OSError, ValueError) as error:
            raise AccessTokenError(f"{self._file} cannot be read: {_reason(error)}") from None
        return _parse_token(line, str(self._file))


class TokenCommand:
    """Implementation of `probes.credentials.oauth.Issuer` by a command, which prints the token on its first line.

    msmtp and isync have the same setting. The command's standard error is discarded, because it may contain secrets.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    async def issue(self) -> AccessToken:
        """Run the command and return its token.

        Raise `AccessTokenError`. The command is killed at the caller's deadline.
        """
        name = self._command[0]
        async with _open_pipe() as (output, write_end):
            process = await self._start(write_end)
            try:
                line = await output.readline()
                status = await process.wait()
            except ValueError:
                raise AccessTokenError(f"{name} printed a line that is too long for a token") from None
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        if status:
            raise AccessTokenError(f"{name} ended with status {status}")
        return _parse_token(line, name)

    async def _start(self, write_end: int) -> asyncio.subprocess.Process:
        devnull = asyncio.subprocess.DEVNULL
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=devnull,
                stdout=write_end,
                stderr=devnull,
                # A new process group, so that the command's child processes can be killed with it.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise AccessTokenError(f"{self._command[0]} cannot be started: {_reason(error)}") from None
        finally:
            os.close(write_end)


@asynccontextmanager
async def _open_pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """Provide the reader of a pipe and the descriptor of its write end, which the caller closes.

    asyncio's own pipe is not used: with it, asyncio reports the exit of a process only after the end of the output.
    This end never comes if the process prints more than is read, or leaves a child process that keeps the pipe open.
    """
    reader = asyncio.StreamReader(limit=_MAX_TOKEN)
    read_end, write_end = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        yield reader, write_end
    finally:
        transport.close()


def _reason(error: OSError | ValueError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def _parse_token(line: bytes, source: str) -> AccessToken:
    text = line.decode("latin-1").strip()
    if not is_valid_token(text):
        raise AccessTokenError(
            f"{source} contains no access token" if not text else f"{source} contains something else"
        )
    return AccessToken(secret=text)
