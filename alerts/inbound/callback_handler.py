"""Callback handlers of the gateways: they process the reports of providers and the answers of people.

They implement `alerts.model.gateway.CallbackHandler`. A reply is returned after the effect of the person's answer is
committed. *reference*: of an attempt (one request to a gateway); callbacks contain it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from alerts.decide.contradiction import LatestArrivals
from alerts.engine.dispatcher import Dispatcher
from alerts.inbound.inbound_sms import receive_sms
from alerts.inbound.phone_release import PhoneRelease
from alerts.inbound.pin import PinStore
from alerts.model.gateway import AckResult, CallbackEvent, Content, InboundSms, ReleasePrompt, ReleaseStage, SmsContent
from alerts.persistence.clock import Clock
from alerts.persistence.store import Store
from alerts.wording.sms import compose_reply
from alerts.wording.texts import Wording


class DrillCallbackHandler(Protocol):
    """Handler of callbacks about drill (test) notifications. It returns `None` for other notifications.

    A key press acknowledges only the drill.
    """

    async def record(self, event: CallbackEvent) -> AckResult | None: ...

    async def content(self, reference: str) -> Content | None: ...


class SupportsMeasuring(Protocol):
    """Provider of the agencies' newest probe runs. It can start new runs."""

    def begin(self, agencies: Collection[str]) -> object:
        """Start new runs without waiting for them."""

    async def newest(self, agencies: Collection[str]) -> Mapping[str, LatestArrivals]:
        """Return the newest arrivals of probe messages, by agency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackHandlers:
    """Factory of the callback handler of each gateway."""

    dispatcher: Dispatcher
    store: Store
    wording: Wording
    #: Returns the PINs of the current configuration.
    pins: Callable[[], PinStore]
    clock: Clock
    drills: DrillCallbackHandler | None = None
    #: `None` in a process that does not probe.
    measuring: SupportsMeasuring | None = None

    def for_gateway(self, gateway: str) -> GatewayCallbackHandler:
        """Return the callback handler of the gateway with this name."""
        return GatewayCallbackHandler(self, gateway)


class GatewayCallbackHandler:
    """Callback handler of one gateway."""

    def __init__(self, handlers: CallbackHandlers, gateway: str) -> None:
        self._handlers = handlers
        self._gateway = gateway
        self._phone_release = PhoneRelease(handlers.wording)

    async def record(self, event: CallbackEvent) -> AckResult:
        drills = self._handlers.drills
        if drills is not None and (result := await drills.record(event)) is not None:
            return result
        return await self._handlers.dispatcher.record_callback(self._gateway, event)

    async def content(self, reference: str) -> Content | None:
        drills = self._handlers.drills
        if drills is not None and (content := await drills.content(reference)) is not None:
            return content
        return await self._handlers.dispatcher.attempt_content(reference)

    async def receive(self, sms: InboundSms) -> SmsContent | None:
        handlers = self._handlers
        async with handlers.store.transaction() as uow:
            reply = await receive_sms(uow, self._gateway, sms, handlers.clock.now())
        if reply is None:
            return None
        handlers.dispatcher.report_latencies(reply.ack_latencies)
        handlers.dispatcher.enqueue(*reply.incident_ids)
        return compose_reply(
            reply.situation, reply.language, handlers.wording, reply.values, stated_time=reply.stated_time
        )

    async def begin_release(self, reference: str) -> ReleasePrompt:
        handlers = self._handlers
        async with handlers.store.transaction() as uow:
            prompt = await self._phone_release.begin(uow, handlers.pins(), reference, handlers.clock.now())
            agencies = await self._phone_release.agencies(uow, handlers.pins(), reference, handlers.clock.now())
        if handlers.measuring is not None and prompt.stage is ReleaseStage.PIN:
            # `release` checks whether new probe runs show that mail works again. The runs end while the person types
            # the PIN and listens.
            handlers.measuring.begin(agencies)
        return prompt

    async def verify_pin(self, reference: str, pin: str) -> ReleasePrompt:
        handlers, pins = self._handlers, self._handlers.pins()
        async with handlers.store.transaction() as uow:
            pin_owner = await self._phone_release.pin_owner(uow, pins, reference, handlers.clock.now())
        # The check is outside the transaction, because the hash is slow on purpose. `pin_owner`: agency, contact's key.
        is_correct = pin_owner is not None and await pins.check(*pin_owner, pin)
        async with handlers.store.transaction() as uow:
            now = handlers.clock.now()
            return await self._phone_release.record_pin(uow, pins, reference, now, is_correct=is_correct)

    async def release(self, reference: str) -> ReleasePrompt:
        handlers, arrivals = self._handlers, dict[str, LatestArrivals]()
        if handlers.measuring is not None:
            async with handlers.store.transaction() as uow:
                agencies = await self._phone_release.agencies(uow, handlers.pins(), reference, handlers.clock.now())
            arrivals |= await handlers.measuring.newest(agencies)
        async with handlers.store.transaction() as uow:
            prompt = await self._phone_release.release(uow, handlers.pins(), reference, handlers.clock.now(), arrivals)
        handlers.dispatcher.wake()
        return prompt
