"""Ports of this machine: for a stand-in that is served here, and for a program that is started later."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from monitor.web.serving import listener_url, open_port
from monitor.web.serving import serve as serve_on


@asynccontextmanager
async def serve(app: Any, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Run *app* in this event loop and yield its base URL; port 0 takes a free one.

    Raise `OSError` when the port is taken.
    """
    listener = open_port(host, port)
    async with serve_on(app, listener):
        yield listener_url(listener)


def claim(port: int = 0) -> socket.socket:
    """Take a port, 0 any, for whoever is told its number: bound, and never listening.

    Until the socket is closed the system gives the number to nobody, neither to a listener nor to an outgoing connection.
    A program that names it can listen there, as often as it is started; before and between, connections are refused.
    Raise `OSError` when the port is taken.
    """
    claimed = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
    # Linux lets another socket have the same port when both say this and none of them listens yet.
    claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if claimed.family == socket.AF_INET6:
            claimed.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        claimed.bind(("", port))
    except OSError:
        claimed.close()
        raise
    return claimed


@contextmanager
def claimed(count: int) -> Iterator[list[int]]:
    """Yield the numbers of so many ports, all claimed for as long as the block lasts."""
    with ExitStack() as stack:
        yield [stack.enter_context(claim()).getsockname()[1] for _ in range(count)]
