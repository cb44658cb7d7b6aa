"""Monitoring of the audit log's hash chain.

The monitor exports the chain's *head* (number and hash of the last entry), so that other systems keep copies of it, and
verifies the whole chain once a day. A *checkpoint* is an audit entry about a verification that found no violation.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from alerts.persistence.audit import ChainHead, Verifier
from alerts.persistence.clock import Clock
from monitor.metrics import Metrics
from monitor.runtime.repeat import run_periodically
from monitor.store.backend.database import Database
from monitor.store.engine import audit

log = structlog.get_logger()

#: Interval between exports of the head: the usual scrape interval of Prometheus.
_EXPORT_INTERVAL = timedelta(seconds=15)
_VERIFY_INTERVAL = timedelta(days=1)
#: Interval at which the monitor checks whether a verification is due.
_CHECK_INTERVAL = timedelta(minutes=1)
#: Pause between the verification of two parts of the log, so that it slows nothing down. With it, a million entries
#: take five minutes.
_PAUSE = timedelta(milliseconds=50)


class ChainMonitor:
    """Monitor of the hash chain in the running service."""

    def __init__(
        self, database: Database, metrics: Metrics, clock: Clock, service: str, pause: timedelta = _PAUSE
    ) -> None:
        """*service*: the name of this process in the audit log. *pause*: the time between two parts of the log."""
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._service = service
        self._pause = pause
        #: When any process last verified the whole chain; `None`: not read from the database yet.
        self._verified_at: datetime | None = None

    async def run(self) -> NoReturn:
        """Export the head, and verify the chain when it is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_periodically("audit head", self.export_head, _EXPORT_INTERVAL))
            await run_periodically("audit chain check", self.verify_if_due, _CHECK_INTERVAL)

    async def export_head(self) -> None:
        """Export the head as a metric."""
        async with self._database.read() as connection:
            self._metrics.set_audit_head(await audit.head(connection))

    async def verify_if_due(self) -> None:
        """Verify the chain if that is due: at the start from the last checkpoint on, once a day as a whole."""
        now = self._clock.now()
        if self._verified_at is None and await self._verify_new_entries(now):
            return
        if self._verified_at is None or not timedelta(0) <= now - self._verified_at < _VERIFY_INTERVAL:
            await self.verify_all()
            self._verified_at = now

    async def _verify_new_entries(self, now: datetime) -> bool:
        """Verify the entries after the last checkpoint. Return false if a full verification is due instead."""
        async with self._database.read() as connection:
            last = await audit.last_checkpoint(connection)
        if last is None or not timedelta(0) <= now - last.at < _VERIFY_INTERVAL:
            return False
        since = ChainHead(number=last.number, hash=last.hash)
        verifier = await audit.verify(self._database.read, since=since, pause=self._pause)
        # A purge after the checkpoint may refer to entries before it, so only a full verification can check it.
        if not verifier.is_self_contained:
            return False
        self._verified_at = last.at
        self._report(verifier)
        return True

    async def verify_all(self) -> None:
        """Verify the whole chain, report the result, and write a checkpoint if it is intact."""
        verifier = await audit.verify(self._database.read, pause=self._pause)
        if verifier.violations:
            # A purge during the verification looks like a violation. Report only what a second verification confirms.
            verifier = await audit.verify(self._database.read, pause=self._pause)
        if not verifier.violations:
            async with self._database.write() as connection:
                await audit.add_checkpoint(connection, verifier, self._clock.now(), self._service)
        self._report(verifier)

    def _report(self, verifier: Verifier) -> None:
        """Export and log the result. The logged head is a copy outside of the database."""
        self._metrics.set_audit_violations(len(verifier.violations))
        head = verifier.head
        log.info("audit head", number=head.number, hash=head.hash, fingerprint=head.fingerprint)
        if verifier.violations:
            log.error("audit log was changed", violations=[str(violation) for violation in verifier.violations[:20]])
