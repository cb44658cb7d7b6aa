"""Prober: runs probes on schedule and passes on their results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from alerts.persistence.clock import Clock
from monitor.bridge.pipeline import ResultPipeline
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.evidence import is_prompt, was_taken_well
from monitor.metrics import Metrics
from monitor.model.difference import goes_elsewhere
from monitor.model.mail_provider import MailProviders
from monitor.model.route import Direction, MonitoredRoute
from monitor.model.send_quota import SendQuota
from monitor.model.window import Hours
from monitor.planning.concurrency import ConcurrencyLimits
from monitor.planning.loop_lag import invalid_result, is_valid
from monitor.planning.overdue import OverdueTracker
from monitor.planning.schedule import Schedule
from monitor.probing.arrival import Arrivals
from monitor.probing.lag import LagMeter, LagSample
from monitor.probing.maintenance import show_maintenance
from monitor.probing.on_demand_run import OnDemandRun
from monitor.probing.permit import SubmissionPermits
from monitor.probing.ticker import Ticker
from monitor.runtime.cooperative import yielding
from monitor.store.probing.history import CAME, History, SentToken
from probes.arrival.watcher import MailboxWatcher
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox, MailboxQuota
from probes.model.probe import ProbeKind, Timeouts
from probes.model.result import Arrival, Outcome, Party, ProbeResult
from probes.run.runner import run_probe
from probes.run.trace import TraceRecorder

log = structlog.get_logger()

#: Delay between opening two mailboxes at the start: a thousand handshakes at once would delay all.
_APART = timedelta(milliseconds=5)


class Prober:
    """Probes routes until cancelled: one watcher per mailbox, one run per route at a time."""

    def __init__(
        self,
        *,
        routes: Mapping[str, MonitoredRoute],
        kind: ProbeKind,
        signer: TokenSigner,
        evaluator: HealthEvaluator,
        pipeline: ResultPipeline,
        history: History,
        metrics: Metrics,
        clock: Clock,
        known_tokens: Mapping[str, SentToken],
        last_runs: Mapping[str, datetime] | None = None,
        mail_providers: MailProviders | None = None,
        specimens: MutableMapping[str, bytes] | None = None,
        lag: LagMeter | None = None,
    ) -> None:
        """*known_tokens*: of earlier runs, the oldest first (`History.tokens`). *specimens*: store of sample messages.

        *last_runs*: last runs of routes that other processes probed until now.
        """
        self._routes: dict[str, MonitoredRoute] = {}
        self._kind = kind
        self._signer = signer
        self._evaluator = evaluator
        self._pipeline = pipeline
        self._history = history
        self._metrics = metrics
        self._clock = clock
        self._mail_providers = mail_providers or MailProviders()
        #: Watchers by mailbox name; and those at work.
        self._watchers: dict[str, MailboxWatcher] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}
        #: The run in flight by route.
        self._runs: dict[str, asyncio.Task[None]] = {}
        #: Routes that start no run because they are being changed, with those that became due meanwhile.
        self._held: dict[str, set[str]] = {}
        #: On-demand runs that have not started, by route.
        self._trials: dict[str, OnDemandRun] = {}
        #: The task group of `run`.
        self._tasks: asyncio.TaskGroup | None = None
        #: Hours by agency.
        self._hours: dict[str, Hours] = {}
        self._arrivals = Arrivals(
            {}, routes=self._routes, evaluator=evaluator, history=history, metrics=metrics, clock=clock
        )
        self._budget = SendQuota()
        #: Accounts whose daily quota is used up.
        self._exhausted: set[str] = set()
        self._turns = SubmissionPermits(ConcurrencyLimits())
        #: By sender.
        self._lanes: dict[str, Sequence[str]] = {}
        self._schedule = Schedule(seed=signer.prober)
        self._last_runs = last_runs or {}
        self._expectations = OverdueTracker()
        #: The caller keeps the lag meter running.
        self._lag = lag or LagMeter()
        self._ticker = Ticker(self._schedule, clock, self._lag)
        #: The latest intact message from each agency at a reference mailbox, by code.
        self._specimens: MutableMapping[str, bytes] = {} if specimens is None else specimens
        self._enter(routes.values(), known_tokens)

    def undeleted(self) -> Mapping[str, int]:
        """Return the number of undeleted messages in each mailbox."""
        return {name: watcher.undeleted for name, watcher in self._watchers.items()}

    def quotas(self) -> Mapping[str, MailboxQuota | None]:
        """Return the quota of each mailbox; `None`: its server does not report it."""
        return {name: watcher.quota for name, watcher in self._watchers.items()}

    def run_now(self, name: str) -> OnDemandRun:
        """Run a route now, or after its run in flight, and return its progress. Raise `KeyError`.

        A run like any other: it uses the same sessions, quotas and permits, and counts.
        """
        now = self._clock.now()
        trial = self._trials.get(name)
        if trial is None:
            trial = self._trials[name] = OnDemandRun(route=self._routes[name], asked_at=now)
            self._schedule.order(name, now)
            self._ticker.poke()
        return trial

    # -- routes --------------------------------------------------------------------------------------------------

    async def gain(
        self,
        routes: Collection[MonitoredRoute],
        known_tokens: Mapping[str, SentToken],
        last_runs: Mapping[str, datetime] | None = None,
    ) -> None:
        """Probe *routes* from now on, which the evaluator has gained; *known_tokens*: of their earlier runs.

        *last_runs*: their last runs in another process. They run again an interval later.
        """
        self._enter(routes, known_tokens)
        # With thousands this alone takes a second.
        await asyncio.sleep(0)
        self._watch_mailboxes()
        await self._plan(routes)
        self._schedule.resume(last_runs or {}, self._clock.now())
        self._ticker.poke()

    async def release(self, routes: Collection[MonitoredRoute]) -> None:
        """Stop probing *routes*, before the evaluator releases them: their runs in flight are cancelled."""
        names = {route.name for route in routes}
        async with self._holding(names):
            for route in routes:
                del self._routes[route.name]
                self._schedule.remove(route.name)
                if (trial := self._trials.pop(route.name, None)) is not None:
                    trial.end(self._clock.now())
                self._expectations.forget(route)
                self._show_overdue(route.agency)
            await self._follow()
        for agency in {route.agency for route in routes} - self._hours.keys():
            self._specimens.pop(agency, None)

    async def alter(self, routes: Collection[MonitoredRoute]) -> None:
        """Change *routes*.

        A run in flight continues if the mailboxes are the same; otherwise it is cancelled and repeated soon.
        """
        elsewhere = {route.name for route in routes if goes_elsewhere(self._routes[route.name], route)}
        async with self._holding(elsewhere) as interrupted:
            now = self._clock.now()
            for route in routes:
                self._routes[route.name] = route
                self._schedule.change(route.name, route.probing.interval, now, route.probing.hours)
                self._expectations.change(route, now)
                self._show_overdue(route.agency)
            self._keep_times()
            if elsewhere:
                await self._follow()
        now = self._clock.now()
        for name in interrupted:
            self._schedule.finished(name, now)
            self._schedule.bring_forward(name, now)
        self._ticker.poke()

    def allow(self, mail_providers: MailProviders) -> None:
        """Replace the limits of mail providers."""
        self._mail_providers = mail_providers
        self._keep_books()

    @asynccontextmanager
    async def _holding(self, names: AbstractSet[str]) -> AsyncIterator[set[str]]:
        """Cancel the runs of these routes, and start none during the block; yield the routes to resume."""
        interrupted = {name for name in names if name in self._runs}
        self._held |= dict.fromkeys(names, interrupted)
        try:
            await _ended([self._runs[name] for name in interrupted])
            yield interrupted
        finally:
            for name in names:
                del self._held[name]

    def _enter(self, routes: Iterable[MonitoredRoute], known: Mapping[str, SentToken]) -> None:
        self._routes |= {route.name: route for route in routes}
        self._arrivals.know(known)
        self._make_watchers(known)
        self._keep_books()
        self._keep_times()
        for sent in known.values():
            # For a pool the sending mailbox is unknown: charging all would block one for a day.
            if (route := self._routes.get(sent.route)) is not None and not route.route.sender.pooled:
                self._budget.recall(route.route.sender.name, sent.at, sent.route)

    async def _follow(self) -> None:
        """Update watchers and quotas after a change of routes."""
        wanted = {mailbox.name: mailbox for mailbox in _mailboxes(self._routes.values())}
        gone = {name for name, watcher in self._watchers.items() if wanted.get(name) != watcher.mailbox}
        # One connection per mailbox: a server with a lock would refuse the next one.
        await _ended([self._watching.pop(name) for name in gone if name in self._watching])
        for name in gone:
            del self._watchers[name]
        self._make_watchers({})
        self._watch_mailboxes()
        self._keep_books()
        self._keep_times()

    def _make_watchers(self, known: Mapping[str, SentToken]) -> None:
        #: A watcher gets the tokens sent to its mailbox only.
        expected: dict[str, dict[str, bool]] = {}
        for token_id, sent in known.items():
            if (route := self._routes.get(sent.route)) is not None:
                expected.setdefault(route.route.recipient.name, {})[token_id] = sent.came
        patiences = _patiences(self._routes.values())
        for mailbox in _mailboxes(self._routes.values()):
            patience, tokens = patiences[mailbox.name], expected.get(mailbox.name, {})
            if (watcher := self._watchers.get(mailbox.name)) is not None:
                watcher.know(tokens)
            elif mailbox.is_read:
                self._watchers[mailbox.name] = MailboxWatcher(
                    mailbox,
                    self._signer,
                    on_arrival=partial(self._arrived, mailbox.name),
                    patience=patience,
                    ended=tokens,
                    arrived=[token_id for token_id, came in tokens.items() if came],
                    clock=self._clock.now,
                )

    def _keep_books(self) -> None:
        """Update quotas and limits from the routes."""
        senders = {route.route.sender.name: route.route.sender for route in self._routes.values()}
        self._budget.follow(senders.values(), self._mail_providers)
        self._turns.resize(self._mail_providers.room(senders.values()))
        self._lanes = {name: self._mail_providers.lanes(sender) for name, sender in senders.items()}

    def _keep_times(self) -> None:
        """Update hours and the watchers' time-outs from the routes."""
        self._hours.clear()
        self._hours.update((route.agency, route.probing.hours) for route in self._routes.values())
        for name, patience in _patiences(self._routes.values()).items():
            if (watcher := self._watchers.get(name)) is not None:
                watcher.be_patient(patience)

    async def run(self) -> None:
        """Run until cancelled. Runs and watchers are tasks in its task group."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self.plan()
            self._schedule.resume(self._last_runs, self._clock.now())
            self._watch_mailboxes()
            tasks.create_task(show_maintenance(self._hours, self._metrics, self._clock))
            tasks.create_task(self._arrivals.write_down())
            while True:
                for name in await self._ticker.due():
                    self._begin(tasks, name)
                self._metrics.runs_skipped(self._schedule.take_skipped())

    async def plan(self) -> None:
        """Add every route to the schedule."""
        await self._plan(self._routes.values())

    def confirm(self) -> None:
        """Run the routes of agencies with a stale problem soon."""
        now = self._clock.now()
        for name, route in self._routes.items():
            if self._evaluator.is_to_be_confirmed(name):
                self._schedule.bring_forward_within(name, route.probing.retry_interval, now)
        self._ticker.poke()

    async def _plan(self, routes: Iterable[MonitoredRoute]) -> None:
        async for name in yielding([route.name for route in routes]):
            # It may have been changed or removed meanwhile.
            if (route := self._routes.get(name)) is not None:
                now = self._clock.now()
                self._schedule.add(route.name, route.probing.interval, now, route.probing.hours)
                self._expectations.begin(route, now)
                self._show_overdue(route.agency)
                if self._evaluator.is_suspicious(name) or self._evaluator.is_to_be_confirmed(name):
                    # A repeated run was due when the service or its process ended, or the health is stale.
                    self._schedule.bring_forward_within(name, route.probing.retry_interval, now)
                if name in self._trials:
                    self._schedule.order(name, now)
        self._ticker.poke()

    def _watch_mailboxes(self) -> None:
        if self._tasks is None:
            return  # All start with `run`.
        for number, name in enumerate(self._watchers.keys() - self._watching.keys()):
            self._watching[name] = self._tasks.create_task(_begin_after(number * _APART, self._watchers[name]))

    def _begin(self, tasks: asyncio.TaskGroup, name: str) -> None:
        if name in self._held:
            self._held[name].add(name)
            self._schedule.finished(name, self._clock.now())
            self._ticker.refused()
            return

        def forget(run: asyncio.Task[None]) -> None:
            if self._runs.get(name) is run:
                del self._runs[name]

        self._runs[name] = run = tasks.create_task(self._run(self._routes[name]))
        run.add_done_callback(forget)

    def late(self, now: datetime) -> timedelta:
        """Return the delay of the next due run; zero unless the loop is blocked."""
        due = self._schedule.wake()
        return timedelta(0) if due is None else max(timedelta(0), now - due)

    # -- one run -------------------------------------------------------------------------------------------------

    async def _run(self, route: MonitoredRoute) -> None:
        trial = self._trials.pop(route.name, None)
        try:
            if self._may_send(route, trial):
                await self._probe(route, trial)
                self._ticker.ended()
            else:
                self._ticker.refused()
        # A result that cannot be stored or evaluated (a bug) must not stop other probes.
        except Exception:
            log.exception("probe result was lost", route=route.name)
        finally:
            if trial is not None:
                trial.end(self._clock.now())
            self._plan_next(route)

    def _may_send(self, route: MonitoredRoute, trial: OnDemandRun | None) -> bool:
        now, sender = self._clock.now(), route.route.sender
        room_at = self._budget.room_at(sender.name, now)
        if room_at == now:
            self._budget.spent(sender.name, now, route.name)
            self._exhausted.discard(sender.name)
            return True
        self._schedule.bring_forward(route.name, room_at)
        if trial is not None:
            trial.room_at = room_at
        if room_at - now > timedelta(minutes=1) and sender.name not in self._exhausted:
            self._exhausted.add(sender.name)
            log.warning(
                "send quota of an account is used up; its routes are paused",
                account=sender.name,
                until=room_at.isoformat(),
            )
        return False

    async def _probe(self, route: MonitoredRoute, trial: OnDemandRun | None) -> None:
        name, patience = route.name, route.probing.patience
        if trial is not None:
            trial.started_at = self._clock.now()
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
            recorder, began = TraceRecorder(entering=turn.follow), self._lag.mark()
            if trial is not None:
                trial.recorder = recorder
            result = await run_probe(
                probe, route=name, token_id=token.id, patience=patience, recorder=recorder, clock=self._clock.now
            )
        if came := result.outcome in CAME:
            self._arrivals.came(token.id)
        if recorder.content is not None and route.direction is Direction.OUTBOUND:
            self._specimens[route.agency] = recorder.content
        result = _begun_by(self._believed(result, route, began), self._clock.now())
        if trial is not None:
            trial.result = result
        await self._take(result, route)
        if came and result.outcome not in CAME:
            # The message is there, however late it was seen: its copy is a duplicate after a restart too.
            await self._history.came_late(token.id, self._clock.now())
        self._expectations.ended(route, self._clock.now(), proven=result.outcome is Outcome.DELIVERED)
        self._show_overdue(route.agency)

    def _show_overdue(self, agency: str) -> None:
        overdue = self._expectations.of(agency)
        if overdue is None:
            self._metrics.nothing_expected(agency)
        else:
            self._metrics.expected(agency, run_by=overdue.run, proof_by=overdue.proof)

    def _believed(self, result: ProbeResult, route: MonitoredRoute, began: LagSample) -> ProbeResult:
        """Return *result*, or an inconclusive one if the loop lagged meanwhile."""
        lateness = self._lag.since(began)
        if is_valid(result, lateness, route.probing):
            return result
        self._metrics.run_disbelieved()
        return invalid_result(result, lateness)

    async def _settled(self, route: MonitoredRoute, token: Token) -> timedelta:
        """Wait until the recipient's mailbox is known to be readable, before taking a permit at the sender's server.

        Otherwise nothing is sent: an agency whose server hangs must not block others. Return the duration, which is the
        server's delay and not ours.
        """
        loop = asyncio.get_running_loop()
        began, watcher = loop.time(), self._watchers[route.route.recipient.name]
        with watcher.expect(token, Party.RECIPIENT) as letter:
            if not letter.ready.done():
                await asyncio.wait({letter.ready}, timeout=route.probing.patience.session.total_seconds())
        return timedelta(seconds=loop.time() - began)

    async def _take(self, result: ProbeResult, began_as: MonitoredRoute) -> None:
        # The current policy: the result may be due to work that has just begun.
        route = self._routes.get(result.route, began_as)
        disturbance = route.probing.hours.closed_during(result.started_at, self._clock.now())
        if disturbance is None or (is_prompt(route, result) and was_taken_well(route, result)):
            await self._pipeline.take(result)
            return
        # During maintenance a failure is neither attributed nor counted.
        log.info("run overlapped maintenance", route=route.name, outcome=result.outcome, reason=disturbance.reason)
        await self._history.ended(result, route.agency, {}, every=route.probing.interval)

    def _plan_next(self, route: MonitoredRoute) -> None:
        now = self._clock.now()
        self._schedule.finished(route.name, now)
        for name, at in self._evaluator.looks(route.name, now).items():
            # A route that is being removed is not repeated.
            if name in self._routes:
                self._schedule.bring_forward(name, at)
        self._ticker.poke()

    def _arrived(self, mailbox: str, arrival: Arrival, token_id: str | None, seen_at: datetime) -> None:
        at_first_look = self._watchers[mailbox].looked_at is None
        self._arrivals.hear(arrival, token_id, seen_at, mailbox=mailbox, at_first_look=at_first_look)


def _begun_by(result: ProbeResult, now: datetime) -> ProbeResult:
    """Return *result* with a start derived from its duration if the clock was set back meanwhile."""
    return result if result.started_at <= now else replace(result, started_at=now - result.duration)


async def _ended(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _begin_after(delay: timedelta, watcher: MailboxWatcher) -> None:
    await asyncio.sleep(delay.total_seconds())
    await watcher.run()


def _mailboxes(routes: Iterable[MonitoredRoute]) -> Iterable[Mailbox]:
    """Return each mailbox once, by name."""
    return {m.name: m for r in routes for m in (r.route.sender, r.route.recipient)}.values()


def _patiences(routes: Iterable[MonitoredRoute]) -> Mapping[str, Timeouts]:
    """Return the longest time-outs of the routes of each mailbox, by name."""
    found: dict[str, Timeouts] = {}
    for route in routes:
        patience = route.probing.patience
        for name in (route.route.sender.name, route.route.recipient.name):
            if name not in found or patience.whole > found[name].whole:
                found[name] = patience
    return found
