"""See from the store which gateways give no receipts any more as they used to, and let the pool know.

A shell: `receipt` decides. All engines that share a store see the same, and so does one that has just started.
"""

from __future__ import annotations

import structlog

from alerts.decide.receipt import LATEST, Doubt, Habit, doubt, habit
from alerts.engine.gateway_pool import GatewayPool, Line
from alerts.engine.observer import Observer
from alerts.model.channel import Channel
from alerts.record.clock import Clock
from alerts.record.store import Store, StoreAway

log = structlog.get_logger()


class Doubter:
    """Looks when it is told to."""

    def __init__(self, *, store: Store, pool: GatewayPool, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._pool = pool
        self._clock = clock
        self._observer = observer

    async def look(self) -> None:
        """Look once at every gateway but those of letters: a clerk may take days, and no provider is to blame."""
        for line in self._pool:
            if line.channel is Channel.LETTER:
                continue
            try:
                known, found = await self._examine(line)
            except StoreAway:
                return
            # It says in which order gateways are tried, and must not stand in the way of those that are.
            except Exception:
                log.exception("the receipts of a gateway could not be weighed", gateway=line.name)
                continue
            self._observer.gateway_doubted(
                line.channel, line.name, doubted=None if known is None else found is not None
            )
            if self._pool.doubt(line.name, found):
                _tell(line, found)

    async def _examine(self, line: Line) -> tuple[Habit | None, Doubt | None]:
        now = self._clock.now()
        async with self._store.transaction() as ledger:
            known = habit(await ledger.answered(line.name, LATEST))
            if known is None:
                return None, None
            unanswered = await ledger.unanswered(line.name, *known.span(now), LATEST)
        return known, doubt(known, unanswered, now)


def _tell(line: Line, found: Doubt | None) -> None:
    if found is None:
        log.info("gateway trusted again", gateway=line.name)
        return
    usual = round(found.usual.total_seconds())
    log.warning("gateway doubted", gateway=line.name, overdue=found.overdue, since=found.since, usual_seconds=usual)
