"""Mail that no run waits for: what it is, which way it went, and how late it came."""

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

#: Tokens whose mail has not come and whose route is remembered.
_REMEMBERED = 50_000
#: Tokens whose mail came last.
_CAME_REMEMBERED = 4_096


class Arrivals:
    """Knows which tokens are out, and takes in what comes with them after their runs."""

    def __init__(
        self,
        known: Mapping[str, SentToken],
        *,
        routes: Mapping[str, MonitoredRoute],
        judge: HealthEvaluator,
        history: History,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """*known*: tokens of earlier runs, the oldest first (`History.tokens`); *routes* change as routes do."""
        self._routes = routes
        self._judge = judge
        self._history = history
        self._metrics = metrics
        self._clock = clock
        self._began = clock.now()
        #: The tokens whose mail has not come, the oldest first: how late it is, if it does.
        self._missing = {token_id: sent for token_id, sent in known.items() if not sent.came}
        #: Whose mail came last. A public address may forward to two mailboxes of ours: the second copy is not late.
        self._came: deque[str] = deque(maxlen=_CAME_REMEMBERED)
        self._late: asyncio.Queue[tuple[str, datetime]] = asyncio.Queue()
        self._has_prober_conflict = False

    def know(self, known: Mapping[str, SentToken]) -> None:
        """Remember tokens of earlier runs, of routes that were gained since the start."""
        self._missing |= {token_id: sent for token_id, sent in known.items() if not sent.came}
        while len(self._missing) > _REMEMBERED:
            del self._missing[next(iter(self._missing))]

    def sent(self, token_id: str, route: str, at: datetime) -> None:
        """Remember a token, before its message is sent."""
        self._missing[token_id] = SentToken(route=route, at=at, came=False)
        if len(self._missing) > _REMEMBERED:
            del self._missing[next(iter(self._missing))]

    def came(self, token_id: str) -> None:
        """Remember that a token's mail is there: what comes with it from now on is a copy."""
        self._missing.pop(token_id, None)
        self._came.append(token_id)

    def hear(
        self, arrival: Arrival, token_id: str | None, seen_at: datetime, *, mailbox: str, at_first_look: bool
    ) -> None:
        """Take in mail that a watcher saw in *mailbox*; *at_first_look*: it lay there when that was first looked into."""
        sent = self._missing.get(token_id or "")
        route = self._routes.get(sent.route) if sent else None
        elsewhere = route is not None and route.route.recipient.name != mailbox
        if arrival is Arrival.LATE and (elsewhere or token_id in self._came):
            arrival = Arrival.DUPLICATE
        transit = None
        if arrival is Arrival.LATE and token_id is not None:
            self._late.put_nowait((token_id, seen_at))
            self.came(token_id)
            # Of what was sent before the start and lies there at the first look, nobody knows when it came.
            if sent and route and (sent.at >= self._began or not at_first_look):
                transit = max(timedelta(0), seen_at - sent.at)  # Of a clock that was set back in between.
                self._judge.came_late(route.name, token_id, transit, self._clock.now())
        if arrival is Arrival.PROBER_CONFLICT and not self._has_prober_conflict:
            self._has_prober_conflict = True
            log.warning(
                "another machine probes under this one's name: give each a `prober` of its own", mailbox=mailbox
            )
        direction = route.direction if route else None
        self._metrics.arrived(arrival, direction=direction, transit=transit)
        log.info(
            "mail that nobody waited for",
            arrival=arrival,
            token=token_id,
            route=route.name if route else "",
            direction=direction or "",
            seen_at=seen_at.isoformat(),
        )

    async def write_down(self) -> NoReturn:
        """Write late mail into the store as it comes, until cancelled."""
        while True:
            token_id, seen_at = await self._late.get()
            try:
                await self._history.came_late(token_id, seen_at)
            # Our bug; should the same mail come again, it is counted as late again.
            except Exception:
                log.exception("could not write down late mail", token=token_id)
