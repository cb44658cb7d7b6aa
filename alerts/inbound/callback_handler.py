"""Callback handlers of the gateways: implement `alerts.model.gateway.CallbackHandler`. Replies follow the commit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from alerts.decide.contradiction import Delivered
from alerts.engine.dispatcher import Dispatcher
from alerts.inbound.inbound_sms import receive
from alerts.inbound.phone_release import PhoneRelease
from alerts.inbound.pin import PinStore
from alerts.model.gateway import AckResult, CallbackEvent, Content, InboundSms, ReleasePrompt, ReleaseStage, SmsContent
from alerts.persistence.clock import Clock
from alerts.persistence.store import Store
from alerts.wording.sms import answer
from alerts.wording.texts import Wording


class DrillCallbackHandler(Protocol):
    """Handles callbacks of drill notifications; returns `None` for others. A key press acknowledges only the drill."""

    async def record(self, heard: CallbackEvent) -> AckResult | None: ...

    async def content(self, reference: str) -> Content | None: ...


class SupportsMeasuring(Protocol):
    """Provides the newest runs of agencies, and starts new ones."""

    def begin(self, agencies: Collection[str]) -> object: ...

    async def newest(self, agencies: Collection[str]) -> Mapping[str, Delivered]: ...


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
    #: `None`: this process measures nothing.
    measuring: SupportsMeasuring | None = None

    def of(self, gateway: str) -> GatewayCallbackHandler:
        """Return the callback handler of the gateway with this name."""
        return GatewayCallbackHandler(self, gateway)


class GatewayCallbackHandler:
    """Callback handler of one gateway."""

    def __init__(self, desks: CallbackHandlers, gateway: str) -> None:
        self._desks = desks
        self._gateway = gateway
        self._releasing = PhoneRelease(desks.wording)

    async def record(self, heard: CallbackEvent) -> AckResult:
        drills = self._desks.drills
        if drills is not None and (result := await drills.record(heard)) is not None:
            return result
        return await self._desks.dispatcher.record(self._gateway, heard)

    async def content(self, reference: str) -> Content | None:
        drills = self._desks.drills
        if drills is not None and (content := await drills.content(reference)) is not None:
            return content
        return await self._desks.dispatcher.content(reference)

    async def receive(self, said: InboundSms) -> SmsContent | None:
        desks = self._desks
        async with desks.store.transaction() as ledger:
            reaction = await receive(ledger, self._gateway, said, desks.clock.now())
        if reaction is None:
            return None
        desks.dispatcher.note_told(reaction.tellings)
        desks.dispatcher.stir(*reaction.concerned)
        return answer(reaction.situation, reaction.language, desks.wording, reaction.told, until=reaction.until)

    async def begin_release(self, reference: str) -> ReleasePrompt:
        desks = self._desks
        async with desks.store.transaction() as ledger:
            said = await self._releasing.begin(ledger, desks.pins(), reference, desks.clock.now())
            about = await self._releasing.about(ledger, desks.pins(), reference, desks.clock.now())
        if desks.measuring is not None and said.stage is ReleaseStage.PIN:
            # The runs end before the PIN is typed and everything is read out.
            desks.measuring.begin(about)
        return said

    async def prove_release(self, reference: str, pin: str) -> ReleasePrompt:
        desks, pins = self._desks, self._desks.pins()
        async with desks.store.transaction() as ledger:
            whose = await self._releasing.whose(ledger, pins, reference, desks.clock.now())
        # Outside the transaction, because hashing is slow on purpose.
        right = whose is not None and await pins.check(*whose, pin)
        async with desks.store.transaction() as ledger:
            return await self._releasing.prove(ledger, pins, reference, desks.clock.now(), right=right)

    async def release(self, reference: str) -> ReleasePrompt:
        desks, delivered = self._desks, dict[str, Delivered]()
        if desks.measuring is not None:
            async with desks.store.transaction() as ledger:
                about = await self._releasing.about(ledger, desks.pins(), reference, desks.clock.now())
            delivered |= await desks.measuring.newest(about)
        async with desks.store.transaction() as ledger:
            said = await self._releasing.confirm(ledger, desks.pins(), reference, desks.clock.now(), delivered)
        desks.dispatcher.poke()
        return said
