"""Messages that no run waits for: classification, route, and delay."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from alerts.persistence.clock import Clock
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.metrics import Metrics
from monitor.model.route import MonitoredRoute
from monitor.store.probing.history import History, SentToken
from probes.model.result import Arrival

log = structlog.get_logger()

#: Number of remembered tokens without an arrival.
_REMEMBERED = 50_000
#: Number of remembered tokens with an arrival.
_CAME_REMEMBERED = 4_096


class Arrivals:
    """Tracks sent tokens, and classifies messages that arrive after their runs."""

    def __init__(
        self,
        known: Mapping[str, SentToken],
        *,
        routes: Mapping[str, MonitoredRoute],
        evaluator: HealthEvaluator,
        history: History,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """*known*: tokens of earlier runs, the oldest first (`History.tokens`); *routes*: updated in place."""
        self._routes = routes
        self._evaluator = evaluator
        self._history = history
        self._metrics = metrics
        self._clock = clock
        self._began = clock.now()
        #: Tokens without an arrival, the oldest first, which tell how late a message is.
        self._missing = {token_id: sent for token_id, sent in known.items() if not sent.came}
        #: Latest arrivals. A public address may forward to two of our mailboxes: the second copy is not late.
        self._came: deque[str] = deque(maxlen=_CAME_REMEMBERED)
        self._late: asyncio.Queue[tuple[str, datetime]] = asyncio.Queue()
        self._has_prober_conflict = False

    def know(self, known: Mapping[str, SentToken]) -> None:
        """Add tokens of earlier runs, of routes gained since the start."""
        self._missing |= {token_id: sent for token_id, sent in known.items() if not sent.came}
        while len(self._missing) > _REMEMBERED:
            del self._missing[next(iter(self._missing))]

    def sent(self, token_id: str, route: str, at: datetime) -> None:
        """Record a token before its message is sent."""
        self._missing[token_id] = SentToken(route=route, at=at, came=False)
        if len(self._missing) > _REMEMBERED:
            del self._missing[next(iter(self._missing))]

    def came(self, token_id: str) -> None:
        """Record a token's arrival: further messages with it are copies."""
        self._missing.pop(token_id, None)
        self._came.append(token_id)

    def hear(
        self, arrival: Arrival, token_id: str | None, seen_at: datetime, *, mailbox: str, at_first_look: bool
    ) -> None:
        """Process a message that a watcher saw in *mailbox*; *at_first_look*: it was there at the first look."""
        sent = self._missing.get(token_id or "")
        route = self._routes.get(sent.route) if sent else None
        elsewhere = route is not None and route.route.recipient.name != mailbox
        if arrival is Arrival.LATE and (elsewhere or token_id in self._came):
            arrival = Arrival.DUPLICATE
        transit = None
        if arrival is Arrival.LATE and token_id is not None:
            self._late.put_nowait((token_id, seen_at))
            self.came(token_id)
            # The arrival time of a message from before the start is unknown at the first look.
            if sent and route and (sent.at >= self._began or not at_first_look):
                transit = max(timedelta(0), seen_at - sent.at)  # The clock may have been set back in between.
                self._evaluator.came_late(route.name, token_id, transit, self._clock.now())
        if arrival is Arrival.PROBER_CONFLICT and not self._has_prober_conflict:
            self._has_prober_conflict = True
            log.warning(
                "another machine uses this process name",
                mailbox=mailbox,
                advice="give each machine its own process_name",
            )
        direction = route.direction if route else None
        self._metrics.arrived(arrival, direction=direction, transit=transit)
        log.info(
            "unexpected probe message",
            arrival=arrival,
            token=token_id,
            route=route.name if route else "",
            direction=direction or "",
            seen_at=seen_at.isoformat(),
        )

    async def write_down(self) -> NoReturn:
        """Store late messages as they arrive, until cancelled."""
        while True:
            token_id, seen_at = await self._late.get()
            try:
                await self._history.came_late(token_id, seen_at)
            # A bug; if the message is seen again, it is counted as late again.
            except Exception:
                log.exception("late message could not be recorded", token=token_id)
