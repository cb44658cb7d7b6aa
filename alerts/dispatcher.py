"""Run the cycle: read what is true, decide, write what follows, send, write what came back.

A shell: every decision is in `escalation`, `announcement`, `conclusion` and `move`; every truth is in the store. It
runs until nothing changes and then sleeps until the next due time or until somebody pokes it. Killed at any point
and started again, it goes on from what is stored.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from alerts.clock import Clock
from alerts.composer import Composer
from alerts.cycle import Advance, Cycle
from alerts.delivery import Attempt, AttemptState
from alerts.errand import Deed, Errand, Outcome, reported
from alerts.errand import run as run_errand
from alerts.event import Event
from alerts.exchange import Exchange, Line
from alerts.gateway import AckResult, Content, Heard
from alerts.incident import Incident
from alerts.intake import acknowledge, take_in
from alerts.move import DeliveryPolicy
from alerts.observer import Observer
from alerts.store import Entry, Store

log = structlog.get_logger()


class Dispatcher:
    """Takes events in, and sees to it that everybody who is owed a notice gets it."""

    #: Even with nothing due, look at the store this often: it may have been changed by another process.
    IDLE = timedelta(seconds=30)
    #: After something that should not happen, before it is tried again.
    AFTER_A_FAULT = timedelta(seconds=5)

    def __init__(
        self,
        *,
        store: Store,
        exchange: Exchange,
        composer: Composer,
        clock: Clock,
        observer: Observer,
        policy: DeliveryPolicy | None = None,
    ) -> None:
        self._store = store
        self._exchange = exchange
        self._composer = composer
        self._clock = clock
        self._observer = observer
        self._policy = policy or DeliveryPolicy()
        self._poked = asyncio.Event()
        self._under_way: set[int] = set()
        #: The cycle has been through at least once and has not ended.
        self.is_running = False

    # -- what comes in -------------------------------------------------------------------------------------------

    async def submit(self, event: Event) -> Incident | None:
        """Take an event in and return the incident it is about, as it stands after it; `None` if there is none.

        Committed when this returns. Repeating an event changes nothing.
        """
        async with self._store.transaction() as ledger:
            incident = await take_in(ledger, event)
        self._poked.set()
        return incident

    async def record(self, gateway: str, heard: Heard) -> AckResult:
        """Commit what a provider's callback told, and say how its acknowledgement stands."""
        now = self._clock.now()
        result = AckResult.NONE
        async with self._store.transaction() as ledger:
            found = await ledger.attempt(heard.reference)
            if found is None:
                return AckResult.OVER
            notice, attempt = found
            if heard.report and await ledger.first_heard(gateway, heard.event_id, now):
                delivery = next(d for d in notice.deliveries if attempt in d.attempts)
                await ledger.save_attempt(reported(delivery, attempt, heard.report, self._policy, now))
            if heard.acknowledged:
                result = await acknowledge(ledger, notice, now)
        self._poked.set()
        return result

    async def note_dispatch(self, reference: str, by: str) -> None:
        """Write down that a person sent an attempt off by hand: a clerk posted a letter."""
        now = self._clock.now()
        async with self._store.transaction() as ledger:
            found = await ledger.attempt(reference)
            if found is None:
                return
            notice, attempt = found
            await ledger.save_attempt(replace(attempt, state=AttemptState.SENT))
            await ledger.journal(
                Entry(at=now, actor=by, event="letter dispatched", incident_id=notice.incident_id, notice_id=notice.id)
            )
        self._poked.set()

    async def content(self, reference: str) -> Content | None:
        """Return what an attempt carries, for a gateway that is asked for it later."""
        async with self._store.transaction() as ledger:
            found = await ledger.attempt(reference)
        if found is None:
            return None
        notice, attempt = found
        delivery = next(d for d in notice.deliveries if attempt in d.attempts)
        return await self._composer.compose(notice, delivery.address.channel)

    # -- the cycle -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. Calls of gateways are tasks of this one's group: none outlives it."""
        async with self._store.transaction() as ledger:
            orphans = await ledger.orphan_calls(self._clock.now())
        if orphans:
            log.warning("calls of gateways were cut off by a stop; asking what became of them", calls=orphans)
        async with asyncio.TaskGroup() as calls:
            while True:
                self._poked.clear()
                advance = await self.cycle(calls)
                self.is_running = True
                await self._sleep_until(advance.wake)

    async def cycle(self, calls: asyncio.TaskGroup) -> Advance:
        """Bring every active incident forward once, the oldest first, and start the calls that follow."""
        whole = Advance()
        try:
            async with self._store.transaction() as ledger:
                active = await ledger.active_incidents()
        # A store that is away for a while (locked, on a full disk) must not end the cycle.
        except Exception:
            log.exception("the store could not be read; trying again")
            return Advance(wake=self._clock.now() + self.AFTER_A_FAULT)
        for incident_id in active:
            advance = await self._bring_forward(incident_id)
            for errand in advance.errands:
                self._under_way.add(errand.attempt.id)
                calls.create_task(self._carry_out(errand))
            for entered in advance.entered:
                self._observer.notice_entered(entered.channel, entered.purpose, entered.state)
            whole.merge(advance)
        self._observer.cycle_finished(self._clock.now(), whole.oldest_pending, whole.open)
        return whole

    async def _bring_forward(self, incident_id: int) -> Advance:
        now = self._clock.now()
        advance = Advance()
        committed = False
        try:
            async with self._store.transaction() as ledger:
                cycle = Cycle(ledger, self._exchange, self._policy, now, self._under_way)
                advance = cycle.advance
                await cycle.bring_forward(incident_id)
            committed = True
        # One incident that cannot be handled (our bug, a store that is away) must not silence all others.
        except Exception:
            log.exception("an incident could not be brought forward; trying again", incident=incident_id)
            return Advance(wake=now + self.AFTER_A_FAULT)
        finally:
            if not committed:  # Rolled back: these calls will be decided on again.
                for errand in advance.errands:
                    self._exchange.give_back(errand.attempt.gateway)
        return advance

    async def _carry_out(self, errand: Errand) -> None:
        gateway = errand.attempt.gateway
        try:
            line = self._exchange[gateway]
            outcome = await run_errand(errand, line, self._composer, self._policy, self._clock)
            await self._write_down(errand, line, outcome)
        # What cannot be written down stays CALLING in the store and is asked about when its lease ends.
        except Exception:
            log.exception("a call could not be completed", gateway=gateway, reference=errand.attempt.reference)
        finally:
            self._under_way.discard(errand.attempt.id)
            self._exchange.give_back(gateway)
            self._poked.set()

    async def _write_down(self, errand: Errand, line: Line, outcome: Outcome) -> None:
        now = self._clock.now()
        attempt = outcome.attempt
        async with self._store.transaction() as ledger:
            await ledger.save_attempt(attempt)
            # A letter is looked for every minute for as long as it lies in its tray: only what changed is journalled.
            if errand.deed is not Deed.CHECK or attempt.state is not errand.attempt.state:
                await ledger.journal(_came_back(errand, line, attempt, now))
        if outcome.gateway_up is not None:
            if self._exchange.judge(line.name, up=outcome.gateway_up, now=now):
                log.info("gateway judged", gateway=line.name, up=outcome.gateway_up, why=attempt.detail)
            self._observer.gateway_judged(line.channel, line.name, up=outcome.gateway_up)

    async def _sleep_until(self, wake: datetime | None) -> None:
        now = self._clock.now()
        pause = min(self.IDLE, max(timedelta(0), wake - now)) if wake else self.IDLE
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._poked.wait()
        except TimeoutError:
            return

    def poke(self) -> None:
        """Run the cycle soon: something was changed."""
        self._poked.set()


def _came_back(errand: Errand, line: Line, attempt: Attempt, now: datetime) -> Entry:
    return Entry(
        at=now,
        actor=line.name,
        event=f"{errand.deed}: {attempt.state}",
        incident_id=errand.notice.incident_id,
        notice_id=errand.notice.id,
        detail={"reference": attempt.reference, "code": attempt.code, "why": attempt.detail},
    )


class CallbackDesk:
    """What one gateway may ask the dispatcher while it answers a callback."""

    def __init__(self, dispatcher: Dispatcher, gateway: str) -> None:
        self._dispatcher = dispatcher
        self._gateway = gateway

    async def record(self, heard: Heard) -> AckResult:
        """Commit what was heard."""
        return await self._dispatcher.record(self._gateway, heard)

    async def content(self, reference: str) -> Content | None:
        """Return what the attempt carries."""
        return await self._dispatcher.content(reference)
