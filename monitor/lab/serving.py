"""Serve an ASGI app on loopback for as long as a block lasts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
Asgi = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

#: How long a request may take to notice that its connection is closed.
_NOTICE_SECONDS = 0.2
#: What a stand-in is allowed for its goodbye before its connections are cut.
_GOODBYE_SECONDS = 1.0


@asynccontextmanager
async def serve(app: Asgi, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Run *app* in this event loop and yield its base URL, without a slash at the end; port 0 takes a free one.

    Raise `OSError` when the port is taken and `RuntimeError` when the app's lifespan does not start. Leaving hangs up
    on the requests that still run (a stand-in may be hanging on purpose) and then ends the lifespan.
    """
    listener = socket.create_server((host, port))
    # Not Server.serve(): it takes the signal handlers from the program around it, and ends up to 0.2 s late.
    config = uvicorn.Config(app, http="h11", ws="none", log_config=None, access_log=False, server_header=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    try:
        await server.startup(sockets=[listener])
    except SystemExit:
        listener.close()
        raise RuntimeError("the app's lifespan did not start") from None
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        await _stop(server)


async def _stop(server: uvicorn.Server) -> None:
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.transport.close()
    running = list(server.server_state.tasks)
    if running:
        # A request that notices its caller has gone ends by itself; the others are ended.
        _, deaf = await asyncio.wait(running, timeout=_NOTICE_SECONDS)
        for task in deaf:
            task.cancel()
        await asyncio.gather(*deaf, return_exceptions=True)
    await server.lifespan.shutdown()
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            while server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody when the last has gone
                await asyncio.sleep(0)
            for listening in server.servers:
                await listening.wait_closed()
    except TimeoutError:
        for connection in list(server.server_state.connections):
            connection.transport.abort()
