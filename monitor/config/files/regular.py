"""Safe reads of the files that the configuration names, and detection of their changes."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.model.translatable import translatable

#: Nanoseconds. Two changes of a file within this time may have the same timestamp: some file systems store timestamps
#: in steps of one or two seconds.
TICK_NS: Final = 3 * 10**9


class NotRegularFileError(ValueError):
    """The file is no regular file, or too large: reading it could block all reloads or exhaust the memory."""


def read_regular(file: Path, max_octets: int) -> bytes:
    """Return the content of *file*. Raise `OSError` if it cannot be read.

    Raise `NotRegularFileError` for a pipe, a device, or more than *max_octets* octets. The type is checked after
    opening, so that the file cannot be replaced between check and read. Opening a pipe does not block.
    """
    with open(file, "rb", opener=_open_nonblocking) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise NotRegularFileError(translatable("is no regular file"))
        # Check the size of the content: some kernel files report size 0 although they have content.
        octets = opened.read(max_octets + 1)
    if len(octets) > max_octets:
        raise NotRegularFileError(translatable("is larger than {size} KiB", size=max_octets // 1024))
    return octets


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Metadata of a file, taken before a read. While it stays the same, so do content and permissions of the file."""

    file: str
    #: Device, inode, permissions, owner, group, size, and the times of the last change of content and metadata.
    values: tuple[int, ...]

    @classmethod
    def of(cls, file: Path, now: int | None = None) -> FileStamp | None:
        """Return the stamp of *file*; `None` if the file is missing or was changed within the last `TICK_NS`.

        After such a recent change, a further change could leave the metadata as it is. *now*: the time in nanoseconds;
        default: the clock.
        """
        name, now = str(file), time.time_ns() if now is None else now
        values = _stat_values(name)
        # The last value is the ctime, which a user can only set by changing the clock.
        return cls(name, values) if values is not None and now - values[-1] > TICK_NS else None

    def is_current(self) -> bool:
        """Whether the file's metadata is unchanged."""
        return _stat_values(self.file) == self.values


def _stat_values(name: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(name)  # noqa: PTH116 - thousands of calls; `Path.stat` takes three times as long
    except (OSError, ValueError):
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _open_nonblocking(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)


def may_be_path(file: Path, directory: Path) -> bool:
    """Whether *file* is probably meant as a path, and is not a password that was written in its place.

    True if the file exists, or if its parent directory exists and is neither the root nor *directory*, where relative
    paths start: a password without a slash, or with one only at its start, would be a file name there.
    """
    try:
        return file.exists() or (file.parent.is_dir() and file.parent not in {directory, Path("/")})
    except (OSError, ValueError):
        return False


def explain_unreadable(file: Path, error: Exception) -> tuple[str, str]:
    """Return the reason why *file* cannot be read, and the remedy; the remedy is "" if only the caller knows it."""
    reason = translatable("cannot be read: {error}", error=error_reason(error))
    if isinstance(error, PermissionError):
        user = process_user()
        try:
            status = file.stat()
        except OSError:
            instead = "chmod o+x, or chgrp and chmod g+x, on the directories above it, so that user {user} can enter them (in a shell)"
            return reason, translatable(instead, user=user)
        reason = translatable(
            "cannot be read by user {user}: it belongs to {owner}, mode {mode}",
            user=user,
            owner=_user_name(status.st_uid),
            mode=f"{stat.S_IMODE(status.st_mode):03o}",
        )
        try:
            group = grp.getgrgid(os.getegid()).gr_name
        except KeyError:
            group = str(os.getegid())
        return reason, translatable("chgrp {group} {file} && chmod g+r {file} (in a shell)", group=group, file=file)
    return reason, ""


def process_user() -> str:
    """Return the name of the user as whom this process reads and writes files."""
    return _user_name(os.geteuid())


def _user_name(number: int) -> str:
    """Return the name of a user; the number if there is no name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def error_reason(error: Exception) -> str:
    """Return the reason of *error*: an `OSError`, or the `ValueError` that an impossible path raises."""
    return error.strerror if isinstance(error, OSError) and error.strerror else translatable("no such file")
