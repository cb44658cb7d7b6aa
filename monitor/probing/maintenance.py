"""Export of agencies' maintenance and active hours to metrics and the log, without effect on the probes."""

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

_EXPORT_INTERVAL = timedelta(seconds=5)


async def export_maintenance(hours: Mapping[str, Hours], metrics: Metrics, clock: Clock) -> NoReturn:
    """Export and log when maintenance and active hours of agencies begin and end.

    *hours*: by agency; a live mapping.
    """
    #: Whether maintenance is exported as active, by agency.
    exported: dict[str, bool] = {}
    #: Agencies for which `set_off_hours` was last called with active hours.
    with_hours: set[str] = set()
    while True:
        now = clock.now()
        for removed_agency in exported.keys() - hours.keys():
            del exported[removed_agency]
        async for agency, agency_hours in yielding([*hours.items()]):
            if agency not in hours:
                continue  # Removed meanwhile.
            maintenance = agency_hours.maintenance_at(now) if agency_hours.maintenance else None
            if agency_hours.active_windows or agency in with_hours:
                # If an agency's windows were removed, one last export says that it is inside its hours.
                (with_hours.add if agency_hours.active_windows else with_hours.discard)(agency)
                # Without the maintenance, which has a metric of its own.
                hours_only = Hours(active_windows=agency_hours.active_windows)
                metrics.set_off_hours(agency, is_outside=hours_only.next_active_at(now) != now)
            if agency not in exported:
                exported[agency] = False
                metrics.set_maintenance(agency, active=False)
            if exported[agency] is (maintenance is not None):
                continue
            exported[agency] = maintenance is not None
            metrics.set_maintenance(agency, active=exported[agency])
            if maintenance is None:
                log.info("maintenance ended", agency=agency)
            else:
                until = maintenance.ends_at.isoformat()
                log.info("maintenance started", agency=agency, reason=maintenance.reason, until=until)
        await asyncio.sleep(_EXPORT_INTERVAL.total_seconds())
