"""Concurrent queries of the PostgreSQL servers of other sites: a slow server delays neither other sites nor pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from monitor.store.sites.link import SiteConnection, SiteRefusedError

_Result = TypeVar("_Result")


async def query_sites(
    connections: Sequence[SiteConnection],
    query: Callable[[SiteConnection], _Result],
    handle_result: Callable[[SiteConnection, _Result | SiteRefusedError], None],
) -> None:
    """Call *query* for each of *connections* in a thread of its own, and pass its result to *handle_result*.

    *handle_result* also gets a `SiteRefusedError` that *query* raises. Any other exception of *query* is raised, in an
    `ExceptionGroup`.
    """
    # Use separate threads, because *query* opens a blocking psycopg connection to the server of another site.
    threads = ThreadPoolExecutor(max(1, len(connections)), thread_name_prefix="sites")

    async def query_site(connection: SiteConnection) -> None:
        try:
            result = await asyncio.get_running_loop().run_in_executor(threads, query, connection)
        except SiteRefusedError as error:
            handle_result(connection, error)
        else:
            handle_result(connection, result)

    try:
        async with asyncio.TaskGroup() as tasks:
            for connection in connections:
                tasks.create_task(query_site(connection))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
