"""Names are looked up in threads of their own: where the resolver hangs, no page, password or configuration waits behind it.

asyncio asks the resolver in the threads that `asyncio.to_thread` has as well, and there are six of them on two cores. A resolver
that hangs keeps each for ten seconds: while the DNS is away, which is when people look, everything that has to leave the loop
stood in that queue.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

#: Each is idle while it waits.
_AT_ONCE: Final = 64


@contextmanager
def names_apart(ask: Callable[..., Any] = socket.getaddrinfo) -> Iterator[None]:
    """Let the running loop look names up apart from all other work, until the end of the block. *ask* blocks."""
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="names")

    async def getaddrinfo(host: Any, port: Any, **more: int) -> Any:
        return await loop.run_in_executor(pool, partial(ask, host, port, **more))

    # There is no setting, and a loop of another class would have to be made by whoever starts us.
    before, loop.getaddrinfo = loop.getaddrinfo, getaddrinfo  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.getaddrinfo = before  # type: ignore[method-assign]
        pool.shutdown(wait=False, cancel_futures=True)
