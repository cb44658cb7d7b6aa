"""See from the store which gateways give no receipts any more as they used to, and let the pool know.

A shell: `receipt` decides. All engines that share a store see the same, and so does one that has just started.
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
    """Looks when it is told to."""

    def __init__(self, *, store: Store, pool: GatewayPool, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._pool = pool
        self._clock = clock
        self._observer = observer

    async def look(self) -> None:
        """Look once at every gateway but those of letters: a clerk may take days, and no provider is to blame."""
        lines = [line for line in self._pool if line.channel is not Channel.LETTER]
        if not await self._look_at(lines):
            # Each by itself: only the one that is at fault is left out.
            for line in lines:
                await self._look_at([line])

    async def _look_at(self, lines: Sequence[ConfiguredGateway]) -> bool:
        """Look at gateways in one view of the store; return `False` when one of them could not be weighed."""
        try:
            # Nobody who writes waits for it.
            async with self._store.reading() as ledger:
                answered = await ledger.answered([line.name for line in lines], LATEST)
                seen = [(line, *await self._examine(ledger, line, answered[line.name])) for line in lines]
        except StoreUnavailable:
            return True
        # It says in which order gateways are tried, and must not stand in the way of those that are.
        except Exception:
            if len(lines) == 1:
                log.exception("the receipts of a gateway could not be weighed", gateway=lines[0].name)
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
        log.info("gateway trusted again", gateway=line.name)
        return
    usual = round(found.usual.total_seconds())
    log.warning("gateway doubted", gateway=line.name, overdue=found.overdue, since=found.since, usual_seconds=usual)
