"""Exports maintenance and active hours of agencies. The schedule itself uses their hours directly."""

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

#: Delay of the export.
_LOOK_EVERY = timedelta(seconds=5)


async def show_maintenance(hours: Mapping[str, Hours], metrics: Metrics, clock: Clock) -> NoReturn:
    """Export and log starts and ends of maintenance and hours.

    *hours*: by agency; updated in place.
    """
    #: The exported state by agency.
    active: dict[str, bool] = {}
    with_hours: set[str] = set()
    while True:
        now = clock.now()
        for gone in active.keys() - hours.keys():
            del active[gone]
        async for agency, theirs in yielding([*hours.items()]):
            if agency not in hours:
                continue  # Removed meanwhile.
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
                log.info("maintenance ended", agency=agency)
            else:
                until = maintenance.ends_at.isoformat()
                log.info("maintenance started", agency=agency, reason=maintenance.reason, until=until)
        await asyncio.sleep(_LOOK_EVERY.total_seconds())
