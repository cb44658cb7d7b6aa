"""Closing of open incidents whose agency was removed from the configuration: no probe would detect their recovery.

An incident is closed only after a delay, because a file that was removed by mistake is restored within minutes, the
agency may be renamed, and two processes on one database read their files at different moments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from alerts.model.event import AUTOMATIC, Close
from alerts.persistence.clock import Clock
from monitor.bridge.incident_reporter import Alerting
from monitor.metrics import Metrics
from monitor.runtime.repeat import run_periodically
from monitor.store.engine.unit_of_work import SqlStore

log = structlog.get_logger()

#: Time from the first check that finds an agency missing until its incident is closed.
CLOSING_DELAY = timedelta(minutes=10)
_INTERVAL = timedelta(seconds=30)
_REASON = "its agency has left the configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanedIncident:
    """An open incident whose agency is no longer monitored, and when it is closed."""

    number: str
    agency: str
    closes_at: datetime


class OrphanedIncidentCloser:
    """Task that closes open incidents whose agency is no longer monitored."""

    def __init__(
        self,
        *,
        store: SqlStore,
        alerting: Alerting,
        metrics: Metrics,
        clock: Clock,
        agencies: Callable[[], Collection[str]],
    ) -> None:
        """*agencies* returns the codes of the monitored agencies."""
        self._store = store
        self._alerting = alerting
        self._metrics = metrics
        self._clock = clock
        self._agencies = agencies
        #: By agency. In memory only: after a restart the delay begins again.
        self._orphaned: Mapping[str, OrphanedIncident] = {}

    @property
    def orphaned(self) -> Sequence[OrphanedIncident]:
        """The open incidents without a monitored agency, by the last check."""
        return list(self._orphaned.values())

    async def keep_closing(self) -> NoReturn:
        """Check repeatedly, until cancelled."""
        await run_periodically("orphaned incident closer", self.check, _INTERVAL)

    async def check(self) -> None:
        """Find open incidents without a monitored agency, and close those whose delay is over."""
        now, agencies = self._clock.now(), self._agencies()
        async with self._store.reading() as uow:
            # The dedup key of an agency's incident is the agency's code; the keys of other incidents contain a slash.
            numbers = {
                key: incident.number
                for key, incident in (await uow.open_incidents_by_key()).items()
                if "/" not in key and key not in agencies
            }
        orphaned: dict[str, OrphanedIncident] = {}
        for agency, number in sorted(numbers.items()):
            orphan = self._orphaned.get(agency)
            if orphan is None or orphan.number != number:
                orphan = OrphanedIncident(number=number, agency=agency, closes_at=now + CLOSING_DELAY)
                log.warning(
                    "orphaned incident: its agency left the configuration; it will be closed",
                    incident=orphan.number,
                    agency=orphan.agency,
                    closes_at=orphan.closes_at.isoformat(timespec="seconds"),
                )
            orphaned[agency] = orphan
        self._orphaned = orphaned
        for orphan in list(orphaned.values()):
            # A clock that was set back must not extend the delay.
            if not now < orphan.closes_at <= now + CLOSING_DELAY:
                await self._close(orphan, now)
        self._metrics.set_orphaned_incidents(len(self._orphaned))

    async def _close(self, orphan: OrphanedIncident, now: datetime) -> None:
        async with self._store.reading() as uow:
            incident = await uow.incident_by_number(orphan.number)
        if incident is not None and incident.is_open:
            # `recovered=False`: the closing is no recovery. Only the notified staff are informed.
            await self._alerting.submit(
                Close(incident_id=incident.id, at=now, by=AUTOMATIC, reason=_REASON, recovered=False)
            )
            log.warning("orphaned incident closed", incident=orphan.number)
        self._orphaned = {agency: other for agency, other in self._orphaned.items() if other is not orphan}
