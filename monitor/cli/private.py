"""Files with personal data or a secret: only the user of the command may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def private(path: Path) -> Iterator[BinaryIO]:
    """Open *path* to be written anew; an existing file becomes readable by its owner only. Raise `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        # /dev/stdout keeps its mode.
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        yield file


def write_private(path: Path, octets: bytes) -> None:
    """Write a new file, to the disk. Raise `FileExistsError` where there is one, and `OSError`."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
