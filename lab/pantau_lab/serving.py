"""Serve a stand-in on a free port of this machine for as long as a block lasts."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from monitor.web.serving import open_port, url_of
from monitor.web.serving import serve as serve_on


@asynccontextmanager
async def serve(app: Any, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Run *app* in this event loop and yield its base URL; port 0 takes a free one.

    Raise `OSError` when the port is taken.
    """
    listener = open_port(host, port)
    async with serve_on(app, listener):
        yield url_of(listener)


#: Below the ports that the system gives to outgoing connections (Linux: from 32768), which may take any other.
_UNTAKEN = range(20_000, 32_000)


def free_port() -> int:
    """Return a port that a program started later can listen on.

    Nothing holds it until then, but no outgoing connection can take it in between. Raise `OSError` when none is free.
    """
    for port in random.sample(_UNTAKEN, 50):
        try:
            open_port("127.0.0.1", port).close()
        except OSError:
            continue
        return port
    raise OSError("no port is free on this machine")
