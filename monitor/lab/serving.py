"""Serve a stand-in on a free port of this machine for as long as a block lasts."""

from __future__ import annotations

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
