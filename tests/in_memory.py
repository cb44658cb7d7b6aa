"""Where the files of tests are kept: in memory, where there is room. A store flushes the disk at every commit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
#: How much of it has to be free: a run of all tests has a gigabyte in files and another in stores on servers.
_ROOM = 4 << 30


def in_memory() -> Path | None:
    """Return where files are in memory and may be run as programs are; none where there is no room."""
    if not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free > _ROOM else None
