"""Call gateways as the cycle left it, and write down what they answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta

import structlog

from alerts.decide.move import DeliveryPolicy
from alerts.engine.composer import Composer
from alerts.engine.errand import Deed, Errand, Outcome, told_by
from alerts.engine.errand import run as run_errand
from alerts.engine.exchange import Exchange, Line
from alerts.engine.group_commit import GroupCommit, LedgerWork
from alerts.engine.observer import Observer
from alerts.record.clock import Clock
from alerts.record.store import Ledger, StoreAway

log = structlog.get_logger()


class Calls:
    """The calls that are under way. Their slots were taken, and their attempts written, when they were decided on."""

    #: While the store is away, before it is asked again to take an answer.
    AFTER_A_FAULT = timedelta(seconds=5)

    def __init__(
        self,
        *,
        together: GroupCommit[LedgerWork],
        exchange: Exchange,
        composer: Composer,
        clock: Clock,
        observer: Observer,
        policy: DeliveryPolicy,
        ended: Callable[[int], None],
    ) -> None:
        """Let *ended* be told of which incident a call is over and written down."""
        self._together = together
        self._exchange = exchange
        self._composer = composer
        self._clock = clock
        self._observer = observer
        self._policy = policy
        self._ended = ended
        self._under_way: set[int] = set()

    @property
    def under_way(self) -> AbstractSet[int]:
        """Ids of the attempts whose gateway is being called, or whose answer is not written down yet."""
        return self._under_way

    def begin(self, errand: Errand, calls: asyncio.TaskGroup) -> None:
        """Make a call, as a task of the group *calls*."""
        self._under_way.add(errand.attempt.id)
        calls.create_task(self._make(errand))

    async def _make(self, errand: Errand) -> None:
        gateway = errand.attempt.gateway
        try:
            if (called := await self._call(errand)) is not None:
                await self._write_down_for_sure(errand, *called)
        # What cannot be written down stays CALLING in the store and is asked about when its lease ends.
        except Exception:
            log.exception("a call could not be completed", gateway=gateway, reference=errand.attempt.reference)
        finally:
            self._under_way.discard(errand.attempt.id)
            self._ended(errand.notice.incident_id)  # The one that looks after it.

    async def _call(self, errand: Errand) -> tuple[Line, Outcome] | None:
        """Call the gateway, and let others have its slot: writing down may take a while."""
        name = errand.attempt.gateway
        try:
            if errand.deed is Deed.SEND and self._clock.now() >= errand.attempt.look_at:
                # We were stopped in between. By now another engine may have asked for it, and sent it again.
                log.warning("a call came too late to be made; asking for it first", reference=errand.attempt.reference)
                return None
            line = self._exchange[name]
            outcome = await run_errand(errand, line, self._composer, self._policy, self._clock)
            self._judge(line, outcome)
            return line, outcome
        finally:
            self._exchange.give_back(name)

    def _judge(self, line: Line, outcome: Outcome) -> None:
        if outcome.gateway_up is None:
            return
        if self._exchange.judge(line.name, up=outcome.gateway_up, now=self._clock.now()):
            log.info("gateway judged", gateway=line.name, up=outcome.gateway_up, why=outcome.attempt.detail)
        self._observer.gateway_judged(line.channel, line.name, up=outcome.gateway_up)

    async def _write_down_for_sure(self, errand: Errand, line: Line, outcome: Outcome) -> None:
        """Write down what came of a call, as soon as the store takes it: nobody else knows."""
        while True:
            try:
                await self._write_down(errand, line, outcome)
            except StoreAway:
                await asyncio.sleep(self.AFTER_A_FAULT.total_seconds())
            else:
                return

    async def _write_down(self, errand: Errand, line: Line, outcome: Outcome) -> None:
        now, attempt = self._clock.now(), outcome.attempt

        async def answer(ledger: Ledger) -> None:
            await ledger.save_attempt(attempt)
            # A letter is looked for every minute for as long as it lies in its tray: only what changed is journalled.
            if errand.deed is not Deed.CHECK or attempt.state is not errand.attempt.state:
                told = told_by(line.name, errand.notice, attempt, errand.deed, now)
                await ledger.journal(replace(told, detail={**told.detail, "sha256": outcome.sha256}))

        await self._together.write(answer)
