"""A refresh token that the provider exchanges for another one at each use (RFC 6749 6, RFC 9700 4.14.2)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import structlog

from probes.credentials.oauth import NoAccessToken

_log = structlog.get_logger(__name__)


class Rotation:
    """The refresh token to use next: the configured one until the provider gives another.

    Without *file* the other one is kept in memory only: after a restart, or a change of the mailbox, the configured one
    is used again, which a provider that rotates strictly takes for theft. *file* belongs to Pantau; it says which configured token it
    followed, so that one that is configured anew is used at once.
    """

    def __init__(self, configured: str, file: Path | None = None) -> None:
        self._configured = configured
        self._file = file
        self._following: str | None = None

    async def current(self) -> str:
        """Return the token to use. Raise `NoAccessToken` when the file cannot be read."""
        if self._following is None and self._file is not None:
            self._following = await asyncio.to_thread(self._read, self._file)
        return self._following or self._configured

    async def turn(self, following: str) -> None:
        """Use *following* from now on."""
        self._following = following
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._write, self._file, following)
        except OSError as error:
            # The access token is good all the same; only a restart would need this one.
            _log.warning("refresh token cannot be kept", file=str(self._file), detail=error.strerror)

    def _read(self, file: Path) -> str | None:
        try:
            mark, _, following = file.read_text(encoding="ascii").partition("\n")
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise NoAccessToken(f"{file} cannot be read") from None
        return following.strip() or None if mark == self._mark() else None

    def _write(self, file: Path, following: str) -> None:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            # mkstemp makes it readable by its owner only.
            with os.fdopen(descriptor, "w", encoding="utf-8") as draft:
                draft.write(f"{self._mark()}\n{following}\n")
                draft.flush()
                os.fsync(draft.fileno())
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def _mark(self) -> str:
        return hashlib.sha256(self._configured.encode()).hexdigest()
