"""Export of maintenance and active hours of agencies to metrics and the log. The schedule itself uses `Hours`."""

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
    """Export and log when maintenance and active hours of agencies begin and end.

    *hours*: by agency; a live mapping.
    """
    #: The exported state by agency.
    active: dict[str, bool] = {}
    with_hours: set[str] = set()
    while True:
        now = clock.now()
        for removed_agency in active.keys() - hours.keys():
            del active[removed_agency]
        async for agency, agency_hours in yielding([*hours.items()]):
            if agency not in hours:
                continue  # Removed meanwhile.
            maintenance = agency_hours.maintenance_at(now) if agency_hours.maintenance else None
            if agency_hours.when or agency in with_hours:
                (with_hours.add if agency_hours.when else with_hours.discard)(agency)
                metrics.set_off_hours(agency, active=Hours(when=agency_hours.when).next_active_at(now) != now)
            if agency not in active:
                active[agency] = False
                metrics.set_maintenance(agency, active=False)
            if active[agency] is (maintenance is not None):
                continue
            active[agency] = maintenance is not None
            metrics.set_maintenance(agency, active=active[agency])
            if maintenance is None:
                log.info("maintenance ended", agency=agency)
            else:
                until = maintenance.ends_at.isoformat()
                log.info("maintenance started", agency=agency, reason=maintenance.reason, until=until)
        await asyncio.sleep(_LOOK_EVERY.total_seconds())
