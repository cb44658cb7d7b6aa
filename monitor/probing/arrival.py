"""Probe messages that no run waits for: copies, late messages, and messages of another prober (a process that probes).

A message is late if it arrives after its run has ended. A token is signed text in a message that identifies the run
that sent it.
"""

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

#: Maximum number of remembered tokens without an arrival.
_MAX_MISSING = 50_000
#: Maximum number of remembered tokens with an arrival.
_MAX_ARRIVED = 4_096


class Arrivals:
    """Tracks the tokens that were sent, and classifies messages that no run waits for."""

    def __init__(
        self,
        known_tokens: Mapping[str, SentToken],
        *,
        routes: Mapping[str, MonitoredRoute],
        evaluator: HealthEvaluator,
        history: History,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """*known_tokens*: those of earlier runs, the oldest first (`History.tokens`). *routes*: by name, live."""
        self._routes = routes
        self._evaluator = evaluator
        self._history = history
        self._metrics = metrics
        self._clock = clock
        self._started_at = clock.now()
        #: Tokens without an arrival, the oldest first, with route and time of sending.
        self._missing = {token_id: sent for token_id, sent in known_tokens.items() if not sent.has_arrived}
        #: Latest tokens that have arrived. They reveal a second copy as a duplicate: a public address may forward a
        #: message to two of the monitored mailboxes.
        self._arrived_tokens: deque[str] = deque(maxlen=_MAX_ARRIVED)
        #: Token of each late message that is not stored yet, and when it was found.
        self._late_arrivals: asyncio.Queue[tuple[str, datetime]] = asyncio.Queue()
        #: Whether a message of another prober with the same name was found, which is logged once.
        self._has_prober_conflict = False

    def add_known(self, known_tokens: Mapping[str, SentToken]) -> None:
        """Add tokens of earlier runs on routes that were added since the start."""
        self._missing |= {token_id: sent for token_id, sent in known_tokens.items() if not sent.has_arrived}
        while len(self._missing) > _MAX_MISSING:
            del self._missing[next(iter(self._missing))]

    def record_sent(self, token_id: str, route: str, at: datetime) -> None:
        """Record a token before its message is sent."""
        self._missing[token_id] = SentToken(route=route, at=at, has_arrived=False)
        if len(self._missing) > _MAX_MISSING:
            del self._missing[next(iter(self._missing))]

    def record_arrival(self, token_id: str) -> None:
        """Record that a token has arrived, so that further messages with it are copies."""
        self._missing.pop(token_id, None)
        self._arrived_tokens.append(token_id)

    def process_message(
        self, arrival: Arrival, token_id: str | None, seen_at: datetime, *, mailbox: str, is_first_poll: bool
    ) -> None:
        """Classify and count a message that a watcher (reader of a mailbox) found in *mailbox*.

        *arrival*: the watcher's classification, which takes only its own mailbox into account. *token_id*: `None`
        without a valid token. *is_first_poll*: the message was found when the mailbox was opened.
        """
        sent = self._missing.get(token_id or "")
        route = self._routes.get(sent.route) if sent else None
        is_other_mailbox = route is not None and route.route.recipient.name != mailbox
        if arrival is Arrival.LATE and (is_other_mailbox or token_id in self._arrived_tokens):
            arrival = Arrival.DUPLICATE
        transit = None
        if arrival is Arrival.LATE and token_id is not None:
            self._late_arrivals.put_nowait((token_id, seen_at))
            self.record_arrival(token_id)
            # A message that was sent before the start and found at the first poll may have arrived long ago, so its
            # transit time is unknown.
            if sent and route and (sent.at >= self._started_at or not is_first_poll):
                transit = max(timedelta(0), seen_at - sent.at)  # The clock may have been set back in between.
                self._evaluator.record_late_arrival(route.name, token_id, transit, self._clock.now())
        if arrival is Arrival.PROBER_CONFLICT and not self._has_prober_conflict:
            self._has_prober_conflict = True
            log.warning(
                "another machine uses this process name",
                mailbox=mailbox,
                advice="give each machine its own process_name",
            )
        direction = route.direction if route else None
        self._metrics.count_arrival(arrival, direction=direction, transit=transit)
        log.info(
            "unexpected probe message",
            arrival=arrival,
            token=token_id,
            route=route.name if route else "",
            direction=direction or "",
            seen_at=seen_at.isoformat(),
        )

    async def store_late_arrivals(self) -> NoReturn:
        """Store late messages as they arrive, until cancelled."""
        while True:
            token_id, seen_at = await self._late_arrivals.get()
            try:
                await self._history.record_late_arrival(token_id, seen_at)
            # An unexpected error must not end the task. A message found again after a restart counts as late again.
            except Exception:
                log.exception("late message could not be recorded", token=token_id)
