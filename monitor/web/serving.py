"""Serve ASGI applications in this event loop, on sockets that were opened before anything else was started."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from monitor.unix import reachable

#: What connections are allowed for their goodbye.
_GOODBYE_SECONDS = 1.0


def open_port(host: str, port: int) -> socket.socket:
    """Listen on a TCP port; 0 takes a free one. Raise `OSError` when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def open_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may open; one that a dead process left is replaced.

    The caller holds the store's lock, so no living process can own it.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with reachable(path) as name:
        listener.bind(name)
    # The mode is set before anybody can connect: bind creates the file, listen opens the door.
    path.chmod(0o600)
    listener.listen(16)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a TCP listener, without a slash at the end."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def serve(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Serve *app* on *listener* for as long as the block lasts; then cut the requests that still run."""
    # Not Server.serve(): it takes the signal handlers from the program around it, and ends up to 0.2 s late.
    config = uvicorn.Config(app, http="h11", ws="none", log_config=None, access_log=False, server_header=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        await _stop(server)
        listener.close()


async def _stop(server: uvicorn.Server) -> None:
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    running = list(server.server_state.tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await server.lifespan.shutdown()
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            while server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody when the last has gone
                await asyncio.sleep(0)
    except TimeoutError:
        for connection in list(server.server_state.connections):
            connection.transport.abort()
