"""Work directory that the lab may empty, because the lab created it and no other process uses it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DirectoryInUseError(Exception):
    """Directory that must not be emptied. The message gives the reason."""


@contextmanager
def claimed(directory: Path, mark: str) -> Iterator[None]:
    """Create *directory*, or empty it if it has the marker file *mark*, and lock it during the block.

    Raise `DirectoryInUseError` if it has files and no marker, or another process has locked it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(directory.iterdir()) and not (directory / mark).exists():
        raise DirectoryInUseError(f"{directory} holds files that are not the lab's; name another directory")
    descriptor = os.open(directory / mark, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, directory)
        _empty(directory, mark)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DirectoryInUseError(
            f"a lab is already running in {directory}; end it first, or name another directory"
        ) from None


def _empty(directory: Path, mark: str) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != mark:
            entry.unlink()
