"""Concurrent queries of other sites' PostgreSQL servers: one that does not answer delays neither the others nor pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from monitor.store.sites.link import SiteConnection, SiteRefusedError

_Answer = TypeVar("_Answer")


async def ask_each(
    members: Sequence[SiteConnection],
    ask: Callable[[SiteConnection], _Answer],
    hear: Callable[[SiteConnection, _Answer | SiteRefusedError], None],
) -> None:
    """Call *ask* for each of *members* in a thread of its own, and *hear* with each result as it arrives.

    Raise what *ask* raises.
    """
    # psycopg connections of their own, since these are other servers than the store's.
    threads = ThreadPoolExecutor(max(1, len(members)), thread_name_prefix="sites")

    async def asked(member: SiteConnection) -> None:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(threads, ask, member)
        except SiteRefusedError as refused:
            hear(member, refused)
        else:
            hear(member, answer)

    try:
        async with asyncio.TaskGroup() as tasks:
            for member in members:
                tasks.create_task(asked(member))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
