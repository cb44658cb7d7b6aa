"""Poller of inbound SMS, for providers that cannot reach us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.hours.elapsed import is_recent
from alerts.inbound.callback_handler import CallbackHandlers
from alerts.model.gateway import DeliveryError, SupportsReplies
from alerts.persistence.clock import Clock
from alerts.persistence.store import Store, StoreUnavailable

log = structlog.get_logger()


class Poller:
    """Polls the providers every `EVERY` while an incident is active, and for `AFTERWARDS` after the last.

    A person who answers a night's SMS after the recovery gets a reply. At other times the interval is `QUIETLY`, for
    those who want SMS again (START).
    """

    EVERY = timedelta(seconds=20)
    AFTERWARDS = timedelta(hours=1)
    QUIETLY = timedelta(minutes=10)
    #: How far back the first poll after a start reaches.
    FURTHEST = timedelta(hours=24)
    #: A gateway has its own deadlines, at most a minute; one without must not block the others.
    DEADLINE = timedelta(seconds=90)

    def __init__(
        self,
        *,
        store: Store,
        pool: GatewayPool,
        desks: CallbackHandlers,
        clock: Clock,
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        """While *rests* returns true no provider is polled; messages are fetched afterwards."""
        self._store = store
        self._pool = pool
        self._desks = desks
        self._clock = clock
        self._rests = rests
        self._since: datetime | None = None
        self._active_at: datetime | None = None
        self._looked_at: datetime | None = None
        #: Gateways whose last poll failed.
        self._silent: set[str] = set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self.EVERY.total_seconds())

    async def look(self) -> None:
        """Poll every gateway once, if an answer is possible. A failing gateway delays no other."""
        since = None if self._rests() else await self._begin()
        if since is None:
            return
        async with asyncio.TaskGroup() as asking:
            for line in self._pool:
                asking.create_task(self._collect(line, since))

    async def _begin(self) -> datetime | None:
        now = self._clock.now()
        try:
            async with self._store.transaction() as ledger:
                active = await ledger.active_incidents()
                oldest = await ledger.incident(active[0]) if active else None
        except StoreUnavailable:
            return None  # Polled again the next time.
        # A bug must not stop polling for good.
        except Exception:
            log.exception("database read failed")
            return None
        if oldest is not None:
            self._active_at = now
            self._since = max(oldest.opened_at, now - self.FURTHEST)
        if self._active_at is not None and self._since is not None:
            # Limit to now: the clock may have been set back.
            self._active_at, self._since = min(self._active_at, now), min(self._since, now)
            if timedelta(0) <= now - self._active_at <= self.AFTERWARDS:
                self._looked_at = now
                return self._since
        looked_at = self._looked_at = self._looked_at or now
        if is_recent(looked_at, now, self.QUIETLY):
            return None
        self._looked_at = now
        # Overlap with the previous poll, which may have failed. Duplicates are detected by id.
        return min(looked_at, now) - self.QUIETLY

    async def _collect(self, line: ConfiguredGateway, since: datetime) -> None:
        gateway: object = line.gateway
        if not isinstance(gateway, SupportsReplies):
            return
        try:
            async with asyncio.timeout(self.DEADLINE.total_seconds()):
                await gateway.collect(since, self._desks.of(line.name))
        except StoreUnavailable:
            return  # Messages that were not stored are fetched again.
        except (DeliveryError, TimeoutError) as error:
            if line.name not in self._silent:
                why = error.detail if isinstance(error, DeliveryError) else "it did not come back"
                log.warning("inbound SMS poll failed", gateway=line.name, reason=why)
            self._silent.add(line.name)
        # A bug in one gateway must not stop polling.
        except Exception:
            if line.name not in self._silent:
                log.exception("inbound SMS could not be processed", gateway=line.name)
            self._silent.add(line.name)
        else:
            if line.name in self._silent:
                log.info("inbound SMS poll succeeded again", gateway=line.name)
            self._silent.discard(line.name)
