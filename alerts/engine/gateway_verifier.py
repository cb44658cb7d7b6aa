"""Verification of gateways that have not been used since the start, without sending anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.engine.observer import Observer
from alerts.model.gateway import DeliveryError, Verifiable
from alerts.persistence.clock import Clock

log = structlog.get_logger()


class GatewayVerifier:
    """Loop that verifies each gateway without a known state until a verification succeeds.

    A failed verification does not mark the gateway as down: its credentials may be allowed to send, but not to read.
    """

    EVERY = timedelta(minutes=1)
    #: Every gateway has a shorter deadline of its own.
    DEADLINE = timedelta(seconds=90)

    def __init__(
        self,
        *,
        pool: GatewayPool,
        clock: Clock,
        observer: Observer,
        is_monitor_only: Callable[[], bool] = lambda: False,
    ) -> None:
        """Verify nothing while *is_monitor_only* returns true."""
        self._pool = pool
        self._clock = clock
        self._observer = observer
        self._is_monitor_only = is_monitor_only
        #: Error of the last verification, by gateway: an unchanged error is logged once.
        self._errors: dict[str, str] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.verify()
            await asyncio.sleep(self.EVERY.total_seconds())

    async def verify(self) -> None:
        """Verify every gateway without a known state once."""
        if self._is_monitor_only():
            return
        async with asyncio.TaskGroup() as verifications:
            for configured in self._pool:
                if self._pool.is_up(configured.name) is None:
                    verifications.create_task(self._verify(configured))

    async def _verify(self, configured: ConfiguredGateway) -> None:
        gateway: object = configured.gateway
        if not isinstance(gateway, Verifiable):
            return
        try:
            async with asyncio.timeout(self.DEADLINE.total_seconds()):
                await gateway.verify()
        except (DeliveryError, TimeoutError) as error:
            self._record_failure(configured, str(error) or "no answer in time")
        # A bug in one gateway must not stop the verification of the others.
        except Exception:
            if configured.name not in self._errors:
                log.exception("gateway test failed", gateway=configured.name)
            self._errors[configured.name] = "a bug"
        else:
            self._errors.pop(configured.name, None)
            # A reload may have given the name to another gateway. If a message was sent meanwhile, its result must not
            # be overwritten.
            is_same_gateway = (
                configured.name in self._pool and self._pool[configured.name].gateway is configured.gateway
            )
            if is_same_gateway and self._pool.is_up(configured.name) is None:
                self._pool.record_state(configured.name, up=True, now=self._clock.now())
                self._observer.set_gateway_up(configured.channel, configured.name, up=True)

    def _record_failure(self, configured: ConfiguredGateway, reason: str) -> None:
        if self._errors.get(configured.name) != reason:
            log.warning("gateway test failed", gateway=configured.name, reason=reason)
        self._errors[configured.name] = reason
