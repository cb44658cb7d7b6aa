"""Call gateways as the cycle left it, and write down what they answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from weakref import WeakValueDictionary

import structlog

from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.engine.composer import Composer
from alerts.engine.gateway_call import CallKind, CallResult, GatewayCall, make_call
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.observer import Observer
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.notification import Facts
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable

log = structlog.get_logger()


#: Told what a page bears.
NotePage = Callable[[Sequence[Facts]], Awaitable[None]]


async def no_notes(_: Sequence[Facts]) -> None:
    """Note nothing."""


class GatewayCaller:
    """The calls that are under way. Their slots were taken, and their attempts written, when they were decided on."""

    #: While the store is away, before it is asked again to take an answer.
    AFTER_A_FAULT = timedelta(seconds=5)

    def __init__(
        self,
        *,
        pool: GatewayPool,
        composer: Composer,
        clock: Clock,
        observer: Observer,
        policy: DeliveryPolicy,
        write_down: Callable[[GatewayCall, CallResult], Awaitable[bool]],
        ended: Callable[[GatewayCall], None] = lambda _: None,
        note_page: NotePage = no_notes,
    ) -> None:
        """*write_down* stores what came of a call, and returns whether that was news.

        *ended* is told of a call that is over and written down, if it brought news or somebody waited for its end.
        *note_page* is told what a page bears, before it leaves.
        """
        self._pool = pool
        self._composer = composer
        self._clock = clock
        self._observer = observer
        self._policy = policy
        self._write_down = write_down
        self._ended = ended
        self._note_page = note_page
        #: Ids of the attempts whose gateway is being called, or whose answer is not written down yet. Each with whether
        #: somebody waits for its end, to make another call about it.
        self.under_way: dict[int, bool] = {}
        #: Of SMS to one number each is handed over before the next.
        self._turns = WeakValueDictionary[Address, asyncio.Lock]()

    def begin(self, call: GatewayCall, calls: asyncio.TaskGroup) -> None:
        """Make a call, as a task of the group *calls*. About its attempt none may be under way."""
        self.under_way[call.attempt.id] = False
        in_turn = call.kind is CallKind.SEND and call.address.channel is Channel.SMS
        turn = self._turns.setdefault(call.address, asyncio.Lock()) if in_turn else nullcontext()
        calls.create_task(self._make(call, turn))

    async def _make(self, call: GatewayCall, turn: AbstractAsyncContextManager[None]) -> None:
        gateway, is_news = call.attempt.gateway, True
        try:
            async with turn:
                outcome = await self._call(call)
            if outcome is not None:
                is_news = await self._write_down_for_sure(call, outcome)
        # What cannot be written down stays CALLING in the store; a notice is asked about when its lease ends.
        except Exception:
            log.exception("a call could not be completed", gateway=gateway, reference=call.attempt.reference)
        finally:
            if self.under_way.pop(call.attempt.id) or is_news:
                self._ended(call)

    async def _call(self, call: GatewayCall) -> CallResult | None:
        """Call the gateway, and let others have its slot: writing down may take a while."""
        name = call.attempt.gateway
        try:
            if call.kind is CallKind.SEND and self._clock.now() >= call.attempt.look_at:
                # We were stopped in between. By now another engine may have asked for it, and sent it again.
                log.warning("a call came too late to be made; asking for it first", reference=call.attempt.reference)
                return None
            line = self._pool[name]
            if call.kind is CallKind.SEND and line.channel in ON_PAPER:
                await self._note_page([part.facts for part in call.notice.parts])
            outcome = await make_call(call, line, self._composer, self._policy, self._clock)
            if outcome.gateway_up is not None:
                if self._pool.judge(name, up=outcome.gateway_up, now=self._clock.now()):
                    log.info("gateway judged", gateway=name, up=outcome.gateway_up, why=outcome.attempt.detail)
                self._observer.gateway_judged(line.channel, name, up=outcome.gateway_up)
            return outcome
        finally:
            self._pool.give_back(name)

    async def _write_down_for_sure(self, call: GatewayCall, outcome: CallResult) -> bool:
        """Write down what came of a call, as soon as the store takes it: nobody else knows."""
        while True:
            try:
                return await self._write_down(call, outcome)
            except StoreUnavailable:
                await asyncio.sleep(self.AFTER_A_FAULT.total_seconds())
