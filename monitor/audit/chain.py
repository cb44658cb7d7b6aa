"""Watches the journal's chain: shows its head to those who keep copies outside, and follows it whole once a day."""

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

#: As often as Prometheus looks.
_SHOWN_EVERY = timedelta(seconds=15)
_FOLLOWED_EVERY = timedelta(days=1)
#: How soon it is noticed that a day has gone by.
_LOOKED_EVERY = timedelta(minutes=1)
#: Between two parts of the journal, each some milliseconds' work: a million entries are followed in five minutes.
_PAUSE = timedelta(milliseconds=50)


class Chain:
    """The journal's chain, as the running service watches it."""

    def __init__(
        self, database: Database, metrics: Metrics, clock: Clock, service: str, pause: timedelta = _PAUSE
    ) -> None:
        """*service* names this process in the journal."""
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._service = service
        self._pause = pause
        #: When all of it was last followed, by whomever; `None`: not known yet.
        self._followed_at: datetime | None = None

    async def keep(self) -> NoReturn:
        """Show the head, and follow the chain when it is time, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_periodically("head of the journal", self.show, _SHOWN_EVERY))
            await run_periodically("chain of the journal", self.look, _LOOKED_EVERY)

    async def show(self) -> None:
        """Export the head."""
        async with self._database.read() as connection:
            self._metrics.audit_head(await audit.head(connection))

    async def look(self) -> None:
        """Follow the chain if it is time: at first from its last checkpoint, and all of it once a day."""
        now = self._clock.now()
        if self._followed_at is None and await self._take_up(now):
            return
        if self._followed_at is None or not timedelta(0) <= now - self._followed_at < _FOLLOWED_EVERY:
            await self.follow()
            self._followed_at = now

    async def _take_up(self, now: datetime) -> bool:
        """Follow what came after the last checkpoint; return whether that is all there is to do for now."""
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
        """Follow the whole chain, say how it stands, and leave a checkpoint if it stands well."""
        verifier = await audit.verify(self._database.read, pause=self._pause)
        if verifier.flaws:  # A purge in the middle of it looks like one: only what shows twice is one.
            verifier = await audit.verify(self._database.read, pause=self._pause)
        if not verifier.flaws:
            async with self._database.write() as connection:
                await audit.add_checkpoint(connection, verifier, self._clock.now(), self._service)
        self._tell(verifier)

    def _tell(self, verifier: Verifier) -> None:
        """Say how it stands: in the log, where a copy of the head outlives the store."""
        self._metrics.audit_followed(len(verifier.flaws))
        head = verifier.head
        log.info("audit head", number=head.number, hash=head.hash, fingerprint=head.fingerprint)
        if verifier.flaws:
            log.error("the journal was changed", flaws=[str(flaw) for flaw in verifier.flaws[:20]])
