"""Execution of gateway calls as tasks, and storage of their results."""

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


#: Records the facts of a page (fax or letter) before it is sent.
RecordPage = Callable[[Sequence[Facts]], Awaitable[None]]


async def record_nothing(_: Sequence[Facts]) -> None:
    """Do nothing."""


class GatewayCaller:
    """Runner of gateway calls. The slots of the calls were taken, and their attempts stored, when they were decided."""

    #: Interval of trying to store a result while the database is unavailable.
    RETRY_INTERVAL = timedelta(seconds=5)

    def __init__(
        self,
        *,
        pool: GatewayPool,
        composer: Composer,
        clock: Clock,
        observer: Observer,
        policy: DeliveryPolicy,
        store_result: Callable[[GatewayCall, CallResult], Awaitable[bool]],
        on_end: Callable[[GatewayCall], None] = lambda _: None,
        record_page: RecordPage = record_nothing,
    ) -> None:
        """*store_result* stores the result of a call, and returns whether it was new.

        *on_end* is called at the end of a call if its result was new, or if another call waits for the end.
        *record_page* is called with the facts of a page before it is sent.
        """
        self._pool = pool
        self._composer = composer
        self._clock = clock
        self._observer = observer
        self._policy = policy
        self._store_result = store_result
        self._on_end = on_end
        self._record_page = record_page
        #: Ids of attempts with a running call or an unstored result, and whether another call waits for their end.
        self.active_calls: dict[int, bool] = {}
        #: SMS to one number are submitted one after the other, so that they arrive in order.
        self._sms_locks = WeakValueDictionary[Address, asyncio.Lock]()

    def start(self, call: GatewayCall, calls: asyncio.TaskGroup) -> None:
        """Start a call as a task of *calls*. No call of the same attempt may be running."""
        self.active_calls[call.attempt.id] = False
        is_serialised = call.kind is CallKind.SEND and call.address.channel is Channel.SMS
        turn_lock = self._sms_locks.setdefault(call.address, asyncio.Lock()) if is_serialised else nullcontext()
        calls.create_task(self._run(call, turn_lock))

    async def _run(self, call: GatewayCall, turn_lock: AbstractAsyncContextManager[None]) -> None:
        gateway = call.attempt.gateway
        is_new_result = True
        try:
            async with turn_lock:
                result = await self._call(call)
            if result is not None:
                is_new_result = await self._store_result_with_retries(call, result)
        # The attempt stays CALLING in the store, and is queried when its lease ends.
        except Exception:
            log.exception("gateway call could not be completed", gateway=gateway, reference=call.attempt.reference)
        finally:
            if self.active_calls.pop(call.attempt.id) or is_new_result:
                self._on_end(call)

    async def _call(self, call: GatewayCall) -> CallResult | None:
        """Call the gateway and release its slot, before the result is stored, which may take a while.

        Return `None` if the call came too late and was not made.
        """
        name = call.attempt.gateway
        try:
            if call.kind is CallKind.SEND and self._clock.now() >= call.attempt.query_at:
                # The process was suspended before the call. Another engine may have queried and sent the message since.
                log.warning(
                    "gateway call is past its deadline; checking its status first", reference=call.attempt.reference
                )
                return None
            configured = self._pool[name]
            if call.kind is CallKind.SEND and configured.channel in ON_PAPER:
                await self._record_page([part.facts for part in call.notification.parts])
            result = await make_call(call, configured, self._composer, self._policy, self._clock)
            if result.gateway_up is not None:
                if self._pool.record_state(name, up=result.gateway_up, now=self._clock.now()):
                    log.info("gateway state changed", gateway=name, up=result.gateway_up, reason=result.attempt.detail)
                self._observer.set_gateway_up(configured.channel, name, up=result.gateway_up)
            return result
        finally:
            self._pool.release_slot(name)

    async def _store_result_with_retries(self, call: GatewayCall, result: CallResult) -> bool:
        """Store the result of a call. Retry while the database is unavailable: the result exists nowhere else."""
        while True:
            try:
                return await self._store_result(call, result)
            except StoreUnavailable:
                await asyncio.sleep(self.RETRY_INTERVAL.total_seconds())
