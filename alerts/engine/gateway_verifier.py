"""Verification of gateways that have not been called since the start, by a request that sends no message."""

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
    """Loop that verifies each gateway whose state is unknown, until a verification succeeds.

    If the verification fails, the gateway is not marked as down, because its credentials may permit only sending.
    """

    INTERVAL = timedelta(minutes=1)
    #: Time after which a verification is cancelled. Every gateway has a shorter deadline of its own.
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
        #: Error of the last verification by name of the gateway, so that an unchanged error is logged once.
        self._errors: dict[str, str] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.verify()
            await asyncio.sleep(self.INTERVAL.total_seconds())

    async def verify(self) -> None:
        """Verify every gateway whose state is unknown once."""
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
            # During the verification a reload may have given the name to another gateway, or a message may have been
            # sent: the result of that call must not be overwritten.
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
