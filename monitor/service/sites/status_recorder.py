"""Audit entries with each site's status of an agency during an open incident, for later analysis.

A hub decides by the statuses that several sites report about an agency. The database keeps only the latest statuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from alerts.persistence.clock import Clock
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.store.engine.unit_of_work import SqlStore
from monitor.views.site_report import SITES_DETAIL, format_report, view_sites

#: Minimum interval of entries per incident: the status of a site may change with each probe run.
_MIN_INTERVAL = timedelta(minutes=1)

#: After this number of entries, each further entry doubles the interval, up to about an hour.
_ENTRIES_AT_MIN_INTERVAL = 10


class SiteStatusRecorder:
    """Writer of audit log entries with each site's status of the agencies that have an open incident."""

    def __init__(
        self,
        store: SqlStore,
        clock: Clock,
        *,
        site_statuses: Callable[[str], Mapping[str, SiteStatus | None]],
        write_entry: Callable[[Mapping[str, str], int], Awaitable[None]],
    ) -> None:
        """Take *site_statuses*, which returns each site's status of an agency (`None`: unknown).

        *write_entry* adds an audit entry with these details about the incident with this id.
        """
        self._store = store
        self._clock = clock
        self._site_statuses = site_statuses
        self._write_entry = write_entry
        #: By incident number: the text last written for each site, the time of writing, and the number of entries.
        self._last_written: dict[str, tuple[Mapping[str, str], datetime, int]] = {}

    async def record(self) -> None:
        """Write the statuses that have changed. Raise `StoreUnavailable`."""
        async with self._store.reading() as uow:
            # The key of an agency's incident is the agency's code.
            numbers = {key: each.number for key, each in (await uow.open_incidents_by_key()).items()}
        self._last_written = {
            number: self._last_written[number] for number in numbers.values() if number in self._last_written
        }
        now = self._clock.now()
        for key, number in numbers.items():
            reports = {each.site: format_report(each) for each in view_sites(self._site_statuses(key))}
            previous, at, entries = self._last_written.get(number, ({}, now - _MIN_INTERVAL, 0))
            changed = {site: report for site, report in reports.items() if previous.get(site) != report}
            # Write ever more rarely: the audit log is kept for ever, and a site with a bad connection may change its
            # status for days.
            interval = _MIN_INTERVAL * 2 ** min(max(entries - _ENTRIES_AT_MIN_INTERVAL, 0), 6)
            if not changed or timedelta(0) <= now - at < interval:
                continue
            async with self._store.reading() as uow:
                incident = await uow.incident_by_number(number)
            if incident is not None:
                detail = {SITES_DETAIL: "; ".join(f"{site}: {report}" for site, report in changed.items())}
                await self._write_entry(detail, incident.id)
                self._last_written[number] = reports, now, entries + 1
