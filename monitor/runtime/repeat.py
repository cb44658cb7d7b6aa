"""Periodic tasks that continue after errors. The first of consecutive errors and the recovery are logged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NoReturn

import structlog

from alerts.persistence.store import StoreUnavailable

log = structlog.get_logger()


async def run_periodically(task_name: str, action: Callable[[], Awaitable[object]], interval: timedelta) -> NoReturn:
    """Run *action* until cancelled, with a pause of *interval* after each run. *task_name*: its name in the log."""
    failure: type[Exception] | None = None
    while True:
        try:
            await action()
        except StoreUnavailable as error:
            if failure is not StoreUnavailable:
                log.warning("task waits for the database", task=task_name, reason=str(error))
            failure = StoreUnavailable
        # An unexpected error of one task must not end the other tasks. An error of another type is logged again.
        except Exception as error:
            if failure is not type(error):
                log.exception("task failed; retrying", task=task_name)
            failure = type(error)
        else:
            if failure is not None:
                log.info("task recovered", task=task_name)
            failure = None
        await asyncio.sleep(interval.total_seconds())
