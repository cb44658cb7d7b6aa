"""Detects gateways with overdue receipts in the store and informs the pool.

`alerts.decide.gateway.receipt` decides. All engines on a store, and one that has just started, detect the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from alerts.decide.gateway.receipt import LATEST, OverdueReceipts, ReceiptBaseline, ReceivedReceipt, doubt, habit
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.engine.observer import Observer
from alerts.model.channel import Channel
from alerts.persistence.clock import Clock
from alerts.persistence.store import Store, StoreUnavailable, UnitOfWork

log = structlog.get_logger()


class ReceiptMonitor:
    """Examines the gateways when called."""

    def __init__(self, *, store: Store, pool: GatewayPool, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._pool = pool
        self._clock = clock
        self._observer = observer

    async def look(self) -> None:
        """Examine every gateway except trays: a clerk may take days, and no provider is at fault."""
        lines = [line for line in self._pool if line.channel is not Channel.LETTER]
        if not await self._look_at(lines):
            # One by one: only the faulty gateway is skipped.
            for line in lines:
                await self._look_at([line])

    async def _look_at(self, lines: Sequence[ConfiguredGateway]) -> bool:
        """Examine gateways in one read transaction. Return `False` if one of them failed."""
        try:
            # A read transaction blocks no writer.
            async with self._store.reading() as ledger:
                answered = await ledger.answered([line.name for line in lines], LATEST)
                seen = [(line, *await self._examine(ledger, line, answered[line.name])) for line in lines]
        except StoreUnavailable:
            return True
        # It only affects the order of gateways, and must not stop deliveries.
        except Exception:
            if len(lines) == 1:
                log.exception("delivery receipts could not be evaluated", gateway=lines[0].name)
            return False
        for line, known, found in seen:
            self._observer.gateway_doubted(
                line.channel, line.name, doubted=None if known is None else found is not None
            )
            if self._pool.doubt(line.name, found):
                _tell(line, found)
        return True

    async def _examine(
        self, ledger: UnitOfWork, line: ConfiguredGateway, answered: Sequence[ReceivedReceipt]
    ) -> tuple[ReceiptBaseline | None, OverdueReceipts | None]:
        now = self._clock.now()
        known = habit(answered)
        if known is None:
            return None, None
        unanswered = await ledger.unanswered(line.name, *known.span(now), LATEST)
        return known, doubt(known, unanswered, now)


def _tell(line: ConfiguredGateway, found: OverdueReceipts | None) -> None:
    if found is None:
        log.info("delivery receipts no longer overdue", gateway=line.name)
        return
    usual = round(found.usual.total_seconds())
    log.warning(
        "delivery receipts overdue", gateway=line.name, overdue=found.overdue, since=found.since, baseline_seconds=usual
    )
