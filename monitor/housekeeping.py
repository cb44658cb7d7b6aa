"""Delete once a day what was kept long enough. Incidents and notices are kept for ever (Act 629)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

import structlog

from alerts.clock import Clock
from monitor.store.history import History

log = structlog.get_logger()

_EVERY = timedelta(days=1)


async def keep_house(history: History, keep_results: Callable[[], timedelta], clock: Clock) -> NoReturn:
    """Delete old runs and tokens now, and once a day from now on; *keep_results* says how old runs become."""
    while True:
        now = clock.now()
        try:
            runs = await history.purge(now - keep_results())
            await history.forget(now)
        # A disk that is full today may not be tomorrow; what is kept too long harms nobody until then.
        except Exception:
            log.exception("could not delete what is old")
        else:
            if runs:
                log.info("old results deleted", runs=runs)
        await asyncio.sleep(_EVERY.total_seconds())
