"""Files that the configuration leads to, read without being kept waiting."""

from __future__ import annotations

import stat
from pathlib import Path


class NotRegular(ValueError):
    """What stands there would keep a reader, and every later reload behind it, waiting, or fill the memory."""


def read_regular(file: Path, at_most: int) -> bytes:
    """Return what *file* holds. Raise `OSError` or, for a pipe, a device or more than *at_most* octets, `NotRegular`."""
    check_regular(file, at_most)
    return file.read_bytes()


def why(error: Exception) -> str:
    """Return why a file could not be read: a path that no file can have raises `ValueError`."""
    return error.strerror if isinstance(error, OSError) and error.strerror else "no such file"


def check_regular(file: Path, at_most: int) -> None:
    """Raise what `read_regular` raises for a file that somebody else is going to read, unless it is a directory."""
    what = file.stat()
    if not stat.S_ISREG(what.st_mode) and not stat.S_ISDIR(what.st_mode):
        raise NotRegular("is no regular file")
    if what.st_size > at_most:
        raise NotRegular(f"is larger than {at_most // 1024} KiB")
