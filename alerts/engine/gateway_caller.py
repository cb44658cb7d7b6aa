"""Execution of gateway calls as tasks, and storage of their results.

An attempt is one request to a gateway to send a notification. While the gateway is called, the attempt is CALLING until
its lease ends at `Attempt.query_at`; later the gateway is queried about the attempt.
"""

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


#: Function that records the facts of a fax or letter before it is sent.
RecordPage = Callable[[Sequence[Facts]], Awaitable[None]]


async def record_nothing(_: Sequence[Facts]) -> None:
    """Do nothing."""


class GatewayCaller:
    """Runner of decided gateway calls. For each, a slot of the gateway is already taken and the attempt stored."""

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

        *on_end* is called at the end of a call if its result was new, or if another call of the attempt waits for the
        end. *record_page* is called with the facts of a fax or letter before it is sent.
        """
        self._pool = pool
        self._composer = composer
        self._clock = clock
        self._observer = observer
        self._policy = policy
        self._store_result = store_result
        self._on_end = on_end
        self._record_page = record_page
        #: By id of each attempt with a running call or an unstored result: whether another call waits for the end.
        self.active_calls: dict[int, bool] = {}
        #: Lock of each number: SMS to one number are submitted one after the other, so that they arrive in order.
        self._sms_locks = WeakValueDictionary[Address, asyncio.Lock]()

    def start(self, call: GatewayCall, calls: asyncio.TaskGroup) -> None:
        """Start a call as a task of *calls*. The attempt must not have a running call."""
        self.active_calls[call.attempt.id] = False
        is_serialised = call.kind is CallKind.SEND and call.address.channel is Channel.SMS
        order_lock = self._sms_locks.setdefault(call.address, asyncio.Lock()) if is_serialised else nullcontext()
        calls.create_task(self._run(call, order_lock))

    async def _run(self, call: GatewayCall, order_lock: AbstractAsyncContextManager[None]) -> None:
        """Make a call while holding *order_lock*, and store its result."""
        gateway = call.attempt.gateway
        is_new_result = True
        try:
            async with order_lock:
                result = await self._call(call)
            if result is not None:
                is_new_result = await self._store_result_with_retries(call, result)
        # The stored attempt stays CALLING, and the gateway is queried about it when the lease ends.
        except Exception:
            log.exception("gateway call could not be completed", gateway=gateway, reference=call.attempt.reference)
        finally:
            if self.active_calls.pop(call.attempt.id) or is_new_result:
                self._on_end(call)

    async def _call(self, call: GatewayCall) -> CallResult | None:
        """Call the gateway, then release its slot without waiting until the result is stored.

        Return `None` without a call if the lease of the attempt has ended.
        """
        name = call.attempt.gateway
        try:
            if call.kind is CallKind.SEND and self._clock.now() >= call.attempt.query_at:
                # The process was suspended before the call. Another engine may have queried the gateway and sent the
                # message since.
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
        """Store the result of a call. Retry while the database is unavailable, because there is no other copy."""
        while True:
            try:
                return await self._store_result(call, result)
            except StoreUnavailable:
                await asyncio.sleep(self.RETRY_INTERVAL.total_seconds())
