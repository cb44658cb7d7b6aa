"""Writing of files with personal data or a secret, which only the user of the command may read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_private(path: Path) -> Iterator[BinaryIO]:
    """Open *path* for writing, readable by its owner only. Truncate an existing file. Raise `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        # Do not change the mode of a device such as /dev/stdout.
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        yield file


def write_private(path: Path, octets: bytes) -> None:
    """Write a new file, and flush it to the disk. Raise `FileExistsError` if it exists, or another `OSError`."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
