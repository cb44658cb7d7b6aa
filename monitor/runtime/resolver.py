"""Name resolution in separate threads, so that a hanging resolver does not delay pages, password checks or reloads.

asyncio resolves names in the threads of `asyncio.to_thread`, of which there are six on two cores. A hanging resolver
occupies each of them for ten seconds, and all other work in threads would have to wait during a DNS outage.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

#: So many threads are cheap, because a thread is idle while it waits for the resolver.
_THREADS: Final = 64


@contextmanager
def separate_resolver(lookup: Callable[..., Any] = socket.getaddrinfo) -> Iterator[None]:
    """Resolve names of the running loop in separate threads until the end of the block. *lookup* is a blocking call."""
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(_THREADS, thread_name_prefix="names")

    async def getaddrinfo(host: Any, port: Any, **options: int) -> Any:
        return await loop.run_in_executor(pool, partial(lookup, host, port, **options))

    # The method is replaced, because asyncio has no setting, and a loop class of our own would need a new loop.
    original, loop.getaddrinfo = loop.getaddrinfo, getaddrinfo  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.getaddrinfo = original  # type: ignore[method-assign]
        pool.shutdown(wait=False, cancel_futures=True)
