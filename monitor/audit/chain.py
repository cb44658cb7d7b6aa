"""Monitoring of the audit log's hash chain: exports its head for external copies, and verifies the whole chain once a day."""

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

#: Interval of the export of the head: the usual scrape interval of Prometheus.
_EXPORT_INTERVAL = timedelta(seconds=15)
_VERIFY_INTERVAL = timedelta(days=1)
#: Interval of checking whether a verification is due.
_CHECK_INTERVAL = timedelta(minutes=1)
#: Pause between two parts of the log, each of which takes some milliseconds: a million entries take five minutes.
_PAUSE = timedelta(milliseconds=50)


class Chain:
    """Monitor of the hash chain in the running service."""

    def __init__(
        self, database: Database, metrics: Metrics, clock: Clock, service: str, pause: timedelta = _PAUSE
    ) -> None:
        """Take *service*, the name of this process in the audit log."""
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._service = service
        self._pause = pause
        #: When the whole chain was last verified, by any process; `None`: not known yet.
        self._verified_at: datetime | None = None

    async def run(self) -> NoReturn:
        """Export the head, and verify the chain when it is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_periodically("audit head", self.export_head, _EXPORT_INTERVAL))
            await run_periodically("audit chain check", self.verify_if_due, _CHECK_INTERVAL)

    async def export_head(self) -> None:
        """Export the head."""
        async with self._database.read() as connection:
            self._metrics.set_audit_head(await audit.head(connection))

    async def verify_if_due(self) -> None:
        """Verify the chain if it is due: at the start from the last checkpoint, and the whole chain once a day."""
        now = self._clock.now()
        if self._verified_at is None and await self._verify_new_entries(now):
            return
        if self._verified_at is None or not timedelta(0) <= now - self._verified_at < _VERIFY_INTERVAL:
            await self.verify_all()
            self._verified_at = now

    async def _verify_new_entries(self, now: datetime) -> bool:
        """Verify the entries after the last checkpoint; return whether no full verification is due."""
        async with self._database.read() as connection:
            last = await audit.last_checkpoint(connection)
        if last is None or not timedelta(0) <= now - last.at < _VERIFY_INTERVAL:
            return False
        since = ChainHead(number=last.number, hash=last.hash)
        verifier = await audit.verify(self._database.read, since=since, pause=self._pause)
        if not verifier.is_self_contained:
            return False
        self._verified_at = last.at
        self._report(verifier)
        return True

    async def verify_all(self) -> None:
        """Verify the whole chain, report the result, and write a checkpoint if it is intact."""
        verifier = await audit.verify(self._database.read, pause=self._pause)
        if verifier.flaws:  # A concurrent purge looks like a violation: only one that appears twice counts.
            verifier = await audit.verify(self._database.read, pause=self._pause)
        if not verifier.flaws:
            async with self._database.write() as connection:
                await audit.add_checkpoint(connection, verifier, self._clock.now(), self._service)
        self._report(verifier)

    def _report(self, verifier: Verifier) -> None:
        """Export and log the result. The log is a copy of the head outside of the database."""
        self._metrics.set_audit_violations(len(verifier.flaws))
        head = verifier.head
        log.info("audit head", number=head.number, hash=head.hash, fingerprint=head.fingerprint)
        if verifier.flaws:
            log.error("audit log was changed", violations=[str(flaw) for flaw in verifier.flaws[:20]])
