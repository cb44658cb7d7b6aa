"""Probe on time: the loop that joins the schedule, the probes and whoever takes in their results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import datetime, timedelta
from functools import partial

import structlog

from alerts.clock import Clock
from monitor.judging.evidence import is_prompt, was_taken_well
from monitor.judging.judge import Judge
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.probing.arrival import Arrivals
from monitor.probing.budget import Budget
from monitor.probing.lane import Lanes
from monitor.probing.maintenance import show_maintenance
from monitor.probing.provider import Providers
from monitor.probing.route import Direction, WatchedRoute
from monitor.probing.schedule import Schedule
from monitor.probing.ticker import Ticker
from monitor.probing.turn import Turns
from monitor.store.history import CAME, History, Sent
from probes.mailbox import Mailbox
from probes.probe import Patience, ProbeKind
from probes.result import Arrival, Party, ProbeResult
from probes.runner import run_probe
from probes.token import Token, TokenSigner
from probes.trace import Recorder
from probes.watcher import MailboxWatcher

log = structlog.get_logger()

#: Between the openings of two mailboxes at the start: a thousand handshakes at once would be late for everybody.
_APART = timedelta(milliseconds=5)


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
        known_tokens: Mapping[str, Sent],
        providers: Providers | None = None,
        specimens: MutableMapping[str, bytes] | None = None,
    ) -> None:
        """*known_tokens*: of earlier runs, the oldest first (`History.tokens`). *specimens*: where they are put."""
        self._routes = routes
        self._kind = kind
        self._signer = signer
        self._judge = judge
        self._pipeline = pipeline
        self._history = history
        self._metrics = metrics
        self._clock = clock
        self._providers = providers or Providers()
        self._watchers = self._make_watchers(known_tokens)
        self._arrivals = Arrivals(
            known_tokens, routes=routes, judge=judge, history=history, metrics=metrics, clock=clock
        )
        senders = {route.route.sender.name: route.route.sender for route in routes.values()}
        self._budget = Budget.of(senders.values(), self._providers)
        for sent in known_tokens.values():
            if (route := routes.get(sent.route)) is not None:
                self._budget.spent(route.route.sender.name, sent.at)
        #: Accounts that have sent all that they may today.
        self._exhausted: set[str] = set()
        self._turns = Turns(Lanes(room=self._providers.room(senders.values())))
        self._lanes = {name: self._providers.lanes(sender) for name, sender in senders.items()}
        self._schedule = Schedule(seed=signer.prober)
        self._ticker = Ticker(self._schedule, clock)
        #: The latest message from each agency that arrived at a reference mailbox, whole, by its code.
        self._specimens: MutableMapping[str, bytes] = {} if specimens is None else specimens

    def _make_watchers(self, known: Mapping[str, Sent]) -> dict[str, MailboxWatcher]:
        #: A mailbox hears of the tokens that were sent to it, not of everybody's.
        expected: dict[str, dict[str, bool]] = {}
        for token_id, sent in known.items():
            if (route := self._routes.get(sent.route)) is not None:
                expected.setdefault(route.route.recipient.name, {})[token_id] = sent.came
        patiences = _patiences(self._routes.values())
        return {
            mailbox.name: MailboxWatcher(
                mailbox,
                self._signer,
                on_arrival=partial(self._arrived, mailbox.name),
                patience=patiences[mailbox.name],
                ended=expected.get(mailbox.name, ()),
                arrived=[token_id for token_id, came in expected.get(mailbox.name, {}).items() if came],
                clock=self._clock.now,
            )
            for mailbox in _mailboxes(self._routes.values())
            if mailbox.is_read
        }

    async def run(self) -> None:
        """Probe until cancelled. Runs and watchers are tasks of this one's group."""
        await self.plan()
        async with asyncio.TaskGroup() as tasks:
            for number, watcher in enumerate(self._watchers.values()):
                tasks.create_task(_begin_after(number * _APART, watcher))
            hours = {route.agency: route.probing.hours for route in self._routes.values()}
            tasks.create_task(show_maintenance(hours, self._metrics, self._clock))
            tasks.create_task(self._arrivals.write_down())
            while True:
                for name in await self._ticker.due():
                    tasks.create_task(self._run(self._routes[name]))

    async def plan(self) -> None:
        """Put every route into the schedule, without a long stop of the loop where there are thousands."""
        for number, route in enumerate(self._routes.values()):
            self._schedule.add(route.name, route.probing.interval, self._clock.now(), route.probing.hours)
            if number % 500 == 499:
                await asyncio.sleep(0)

    def late(self, now: datetime) -> timedelta:
        """Return by how much the run that is due next is late: nothing, unless the loop stands still."""
        due = self._schedule.wake()
        return timedelta(0) if due is None else max(timedelta(0), now - due)

    # -- one run -------------------------------------------------------------------------------------------------

    async def _run(self, route: WatchedRoute) -> None:
        try:
            if self._may_send(route):
                await self._probe(route)
        # A result that cannot be stored or judged (our bug) must not end the probing of all others.
        except Exception:
            log.exception("a probe's result was lost", route=route.name)
        finally:
            self._plan_next(route)

    def _may_send(self, route: WatchedRoute) -> bool:
        now, sender = self._clock.now(), route.route.sender
        room_at = self._budget.room_at(sender.name, now)
        if room_at == now:
            self._budget.spent(sender.name, now)
            self._exhausted.discard(sender.name)
            return True
        self._schedule.look_again(route.name, room_at)
        if room_at - now > timedelta(minutes=1) and sender.name not in self._exhausted:
            self._exhausted.add(sender.name)
            log.warning(
                "an account has sent all that its provider allows; its routes wait",
                account=sender.name,
                until=room_at.isoformat(),
            )
        return False

    async def _probe(self, route: WatchedRoute) -> None:
        name, patience = route.name, route.probing.patience
        token = self._signer.issue(name, self._clock.now(), patience.whole)
        self._arrivals.sent(token.id, name, token.sent_at)
        await self._history.sent(token.id, name, token.sent_at, token.sent_at + patience.whole)
        waited = await self._settled(route, token)
        async with self._turns.take(name, self._lanes[route.route.sender.name]) as turn:
            lag = self._clock.now() - self._schedule.due_at(name) - waited
            self._metrics.schedule_lagged(max(timedelta(0), lag))
            probe = self._kind.build(
                route=route.route,
                token=token,
                patience=patience,
                sender=self._watchers.get(route.route.sender.name),
                recipient=self._watchers[route.route.recipient.name],
                clock=self._clock.now,
            )
            recorder = Recorder(entering=turn.follow)
            result = await run_probe(
                probe, route=name, token_id=token.id, patience=patience, recorder=recorder, clock=self._clock.now
            )
        if result.outcome in CAME:
            self._arrivals.came(token.id)
        if recorder.content is not None and route.direction is Direction.OUTBOUND:
            self._specimens[route.agency] = recorder.content
        await self._take(result, route)

    async def _settled(self, route: WatchedRoute, token: Token) -> timedelta:
        """Wait until it is known whether the recipient's mailbox can be read, before taking a turn at the sender's.

        Where it cannot, nothing will be sent: an agency whose server hangs must not keep others from the reference.
        Return how long that took; it is the server that was late then, and not we.
        """
        loop = asyncio.get_running_loop()
        began, watcher = loop.time(), self._watchers[route.route.recipient.name]
        with watcher.expect(token, Party.RECIPIENT) as letter:
            if not letter.ready.done():
                await asyncio.wait({letter.ready}, timeout=route.probing.patience.session.total_seconds())
        return timedelta(seconds=loop.time() - began)

    async def _take(self, result: ProbeResult, route: WatchedRoute) -> None:
        disturbance = route.probing.hours.closed_during(result.started_at, self._clock.now())
        if disturbance is None or (is_prompt(route, result) and was_taken_well(route, result)):
            await self._pipeline.take(result)
            return
        # Somebody works on it: what fails then is neither held against the agency nor counted.
        log.info("a run was disturbed by maintenance", route=route.name, outcome=result.outcome, why=disturbance.why)
        await self._history.ended(result, route.agency, {}, every=route.probing.interval)

    def _plan_next(self, route: WatchedRoute) -> None:
        now = self._clock.now()
        self._schedule.finished(route.name, now)
        for name, at in self._judge.looks(route.name, now).items():
            self._schedule.look_again(name, at)
        self._ticker.poke()

    def _arrived(self, mailbox: str, arrival: Arrival, token_id: str | None, seen_at: datetime) -> None:
        at_first_look = self._watchers[mailbox].looked_at is None
        self._arrivals.hear(arrival, token_id, seen_at, mailbox=mailbox, at_first_look=at_first_look)


async def _begin_after(delay: timedelta, watcher: MailboxWatcher) -> None:
    await asyncio.sleep(delay.total_seconds())
    await watcher.run()


def _mailboxes(routes: Iterable[WatchedRoute]) -> Iterable[Mailbox]:
    """Return each mailbox once, by its name."""
    return {m.name: m for r in routes for m in (r.route.sender, r.route.recipient)}.values()


def _patiences(routes: Iterable[WatchedRoute]) -> Mapping[str, Patience]:
    """Return the patience of the most patient route that uses each mailbox, by its name."""
    found: dict[str, Patience] = {}
    for route in routes:
        patience = route.probing.patience
        for name in (route.route.sender.name, route.route.recipient.name):
            if name not in found or patience.whole > found[name].whole:
                found[name] = patience
    return found
