"""Detection of gateways that accept messages without delivering them: their delivery receipts are overdue.

The receipts are read from the database, so that all engines that share it get the same result, even one that has just
started. `alerts.decide.gateway.receipt` decides whether receipts are overdue, by comparison with a *baseline*: the
usual delay of the gateway's receipts. The gateway pool then prefers other gateways.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from alerts.decide.gateway.receipt import (
    MAX_RECEIPTS,
    OverdueReceipts,
    ReceiptBaseline,
    ReceivedReceipt,
    overdue_receipts,
    receipt_baseline,
)
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.engine.observer import Observer
from alerts.model.channel import Channel
from alerts.persistence.clock import Clock
from alerts.persistence.store import Store, StoreUnavailable, UnitOfWork

log = structlog.get_logger()


class ReceiptMonitor:
    """Checker of all gateways for overdue receipts. The engine calls it periodically."""

    def __init__(self, *, store: Store, pool: GatewayPool, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._pool = pool
        self._clock = clock
        self._observer = observer

    async def check_gateways(self) -> None:
        """Check every gateway except those for letters, because a clerk may take days to post a letter."""
        gateways = [gateway for gateway in self._pool if gateway.channel is not Channel.LETTER]
        if not await self._check(gateways):
            # Check the gateways one by one, so that only one whose check fails is skipped.
            for gateway in gateways:
                await self._check([gateway])

    async def _check(self, gateways: Sequence[ConfiguredGateway]) -> bool:
        """Check gateways in one read transaction. Return `False` if a check failed with an unexpected error."""
        try:
            async with self._store.reading() as uow:
                receipts = await uow.latest_receipts([gateway.name for gateway in gateways], MAX_RECEIPTS)
                results = [
                    (gateway, *await self._evaluate(uow, gateway, receipts[gateway.name])) for gateway in gateways
                ]
        except StoreUnavailable:
            return True  # The next check tries again.
        # A bug must not stop deliveries, because a check decides only which gateway is preferred.
        except Exception:
            if len(gateways) == 1:
                log.exception("delivery receipts could not be evaluated", gateway=gateways[0].name)
            return False
        for gateway, baseline, overdue in results:
            self._observer.set_receipts_overdue(
                gateway.channel, gateway.name, overdue=None if baseline is None else overdue is not None
            )
            if self._pool.set_overdue_receipts(gateway.name, overdue):
                _log_change(gateway, overdue)
        return True

    async def _evaluate(
        self, uow: UnitOfWork, gateway: ConfiguredGateway, receipts: Sequence[ReceivedReceipt]
    ) -> tuple[ReceiptBaseline | None, OverdueReceipts | None]:
        """Return the baseline of *receipts*, the gateway's latest ones, and its overdue receipts.

        The baseline is `None` with too few receipts; the overdue receipts are `None` if none are overdue.
        """
        now = self._clock.now()
        baseline = receipt_baseline(receipts)
        if baseline is None:
            return None, None
        missing = await uow.missing_receipts(gateway.name, *baseline.submission_window(now), MAX_RECEIPTS)
        return baseline, overdue_receipts(baseline, missing, now)


def _log_change(gateway: ConfiguredGateway, overdue: OverdueReceipts | None) -> None:
    if overdue is None:
        log.info("delivery receipts no longer overdue", gateway=gateway.name)
        return
    usual = round(overdue.usual_delay.total_seconds())
    log.warning(
        "delivery receipts overdue",
        gateway=gateway.name,
        overdue=overdue.overdue,
        since=overdue.since,
        baseline_seconds=usual,
    )
