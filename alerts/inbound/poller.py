"""Poller of inbound SMS, for providers that cannot reach Pantau with a callback."""

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
    """Periodic query of providers for inbound SMS.

    The interval is `ACTIVE_INTERVAL` while an incident is active and for `ACTIVE_AFTER_END` after the last incident,
    because people may answer an SMS after the recovery. At other times the interval is `IDLE_INTERVAL`, for people who
    opt in to SMS again (START).
    """

    ACTIVE_INTERVAL = timedelta(seconds=20)
    ACTIVE_AFTER_END = timedelta(hours=1)
    IDLE_INTERVAL = timedelta(minutes=10)
    #: How far back a poll reaches at most.
    MAX_AGE = timedelta(hours=24)
    #: Limit for a gateway whose own, shorter deadline fails.
    DEADLINE = timedelta(seconds=90)

    def __init__(
        self,
        *,
        store: Store,
        pool: GatewayPool,
        callback_handlers: CallbackHandlers,
        clock: Clock,
        is_monitor_only: Callable[[], bool] = lambda: False,
    ) -> None:
        """*is_monitor_only*: polling pauses while it returns true, because nobody is notified in that mode.

        Messages of that time are fetched by later polls.
        """
        self._store = store
        self._pool = pool
        self._callback_handlers = callback_handlers
        self._clock = clock
        self._is_monitor_only = is_monitor_only
        #: Time from which messages are fetched while an incident is active: its opening, `MAX_AGE` ago at most.
        self._since: datetime | None = None
        #: When an incident was active last.
        self._active_at: datetime | None = None
        self._polled_at: datetime | None = None
        #: Names of gateways whose last poll failed.
        self._failed: set[str] = set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self.ACTIVE_INTERVAL.total_seconds())

    async def poll(self) -> None:
        """Poll every gateway once, if a poll is due. A failing gateway delays no other."""
        since = None if self._is_monitor_only() else await self._begin_poll()
        if since is None:
            return
        async with asyncio.TaskGroup() as polls:
            for configured in self._pool:
                polls.create_task(self._poll_gateway(configured, since))

    async def _begin_poll(self) -> datetime | None:
        """Begin a poll. Return the time from which to fetch messages; `None` if no poll is due."""
        now = self._clock.now()
        try:
            async with self._store.transaction() as uow:
                active = await uow.active_incidents()
                oldest = await uow.incident(active[0]) if active else None
        except StoreUnavailable:
            return None  # The next poll tries again.
        # An unexpected error, which is a bug, must not stop polling for good.
        except Exception:
            log.exception("database read failed")
            return None
        if oldest is not None:
            self._active_at = now
            self._since = max(oldest.opened_at, now - self.MAX_AGE)
        if self._active_at is not None and self._since is not None:
            # The clock may have been set back, so both times are limited to now.
            self._active_at, self._since = min(self._active_at, now), min(self._since, now)
            if timedelta(0) <= now - self._active_at <= self.ACTIVE_AFTER_END:
                self._polled_at = now
                return self._since
        polled_at = self._polled_at = self._polled_at or now
        if is_recent(polled_at, now, self.IDLE_INTERVAL):
            return None
        self._polled_at = now
        # The poll overlaps the previous one, which may have failed. Duplicates are detected by id.
        return min(polled_at, now) - self.IDLE_INTERVAL

    async def _poll_gateway(self, configured: ConfiguredGateway, since: datetime) -> None:
        gateway: object = configured.gateway
        if not isinstance(gateway, SupportsReplies):
            return
        name = configured.name
        try:
            async with asyncio.timeout(self.DEADLINE.total_seconds()):
                await gateway.collect(since, self._callback_handlers.for_gateway(name))
        except StoreUnavailable:
            return  # Messages that were not stored are fetched again.
        except (DeliveryError, TimeoutError) as error:
            if name not in self._failed:
                reason = error.detail if isinstance(error, DeliveryError) else "the poll did not end in time"
                log.warning("inbound SMS poll failed", gateway=name, reason=reason)
            self._failed.add(name)
        # An unexpected error of one gateway must not stop polling.
        except Exception:
            if name not in self._failed:
                log.exception("inbound SMS could not be processed", gateway=name)
            self._failed.add(name)
        else:
            if name in self._failed:
                log.info("inbound SMS poll succeeded again", gateway=name)
            self._failed.discard(name)
