"""Probe on time: the loop that joins the schedule, the probes and whoever takes in their results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import structlog

from alerts.clock import Clock
from monitor.judge import Judge
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.route import WatchedRoute
from monitor.schedule import Schedule
from monitor.store.history import History
from probes.mailbox import Mailbox
from probes.probe import Patience, ProbeKind
from probes.result import Arrival
from probes.runner import run_probe
from probes.token import TokenSigner
from probes.watcher import MailboxWatcher

log = structlog.get_logger()

#: Tokens whose route is remembered; at one run a second that is half a day.
_REMEMBERED = 50_000


class Prober:
    """Probes a set of routes until cancelled: one watcher a mailbox, one run a route at a time."""

    def __init__(
        self,
        *,
        routes: Mapping[str, WatchedRoute],
        kind: ProbeKind,
        signer: TokenSigner,
        judge: Judge,
        pipeline: Pipeline,
        history: History,
        metrics: Metrics,
        clock: Clock,
        known_tokens: Mapping[str, bool],
    ) -> None:
        """*known_tokens*: of earlier runs, whether their mail has come (`History.tokens`)."""
        self._routes = routes
        self._kind = kind
        self._signer = signer
        self._judge = judge
        self._pipeline = pipeline
        self._history = history
        self._metrics = metrics
        self._clock = clock
        self._watchers = {
            mailbox.name: MailboxWatcher(
                mailbox,
                signer,
                on_arrival=self._arrived,
                patience=_longest(routes.values(), mailbox),
                ended=known_tokens,
                arrived=[token_id for token_id, came in known_tokens.items() if came],
                clock=clock.now,
            )
            for mailbox in _mailboxes(routes.values())
        }
        #: Route and time of the tokens sent since the start, the oldest first: how late their mail is, if it is.
        self._sent: dict[str, tuple[str, datetime]] = {}
        self._schedule = Schedule()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Probe until cancelled. Runs and watchers are tasks of this one's group."""
        now = self._clock.now()
        for route in self._routes.values():
            self._schedule.add(route.name, route.probing.interval, now)
        async with asyncio.TaskGroup() as tasks:
            for watcher in self._watchers.values():
                tasks.create_task(watcher.run())
            while True:
                self._changed.clear()
                for name in self._schedule.due(self._clock.now()):
                    tasks.create_task(self._probe(self._routes[name]))
                await self._sleep()

    async def _sleep(self) -> None:
        wake = self._schedule.wake()
        pause = None if wake is None else max(timedelta(0), wake - self._clock.now()).total_seconds()
        try:
            async with asyncio.timeout(pause):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _probe(self, route: WatchedRoute) -> None:
        token = self._signer.issue(route.name, self._clock.now())
        patience = route.probing.patience
        self._sent[token.id] = (route.name, token.sent_at)
        if len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        try:
            await self._history.sent(token.id, route.name, token.sent_at, token.sent_at + patience.whole)
            probe = self._kind.build(
                route=route.route,
                token=token,
                patience=patience,
                sender=self._watchers[route.route.sender.name],
                recipient=self._watchers[route.route.recipient.name],
                clock=self._clock.now,
            )
            result = await run_probe(
                probe, route=route.name, token_id=token.id, patience=patience, clock=self._clock.now
            )
            await self._pipeline.take(result)
        # A result that cannot be stored or judged (our bug, a full disk) must not end the probing of all others.
        except Exception:
            log.exception("a probe's result was lost", route=route.name)
        finally:
            self._plan_next(route)

    def _plan_next(self, route: WatchedRoute) -> None:
        now = self._clock.now()
        self._schedule.finished(route.name, now)
        if self._judge.is_suspicious(route.name):
            self._schedule.look_again(route.name, now + route.probing.confirmation)
        for control in self._judge.proofs_wanted():
            # Somebody's failure waits for a proof that we ourselves work: prove it soon.
            confirmation = self._routes[control].probing.confirmation
            self._schedule.look_again(control, now + min(confirmation, timedelta(seconds=5)))
        self._changed.set()

    def _arrived(self, arrival: Arrival, token_id: str | None, seen_at: datetime) -> None:
        name, sent_at = self._sent.get(token_id or "", ("", seen_at))
        route, transit = self._routes.get(name), seen_at - sent_at
        if arrival is Arrival.LATE and route is not None and token_id is not None:
            self._metrics.arrived(arrival, direction=route.direction, transit=transit)
            self._judge.came_late(route.name, token_id, transit, self._clock.now())
        else:
            self._metrics.arrived(arrival)
        log.info(
            "mail that nobody waited for", arrival=arrival, token=token_id, route=name, seen_at=seen_at.isoformat()
        )


def _mailboxes(routes: Iterable[WatchedRoute]) -> Iterable[Mailbox]:
    """Return each mailbox once, by its name."""
    return {m.name: m for r in routes for m in (r.route.sender, r.route.recipient)}.values()


def _longest(routes: Iterable[WatchedRoute], mailbox: Mailbox) -> Patience:
    """Return the patience of the most patient route that uses *mailbox*."""
    patiences = [r.probing.patience for r in routes if mailbox.name in {r.route.sender.name, r.route.recipient.name}]
    return max(patiences, key=lambda patience: patience.whole)
