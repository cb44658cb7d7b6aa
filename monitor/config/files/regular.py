"""Files that the configuration leads to, read without being kept waiting."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from monitor.model.said import said


class NotRegular(ValueError):
    """What stands there would keep a reader, and every later reload behind it, waiting, or fill the memory."""


def read_regular(file: Path, at_most: int) -> bytes:
    """Return what *file* holds. Raise `OSError` or, for a pipe, a device or more than *at_most* octets, `NotRegular`.

    What is opened is what is looked at, whatever somebody puts in its place meanwhile, and opening it does not wait.
    """
    with open(file, "rb", opener=_at_once) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise NotRegular(said("is no regular file"))
        # Some files of the kernel say that they are empty, and are not.
        octets = opened.read(at_most + 1)
    if len(octets) > at_most:
        raise NotRegular(said("is larger than {size} KiB", size=at_most // 1024))
    return octets


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


def why(error: Exception) -> str:
    """Return why a file could not be read: a path that no file can have raises `ValueError`."""
    return error.strerror if isinstance(error, OSError) and error.strerror else said("no such file")
