"""Execution of gateway calls, and storage of their results."""

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


#: Called with the facts of a page.
NotePage = Callable[[Sequence[Facts]], Awaitable[None]]


async def no_notes(_: Sequence[Facts]) -> None:
    """Do nothing."""


class GatewayCaller:
    """Calls under way. Their slots were taken and their attempts stored when they were decided."""

    #: Retry interval of storing a result while the database is unavailable.
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
        """*write_down* stores a call's result, and returns whether it was new.

        *ended* is called after a stored call if its result was new or another call waits for its end. *note_page* is
        called with a page before it is sent.
        """
        self._pool = pool
        self._composer = composer
        self._clock = clock
        self._observer = observer
        self._policy = policy
        self._write_down = write_down
        self._ended = ended
        self._note_page = note_page
        #: Ids of attempts with a call under way or an unstored result, each with whether another call waits for it.
        self.under_way: dict[int, bool] = {}
        #: SMS to one number are submitted one after the other.
        self._turns = WeakValueDictionary[Address, asyncio.Lock]()

    def begin(self, call: GatewayCall, calls: asyncio.TaskGroup) -> None:
        """Start a call as a task of *calls*. Its attempt must have none under way."""
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
        # An unstored attempt stays CALLING; it is queried when its lease ends.
        except Exception:
            log.exception("gateway call could not be completed", gateway=gateway, reference=call.attempt.reference)
        finally:
            if self.under_way.pop(call.attempt.id) or is_news:
                self._ended(call)

    async def _call(self, call: GatewayCall) -> CallResult | None:
        """Call the gateway and release its slot: storing the result may take a while."""
        name = call.attempt.gateway
        try:
            if call.kind is CallKind.SEND and self._clock.now() >= call.attempt.query_at:
                # The process was suspended before the call; another engine may have queried and sent it since.
                log.warning(
                    "gateway call is past its deadline; checking its status first", reference=call.attempt.reference
                )
                return None
            line = self._pool[name]
            if call.kind is CallKind.SEND and line.channel in ON_PAPER:
                await self._note_page([part.facts for part in call.notice.parts])
            outcome = await make_call(call, line, self._composer, self._policy, self._clock)
            if outcome.gateway_up is not None:
                if self._pool.record_state(name, up=outcome.gateway_up, now=self._clock.now()):
                    log.info(
                        "gateway state changed", gateway=name, up=outcome.gateway_up, reason=outcome.attempt.detail
                    )
                self._observer.gateway_judged(line.channel, name, up=outcome.gateway_up)
            return outcome
        finally:
            self._pool.give_back(name)

    async def _write_down_for_sure(self, call: GatewayCall, outcome: CallResult) -> bool:
        """Store the result of a call, retrying while the database is unavailable: no other copy exists."""
        while True:
            try:
                return await self._write_down(call, outcome)
            except StoreUnavailable:
                await asyncio.sleep(self.AFTER_A_FAULT.total_seconds())
