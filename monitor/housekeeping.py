"""Delete once a day what was kept long enough. Incidents and notices are kept for ever (Act 629)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

import structlog

from alerts.clock import Clock
from monitor.keeping import keep_doing
from monitor.store.history import History

log = structlog.get_logger()

_EVERY = timedelta(days=1)


async def keep_house(history: History, keep_results: Callable[[], timedelta], clock: Clock) -> NoReturn:
    """Delete old runs and tokens now, and once a day from now on; *keep_results* says how old runs become.

    What cannot be deleted today may be tomorrow: until then it is kept too long, which harms nobody.
    """

    async def tidy() -> None:
        now = clock.now()
        runs = await history.purge(now - keep_results())
        await history.forget(now)
        if runs:
            log.info("old results deleted", runs=runs)

    await keep_doing("deletion of what is old", tidy, _EVERY)
