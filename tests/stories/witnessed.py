"""The real service under the eyes of a witness: the port of each connection is written down before it is made.

    python -m tests.stories.witnessed FILE run --config SETTINGS

An audit hook cannot be taken away again (PEP 578).
"""

from __future__ import annotations

import os
import sys
from typing import Any

from monitor.cli import main


def witness(file: str) -> None:
    """Write down, from now on, to which port each connection of this process goes."""
    seen = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(args[1], tuple):
            os.write(seen, f"{args[1][1]}\n".encode())

    sys.addaudithook(watch)


if __name__ == "__main__":
    witness(sys.argv[1])
    del sys.argv[1]
    main()
