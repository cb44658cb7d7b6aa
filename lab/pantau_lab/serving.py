"""Local ports: serving an application in this process, and reserving a port for a program that is started later."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from monitor.web.serving import listener_url, open_port
from monitor.web.serving import serve as serve_on


@asynccontextmanager
async def serve(app: Any, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve *app* in this event loop and yield its base URL. *port* 0 chooses a free port.

    Raise `OSError` if the port is in use.
    """
    listener = open_port(host, port)
    async with serve_on(app, listener):
        yield listener_url(listener)


def claim(port: int = 0) -> socket.socket:
    """Reserve a port (0: any free one) by a socket that is bound and never listens.

    Until the socket is closed, the system assigns the number to no other listener or outgoing connection. A program that
    gets the number explicitly can listen there, also repeatedly; in the meantime connections are refused. Raise `OSError`
    if the port is in use.
    """
    bound = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
    # Linux lets a second socket bind to the same port if both have SO_REUSEADDR and neither listens yet.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("", port))
    except OSError:
        bound.close()
        raise
    return bound


@contextmanager
def claimed(count: int) -> Iterator[list[int]]:
    """Yield the numbers of *count* ports that are reserved during the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(claim()).getsockname()[1] for _ in range(count)]
