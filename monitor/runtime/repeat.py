"""Periodic tasks that survive errors. The first error of a row and the recovery are logged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NoReturn

import structlog

from alerts.persistence.store import StoreUnavailable

log = structlog.get_logger()


async def run_periodically(what: str, action: Callable[[], Awaitable[object]], every: timedelta) -> NoReturn:
    """Run *action* now and *every* so long after it has finished, until cancelled. *what* names it in the log."""
    failure: type[Exception] | None = None
    while True:
        try:
            await action()
        except StoreUnavailable as away:
            if failure is not StoreUnavailable:
                log.warning("task waits for the database", task=what, reason=str(away))
            failure = StoreUnavailable
        # A bug in one task must not end the others. An error of another type is another bug.
        except Exception as error:
            if failure is not type(error):
                log.exception("task failed; retrying", task=what)
            failure = type(error)
        else:
            if failure is not None:
                log.info("task recovered", task=what)
            failure = None
        await asyncio.sleep(every.total_seconds())
