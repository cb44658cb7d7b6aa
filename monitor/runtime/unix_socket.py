"""Unix sockets at paths of any length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What the kernel takes is 107 octets (unix(7), sun_path); some are left for the name of the socket.
_LONGEST = 100


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give a name for *path* that is short enough to bind and connect, for as long as the block lasts.

    A state directory may lie deep below somebody's home. Raise `OSError` when its directory cannot be opened.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
