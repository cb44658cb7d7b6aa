"""Reading of files that the configuration names, without blocking."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.model.lazy_text import said

#: Nanoseconds. Two changes within one clock tick may have the same timestamp; some file systems count whole seconds, or
#: two.
TICK: Final = 3 * 10**9


class NotRegularFileError(ValueError):
    """The file is not a regular file. Reading it would block this and every later reload, or exhaust the memory."""


def read_regular(file: Path, at_most: int) -> bytes:
    """Return the content of *file*.

    Raise `OSError` or, for a pipe, a device or more than *at_most* octets, `NotRegularFileError`.

    The opened file itself is checked, so a concurrent replacement does no harm. Opening it does not block.
    """
    with open(file, "rb", opener=_at_once) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise NotRegularFileError(said("is no regular file"))
        # Some kernel files report size 0 although they have content.
        octets = opened.read(at_most + 1)
    if len(octets) > at_most:
        raise NotRegularFileError(said("is larger than {size} KiB", size=at_most // 1024))
    return octets


@dataclass(frozen=True, slots=True)
class FileStamp:
    """File metadata before a read. While it is unchanged, so are the content and the read permissions."""

    file: str
    #: Device, inode, owner, permissions, size, and the times of the last change of content and metadata.
    marks: tuple[int, ...]

    @classmethod
    def of(cls, file: Path, now: int | None = None) -> FileStamp | None:
        """Return the stamp of *file*; `None` if it is missing or was changed just now.

        A further change within the clock's resolution would be undetectable. *now*: in nanoseconds; default: the clock.
        """
        name, now = str(file), time.time_ns() if now is None else now
        marks = _marks(name)
        # The change time (the last mark) can be set only by changing the clock.
        return cls(name, marks) if marks is not None and now - marks[-1] > TICK else None

    def holds(self) -> bool:
        """Whether the file's metadata is unchanged."""
        return _marks(self.file) == self.marks


def _marks(name: str) -> tuple[int, ...] | None:
    try:
        at = os.stat(name)  # noqa: PTH116 - thousands at once, and a path of its own for each takes three times as long
    except (OSError, ValueError):
        return None
    return at.st_dev, at.st_ino, at.st_mode, at.st_uid, at.st_gid, at.st_size, at.st_mtime_ns, at.st_ctime_ns


def _at_once(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)


def may_be_path(file: Path, directory: Path) -> bool:
    """Whether *file*, relative to *directory*, is probably meant as a path, and is not a password in the wrong place.

    True if the file exists, or if its parent directory exists and is not *directory*, where every plain word would be.
    """
    try:
        return file.exists() or (file.parent.is_dir() and file.parent not in {directory, Path("/")})
    except (OSError, ValueError):
        return False


def unreadable(file: Path, error: Exception) -> tuple[str, str]:
    """Return why *file* cannot be read, and the remedy; "" if only the caller can name the remedy."""
    reason = said("cannot be read: {error}", error=why(error))
    if isinstance(error, PermissionError):
        user = own_user()
        try:
            at = file.stat()
        except OSError:
            instead = "chmod o+x, or chgrp and chmod g+x, on the directories above it, so that user {user} can enter them (in a shell)"
            return reason, said(instead, user=user)
        reason = said(
            "cannot be read by user {user}: it belongs to {owner}, mode {mode}",
            user=user,
            owner=_user(at.st_uid),
            mode=f"{stat.S_IMODE(at.st_mode):03o}",
        )
        try:
            group = grp.getgrgid(os.getegid()).gr_name
        except KeyError:
            group = str(os.getegid())
        return reason, said("chgrp {group} {file} && chmod g+r {file} (in a shell)", group=group, file=file)
    return reason, ""


def own_user() -> str:
    """Return the name of the user as whom this process reads and writes files."""
    return _user(os.geteuid())


def _user(number: int) -> str:
    """Return the name of a user; the number if there is no name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def why(error: Exception) -> str:
    """Return why a file could not be read. An impossible path raises `ValueError`."""
    return error.strerror if isinstance(error, OSError) and error.strerror else said("no such file")
