"""A directory that a stand-in may empty: one that it made itself, and that nobody else uses now."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DirectoryInUseError(Exception):
    """The directory is not ours to empty. The message says why."""


@contextmanager
def claimed(directory: Path, mark: str) -> Iterator[None]:
    """Make *directory*, or empty it when the file *mark* says that it is ours, and hold it while the block lasts.

    Raise `DirectoryInUseError` when it holds anything else, or another process holds it.
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
