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

#: The usual scrape interval.
_SHOWN_EVERY = timedelta(seconds=15)
_FOLLOWED_EVERY = timedelta(days=1)
#: Interval of checking whether a day has passed.
_LOOKED_EVERY = timedelta(minutes=1)
#: Between two parts of the log, each some milliseconds of work: a million entries take five minutes.
_PAUSE = timedelta(milliseconds=50)


class Chain:
    """Monitor of the hash chain in the running service."""

    def __init__(
        self, database: Database, metrics: Metrics, clock: Clock, service: str, pause: timedelta = _PAUSE
    ) -> None:
        """*service* names this process in the audit log."""
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._service = service
        self._pause = pause
        #: When the whole chain was last verified, by any process; `None`: not known yet.
        self._followed_at: datetime | None = None

    async def keep(self) -> NoReturn:
        """Export the head, and verify the chain when it is time, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_periodically("audit head", self.show, _SHOWN_EVERY))
            await run_periodically("audit chain check", self.look, _LOOKED_EVERY)

    async def show(self) -> None:
        """Export the head."""
        async with self._database.read() as connection:
            self._metrics.audit_head(await audit.head(connection))

    async def look(self) -> None:
        """Verify the chain if it is time: at first from its last checkpoint, and the whole chain once a day."""
        now = self._clock.now()
        if self._followed_at is None and await self._take_up(now):
            return
        if self._followed_at is None or not timedelta(0) <= now - self._followed_at < _FOLLOWED_EVERY:
            await self.follow()
            self._followed_at = now

    async def _take_up(self, now: datetime) -> bool:
        """Verify the entries after the last checkpoint; return whether that is all for now."""
        async with self._database.read() as connection:
            last = await audit.last_checkpoint(connection)
        if last is None or not timedelta(0) <= now - last.at < _FOLLOWED_EVERY:
            return False
        since = ChainHead(number=last.number, hash=last.hash)
        verifier = await audit.verify(self._database.read, since=since, pause=self._pause)
        if not verifier.knows_all:
            return False
        self._followed_at = last.at
        self._tell(verifier)
        return True

    async def follow(self) -> None:
        """Verify the whole chain, report the result, and write a checkpoint if it is intact."""
        verifier = await audit.verify(self._database.read, pause=self._pause)
        if verifier.flaws:  # A concurrent purge looks like a violation: only one that appears twice counts.
            verifier = await audit.verify(self._database.read, pause=self._pause)
        if not verifier.flaws:
            async with self._database.write() as connection:
                await audit.add_checkpoint(connection, verifier, self._clock.now(), self._service)
        self._tell(verifier)

    def _tell(self, verifier: Verifier) -> None:
        """Report the result in the log, where a copy of the head outlives the store."""
        self._metrics.audit_followed(len(verifier.flaws))
        head = verifier.head
        log.info("audit head", number=head.number, hash=head.hash, fingerprint=head.fingerprint)
        if verifier.flaws:
            log.error("audit log was changed", violations=[str(flaw) for flaw in verifier.flaws[:20]])
