"""Main loop of the notification engine, and its entry points for events and callbacks.

Each cycle reads due incidents from the database, calls `alerts.decide`, writes the decisions and starts gateway calls.
Then the loop sleeps until the next action is due or an event wakes it. All state is in the database, so that the engine
continues after a crash. Several engines may share a database: each incident is then leased to one of them, which
processes it until the lease expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial

import structlog

from alerts.decide.gateway.latency import NotificationLatency
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.paper import Handling, LetterStep
from alerts.decide.silence import SilenceLookup, active_silence
from alerts.engine.alert_handler import PolicyLookup, handle_alerts, unchanged_effects
from alerts.engine.composer import Composer
from alerts.engine.event_handler import (
    CallbackResult,
    handle_callback_event,
    handle_submitted_event,
    incidents_freed_by_call,
    milestone_latencies,
)
from alerts.engine.gateway_call import CallKind, CallResult, GatewayCall, attempt_audit_entry
from alerts.engine.gateway_caller import GatewayCaller, RecordPage, record_nothing
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.group_commit import unit_of_work_commits
from alerts.engine.incident_processor import IncidentProcessor
from alerts.engine.manual_status import ManualStatusRequest, set_manual_status
from alerts.engine.notification_processor import NotificationProcessor
from alerts.engine.observer import Observer
from alerts.engine.processing_result import ProcessingResult
from alerts.engine.receipt_monitor import ReceiptMonitor
from alerts.engine.work_queue import WorkItem, WorkQueue
from alerts.model.alert import UNGROUPED, AlertEffect, AlertGroup, ReceivedAlert
from alerts.model.delivery import AttemptState
from alerts.model.event import Event
from alerts.model.gateway import AckResult, CallbackEvent, Content
from alerts.model.incident import Incident
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.audit import CLOCK_SET_BACK
from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, Store, StoreUnavailable, UnitOfWork

log = structlog.get_logger()


class Dispatcher:
    """Engine that accepts events and delivers all resulting notifications."""

    #: Maximum pause between cycles, because another process may have changed the database.
    MAX_IDLE = timedelta(seconds=30)
    #: Maximum number of incidents that are processed in one transaction, and in one cycle.
    INCIDENTS_PER_TRANSACTION = 16
    INCIDENTS_PER_CYCLE = 512
    #: Pause after an error.
    RETRY_INTERVAL = timedelta(seconds=5)
    #: Duration of this engine's lease on an incident, if several engines share the database.
    LEASE_DURATION = timedelta(seconds=30)
    #: Interval of renewing leases and taking over incidents of dead engines.
    LEASE_RENEWAL_INTERVAL = timedelta(seconds=5)

    def __init__(
        self,
        *,
        store: Store,
        pool: GatewayPool,
        composer: Composer,
        clock: Clock,
        observer: Observer,
        policy: DeliveryPolicy | None = None,
        owner: str | None = None,
        silence_lookup: SilenceLookup = active_silence,
        is_monitor_only: Callable[[], bool] = lambda: False,
        policy_for: Callable[[Incident], PolicySnapshot | None] = lambda _: None,
        record_page: RecordPage = record_nothing,
    ) -> None:
        """*policy*: delays and limits of deliveries. Any other policy in this class is a notification policy.

        *owner*: name of this engine as holder of leases, unique for each start; `None`: no other engine exists.

        *silence_lookup* returns the active silence of an incident (a time without notifications). While
        *is_monitor_only* returns true, events are recorded and nobody is notified. *policy_for* returns the currently
        configured policy of an open incident, or `None` to keep the stored one. *record_page* is called with the facts
        of a fax or letter before it is sent.
        """
        self._store = store
        self._pool = pool
        self._composer = composer
        self._clock = clock
        self._observer = observer
        self._policy = policy or DeliveryPolicy()
        self._wake_event = asyncio.Event()
        self._queue = WorkQueue()
        # Events and callbacks are committed separately, so that a person's acknowledgement does not wait for a thousand
        # events.
        self._event_commits, self._result_commits = unit_of_work_commits(store), unit_of_work_commits(store)
        self._calls = GatewayCaller(
            pool=pool,
            composer=composer,
            clock=clock,
            observer=observer,
            policy=self._policy,
            store_result=self._store_result,
            # A notification is sent when its first incident is processed, so that only this one is enqueued.
            on_end=lambda call: self.enqueue(call.notification.incident_id),
            record_page=record_page,
        )
        pool.on_free = self._wake_event.set
        self._receipt_monitor = ReceiptMonitor(store=store, pool=pool, clock=clock, observer=observer)
        self._owner = owner
        self._silence_lookup = silence_lookup
        self._is_monitor_only = is_monitor_only
        self._policy_for = policy_for
        self._leases_renewed_at: datetime | None = None
        #: Time of the last cycle by the wall clock, and in seconds by the event loop's monotonic clock.
        self._last_cycle: tuple[datetime, float] | None = None
        #: Whether the first cycle has finished.
        self.is_running = False

    # -- incoming events -----------------------------------------------------------------------------------------

    async def submit(self, event: Event) -> Incident | None:
        """Process an event. Return its incident after the event, or `None` if the event applies to none.

        The event is committed on return. Idempotent.
        """
        incident: Incident | None
        incident, latencies = await self._event_commits.write(lambda uow: handle_submitted_event(uow, event))
        self.report_latencies(latencies)
        if incident is not None:
            self.enqueue(incident.id)
        return incident

    async def handle_alerts(
        self, alerts: Sequence[ReceivedAlert], policy_for: PolicyLookup, group: AlertGroup = UNGROUPED
    ) -> Sequence[AlertEffect]:
        """Process up to some two hundred alerts of a group from Alertmanager. Return their effects.

        *policy_for* returns the policy of the incident that an alert opens. The alerts are committed on return.
        Idempotent.
        """
        now = self._clock.now()
        # Usually no alert has changed: a read transaction finds that out without blocking writers.
        async with self._store.reading() as uow:
            effects = await unchanged_effects(uow, alerts, policy_for, now, group)
        if effects is not None:
            return effects
        # Use a separate transaction instead of the group commit, in which up to fifteen other writes, such as a
        # person's key press, would wait for the alerts.
        async with self._store.transaction() as uow:
            handled = await handle_alerts(uow, alerts, policy_for, now, group)
        self._queue.enqueue(handled.incident_ids, first=False)
        self._wake_event.set()
        return handled.effects

    async def record_callback(self, gateway: str, callback: CallbackEvent) -> AckResult:
        """Process and commit a provider's callback. Return the effect of the key that the person pressed."""
        now = self._clock.now()
        handled: CallbackResult = await self._result_commits.write(
            lambda uow: handle_callback_event(uow, gateway, callback, self._policy, now)
        )
        self.report_latencies(handled.latencies)
        self.enqueue(*handled.incident_ids)
        return handled.result

    def report_latencies(self, latencies: Iterable[NotificationLatency]) -> None:
        """Report how long notifications took to be accepted, delivered or acknowledged.

        Call this after the transaction in which the latencies were determined.
        """
        for latency in latencies:
            self._observer.record_latency(latency)

    async def _store_result(self, call: GatewayCall, result: CallResult) -> bool:
        """Commit the result of a gateway call. Return `False` without storing a result that changes nothing.

        If the gateway must be queried again by now, an unchanged result is stored, too: it contains a later time for
        the next query.
        """
        now, attempt = self._clock.now(), result.attempt
        if not result.is_new(call) and now < call.attempt.query_at:
            return False

        async def store(uow: UnitOfWork) -> tuple[Sequence[NotificationLatency], Sequence[int]]:
            has_changed = attempt.state is not call.attempt.state
            # A callback may have changed the stored state during the call.
            previous_state = await uow.attempt_state(attempt.id) if has_changed else attempt.state
            is_saved = await uow.save_attempt(attempt)
            # The status of a letter in the tray is queried every minute: only changes get an audit entry.
            if call.kind is not CallKind.CHECK or has_changed:
                entry = attempt_audit_entry(attempt.gateway, call.notification, attempt, call.kind, now)
                await uow.add_audit_entry(replace(entry, detail={**entry.detail, "sha256": result.sha256}))
            latencies = (
                await milestone_latencies(uow, call.notification, attempt, previous_state, now) if is_saved else ()
            )
            return latencies, await incidents_freed_by_call(uow, call.notification, attempt)

        latencies, freed_incidents = await self._result_commits.write(store)
        self.report_latencies(latencies)
        self.enqueue(*freed_incidents)
        return True

    async def record_letter_step(
        self, reference: str, step: LetterStep, by: str, *, day: date | None = None, is_unprinted: bool = False
    ) -> Handling | None:
        """Record that a clerk has printed or posted the letter of the attempt *reference*, unless that is recorded.

        *day*: day of posting that the clerk states, only for the record; *is_unprinted*: the printing was not recorded.
        Follow-ups for the reader count from the time of this record, not from *day*.

        Return the earlier record; `None` if there was none, or if the letter does not exist.
        """
        handling = Handling(by=by, at=self._clock.now(), day=day)
        async with self._store.transaction() as uow:
            match = await uow.attempt(reference)
            if match is None:
                return None
            notification, attempt = match
            after = attempt
            earlier = await uow.record_letter_step(attempt.id, step, handling)
            if earlier is not None:
                return earlier
            if step is LetterStep.POSTED and attempt.state is AttemptState.WITHDRAWN:
                # The clerk posted the letter before noticing the withdrawal.
                await uow.undo_withdrawal(notification, attempt)
                after = replace(attempt, state=AttemptState.SENT)
                # Process the incidents again, even inactive ones, because the reader must get follow-ups.
                for incident_id in notification.incident_ids:
                    await uow.activate_incident(incident_id)
            elif step is LetterStep.POSTED:
                after = replace(attempt, state=AttemptState.SENT, ended_at=handling.at)
                await uow.save_attempt(after)
            await uow.add_audit_entry(
                AuditEntry(
                    at=handling.at,
                    actor=by,
                    event="letter printed" if step is LetterStep.PRINTED else "letter dispatched",
                    incident_id=notification.incident_id,
                    notification_id=notification.id,
                    detail=({} if day is None else {"day": day.isoformat()})
                    | ({"printing": "not_recorded"} if is_unprinted else {}),
                )
            )
            latencies = await milestone_latencies(uow, notification, after, attempt.state, handling.at)
        self.report_latencies(latencies)
        self.enqueue(*notification.incident_ids)
        return None

    async def undo_posting(self, reference: str, by: str) -> bool:
        """Record that the letter of the attempt *reference* was not posted after all. Return whether it was recorded.

        Follow-ups for the letter's reader are decided again.
        """
        async with self._store.transaction() as uow:
            match = await uow.attempt(reference)
            if match is None:
                return False
            notification, attempt = match
            if not await uow.undo_posting(attempt):
                return False
            for incident_id in notification.incident_ids:
                await uow.activate_incident(incident_id)
            entry = AuditEntry(
                at=self._clock.now(),
                actor=by,
                event="letter not posted after all",
                incident_id=notification.incident_id,
                notification_id=notification.id,
            )
            await uow.add_audit_entry(entry)
        self.enqueue(*notification.incident_ids)
        return True

    async def set_notification_status(self, request: ManualStatusRequest) -> str | None:
        """Set the delivery status that a person states for a notification. Return why it cannot be set, or `None`."""
        async with self._store.transaction() as uow:
            result = await set_manual_status(uow, request)
        if isinstance(result, str):
            return result
        self.report_latencies(result.latencies)
        self.enqueue(*result.incident_ids)
        return None

    async def attempt_content(self, reference: str) -> Content | None:
        """Return the content of the attempt with this *reference*, for a provider that fetches it during a call."""
        async with self._store.transaction() as uow:
            match = await uow.attempt(reference)
        if match is None:
            return None
        notification, attempt = match
        return await self._composer.compose(notification, notification.find_delivery(attempt).address.channel)

    # -- processing loop -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. The gateway calls are tasks of one task group: cancelling this method cancels them."""
        await self._query_orphaned_calls()
        try:
            async with asyncio.TaskGroup() as calls:
                while True:
                    self._wake_event.clear()
                    result = await self.run_cycle(calls)
                    self.is_running = True
                    await self._sleep_until(result.next_due_at)
        finally:
            for commits in (self._event_commits, self._result_commits):
                await commits.drain()
            await self._release_leases()

    async def _query_orphaned_calls(self) -> None:
        """Make status queries due for gateway calls that were interrupted when a process stopped."""
        while True:
            try:
                async with self._store.transaction() as uow:
                    orphans = await uow.requery_orphaned_attempts(self._clock.now())
            except StoreUnavailable:
                await asyncio.sleep(self.RETRY_INTERVAL.total_seconds())
                continue
            if orphans:
                log.warning("gateway calls interrupted by a stop; checking their status", calls=orphans)
            return

    async def _release_leases(self) -> None:
        """Release all leases of this engine, after its calls have ended."""
        if self._owner is None:
            return
        try:
            async with asyncio.timeout(self.RETRY_INTERVAL.total_seconds()), self._store.transaction() as uow:
                await uow.release_leases(self._owner, self._clock.now())
        # Without a release, other engines take the incidents over when the leases expire.
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("handover to other engines failed; they take over when the leases expire", reason=str(error))

    async def run_cycle(self, calls: asyncio.TaskGroup) -> ProcessingResult:
        """Process the incidents with due work, the most urgent first, and start the resulting gateway calls.

        Return the combined result; its `next_due_at` is the start of the next cycle.
        """
        total = ProcessingResult()
        try:
            await self._refresh()
        except StoreUnavailable:
            return ProcessingResult(next_due_at=self._clock.now() + self.RETRY_INTERVAL)
        # No error may end the main loop.
        except Exception:
            log.exception("database read failed; retrying")
            return ProcessingResult(next_due_at=self._clock.now() + self.RETRY_INTERVAL)
        processed = 0
        while processed < self.INCIDENTS_PER_CYCLE and (ids := self._take_next()):
            if processed:
                # Yield to other tasks, so that calls start and results arrive even if very many incidents are due.
                await asyncio.sleep(0)
            processed += len(ids)
            for incident_id, result in (await self._process(ids)).items():
                if result is None:
                    self._queue.postpone(incident_id, self._clock.now() + self.RETRY_INTERVAL)
                else:
                    total.calls += result.calls
                    self._apply_result(calls, incident_id, result)
        total.next_due_at, total.oldest_pending = self._queue.next_due_at, self._queue.oldest_pending
        if not self._queue.is_empty or self._pool.next_waiters():
            # More incidents are due than one cycle may process.
            total.wake_at(self._clock.now())
        self._observer.set_declared_outages(self._queue.declared, all_known=self._queue.has_processed_all)
        self._observer.record_cycle(self._clock.now(), total.oldest_pending, self._queue.open_incidents)
        return total

    async def _refresh(self) -> None:
        """Renew the leases if due, and read the active incidents from the database if due."""
        now = self._clock.now()
        if self._owner is not None and not self._are_leases_fresh(now):
            async with self._store.transaction() as uow:
                self._queue.enqueue(await uow.renew_leases(self._owner, now, self.LEASE_DURATION))
            self._leases_renewed_at = now
        if self._queue.is_refresh_due(now):
            async with self._store.transaction() as uow:
                if offset := await uow.move_times_back(now, self._expected_time()):
                    # Audit entries are never changed, so that the latest are now in the future. This entry states by
                    # how much the clock was set back.
                    detail = {"seconds": str(round(offset.total_seconds()))}
                    await uow.add_audit_entry(AuditEntry(at=now, actor="engine", event=CLOCK_SET_BACK, detail=detail))
                    log.warning("system clock was set back; recorded times are moved back", offset=str(offset))
                if self._owner is None:
                    active = await uow.active_incidents()
                else:
                    # Keep enqueued incidents of other engines: when claiming one fails, the store makes the engine that
                    # has the lease process it.
                    active = [*await uow.claimable_incidents(self._owner, now), *self._queue.enqueued]
            await self._receipt_monitor.check_gateways()
            self._queue.set_active(active, now, shared=self._owner is not None)
        self._last_cycle = now, asyncio.get_running_loop().time()

    def _expected_time(self) -> datetime | None:
        """Return the present time by the monotonic clock, which counts from the last cycle; `None` before the first.

        The wall clock shows another time if it was changed since.
        """
        if self._last_cycle is None:
            return None
        at, loop_time = self._last_cycle
        return at + timedelta(seconds=asyncio.get_running_loop().time() - loop_time)

    def _are_leases_fresh(self, now: datetime) -> bool:
        return (
            self._leases_renewed_at is not None
            and timedelta(0) <= now - self._leases_renewed_at < self.LEASE_RENEWAL_INTERVAL
        )

    def _take_next(self) -> list[int]:
        return self._queue.take_next(self._pool.next_waiters(), self._clock.now(), self.INCIDENTS_PER_TRANSACTION)

    def _apply_result(self, calls: asyncio.TaskGroup, incident_id: int, result: ProcessingResult) -> None:
        """Start the calls that the processing of an incident decided, and record its result."""
        for call in result.calls:
            self._calls.start(call, calls)
        for change in result.state_changes:
            self._observer.count_notification(change.channel, change.purpose, change.state)
        for agency, rotas in result.empty_rotas.items():
            self._observer.count_empty_rotas(agency, rotas)
        for channel, notifications in result.bundled.items():
            self._observer.count_bundled_notifications(channel, notifications)
        for (channel, scope), notifications in result.throttled.items():
            self._observer.count_throttled_notifications(channel, scope, notifications)
        item = WorkItem(
            next_due_at=result.next_due_at,
            oldest_pending=result.oldest_pending,
            open_incident=result.open_incident,
        )
        self._queue.record(incident_id, None if result.is_inactive else item)
        self._queue.enqueue(result.affected_incidents)

    async def _process(self, incident_ids: Sequence[int]) -> Mapping[int, ProcessingResult | None]:
        """Process incidents in one transaction. Return the results; `None` for an incident whose processing failed.

        A transaction per incident would be too slow: each commit waits for the disk, and a mass outage has hundreds.
        """
        now = self._clock.now()
        results = {incident_id: ProcessingResult() for incident_id in incident_ids}
        is_committed = False
        try:
            async with self._store.transaction() as uow:
                new_notification_processor = partial(
                    NotificationProcessor,
                    uow=uow,
                    pool=self._pool,
                    policy=self._policy,
                    now=now,
                    active_calls=self._calls.active_calls,
                )
                is_monitor_only = self._is_monitor_only()
                processor = IncidentProcessor(
                    uow=uow,
                    now=now,
                    new_notification_processor=new_notification_processor,
                    silence_lookup=self._silence_lookup,
                    is_monitor_only=is_monitor_only,
                    policy_for=self._policy_for,
                )
                for incident_id, result in results.items():
                    self._pool.remove_waiter(incident_id)
                    # If several engines share the database, one in monitor-only mode takes no leases and processes
                    # nothing.
                    if self._owner and (
                        is_monitor_only
                        or not await uow.claim_incident(incident_id, self._owner, now, self.LEASE_DURATION)
                    ):
                        result.is_inactive = True
                        continue
                    await processor.process(incident_id, result)
            is_committed = True
        except StoreUnavailable:
            return dict.fromkeys(incident_ids)
        # A bug in one incident must not block all others.
        except Exception:
            if len(incident_ids) == 1:
                log.exception("incident processing failed; retrying", incident=incident_ids[0])
        finally:
            if not is_committed:
                # The decided calls were rolled back. They are decided again, and then take slots again.
                for result in results.values():
                    for gateway in result.taken_slots:
                        self._pool.release_slot(gateway)
        if is_committed:
            return results
        if len(incident_ids) == 1:
            return {incident_ids[0]: None}
        # Process the incidents one by one, so that only the incident with the bug is skipped.
        single_results: dict[int, ProcessingResult | None] = {}
        for incident_id in incident_ids:
            single_results |= await self._process([incident_id])
        return single_results

    async def _sleep_until(self, wake: datetime | None) -> None:
        now = self._clock.now()
        max_pause = self.MAX_IDLE if self._owner is None else self.LEASE_RENEWAL_INTERVAL
        pause = min(max_pause, max(timedelta(0), wake - now)) if wake else max_pause
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._wake_event.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        """Process all active incidents soon, because any of them may have changed."""
        self._queue.enqueue_all()
        self._wake_event.set()

    async def take_over(self, processes: Collection[str]) -> None:
        """End the leases of dead processes, so that their incidents are taken over soon. Raise `StoreUnavailable`."""
        if self._owner is None:
            return
        async with self._store.transaction() as uow:
            await uow.end_leases(processes, self._owner, self._clock.now())
        self._leases_renewed_at = None
        self._wake_event.set()

    def wake_agencies(self, agencies: Collection[str]) -> None:
        """Process the open incidents of these agencies soon."""
        self._queue.enqueue_agencies(agencies)
        self._wake_event.set()

    def enqueue(self, *incident_ids: int) -> None:
        """Process these incidents soon."""
        self._queue.enqueue(incident_ids)
        self._wake_event.set()
