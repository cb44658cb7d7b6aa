"""Files that the configuration leads to, read without being kept waiting."""

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

#: Two changes of a file within one tick of a clock may leave the same times; some file systems count whole seconds, or two.
TICK: Final = 3 * 10**9


class NotRegularFileError(ValueError):
    """What stands there would keep a reader, and every later reload behind it, waiting, or fill the memory."""


def read_regular(file: Path, at_most: int) -> bytes:
    """Return what *file* holds. Raise `OSError` or, for a pipe, a device or more than *at_most* octets, `NotRegularFileError`.

    What is opened is what is looked at, whatever somebody puts in its place meanwhile, and opening it does not wait.
    """
    with open(file, "rb", opener=_at_once) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise NotRegularFileError(said("is no regular file"))
        # Some files of the kernel say that they are empty, and are not.
        octets = opened.read(at_most + 1)
    if len(octets) > at_most:
        raise NotRegularFileError(said("is larger than {size} KiB", size=at_most // 1024))
    return octets


@dataclass(frozen=True, slots=True)
class FileStamp:
    """How a file stood before it was read. For as long as it stands so, it holds what was read, and whoever may read it may."""

    file: str
    #: Which file it is, whose, who may do what with it, how large it is, and when it and what is said of it last changed.
    marks: tuple[int, ...]

    @classmethod
    def of(cls, file: Path, now: int | None = None) -> FileStamp | None:
        """Look at *file*; `None` when it is not there, or has changed so lately that the next change might not show.

        *now*: in nanoseconds; default: by the clock.
        """
        name, now = str(file), time.time_ns() if now is None else now
        marks = _marks(name)
        # Nobody can set the time of a change (the last of the marks) but by changing the clock.
        return cls(name, marks) if marks is not None and now - marks[-1] > TICK else None

    def holds(self) -> bool:
        """Whether the file stands as it did."""
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
    """Whether somebody may have meant a path, which starts at *directory*, and no password that was written in its place.

    A file is there, or a directory for it that is not the one in which every such word would lie.
    """
    try:
        return file.exists() or (file.parent.is_dir() and file.parent not in {directory, Path("/")})
    except (OSError, ValueError):
        return False


def unreadable(file: Path, error: Exception) -> tuple[str, str]:
    """Return why *file* cannot be read, and what to do; "" where only the caller can say what belongs there."""
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
    """Return the user as whom this process reads and writes files."""
    return _user(os.geteuid())


def _user(number: int) -> str:
    """Return the name of a user; the number where there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def why(error: Exception) -> str:
    """Return why a file could not be read: a path that no file can have raises `ValueError`."""
    return error.strerror if isinstance(error, OSError) and error.strerror else said("no such file")
