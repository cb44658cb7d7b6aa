"""The real service with a record of each connection's port, written before the connection is made.

    python -m tests.stories.recorded_connections FILE run --config SETTINGS

An audit hook cannot be removed (PEP 578).
"""

from __future__ import annotations

import os
import sys
from typing import Any

from monitor.cli import main


def record_connections(file: str) -> None:
    """Record from now on the port of each connection of this process."""
    seen = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(args[1], tuple):
            os.write(seen, f"{args[1][1]}\n".encode())

    sys.addaudithook(watch)


if __name__ == "__main__":
    record_connections(sys.argv[1])
    del sys.argv[1]
    main()
