"""The engine's cycle: read, decide, write, send, record results.

It holds no policy: `alerts.decide` decides, and all state is in the store. It runs until nothing changes, and then
sleeps until the next due time or a wake-up. After a crash it continues from the store.
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
from alerts.decide.silence import Muter, silence_over
from alerts.engine.alert_handler import BriefOf, known_before, take_alerts
from alerts.engine.composer import Composer
from alerts.engine.event_handler import ReportResult, come_to, freed_by, take_report, take_word
from alerts.engine.gateway_call import CallKind, CallResult, GatewayCall, told_by
from alerts.engine.gateway_caller import GatewayCaller, NotePage, no_notes
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.group_commit import with_ledger
from alerts.engine.incident_processor import IncidentProcessor
from alerts.engine.manual_status import ManualStatusRequest, settle
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
    """Accepts events and delivers all resulting notifications."""

    #: Interval of cycles without due work, because another process may have changed the store.
    IDLE = timedelta(seconds=30)
    #: Incidents per transaction, and per cycle.
    BATCH = 16
    AT_A_TIME = 512
    #: Pause after an unexpected error.
    AFTER_A_FAULT = timedelta(seconds=5)
    #: Duration of an engine's lease on an incident, with several engines on a store.
    CLAIM = timedelta(seconds=30)
    #: Interval for renewing leases and looking for orphaned incidents.
    CLAIMS_EVERY = timedelta(seconds=5)

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
        muter: Muter = silence_over,
        rests: Callable[[], bool] = lambda: False,
        brief: Callable[[Incident], PolicySnapshot | None] = lambda _: None,
        note_page: NotePage = no_notes,
    ) -> None:
        """*owner*: this engine's name among those on the store, `PROCESS/LIFE`; `None` if it is alone.

        While *rests* returns true events are recorded and nobody is notified; *brief* then returns the policy of such
        an incident. *note_page* is called with a page before it is sent.
        """
        self._store = store
        self._pool = pool
        self._composer = composer
        self._clock = clock
        self._observer = observer
        self._policy = policy or DeliveryPolicy()
        self._poked = asyncio.Event()
        self._agenda = WorkQueue()
        # Separate units of work: an answer must not wait for a thousand events.
        self._events, self._answers = with_ledger(store), with_ledger(store)
        self._calls = GatewayCaller(
            pool=pool,
            composer=composer,
            clock=clock,
            observer=observer,
            policy=self._policy,
            write_down=self._write_down,
            ended=lambda call: self.stir(call.notice.incident_id),  # The incident that sends the notification.
            note_page=note_page,
        )
        pool.on_free = self._poked.set
        self._doubter = ReceiptMonitor(store=store, pool=pool, clock=clock, observer=observer)
        self._owner = owner
        self._muter = muter
        self._rests = rests
        self._brief = brief
        self._claimed_at: datetime | None = None
        #: Time of the last cycle by the wall clock and by the loop's monotonic clock.
        self._last_cycle: tuple[datetime, float] | None = None
        #: The first cycle has finished and the engine has not stopped.
        self.is_running = False

    # -- incoming events -----------------------------------------------------------------------------------------

    async def submit(self, event: Event) -> Incident | None:
        """Process an event. Return its incident after the event; `None` without one.

        Committed on return. Idempotent.
        """
        incident: Incident | None
        incident, tellings = await self._events.write(lambda ledger: take_word(ledger, event))
        self.note_told(tellings)
        if incident is not None:
            self.stir(incident.id)
        return incident

    async def take_alerts(
        self, alerts: Sequence[ReceivedAlert], brief: BriefOf, group: AlertGroup = UNGROUPED
    ) -> Sequence[AlertEffect]:
        """Process up to some two hundred alerts of a group from Alertmanager. Return those with an effect.

        *brief*: returns the policy of an incident. Committed on return. Idempotent.
        """
        now = self._clock.now()
        # Usually nothing has changed, and no writer has to wait.
        async with self._store.reading() as ledger:
            before = await known_before(ledger, alerts, brief, now, group)
        if before is not None:
            return before
        # In a transaction of its own: otherwise fifteen other writers, such as a key press, would wait for its commit.
        async with self._store.transaction() as ledger:
            taken = await take_alerts(ledger, alerts, brief, now, group)
        self._agenda.stir(taken.concerned, first=False)
        self._poked.set()
        return taken.effects

    async def record(self, gateway: str, heard: CallbackEvent) -> AckResult:
        """Commit the event of a provider's callback. Return the state of its acknowledgement."""
        now = self._clock.now()
        taken: ReportResult = await self._answers.write(
            lambda ledger: take_report(ledger, gateway, heard, self._policy, now)
        )
        self.note_told(taken.tellings)
        self.stir(*taken.concerned)
        return taken.result

    def note_told(self, tellings: Iterable[NotificationLatency]) -> None:
        """Report committed latencies to the observer."""
        for telling in tellings:
            self._observer.told(telling)

    async def _write_down(self, call: GatewayCall, outcome: CallResult) -> bool:
        """Commit the result of a gateway call if it is new. Return whether it is.

        A result that arrives after the next query was due postpones that query.
        """
        now, attempt = self._clock.now(), outcome.attempt
        if not outcome.is_news(call) and now < call.attempt.query_at:
            return False

        async def answer(ledger: UnitOfWork) -> tuple[Sequence[NotificationLatency], Sequence[int]]:
            has_changed = attempt.state is not call.attempt.state
            # A callback may have preceded the result.
            before = await ledger.attempt_state(attempt.id) if has_changed else attempt.state
            written = await ledger.save_attempt(attempt)
            # A letter in the tray is checked every minute: only changes are logged.
            if call.kind is not CallKind.CHECK or has_changed:
                told = told_by(attempt.gateway, call.notice, attempt, call.kind, now)
                await ledger.journal(replace(told, detail={**told.detail, "sha256": outcome.sha256}))
            tellings = await come_to(ledger, call.notice, attempt, before, now) if written else ()
            return tellings, await freed_by(ledger, call.notice, attempt)

        tellings, freed = await self._answers.write(answer)
        self.note_told(tellings)
        self.stir(*freed)
        return True

    async def note_letter(
        self, reference: str, step: LetterStep, by: str, *, day: date | None = None, unprinted: bool = False
    ) -> Handling | None:
        """Record once that a clerk has printed or posted a letter.

        *day*: day of posting, if stated; *unprinted*: the printing was not recorded. Follow-ups are decided by the time
        of the record, because the posting was unknown before.

        Return the earlier record; `None`: none, or no such letter.
        """
        handling = Handling(by=by, at=self._clock.now(), day=day)
        async with self._store.transaction() as ledger:
            found = await ledger.attempt(reference)
            if found is None:
                return None
            notice, attempt = found
            posted = attempt
            before = await ledger.handle_letter(attempt.id, step, handling)
            if before is not None:
                return before
            if step is LetterStep.POSTED and attempt.state is AttemptState.WITHDRAWN:
                await ledger.not_withdrawn(notice, attempt)
                posted = replace(attempt, state=AttemptState.SENT)
                # Its readers are due follow-ups.
                for incident_id in notice.incident_ids:
                    await ledger.rouse(incident_id)
            elif step is LetterStep.POSTED:
                posted = replace(attempt, state=AttemptState.SENT, ended_at=handling.at)
                await ledger.save_attempt(posted)
            await ledger.journal(
                AuditEntry(
                    at=handling.at,
                    actor=by,
                    event="letter printed" if step is LetterStep.PRINTED else "letter dispatched",
                    incident_id=notice.incident_id,
                    notification_id=notice.id,
                    detail=({} if day is None else {"day": day.isoformat()})
                    | ({"printing": "not_recorded"} if unprinted else {}),
                )
            )
            tellings = await come_to(ledger, notice, posted, attempt.state, handling.at)
        self.note_told(tellings)
        self.stir(*notice.incident_ids)
        return None

    async def undo_posting(self, reference: str, by: str) -> bool:
        """Record that a letter was not posted after all. Return whether it counted as posted.

        Follow-ups for its reader are decided again.
        """
        async with self._store.transaction() as ledger:
            found = await ledger.attempt(reference)
            if found is None or not await ledger.not_posted(found[1]):
                return False
            notice, _ = found
            for incident_id in notice.incident_ids:
                await ledger.rouse(incident_id)
            entry = AuditEntry(
                at=self._clock.now(),
                actor=by,
                event="letter not posted after all",
                incident_id=notice.incident_id,
                notification_id=notice.id,
            )
            await ledger.journal(entry)
        self.stir(*notice.incident_ids)
        return True

    async def settle(self, settlement: ManualStatusRequest) -> str | None:
        """Apply a person's delivery status of a notification. Return why it is not possible, or `None`."""
        async with self._store.transaction() as ledger:
            settled = await settle(ledger, settlement)
        if isinstance(settled, str):
            return settled
        self.note_told(settled.tellings)
        self.stir(*settled.concerned)
        return None

    async def content(self, reference: str) -> Content | None:
        """Return the content of an attempt, for a gateway that fetches it later."""
        async with self._store.transaction() as ledger:
            found = await ledger.attempt(reference)
        if found is None:
            return None
        notice, attempt = found
        return await self._composer.compose(notice, notice.delivery_of(attempt).address.channel)

    # -- processing loop -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. Gateway calls are tasks in its task group and end with it."""
        await self._take_up()
        try:
            async with asyncio.TaskGroup() as calls:
                while True:
                    self._poked.clear()
                    advance = await self.cycle(calls)
                    self.is_running = True
                    await self._sleep_until(advance.wake)
        finally:
            for group in (self._events, self._answers):
                await group.settle()
            await self._hand_over()

    async def _take_up(self) -> None:
        """Query calls of a process that is known to be dead."""
        while True:
            try:
                async with self._store.transaction() as ledger:
                    orphans = await ledger.orphan_calls(self._clock.now())
            except StoreUnavailable:
                await asyncio.sleep(self.AFTER_A_FAULT.total_seconds())
                continue
            if orphans:
                log.warning("gateway calls interrupted by a stop; checking their status", calls=orphans)
            return

    async def _hand_over(self) -> None:
        """Release the leases, after all calls have ended."""
        if self._owner is None:
            return
        try:
            async with asyncio.timeout(self.AFTER_A_FAULT.total_seconds()), self._store.transaction() as ledger:
                await ledger.hand_over(self._owner, self._clock.now())
        # The others get them when the leases expire.
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("handover to other engines failed; they take over when the leases expire", reason=str(error))

    async def cycle(self, calls: asyncio.TaskGroup) -> ProcessingResult:
        """Process the incidents with due work, the most urgent first, and start the resulting calls.

        Return the result; `wake` is the next due time.
        """
        whole = ProcessingResult()
        try:
            await self._look_around()
        except StoreUnavailable:
            return ProcessingResult(wake=self._clock.now() + self.AFTER_A_FAULT)
        # No error may end the cycle.
        except Exception:
            log.exception("database read failed; retrying")
            return ProcessingResult(wake=self._clock.now() + self.AFTER_A_FAULT)
        looked_at = 0
        while looked_at < self.AT_A_TIME and (ids := self._following()):
            if looked_at:
                # Yield: calls start and results arrive, however many incidents there are.
                await asyncio.sleep(0)
            looked_at += len(ids)
            for incident_id, advance in (await self._bring_forward(ids)).items():
                if advance is None:
                    self._agenda.postpone(incident_id, self._clock.now() + self.AFTER_A_FAULT)
                else:
                    whole.calls += advance.calls
                    self._start(calls, incident_id, advance)
        whole.wake, whole.oldest_pending = self._agenda.wake, self._agenda.oldest_pending
        if not self._agenda.is_empty or self._pool.in_turn():
            whole.wake_at(self._clock.now())  # More incidents are due than one cycle processes.
        self._observer.outages_declared(self._agenda.declared, all_known=self._agenda.has_seen_all)
        self._observer.cycle_finished(self._clock.now(), whole.oldest_pending, self._agenda.open)
        return whole

    async def _look_around(self) -> None:
        """Look for new incidents from time to time, and renew leases."""
        now = self._clock.now()
        if self._owner is not None and not self._is_claimed(now):
            async with self._store.transaction() as ledger:
                self._agenda.stir(await ledger.keep_claims(self._owner, now, self.CLAIM))
            self._claimed_at = now
        if self._agenda.is_sweep_due(now):
            async with self._store.transaction() as ledger:
                if back := await ledger.move_back(now, self._expected_time()):
                    # Earlier entries may have later times; this one states the difference.
                    detail = {"seconds": str(round(back.total_seconds()))}
                    await ledger.journal(AuditEntry(at=now, actor="engine", event=CLOCK_SET_BACK, detail=detail))
                    log.warning("system clock was set back; recorded times are moved back", offset=str(back))
                if self._owner is None:
                    active = await ledger.active_incidents()
                else:
                    # Events may concern an incident of another engine, which is then woken.
                    active = [*await ledger.claimable(self._owner, now), *self._agenda.heard_of]
            await self._doubter.look()
            self._agenda.swept(active, now, shared=self._owner is not None)
        self._last_cycle = now, asyncio.get_running_loop().time()

    def _expected_time(self) -> datetime | None:
        """Return the time without changes of the clock since the last cycle; `None` before the first."""
        if self._last_cycle is None:
            return None
        at, then = self._last_cycle
        return at + timedelta(seconds=asyncio.get_running_loop().time() - then)

    def _is_claimed(self, now: datetime) -> bool:
        return self._claimed_at is not None and timedelta(0) <= now - self._claimed_at < self.CLAIMS_EVERY

    def _following(self) -> list[int]:
        return self._agenda.following(self._pool.in_turn(), self._clock.now(), self.BATCH)

    def _start(self, calls: asyncio.TaskGroup, incident_id: int, advance: ProcessingResult) -> None:
        """Start the calls of an incident's processing, and record the result."""
        for call in advance.calls:
            self._calls.begin(call, calls)
        for entered in advance.entered:
            self._observer.notice_entered(entered.channel, entered.purpose, entered.state)
        for agency, rotas in advance.deserted.items():
            self._observer.nobody_on_call(agency, rotas)
        for channel, notices in advance.bundled.items():
            self._observer.notices_bundled(channel, notices)
        for (channel, brake), notices in advance.held.items():
            self._observer.notices_held(channel, brake, notices)
        standing = WorkItem(wake=advance.wake, oldest_pending=advance.oldest_pending, open=advance.open)
        self._agenda.note(incident_id, None if advance.at_rest else standing)
        self._agenda.stir(advance.stirred)

    async def _bring_forward(self, incident_ids: Sequence[int]) -> Mapping[int, ProcessingResult | None]:
        """Process incidents in one transaction, because each commit waits for the disk and a mass outage has hundreds.

        Return the results; `None` for an incident that failed.
        """
        now = self._clock.now()
        advances = {incident_id: ProcessingResult() for incident_id in incident_ids}
        committed = False
        try:
            async with self._store.transaction() as ledger:
                mover = partial(
                    NotificationProcessor,
                    ledger=ledger,
                    pool=self._pool,
                    policy=self._policy,
                    now=now,
                    under_way=self._calls.under_way,
                )
                rests = self._rests()
                cycle = IncidentProcessor(
                    ledger=ledger, now=now, mover=mover, muter=self._muter, rests=rests, brief=self._brief
                )
                for incident_id, advance in advances.items():
                    self._pool.forget(incident_id)
                    # While this engine rests, others may process them.
                    if self._owner and (rests or not await ledger.claim(incident_id, self._owner, now, self.CLAIM)):
                        advance.at_rest = True  # Another engine has the lease.
                        continue
                    await cycle.bring_forward(incident_id, advance)
            committed = True
        except StoreUnavailable:
            return dict.fromkeys(incident_ids)
        # A bug in one incident must not block all others.
        except Exception:
            if len(incident_ids) == 1:
                log.exception("incident processing failed; retrying", incident=incident_ids[0])
        finally:
            if not committed:  # Rolled back: the calls will be decided again.
                for advance in advances.values():
                    for gateway in advance.taken:
                        self._pool.give_back(gateway)
        if committed:
            return advances
        if len(incident_ids) == 1:
            return {incident_ids[0]: None}
        # One by one: only the faulty incident is skipped.
        apart: dict[int, ProcessingResult | None] = {}
        for incident_id in incident_ids:
            apart |= await self._bring_forward([incident_id])
        return apart

    async def _sleep_until(self, wake: datetime | None) -> None:
        now = self._clock.now()
        idle = self.IDLE if self._owner is None else self.CLAIMS_EVERY
        pause = min(idle, max(timedelta(0), wake - now)) if wake else idle
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._poked.wait()
        except TimeoutError:
            return

    def poke(self) -> None:
        """Run a cycle soon: something has changed, in unknown incidents."""
        self._agenda.sweep()
        self._poked.set()

    async def take_over(self, processes: Collection[str]) -> None:
        """Take over the incidents of dead processes soon. Raise `StoreUnavailable`."""
        if self._owner is None:
            return
        async with self._store.transaction() as ledger:
            await ledger.end_claims(processes, self._owner, self._clock.now())
        self._claimed_at = None
        self._poked.set()

    def poke_about(self, agencies: Collection[str]) -> None:
        """Process the open incidents of these agencies soon."""
        self._agenda.stir_about(agencies)
        self._poked.set()

    def stir(self, *incident_ids: int) -> None:
        """Process these incidents soon."""
        self._agenda.stir(incident_ids)
        self._poked.set()
