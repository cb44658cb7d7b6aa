"""Unix sockets at paths of any length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Maximum octets of a path that is used unchanged. The kernel accepts 107 (unix(7), sun_path).
_MAX_PATH = 100


@contextmanager
def short_socket_path(path: Path) -> Iterator[str]:
    """Yield a name for *path* that is short enough to bind and connect.

    A state directory may be deep below a home directory. Raise `OSError` when the socket's directory cannot be opened.
    """
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
