"""Show which agencies are not probed as planned. That they are not follows from their hours, not from this."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import NoReturn

import structlog

from alerts.persistence.clock import Clock
from monitor.metrics import Metrics
from monitor.model.window import Hours
from monitor.runtime.cooperative import yielding

log = structlog.get_logger()

#: It is shown so much later than it begins and ends.
_LOOK_EVERY = timedelta(seconds=5)


async def show_maintenance(hours: Mapping[str, Hours], metrics: Metrics, clock: Clock) -> NoReturn:
    """Tell the metrics and the log when maintenance and hours begin and end.

    *hours* are those of each agency; they change as the configuration does.
    """
    #: What was last shown, by agency.
    active: dict[str, bool] = {}
    with_hours: set[str] = set()
    while True:
        now = clock.now()
        for gone in active.keys() - hours.keys():
            del active[gone]
        async for agency, theirs in yielding([*hours.items()]):
            if agency not in hours:
                continue  # It has left meanwhile.
            maintenance = theirs.closed_by(now) if theirs.maintenance else None
            if theirs.when or agency in with_hours:
                (with_hours.add if theirs.when else with_hours.discard)(agency)
                metrics.off_hours(agency, active=Hours(when=theirs.when).opens(now) != now)
            if agency not in active:
                active[agency] = False
                metrics.maintenance(agency, active=False)
            if active[agency] is (maintenance is not None):
                continue
            active[agency] = maintenance is not None
            metrics.maintenance(agency, active=active[agency])
            if maintenance is None:
                log.info("maintenance is over", agency=agency)
            else:
                until = maintenance.ends_at.isoformat()
                log.info("maintenance has begun", agency=agency, why=maintenance.reason, until=until)
        await asyncio.sleep(_LOOK_EVERY.total_seconds())
