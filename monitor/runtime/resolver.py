"""Name resolution in threads of its own, so that a hanging resolver blocks no page, password check or configuration.

asyncio resolves names in the threads of `asyncio.to_thread`, of which there are six on two cores. A resolver that hangs
occupies each for ten seconds; during a DNS outage, when people open the pages, all other work in threads would wait.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

#: A thread is idle while it waits.
_THREADS: Final = 64


@contextmanager
def separate_resolver(ask: Callable[..., Any] = socket.getaddrinfo) -> Iterator[None]:
    """Resolve names of the running loop in separate threads until the end of the block. *ask* blocks."""
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(_THREADS, thread_name_prefix="names")

    async def getaddrinfo(host: Any, port: Any, **more: int) -> Any:
        return await loop.run_in_executor(pool, partial(ask, host, port, **more))

    # There is no setting, and a loop class of our own would depend on who starts the process.
    before, loop.getaddrinfo = loop.getaddrinfo, getaddrinfo  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.getaddrinfo = before  # type: ignore[method-assign]
        pool.shutdown(wait=False, cancel_futures=True)
