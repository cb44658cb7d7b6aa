"""Sender of drill notifications: one gateway call each; later results are recorded."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from alerts.decide.drill import ENDED, DrillState, drill_state
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.engine.composer import WordingComposer
from alerts.engine.gateway_call import CallKind, CallResult, GatewayCall, make_call, reported
from alerts.engine.gateway_caller import GatewayCaller
from alerts.engine.gateway_pool import GatewayPool
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.delivery import Attempt, AttemptState, Delivery, Notification, NotificationState
from alerts.model.gateway import AckResult, CallbackEvent, Content
from alerts.model.notification import Addressee
from alerts.persistence.clock import Clock
from alerts.wording.texts import Wording
from monitor.metrics import Metrics
from monitor.store.engine.drills import Drills, Record

log = structlog.get_logger()

#: Interval of queries to a provider without callbacks, and their end.
ASK_EVERY = timedelta(minutes=1)
ASK_FOR = timedelta(minutes=15)
#: Prefix of references of drill notifications; those of attempts have another letter.
_OURS = "d"
_POLICY = DeliveryPolicy()


class DrillSender:
    """Calls gateways for stored drill notifications, and records the results."""

    def __init__(self, *, drills: Drills, pool: GatewayPool, wording: Wording, metrics: Metrics, clock: Clock) -> None:
        self._drills = drills
        self._pool = pool
        self._metrics = metrics
        self._clock = clock
        self.composer = WordingComposer(wording)
        self.calls = GatewayCaller(
            pool=pool,
            composer=self.composer,
            clock=clock,
            observer=metrics,
            policy=_POLICY,
            write_down=self._write_down,
        )

    def send(self, record: Record, expires_at: datetime, calls: asyncio.TaskGroup) -> None:
        """Send once, as a task of *calls*; the gateway's slot is released."""
        self.calls.begin(_call(CallKind.SEND, record, expires_at), calls)

    def check(self, record: Record, calls: asyncio.TaskGroup) -> None:
        """Query the provider in the same way, unless a call is under way."""
        self.calls.begin(_call(CallKind.CHECK, record), calls)

    def is_called_for(self, record: Record) -> bool:
        """Whether a gateway call is under way or its result is not stored."""
        return record.id in self.calls.under_way

    async def take_back(self, record: Record) -> None:
        """Withdraw a letter from its tray: a drill's letter must not be posted."""
        call = _call(CallKind.WITHDRAW, record)
        outcome = await make_call(call, self._pool[record.gateway], self.composer, _POLICY, self._clock)
        if outcome.attempt.error is not None:
            why = outcome.attempt.detail
            log.warning("drill letter could not be withdrawn from the tray", gateway=record.gateway, reason=why)

    async def _write_down(self, call: GatewayCall, outcome: CallResult) -> bool:
        # Without a result it is queried again.
        if is_news := outcome.attempt is not call.attempt:
            await self._note(call.address.channel, outcome.attempt)
        return is_news

    async def _note(self, channel: Channel, attempt: Attempt) -> None:
        before = await self._drills.find(attempt.reference)  # A callback may have reported more meanwhile.
        now, state = self._clock.now(), drill_state(channel, attempt)
        failed = state is DrillState.FAILED
        after = await self._drills.change(
            attempt.reference,
            state,
            now,
            why=" ".join(filter(None, (attempt.detail, f"({attempt.code})" if attempt.code else ""))) if failed else "",
            provider_id=attempt.provider_id,
            query_at=None if failed else now + ASK_EVERY,
        )
        self._count(before, after)

    def _count(self, before: Record | None, after: Record | None) -> None:
        if before is not None and after is not None and after.state is not before.state and after.state in ENDED:
            self._metrics.watchdog.drill_notification_ended(after.channel, after.state)

    # -- callbacks of providers ----------------------------------------------------------------------------------

    async def record(self, heard: CallbackEvent) -> AckResult | None:
        """Record a callback of a drill notification, and return the state of its key press; `None`: not a drill's."""
        before = await self._find(heard.reference)
        if before is None:
            return None
        if heard.report is not None:
            call = _call(CallKind.CHECK, before)
            told = reported(call.delivery, call.attempt, heard.report, _POLICY, self._clock.now())
            await self._note(before.channel, told)
        if not heard.acknowledged:
            return AckResult.NONE
        after = await self._drills.change(heard.reference, DrillState.CONFIRMED, self._clock.now())
        self._count(before, after)
        return AckResult.AGAIN if before.state is DrillState.CONFIRMED else AckResult.TAKEN

    async def content(self, reference: str) -> Content | None:
        """Return the content of a drill notification; `None`: not a drill's."""
        record = await self._find(reference)
        if record is None:
            return None
        return await self.composer.compose(_call(CallKind.CHECK, record).notice, record.channel)

    async def _find(self, reference: str) -> Record | None:
        return await self._drills.find(reference) if reference.startswith(_OURS) else None


def _call(kind: CallKind, record: Record, expires_at: datetime | None = None) -> GatewayCall:
    """Return the gateway call: a notification without an incident."""
    until = expires_at or record.started_at + ASK_FOR
    address = Address(channel=record.channel, number=record.number, extension=record.extension)
    attempt = Attempt(
        id=record.id,
        n=1,
        reference=record.reference,
        gateway=record.gateway,
        state=AttemptState.CALLING,
        started_at=record.started_at,
        query_at=until,
        provider_id=record.provider_id,
    )
    notice = Notification(
        id=record.id,
        key=record.key,
        parts=(),
        plan=record.facts.plan,
        purpose=record.facts.purpose,
        person=record.contact,
        language=record.language,
        facts=record.facts,
        state=NotificationState.PENDING,
        created_at=record.started_at,
        expires_at=until,
        addresses=(address,),
        deliveries=(Delivery(id=record.id, address=address, attempts=(attempt,)),),
        addressee=Addressee(title=record.name, organisation=record.facts.office.name),
    )
    return GatewayCall(kind=kind, notice=notice, attempt=attempt)
