"""Do something again and again whatever befalls it. What stands in the way is logged once, and once that it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NoReturn

import structlog

from alerts.persistence.store import StoreUnavailable

log = structlog.get_logger()


async def keep_doing(what: str, deed: Callable[[], Awaitable[object]], every: timedelta) -> NoReturn:
    """Do *deed* now, and again *every* so long after it was done, until cancelled. *what* is what the log calls it."""
    obstacle: type[Exception] | None = None
    while True:
        try:
            await deed()
        except StoreUnavailable as away:
            if obstacle is not StoreUnavailable:
                log.warning("waits for the store", what=what, why=str(away))
            obstacle = StoreUnavailable
        # A bug of ours in one of these must end none of the others. Another kind of error is another bug.
        except Exception as error:
            if obstacle is not type(error):
                log.exception("failed; trying again", what=what)
            obstacle = type(error)
        else:
            if obstacle is not None:
                log.info("goes on", what=what)
            obstacle = None
        await asyncio.sleep(every.total_seconds())
