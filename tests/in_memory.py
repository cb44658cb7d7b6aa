"""In-memory directory for files of tests: a store flushes the disk at every commit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
#: Required free space: a run of all tests has a gigabyte in files and another in PostgreSQL stores.
_ROOM = 4 << 30


def in_memory() -> Path | None:
    """Return an in-memory directory from which programs can run, or None if there is no room."""
    if not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free > _ROOM else None
