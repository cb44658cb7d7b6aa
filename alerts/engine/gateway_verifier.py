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
    """Verifies each unused gateway until one request succeeds.

    A failed verification leaves the gateway unused: credentials that may not read may still send.
    """

    EVERY = timedelta(minutes=1)
    #: Every gateway has a shorter deadline of its own.
    DEADLINE = timedelta(seconds=90)

    def __init__(
        self, *, pool: GatewayPool, clock: Clock, observer: Observer, rests: Callable[[], bool] = lambda: False
    ) -> None:
        """While *rests* returns true, it verifies nothing."""
        self._pool = pool
        self._clock = clock
        self._observer = observer
        self._rests = rests
        #: By gateway: the error of its last verification.
        self._failed: dict[str, str] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.verify()
            await asyncio.sleep(self.EVERY.total_seconds())

    async def verify(self) -> None:
        """Verify every unused gateway once."""
        if self._rests():
            return
        async with asyncio.TaskGroup() as tests:
            for line in self._pool:
                if self._pool.is_up(line.name) is None:
                    tests.create_task(self._verify(line))

    async def _verify(self, line: ConfiguredGateway) -> None:
        gateway: object = line.gateway
        if not isinstance(gateway, Verifiable):
            return
        try:
            async with asyncio.timeout(self.DEADLINE.total_seconds()):
                await gateway.verify()
        except (DeliveryError, TimeoutError) as error:
            self._fail(line, str(error) or "no answer in time")
        # A bug in one gateway must not stop the others' verification.
        except Exception:
            if line.name not in self._failed:
                log.exception("gateway test failed", gateway=line.name)
            self._failed[line.name] = "a bug"
        else:
            self._failed.pop(line.name, None)
            # A message sent meanwhile is the better evidence, and another gateway may have the name by now.
            is_its_own = line.name in self._pool and self._pool[line.name].gateway is line.gateway
            if is_its_own and self._pool.is_up(line.name) is None:
                self._pool.record_state(line.name, up=True, now=self._clock.now())
                self._observer.gateway_judged(line.channel, line.name, up=True)

    def _fail(self, line: ConfiguredGateway, why: str) -> None:
        if self._failed.get(line.name) != why:
            log.warning("gateway test failed", gateway=line.name, reason=why)
        self._failed[line.name] = why
