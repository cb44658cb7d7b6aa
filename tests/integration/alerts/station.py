"""A dispatcher on a real store, with gateways that do as they are told and a clock that is advanced."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from sqlalchemy import select

from alerts.decide.gateway.latency import NotificationLatency
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.engine.processing_result import OpenIncident
from alerts.model.channel import Channel
from alerts.model.delivery import Notification, NotificationState
from alerts.model.event import Acknowledge, Event, Release, Resolve
from alerts.model.gateway import (
    CallbackHandler,
    CallbackRejectedError,
    CallbackRequest,
    CallbackResponse,
    Content,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    SendRequest,
    SmsContent,
    SubmissionNotFound,
    SubmissionState,
)
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType, Purpose
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.store import Store, StoreUnavailable, UnitOfWork
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import audit_log
from tests.in_the_loop import opened_in_the_loop
from tests.unit.alerts.people import T0


class Clock:
    """Stands still until it is advanced."""

    def __init__(self) -> None:
        self.moment = T0

    def now(self) -> datetime:
        return self.moment


class Words:
    """Puts a notice into few words, and counts how often."""

    def __init__(self) -> None:
        self.composed: Counter[Channel] = Counter()

    async def compose(self, notice: Notification, channel: Channel, *, response: str = "") -> Content:
        self.composed[channel] += 1
        numbers = "+".join(part.facts.number for part in notice.parts)
        return SmsContent(text=f"{notice.facts.purpose} {notice.facts.type} {numbers}")


@dataclass
class Watcher:
    """Keeps what the dispatcher says about its work."""

    entered: list[tuple[Purpose, NotificationState]] = field(default_factory=list)
    bundled: int = 0
    held: Counter[RateLimitScope] = field(default_factory=Counter)
    #: Rotas that had nobody on call, by agency.
    deserted: Counter[str] = field(default_factory=Counter)
    #: As it was told of each gateway last.
    overdue_gateways: dict[str, bool | None] = field(default_factory=dict)
    cycles: int = 0
    #: Open incidents by agency.
    open: Sequence[OpenIncident] = ()
    latencies: list[NotificationLatency] = field(default_factory=list)
    cycled: asyncio.Event = field(default_factory=asyncio.Event)

    def count_notification(self, channel: Channel, purpose: Purpose, state: NotificationState) -> None:
        self.entered.append((purpose, state))

    def count_empty_rotas(self, agency: str, rotas: int) -> None:
        self.deserted[agency] += rotas

    def count_bundled_notifications(self, channel: Channel, notifications: int) -> None:
        self.bundled += notifications

    def count_throttled_notifications(self, channel: Channel, scope: RateLimitScope, notifications: int) -> None:
        self.held[scope] += notifications

    def set_gateway_up(self, channel: Channel, gateway: str, *, up: bool) -> None:
        pass

    def set_receipts_overdue(self, channel: Channel, gateway: str, *, overdue: bool | None) -> None:
        self.overdue_gateways[gateway] = overdue

    def record_latency(self, latency: NotificationLatency) -> None:
        self.latencies.append(latency)

    def count_rejected_callback(self, gateway: str, reason: str) -> None:
        pass

    def set_declared_outages(self, declared: Mapping[str, IncidentType], *, all_known: bool) -> None:
        pass

    def record_cycle(
        self, now: datetime, oldest_pending: datetime | None, open_incidents: Collection[OpenIncident]
    ) -> None:
        self.cycles += 1
        self.open = [*open_incidents]
        self.cycled.set()


#: What happens to a submission. `LOST_ANSWER`: it was taken, and we were not told. `HANG`: the same, and for ever.
LOST_ANSWER, NOT_REACHED, HANG = "lost answer", "not reached", "hang"
Happening = SubmissionState | ErrorClass | Exception | str


@dataclass
class Scripted:
    """A gateway that remembers what it was handed. What happens next is put into `happens`; else it accepts."""

    #: Whether it knows for certain what it never got.
    certain: bool = False
    happens: deque[Happening] = field(default_factory=deque)
    #: Whether what it took has ended when it is asked: a carrier's calls do, and a telephone takes one call at a time.
    ends: bool = False
    #: Whether it can be asked at all.
    reachable: bool = True
    #: What it took, with how that stands.
    taken: dict[str, SubmissionState] = field(default_factory=dict)
    orders: list[SendRequest] = field(default_factory=list)
    #: "send p1-1-...", "find ...", in order.
    calls: list[str] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    #: How what failed is reported.
    fails_by: ErrorClass = ErrorClass.TRANSIENT

    @property
    def sent(self) -> list[str]:
        """Purpose and address of each submission."""
        return [f"{_text(o).split()[0]} to {o.address}" for o in self.orders]

    async def send(self, order: SendRequest) -> DeliveryReport:
        self.orders.append(order)
        self._called("send", order)
        match self.happens.popleft() if self.happens else SubmissionState.ACCEPTED:
            case SubmissionState() as progress:
                self.taken[order.reference] = progress
                return self._report(order.reference)
            case ErrorClass() as error:
                raise DeliveryError(error, "refused")
            case Exception() as bug:
                raise bug
            case str() as trouble:
                if trouble != NOT_REACHED:
                    self.taken[order.reference] = SubmissionState.ACCEPTED
                if trouble == HANG:
                    await asyncio.Event().wait()
                raise DeliveryError(ErrorClass.UNKNOWN, trouble)

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        self._called("find", order)
        return (
            self._report(order.reference) if order.reference in self.taken else SubmissionNotFound(certain=self.certain)
        )

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
        self._called("check", order)
        if self.ends and self.taken[order.reference] is SubmissionState.ACCEPTED:
            self.taken[order.reference] = SubmissionState.DELIVERED
        return self._report(order.reference)

    def fails(self, error: ErrorClass) -> None:
        """Let everything that is under way fail."""
        self.taken |= {
            each: SubmissionState.FAILED for each, how in self.taken.items() if how is SubmissionState.ACCEPTED
        }
        self.fails_by = error

    async def withdraw(self, order: SendRequest, provider_id: str) -> bool:
        self._called("withdraw", order)
        return (
            self.taken.get(order.reference) is SubmissionState.ACCEPTED and self.taken.pop(order.reference) is not None
        )

    async def handle_callback(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:
        raise CallbackRejectedError(404, "no callbacks")

    async def close(self) -> None:
        pass

    def _called(self, deed: str, order: SendRequest) -> None:
        self.calls.append(f"{deed} {order.reference}")
        self.called.set()
        if not self.reachable and deed != "send":
            raise DeliveryError(ErrorClass.CONFIGURATION, "not reached")

    def _report(self, reference: str) -> DeliveryReport:
        progress = self.taken[reference]
        error = self.fails_by if progress is SubmissionState.FAILED else None
        return DeliveryReport(progress=progress, provider_id=f"id-{reference}", error=error)


def _text(order: SendRequest) -> str:
    assert isinstance(order.content, SmsContent)
    return order.content.text


class _DiskFull(Exception):
    """Rolls a transaction back."""


#: Looks at what a transaction is about to ask of the ledger, by name (at its end "commit") and arguments, and
#: raises what is to go wrong.
Meddler = Callable[[str, tuple[object, ...]], None]


class _Broken(Exception):
    """Rolls a transaction back, for the sake of what is the trouble."""

    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self.trouble = trouble


class _Meddled:
    """A ledger with somebody who looks at each call before it is made.

    What they raise is rolled back first and raised then: it is not the database's own trouble.
    """

    def __init__(self, inner: UnitOfWork, meddler: Meddler) -> None:
        self._inner = inner
        self._meddler = meddler

    def meddle(self, name: str, args: tuple[object, ...] = ()) -> None:
        try:
            self._meddler(name, args)
        except Exception as trouble:
            raise _Broken(trouble) from trouble

    def __getattr__(self, name: str) -> object:
        method = getattr(self._inner, name)
        if not callable(method):
            return method

        async def call(*args: object, **named: object) -> object:
            self.meddle(name, args)
            return await method(*args, **named)

        return call


class BreakableStore:
    """A store that can be away for a while: nothing is committed, as on a full disk."""

    def __init__(self, inner: SqlStore) -> None:
        self._inner = inner
        #: No transaction begins: refused at once, as while a server is known to be away.
        self.is_gone = False
        self.refused = 0
        self.refusal = asyncio.Event()
        #: Lets a single call of a ledger go wrong, in the middle of a transaction.
        self.meddler: Meddler | None = None
        self.away = False
        self.trouble: Exception = OSError("disk full")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        if self.is_gone:
            self.refused += 1
            self.refusal.set()
            raise StoreUnavailable("the server restarts")
        try:
            async with self._inner.transaction() as uow:
                if self.meddler is None:
                    yield uow
                else:
                    yield cast(UnitOfWork, meddled := _Meddled(uow, self.meddler))
                    meddled.meddle("commit")
                self._commit()
        except _DiskFull:
            raise self.trouble from None
        except _Broken as broken:
            raise broken.trouble from None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[UnitOfWork]:
        if self.is_gone:
            raise StoreUnavailable("the server restarts")
        try:
            async with self._inner.reading() as uow:
                yield uow if self.meddler is None else cast(UnitOfWork, _Meddled(uow, self.meddler))
        except _Broken as broken:
            raise broken.trouble from None

    def _commit(self) -> None:
        if self.away:
            raise _DiskFull

    def refuse_next(self, operation: str) -> None:
        """Roll back, as on a full disk, the transaction that next asks this of its ledger."""

        def meddle(name: str, _: tuple[object, ...]) -> None:
            if name == operation:
                self.meddler = None
                raise self.trouble

        self.meddler = meddle


class Station:
    """Everything between an event and a gateway."""

    def __init__(self, database: Database, policy: DeliveryPolicy | None = None) -> None:
        self.database = database
        self.clock = Clock()
        self.store = BreakableStore(SqlStore(database))
        self.sms, self.voice, self.fax = Scripted(), Scripted(ends=True), Scripted()
        self.modem = Scripted()
        self.tray = Scripted(certain=True)
        self.words = Words()
        self.policy = policy
        #: Whether nobody is told of anything for now, and whom an incident tells that opened meanwhile.
        self.is_monitor_only = False
        self.brief: Callable[[Incident], PolicySnapshot | None] = lambda _: None
        self.restart()

    def lines(self) -> list[ConfiguredGateway]:
        return [
            ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=self.sms),
            ConfiguredGateway(name="modem", channel=Channel.SMS, gateway=self.modem),
            ConfiguredGateway(name="voice", channel=Channel.VOICE, gateway=self.voice),
            ConfiguredGateway(name="fax", channel=Channel.FAX, gateway=self.fax),
            ConfiguredGateway(name="tray", channel=Channel.LETTER, gateway=self.tray),
        ]

    @property
    def gateways(self) -> Sequence[Scripted]:
        return self.sms, self.modem, self.voice, self.fax, self.tray

    @property
    def calls(self) -> list[str]:
        return [call for gateway in self.gateways for call in gateway.calls]

    def restart(self, lines: Iterable[ConfiguredGateway] | None = None) -> None:
        """Forget all that was in memory."""
        self.watcher = Watcher()
        self.pool = GatewayPool(lines or self.lines())
        self.dispatcher = Dispatcher(
            store=_checked(self.store),
            pool=self.pool,
            composer=self.words,
            clock=self.clock,
            observer=self.watcher,
            policy=self.policy,
            is_monitor_only=lambda: self.is_monitor_only,
            policy_for=self._brief,
        )

    def _brief(self, incident: Incident) -> PolicySnapshot | None:
        return self.brief(incident)

    async def crash_and_restart(self) -> None:
        """Cut off all calls in the middle of one cycle, and start again as `run` does."""
        before = self.watcher.cycles
        calls = asyncio.create_task(self._one_cycle())
        while self.watcher.cycles == before:
            self.watcher.cycled.clear()
            await self.watcher.cycled.wait()
        for _ in range(3):  # The calls begin and reach their gateways.
            await asyncio.sleep(0)
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)
        self.restart()
        async with self.store.transaction() as uow:
            await uow.requery_orphaned_calls(self.clock.now())

    async def _one_cycle(self) -> None:
        async with asyncio.TaskGroup() as calls:
            await self.dispatcher.run_cycle(calls)

    async def submit(self, event: Event) -> Incident | None:
        incident = await self.dispatcher.submit(event)
        await self.settle()
        return incident

    async def acknowledge(self, incident_id: int = 1) -> Incident | None:
        return await self.submit(Acknowledge(incident_id=incident_id, at=self.clock.now(), by="Siti Contoh"))

    async def release(self, incident_id: int = 1, by: str = "Siti Contoh") -> Incident | None:
        return await self.submit(Release(incident_id=incident_id, at=self.clock.now(), by=by))

    async def resolve(self, dedup_key: str = "JCM") -> Incident | None:
        now = self.clock.now()
        return await self.submit(Resolve(dedup_key=dedup_key, at=now, ended_at=now))

    async def settle(self) -> datetime | None:
        """Run the cycle until nothing more is due now; return when something is."""
        for _ in range(100):
            async with asyncio.TaskGroup() as calls:
                advance = await self.dispatcher.run_cycle(calls)
            if not advance.calls and (advance.wake is None or advance.wake > self.clock.now()):
                return advance.wake
        raise AssertionError("the cycle does not come to rest")

    async def advance(self, by: timedelta) -> None:
        """Let time pass, waking when the dispatcher asked for it."""
        until = self.clock.moment + by
        while True:
            wake = await self.settle()
            if wake is None or wake > until:
                self.clock.moment = until
                await self.settle()
                return
            self.clock.moment = wake

    async def incident(self, incident_id: int = 1) -> Incident:
        async with self.store.transaction() as uow:
            incident = await uow.incident(incident_id)
        assert incident is not None
        return incident

    async def notifications(self, incident_id: int = 1) -> Sequence[Notification]:
        async with self.store.transaction() as uow:
            return await uow.notifications(incident_id)

    async def journal(self) -> list[str]:
        """Return the events of the journal, oldest first."""
        async with self.database.read() as connection:
            return list((await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars())

    async def active(self) -> Sequence[int]:
        async with self.store.transaction() as uow:
            return await uow.active_incidents()


def _checked(store: Store) -> Store:
    return store


@asynccontextmanager
async def station_at(place: Path, policy: DeliveryPolicy | None = None) -> AsyncIterator[Station]:
    async with opened_in_the_loop(place) as database:
        yield Station(database, policy)
