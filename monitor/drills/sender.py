"""Sender of drill notifications (tests of contacts and gateways). Each is sent by one gateway call, a request."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from alerts.decide.drill import ENDED, DrillState, drill_state
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.engine.composer import WordingComposer
from alerts.engine.gateway_call import CallKind, CallResult, GatewayCall, apply_report, make_call
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
from monitor.store.engine.drills import DrillNotificationRecord, Drills

log = structlog.get_logger()

#: Interval and period of status queries to a provider that sends no callbacks.
QUERY_INTERVAL = timedelta(minutes=1)
QUERY_PERIOD = timedelta(minutes=15)
#: Prefix of the references of drill notifications. References of incidents' notifications have another prefix.
_REFERENCE_PREFIX = "d"
_POLICY = DeliveryPolicy()


class DrillSender:
    """Calls gateways for stored drill notifications, and records the results."""

    def __init__(self, *, drills: Drills, pool: GatewayPool, wording: Wording, metrics: Metrics, clock: Clock) -> None:
        self._drills = drills
        self._pool = pool
        self._metrics = metrics
        self._clock = clock
        self.composer = WordingComposer(wording)
        self.gateway_caller = GatewayCaller(
            pool=pool,
            composer=self.composer,
            clock=clock,
            observer=metrics,
            policy=_POLICY,
            store_result=self._record_result,
        )

    def send(self, record: DrillNotificationRecord, expires_at: datetime, calls: asyncio.TaskGroup) -> None:
        """Send once, as a task of *calls*, and release the gateway's slot at its end."""
        self.gateway_caller.start(_gateway_call(CallKind.SEND, record, expires_at), calls)

    def query_status(self, record: DrillNotificationRecord, calls: asyncio.TaskGroup) -> None:
        """Query the status, as a task of *calls*. No other call for the record may be under way."""
        self.gateway_caller.start(_gateway_call(CallKind.CHECK, record), calls)

    def has_call(self, record: DrillNotificationRecord) -> bool:
        """Whether a gateway call for the record is under way, or its result is not stored yet."""
        return record.id in self.gateway_caller.active_calls

    async def withdraw_letter(self, record: DrillNotificationRecord) -> None:
        """Withdraw a letter from its tray, because a drill's letter must not be posted."""
        call = _gateway_call(CallKind.WITHDRAW, record)
        result = await make_call(call, self._pool[record.gateway], self.composer, _POLICY, self._clock)
        if result.attempt.error is not None:
            why = result.attempt.detail
            log.warning("drill letter could not be withdrawn from the tray", gateway=record.gateway, reason=why)

    async def _record_result(self, call: GatewayCall, result: CallResult) -> bool:
        """Record the result of a call. Return whether the call has changed the attempt."""
        # A query without a result leaves the attempt unchanged, and is repeated.
        if has_changed := result.attempt is not call.attempt:
            await self._record_attempt(call.address.channel, result.attempt)
        return has_changed

    async def _record_attempt(self, channel: Channel, attempt: Attempt) -> None:
        before = await self._drills.find(attempt.reference)  # Read again, because a callback may have changed it.
        now, state = self._clock.now(), drill_state(channel, attempt)
        failed = state is DrillState.FAILED
        after = await self._drills.change(
            attempt.reference,
            state,
            now,
            why=" ".join(filter(None, (attempt.detail, f"({attempt.code})" if attempt.code else ""))) if failed else "",
            provider_id=attempt.provider_id,
            query_at=None if failed else now + QUERY_INTERVAL,
        )
        self._count_end(before, after)

    def _count_end(self, before: DrillNotificationRecord | None, after: DrillNotificationRecord | None) -> None:
        if before is not None and after is not None and after.state is not before.state and after.state in ENDED:
            self._metrics.watchdog.count_drill_notification(after.channel, after.state)

    # -- callbacks of providers ----------------------------------------------------------------------------------

    async def record(self, event: CallbackEvent) -> AckResult | None:
        """Record a callback about a drill notification; return the effect of a key press. `None`: not about a drill."""
        before = await self._find(event.reference)
        if before is None:
            return None
        if event.report is not None:
            call = _gateway_call(CallKind.CHECK, before)
            attempt = apply_report(call.delivery, call.attempt, event.report, _POLICY, self._clock.now())
            await self._record_attempt(before.channel, attempt)
        if not event.acknowledged:
            return AckResult.NONE
        after = await self._drills.change(event.reference, DrillState.CONFIRMED, self._clock.now())
        self._count_end(before, after)
        return AckResult.AGAIN if before.state is DrillState.CONFIRMED else AckResult.TAKEN

    async def content(self, reference: str) -> Content | None:
        """Return the content of a drill notification; `None`: the notification belongs to no drill."""
        record = await self._find(reference)
        if record is None:
            return None
        # Only the notification of the call is used, so its kind does not matter.
        return await self.composer.compose(_gateway_call(CallKind.CHECK, record).notification, record.channel)

    async def _find(self, reference: str) -> DrillNotificationRecord | None:
        return await self._drills.find(reference) if reference.startswith(_REFERENCE_PREFIX) else None


def _gateway_call(kind: CallKind, record: DrillNotificationRecord, expires_at: datetime | None = None) -> GatewayCall:
    """Return the gateway call for a record, as a notification without an incident."""
    expiry = expires_at or record.started_at + QUERY_PERIOD
    address = Address(channel=record.channel, number=record.number, extension=record.extension)
    attempt = Attempt(
        id=record.id,
        n=1,
        reference=record.reference,
        gateway=record.gateway,
        state=AttemptState.CALLING,
        started_at=record.started_at,
        query_at=expiry,
        provider_id=record.provider_id,
    )
    notification = Notification(
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
        expires_at=expiry,
        addresses=(address,),
        deliveries=(Delivery(id=record.id, address=address, attempts=(attempt,)),),
        addressee=Addressee(title=record.name, organisation=record.facts.office.name),
    )
    return GatewayCall(kind=kind, notification=notification, attempt=attempt)
