"""Watches the journal's chain: shows its head to those who keep copies outside, and follows it whole once a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from alerts.clock import Clock
from monitor.keeping import keep_doing
from monitor.metrics import Metrics
from monitor.store import audit
from monitor.store.database import Database

log = structlog.get_logger()

#: As often as Prometheus looks.
_SHOWN_EVERY = timedelta(seconds=15)
_FOLLOWED_EVERY = timedelta(days=1)


async def keep_chain(database: Database, metrics: Metrics, clock: Clock) -> NoReturn:
    """Follow the chain now and once a day, log its head then, and export the head all the time."""
    followed: datetime | None = None

    async def look() -> None:
        nonlocal followed
        now = clock.now()
        if followed is None or now - followed >= _FOLLOWED_EVERY:
            await follow(database, metrics)
            followed = now
        async with database.read() as connection:
            metrics.audit_head(await audit.head(connection))

    await keep_doing("chain of the journal", look, _SHOWN_EVERY)


async def follow(database: Database, metrics: Metrics) -> None:
    """Follow the whole chain, and say how it stands: in the log, where a copy of the head outlives the store."""
    verifier = await audit.verify(database.read)
    if verifier.flaws:  # A purge in the middle of it looks like one: only what shows twice is one.
        verifier = await audit.verify(database.read)
    metrics.audit_followed(len(verifier.flaws))
    head = verifier.head
    log.info("audit head", number=head.number, hash=head.hash, fingerprint=head.fingerprint)
    if verifier.flaws:
        log.error("the journal was changed", flaws=[str(flaw) for flaw in verifier.flaws[:20]])
