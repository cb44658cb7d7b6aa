"""Prober: runs the probes of routes on schedule, and passes their results to the pipeline.

A route is a pair of mailboxes. A probe sends a message with a token (a signed text that identifies the run) from one
mailbox to the other. A watcher reads a mailbox and finds the messages that arrive. A reference mailbox is one of the
operator, outside the agencies.
"""

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
from monitor.evaluation.evidence import is_prompt, was_confirmed_in_time
from monitor.metrics import Metrics
from monitor.model.difference import changes_path
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
from monitor.probing.maintenance import export_maintenance
from monitor.probing.on_demand_run import OnDemandRun
from monitor.probing.permit import SubmissionPermits
from monitor.probing.ticker import Ticker
from monitor.runtime.cooperative import yielding
from monitor.store.probing.history import ARRIVED_OUTCOMES, History, SentToken
from probes.arrival.watcher import MailboxWatcher
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox, MailboxQuota
from probes.model.probe import ProbeKind, Timeouts
from probes.model.result import Arrival, Outcome, Party, ProbeResult
from probes.run.runner import run_probe
from probes.run.trace import TraceRecorder

log = structlog.get_logger()

#: Delay between opening two mailboxes at the start, because a thousand TLS handshakes at once would block the loop.
_WATCHER_SPACING = timedelta(milliseconds=5)


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
        sample_messages: MutableMapping[str, bytes] | None = None,
        lag: LagMeter | None = None,
    ) -> None:
        """*known_tokens*: tokens of earlier runs by id, the oldest first (`History.tokens`).

        *last_runs*: times of the last runs in other processes, by route. *sample_messages*: receives the latest message
        of each agency, for the DKIM check. *lag*: a lag meter that the caller runs.
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
        #: Watchers by mailbox name, and their tasks.
        self._watchers: dict[str, MailboxWatcher] = {}
        self._watcher_tasks: dict[str, asyncio.Task[None]] = {}
        #: The run in flight by route.
        self._runs: dict[str, asyncio.Task[None]] = {}
        #: Routes that are being changed and start no run, each with the set of routes to run afterwards.
        self._suspended_routes: dict[str, set[str]] = {}
        #: On-demand runs that have not started, by route.
        self._on_demand_runs: dict[str, OnDemandRun] = {}
        #: The task group of `run`.
        self._tasks: asyncio.TaskGroup | None = None
        #: Hours by agency.
        self._hours: dict[str, Hours] = {}
        self._arrivals = Arrivals(
            {}, routes=self._routes, evaluator=evaluator, history=history, metrics=metrics, clock=clock
        )
        self._send_quota = SendQuota()
        #: Names of accounts whose used-up quota was logged.
        self._exhausted: set[str] = set()
        self._permits = SubmissionPermits(ConcurrencyLimits())
        #: Names of the concurrency limits of each sender.
        self._limit_names: dict[str, Sequence[str]] = {}
        self._schedule = Schedule(seed=signer.prober)
        self._last_runs = last_runs or {}
        #: By when each route must run again, and deliver again.
        self._overdue = OverdueTracker()
        self._lag = lag or LagMeter()
        self._ticker = Ticker(self._schedule, clock, self._lag)
        #: Latest intact message that arrived from each agency at a reference mailbox, by agency code.
        self._sample_messages: MutableMapping[str, bytes] = {} if sample_messages is None else sample_messages
        self._add_routes(routes.values(), known_tokens)

    def undeleted_counts(self) -> Mapping[str, int]:
        """Return the number of undeleted messages in each mailbox."""
        return {name: watcher.undeleted_count for name, watcher in self._watchers.items()}

    def quotas(self) -> Mapping[str, MailboxQuota | None]:
        """Return the quota of each mailbox; `None`: its server does not report it."""
        return {name: watcher.quota for name, watcher in self._watchers.items()}

    def run_now(self, name: str) -> OnDemandRun:
        """Run a route now, or after its run in flight, and return its progress. Raise `KeyError` for an unknown route.

        The run uses the same sessions, quotas and permits as a scheduled one, and its result is evaluated as well.
        """
        now = self._clock.now()
        on_demand_run = self._on_demand_runs.get(name)
        if on_demand_run is None:
            on_demand_run = self._on_demand_runs[name] = OnDemandRun(route=self._routes[name], requested_at=now)
            self._schedule.request_now(name, now)
            self._ticker.wake()
        return on_demand_run

    # -- routes --------------------------------------------------------------------------------------------------

    async def add_routes(
        self,
        routes: Collection[MonitoredRoute],
        known_tokens: Mapping[str, SentToken],
        last_runs: Mapping[str, datetime] | None = None,
    ) -> None:
        """Probe *routes* from now on; they must have been added to the evaluator.

        *known_tokens*: tokens of their earlier runs; *last_runs*: times of their last runs in another process. The next
        run of a route follows one interval after its last run.
        """
        self._add_routes(routes, known_tokens)
        # Adding thousands of routes takes a second.
        await asyncio.sleep(0)
        self._start_watchers()
        await self._plan(routes)
        self._schedule.resume(last_runs or {}, self._clock.now())
        self._ticker.wake()

    async def remove_routes(self, routes: Collection[MonitoredRoute]) -> None:
        """Stop probing *routes*, and cancel their runs in flight. Call it before removing them from the evaluator."""
        names = {route.name for route in routes}
        async with self._suspended(names):
            for route in routes:
                del self._routes[route.name]
                self._schedule.remove(route.name)
                if (on_demand_run := self._on_demand_runs.pop(route.name, None)) is not None:
                    on_demand_run.finish(self._clock.now())
                self._overdue.remove_route(route)
                self._export_deadlines(route.agency)
            await self._update_watchers()
        for agency in {route.agency for route in routes} - self._hours.keys():
            self._sample_messages.pop(agency, None)

    async def replace_routes(self, routes: Collection[MonitoredRoute]) -> None:
        """Replace *routes* by new definitions with the same names.

        A run in flight continues if the mailboxes are the same; otherwise it is cancelled and repeated soon.
        """
        rerouted = {route.name for route in routes if changes_path(self._routes[route.name], route)}
        async with self._suspended(rerouted) as interrupted:
            now = self._clock.now()
            for route in routes:
                self._routes[route.name] = route
                self._schedule.change(route.name, route.probing.interval, now, route.probing.hours)
                self._overdue.change_route(route, now)
                self._export_deadlines(route.agency)
            self._update_times()
            if rerouted:
                await self._update_watchers()
        now = self._clock.now()
        for name in interrupted:
            self._schedule.plan_next(name, now)
            self._schedule.advance(name, now)
        self._ticker.wake()

    def set_mail_providers(self, mail_providers: MailProviders) -> None:
        """Replace the limits of mail providers."""
        self._mail_providers = mail_providers
        self._update_limits()

    @asynccontextmanager
    async def _suspended(self, names: AbstractSet[str]) -> AsyncIterator[set[str]]:
        """Cancel the runs of routes *names*, and start none during the block; yield the routes to run afterwards."""
        interrupted = {name for name in names if name in self._runs}
        self._suspended_routes |= dict.fromkeys(names, interrupted)
        try:
            await _cancel_tasks([self._runs[name] for name in interrupted])
            yield interrupted
        finally:
            for name in names:
                del self._suspended_routes[name]

    def _add_routes(self, routes: Iterable[MonitoredRoute], known_tokens: Mapping[str, SentToken]) -> None:
        self._routes |= {route.name: route for route in routes}
        self._arrivals.add_known(known_tokens)
        self._create_watchers(known_tokens)
        self._update_limits()
        self._update_times()
        for sent in known_tokens.values():
            # Pool mailboxes (several mailboxes of one reference, of which each process uses its own) are skipped: it is
            # unknown which of them sent the message, and counting it for a wrong one could block that one for a day.
            if (route := self._routes.get(sent.route)) is not None and not route.route.sender.pooled:
                self._send_quota.record_earlier(route.route.sender.name, sent.at, sent.route)

    async def _update_watchers(self) -> None:
        """Update watchers and quotas after a change of routes."""
        needed = {mailbox.name: mailbox for mailbox in _mailboxes(self._routes.values())}
        unneeded = {name for name, watcher in self._watchers.items() if needed.get(name) != watcher.mailbox}
        # End the old connection first, because a server that locks mailboxes would refuse a second one.
        await _cancel_tasks([self._watcher_tasks.pop(name) for name in unneeded if name in self._watcher_tasks])
        for name in unneeded:
            del self._watchers[name]
        self._create_watchers({})
        self._start_watchers()
        self._update_limits()
        self._update_times()

    def _create_watchers(self, known_tokens: Mapping[str, SentToken]) -> None:
        # By recipient mailbox: the tokens of earlier runs, each with whether its message has arrived.
        expected: dict[str, dict[str, bool]] = {}
        for token_id, sent in known_tokens.items():
            if (route := self._routes.get(sent.route)) is not None:
                expected.setdefault(route.route.recipient.name, {})[token_id] = sent.has_arrived
        timeouts_by_mailbox = _timeouts_by_mailbox(self._routes.values())
        for mailbox in _mailboxes(self._routes.values()):
            timeouts, tokens = timeouts_by_mailbox[mailbox.name], expected.get(mailbox.name, {})
            if (watcher := self._watchers.get(mailbox.name)) is not None:
                watcher.add_known_tokens(tokens)
            elif mailbox.is_readable:
                self._watchers[mailbox.name] = MailboxWatcher(
                    mailbox,
                    self._signer,
                    on_arrival=partial(self._process_arrival, mailbox.name),
                    timeouts=timeouts,
                    ended=tokens,
                    arrived=[token_id for token_id, has_arrived in tokens.items() if has_arrived],
                    clock=self._clock.now,
                )

    def _update_limits(self) -> None:
        """Update quotas and limits from the routes."""
        senders = {route.route.sender.name: route.route.sender for route in self._routes.values()}
        self._send_quota.set_senders(senders.values(), self._mail_providers)
        self._permits.resize(self._mail_providers.session_limits(senders.values()))
        self._limit_names = {name: self._mail_providers.limit_names(sender) for name, sender in senders.items()}

    def _update_times(self) -> None:
        """Update hours and the watchers' time-outs from the routes."""
        self._hours.clear()
        self._hours.update((route.agency, route.probing.hours) for route in self._routes.values())
        for name, timeouts in _timeouts_by_mailbox(self._routes.values()).items():
            if (watcher := self._watchers.get(name)) is not None:
                watcher.set_timeouts(timeouts)

    async def run(self) -> None:
        """Run until cancelled, with a task for each run and each watcher."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self.plan()
            self._schedule.resume(self._last_runs, self._clock.now())
            self._start_watchers()
            tasks.create_task(export_maintenance(self._hours, self._metrics, self._clock))
            tasks.create_task(self._arrivals.store_late_arrivals())
            while True:
                for name in await self._ticker.wait_for_due():
                    self._start_run(tasks, name)
                self._metrics.count_skipped_runs(self._schedule.take_skipped())

    async def plan(self) -> None:
        """Add every route to the schedule."""
        await self._plan(self._routes.values())

    def advance_stale_routes(self) -> None:
        """Bring forward the runs that must confirm a stale problem: one from before an interruption of probing."""
        now = self._clock.now()
        for name, route in self._routes.items():
            if self._evaluator.needs_confirmation(name):
                self._schedule.advance_within(name, route.probing.retry_interval, now)
        self._ticker.wake()

    async def _plan(self, routes: Iterable[MonitoredRoute]) -> None:
        async for name in yielding([route.name for route in routes]):
            # The iteration yields to the event loop, where other tasks may have changed or removed the route.
            if (route := self._routes.get(name)) is not None:
                now = self._clock.now()
                self._schedule.add(route.name, route.probing.interval, now, route.probing.hours)
                self._overdue.add_route(route, now)
                self._export_deadlines(route.agency)
                if self._evaluator.needs_another_run(name) or self._evaluator.needs_confirmation(name):
                    # A repeated run was planned before the restart, or the health is stale.
                    self._schedule.advance_within(name, route.probing.retry_interval, now)
                if name in self._on_demand_runs:
                    self._schedule.request_now(name, now)
        self._ticker.wake()

    def _start_watchers(self) -> None:
        if self._tasks is None:
            return  # `run` starts them.
        for number, name in enumerate(self._watchers.keys() - self._watcher_tasks.keys()):
            self._watcher_tasks[name] = self._tasks.create_task(
                _run_watcher_after(number * _WATCHER_SPACING, self._watchers[name])
            )

    def _start_run(self, tasks: asyncio.TaskGroup, name: str) -> None:
        if name in self._suspended_routes:
            # `replace_routes` runs the route after the change.
            self._suspended_routes[name].add(name)
            self._schedule.plan_next(name, self._clock.now())
            self._ticker.refund()
            return

        def remove_task(run: asyncio.Task[None]) -> None:
            if self._runs.get(name) is run:
                del self._runs[name]

        self._runs[name] = run = tasks.create_task(self._run(self._routes[name]))
        run.add_done_callback(remove_task)

    def next_run_delay(self, now: datetime) -> timedelta:
        """Return by how much the next due run is late; zero unless the loop or the rate limit delays runs."""
        due = self._schedule.next_due()
        return timedelta(0) if due is None else max(timedelta(0), now - due)

    # -- one run -------------------------------------------------------------------------------------------------

    async def _run(self, route: MonitoredRoute) -> None:
        on_demand_run = self._on_demand_runs.pop(route.name, None)
        try:
            if self._reserve_send(route, on_demand_run):
                await self._probe(route, on_demand_run)
                self._ticker.record_end()
            else:
                self._ticker.refund()
        # An unexpected error while a result is evaluated or stored must not stop other probes.
        except Exception:
            log.exception("probe result was lost", route=route.name)
        finally:
            if on_demand_run is not None:
                on_demand_run.finish(self._clock.now())
            self._plan_next(route)

    def _reserve_send(self, route: MonitoredRoute, on_demand_run: OnDemandRun | None) -> bool:
        """Count a message against the sender's quota. If the quota is used up, advance the next run; return `False`."""
        now, sender = self._clock.now(), route.route.sender
        next_send_at = self._send_quota.next_send_at(sender.name, now)
        if next_send_at == now:
            self._send_quota.record(sender.name, now, route.name)
            self._exhausted.discard(sender.name)
            return True
        self._schedule.advance(route.name, next_send_at)
        if on_demand_run is not None:
            on_demand_run.next_send_at = next_send_at
        if next_send_at - now > timedelta(minutes=1) and sender.name not in self._exhausted:
            self._exhausted.add(sender.name)
            log.warning(
                "send quota of an account is used up; its routes are paused",
                account=sender.name,
                until=next_send_at.isoformat(),
            )
        return False

    async def _probe(self, route: MonitoredRoute, on_demand_run: OnDemandRun | None) -> None:
        name, timeouts = route.name, route.probing.timeouts
        if on_demand_run is not None:
            on_demand_run.started_at = self._clock.now()
        token = self._signer.issue(name, self._clock.now(), timeouts.total)
        self._arrivals.record_sent(token.id, name, token.sent_at)
        await self._history.record_sent_token(token.id, name, token.sent_at, token.sent_at + timeouts.total)
        wait_time = await self._wait_until_readable(route, token)
        async with self._permits.acquire(name, self._limit_names[route.route.sender.name]) as permit:
            lag = self._clock.now() - self._schedule.due_at(name) - wait_time
            self._metrics.record_schedule_lag(max(timedelta(0), lag))
            probe = self._kind.build(
                route=route.route,
                token=token,
                timeouts=timeouts,
                sender=self._watchers.get(route.route.sender.name),  # Bounces arrive there.
                recipient=self._watchers[route.route.recipient.name],
                clock=self._clock.now,
            )
            recorder, lag_at_start = TraceRecorder(on_phase=permit.enter_phase), self._lag.take_sample()
            if on_demand_run is not None:
                on_demand_run.recorder = recorder
            result = await run_probe(
                probe, route=name, token_id=token.id, timeouts=timeouts, recorder=recorder, clock=self._clock.now
            )
        if has_arrived := result.outcome in ARRIVED_OUTCOMES:
            self._arrivals.record_arrival(token.id)
        if recorder.content is not None and route.direction is Direction.OUTBOUND:
            self._sample_messages[route.agency] = recorder.content
        result = _with_derived_start(self._valid_result(result, route, lag_at_start), self._clock.now())
        if on_demand_run is not None:
            on_demand_run.result = result
        await self._process_result(result, route)
        if has_arrived and result.outcome not in ARRIVED_OUTCOMES:
            # The result was discarded. The arrival is stored anyway, so that a copy found after a restart counts as a
            # duplicate.
            await self._history.record_late_arrival(token.id, self._clock.now())
        self._overdue.record_end(route, self._clock.now(), has_succeeded=result.outcome is Outcome.DELIVERED)
        self._export_deadlines(route.agency)

    def _export_deadlines(self, agency: str) -> None:
        overdue = self._overdue.deadlines(agency)
        if overdue is None:
            self._metrics.clear_overdue_times(agency)
        else:
            self._metrics.set_overdue_times(agency, run_by=overdue.run, success_by=overdue.success)

    def _valid_result(self, result: ProbeResult, route: MonitoredRoute, lag_at_start: LagSample) -> ProbeResult:
        """Return *result*, or an inconclusive one if a lag of the event loop made it invalid."""
        loop_lag = self._lag.lag_since(lag_at_start)
        if is_valid(result, loop_lag, route.probing):
            return result
        self._metrics.count_discarded_run()
        return invalid_result(result, loop_lag)

    async def _wait_until_readable(self, route: MonitoredRoute, token: Token) -> timedelta:
        """Wait until the recipient's mailbox is open or has failed, and return how long it took.

        The run waits before it takes a permit at the sender's server, so that a mailbox server that hangs does not
        block other agencies. The time is not counted as lag of the schedule.
        """
        loop = asyncio.get_running_loop()
        start, watcher = loop.time(), self._watchers[route.route.recipient.name]
        with watcher.expect(token, Party.RECIPIENT) as expectation:
            if not expectation.ready.done():
                await asyncio.wait({expectation.ready}, timeout=route.probing.timeouts.session.total_seconds())
        return timedelta(seconds=loop.time() - start)

    async def _process_result(self, result: ProbeResult, initial_route: MonitoredRoute) -> None:
        # The current definition of the route, because maintenance may have begun during the run.
        route = self._routes.get(result.route, initial_route)
        maintenance = route.probing.hours.maintenance_during(result.started_at, self._clock.now())
        if maintenance is None or (is_prompt(route, result) and was_confirmed_in_time(route, result)):
            await self._pipeline.process(result)
            return
        # During maintenance a failure or a slow delivery is stored, but neither attributed nor counted.
        log.info("run overlapped maintenance", route=route.name, outcome=result.outcome, reason=maintenance.reason)
        await self._history.record_run(result, route.agency, {}, interval=route.probing.interval)

    def _plan_next(self, route: MonitoredRoute) -> None:
        now = self._clock.now()
        self._schedule.plan_next(route.name, now)
        for name, at in self._evaluator.routes_to_run_soon(route.name, now).items():
            # A route that is being removed is not repeated.
            if name in self._routes:
                self._schedule.advance(name, at)
        self._ticker.wake()

    def _process_arrival(self, mailbox: str, arrival: Arrival, token_id: str | None, seen_at: datetime) -> None:
        is_first_poll = self._watchers[mailbox].polled_at is None
        self._arrivals.process_message(arrival, token_id, seen_at, mailbox=mailbox, is_first_poll=is_first_poll)


def _with_derived_start(result: ProbeResult, now: datetime) -> ProbeResult:
    """Return *result*; if the clock was set back during the run, with its start derived from its duration."""
    return result if result.started_at <= now else replace(result, started_at=now - result.duration)


async def _cancel_tasks(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _run_watcher_after(delay: timedelta, watcher: MailboxWatcher) -> None:
    await asyncio.sleep(delay.total_seconds())
    await watcher.run()


def _mailboxes(routes: Iterable[MonitoredRoute]) -> Iterable[Mailbox]:
    """Return each mailbox once, by name."""
    ends = ((each.route.sender, each.route.recipient) for each in routes)
    return {mailbox.name: mailbox for pair in ends for mailbox in pair}.values()


def _timeouts_by_mailbox(routes: Iterable[MonitoredRoute]) -> Mapping[str, Timeouts]:
    """Return the longest time-outs among the routes of each mailbox, by mailbox name."""
    by_mailbox: dict[str, Timeouts] = {}
    for route in routes:
        timeouts = route.probing.timeouts
        for name in (route.route.sender.name, route.route.recipient.name):
            if name not in by_mailbox or timeouts.total > by_mailbox[name].total:
                by_mailbox[name] = timeouts
    return by_mailbox
