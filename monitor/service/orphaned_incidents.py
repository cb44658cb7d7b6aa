"""Closes incidents of agencies that have left the configuration: their recovery would never be detected.

Not at once: a file that was removed by mistake is restored within minutes, the agency may be renamed, and two processes
on one store read their files at different moments.
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
from monitor.store.engine.ledger import SqlStore

log = structlog.get_logger()

#: How long an incident stays open after its agency has left, from when this process first noticed.
STAYS = timedelta(minutes=10)
_EVERY = timedelta(seconds=30)
_WHY = "its agency has left the configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanedIncident:
    """An open incident whose agency is no longer monitored, and when it is closed."""

    number: str
    agency: str
    closes_at: datetime


class OrphanedIncidentCloser:
    """Closer of open incidents whose agency is no longer monitored."""

    def __init__(
        self,
        *,
        store: SqlStore,
        alerting: Alerting,
        metrics: Metrics,
        clock: Clock,
        known: Callable[[], Collection[str]],
    ) -> None:
        """*known* returns the monitored agencies."""
        self._store = store
        self._alerting = alerting
        self._metrics = metrics
        self._clock = clock
        self._known = known
        #: By agency. In memory only: after a start the period begins again.
        self._departed: Mapping[str, OrphanedIncident] = {}

    @property
    def departed(self) -> Sequence[OrphanedIncident]:
        """The open incidents of agencies that have left, by the last check."""
        return list(self._departed.values())

    async def keep_closing(self) -> NoReturn:
        """Check repeatedly, until cancelled."""
        await run_periodically("orphaned incident closer", self.look, _EVERY)

    async def look(self) -> None:
        """Record incidents without an agency, and close those whose period is over."""
        now, known = self._clock.now(), self._known()
        async with self._store.reading() as ledger:
            # Keys of our own parts contain a slash.
            numbers = {
                key: each.number
                for key, each in (await ledger.open_numbers()).items()
                if "/" not in key and key not in known
            }
        before = self._departed
        self._departed = {
            agency: was
            if (was := before.get(agency)) is not None and was.number == number
            else OrphanedIncident(number=number, agency=agency, closes_at=now + STAYS)
            for agency, number in sorted(numbers.items())
        }
        for each in self._departed.values():
            if before.get(each.agency) is not each:
                log.warning(
                    "orphaned incident: its agency left the configuration; it will be closed",
                    incident=each.number,
                    agency=each.agency,
                    closes_at=each.closes_at.isoformat(timespec="seconds"),
                )
        for each in list(self._departed.values()):
            # A clock that was set back does not extend the period.
            if not now < each.closes_at <= now + STAYS:
                await self._close(each, now)
        self._metrics.incidents_departed(len(self._departed))

    async def _close(self, each: OrphanedIncident, now: datetime) -> None:
        async with self._store.reading() as ledger:
            found = await ledger.incident_numbered(each.number)
        if found is not None and found.is_open:
            await self._alerting.submit(Close(incident_id=found.id, at=now, by=AUTOMATIC, reason=_WHY, recovered=False))
            log.warning("orphaned incident closed", incident=each.number)
        self._departed = {agency: rest for agency, rest in self._departed.items() if rest is not each}
