"""Delete what was kept long enough, hour by hour. Incidents and notices are kept for ever (Act 629)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

import structlog

from alerts.record.clock import Clock
from monitor.runtime.repeat import keep_doing
from monitor.store.probing.retention import Keep, Retention

log = structlog.get_logger()

#: A day's worth at once would be two million rows where there are ten thousand routes.
_EVERY = timedelta(hours=1)


async def keep_house(retention: Retention, keep: Callable[[], Keep], clock: Clock) -> NoReturn:
    """Delete what is old now, and once an hour from now on; *keep* says how old things become.

    What cannot be deleted today may be tomorrow: until then it is kept too long, which harms nobody.
    """

    async def tidy() -> None:
        runs = await retention.dispose(keep(), clock.now())
        if runs:
            log.info("old results deleted", runs=runs)

    await keep_doing("deletion of what is old", tidy, _EVERY)
