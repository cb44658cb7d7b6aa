"""A dispatcher on a real store, with scripted gateways and a clock that is advanced."""

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
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import audit_log
from tests.inline_database import open_inline_database
from tests.unit.alerts.people import T0


class Clock:
    """A clock that stands still until it is advanced."""

    def __init__(self) -> None:
        self.moment = T0

    def now(self) -> datetime:
        return self.moment


class FakeComposer:
    """Composes a notification in few words, and counts the calls."""

    def __init__(self) -> None:
        self.composed: Counter[Channel] = Counter()

    async def compose(self, notice: Notification, channel: Channel, *, response: str = "") -> Content:
        self.composed[channel] += 1
        numbers = "+".join(part.facts.number for part in notice.parts)
        return SmsContent(text=f"{notice.facts.purpose} {notice.facts.type} {numbers}")


@dataclass
class RecordingObserver:
    """Records what the dispatcher reports."""

    entered: list[tuple[Purpose, NotificationState]] = field(default_factory=list)
    bundled: int = 0
    held: Counter[RateLimitScope] = field(default_factory=Counter)
    #: Rotas with nobody on call, by agency.
    empty_rotas: Counter[str] = field(default_factory=Counter)
    #: The last value for each gateway.
    overdue_gateways: dict[str, bool | None] = field(default_factory=dict)
    cycles: int = 0
    #: Open incidents by agency.
    open: Sequence[OpenIncident] = ()
    latencies: list[NotificationLatency] = field(default_factory=list)
    cycled: asyncio.Event = field(default_factory=asyncio.Event)

    def count_notification(self, channel: Channel, purpose: Purpose, state: NotificationState) -> None:
        self.entered.append((purpose, state))

    def count_empty_rotas(self, agency: str, rotas: int) -> None:
        self.empty_rotas[agency] += rotas

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


#: What happens to a submission. `LOST_ANSWER`: accepted, without an answer. `HANG`: accepted, and the call never ends.
LOST_ANSWER, NOT_REACHED, HANG = "lost answer", "not reached", "hang"
SubmissionOutcome = SubmissionState | ErrorClass | Exception | str


@dataclass
class ScriptedGateway:
    """A gateway that records its calls. It takes each result from `happens`, and accepts when that is empty."""

    #: Whether `find` is certain about a submission that it does not find.
    certain: bool = False
    happens: deque[SubmissionOutcome] = field(default_factory=deque)
    #: Whether an accepted submission has ended when its status is checked, as a call does: a phone takes one at a time.
    ends: bool = False
    #: Whether its status can be queried.
    reachable: bool = True
    #: The accepted submissions and their states.
    taken: dict[str, SubmissionState] = field(default_factory=dict)
    orders: list[SendRequest] = field(default_factory=list)
    #: "send p1-1-...", "find ...", in order.
    calls: list[str] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    #: The error of a failed submission.
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
        """Let every accepted submission fail."""
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


class _DiskFullError(Exception):
    """Rolls back a transaction."""


#: Gets the name (at the end "commit") and arguments of each call of a unit of work, before it is made, and raises the
#: error that the call is to have.
CallHook = Callable[[str, tuple[object, ...]], None]


class _HookError(Exception):
    """Rolls back a transaction because of an error of the hook."""

    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self.trouble = trouble


class _HookedUnitOfWork:
    """A unit of work with a hook before each call.

    The hook's error is raised after the rollback, because it is not the database's own.
    """

    def __init__(self, inner: UnitOfWork, call_hook: CallHook) -> None:
        self._inner = inner
        self._call_hook = call_hook

    def run_hook(self, name: str, args: tuple[object, ...] = ()) -> None:
        try:
            self._call_hook(name, args)
        except Exception as trouble:
            raise _HookError(trouble) from trouble

    def __getattr__(self, name: str) -> object:
        method = getattr(self._inner, name)
        if not callable(method):
            return method

        async def call(*args: object, **named: object) -> object:
            self.run_hook(name, args)
            return await method(*args, **named)

        return call


class BreakableStore:
    """A store that can be unavailable: nothing is committed, as on a full disk."""

    def __init__(self, inner: SqlStore) -> None:
        self._inner = inner
        #: Whether each transaction is refused at once, as while a server is known to be unavailable.
        self.is_unavailable = False
        self.refused = 0
        self.refusal = asyncio.Event()
        #: Lets a single call of a unit of work fail, in the middle of a transaction.
        self.call_hook: CallHook | None = None
        self.away = False
        self.trouble: Exception = OSError("disk full")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        if self.is_unavailable:
            self.refused += 1
            self.refusal.set()
            raise StoreUnavailable("the server restarts")
        try:
            async with self._inner.transaction() as uow:
                if self.call_hook is None:
                    yield uow
                else:
                    yield cast(UnitOfWork, meddled := _HookedUnitOfWork(uow, self.call_hook))
                    meddled.run_hook("commit")
                self._commit()
        except _DiskFullError:
            raise self.trouble from None
        except _HookError as broken:
            raise broken.trouble from None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[UnitOfWork]:
        if self.is_unavailable:
            raise StoreUnavailable("the server restarts")
        try:
            async with self._inner.reading() as uow:
                yield uow if self.call_hook is None else cast(UnitOfWork, _HookedUnitOfWork(uow, self.call_hook))
        except _HookError as broken:
            raise broken.trouble from None

    def _commit(self) -> None:
        if self.away:
            raise _DiskFullError

    def refuse_next(self, operation: str) -> None:
        """Roll back, as on a full disk, the next transaction that calls this operation."""

        def run_hook(name: str, _: tuple[object, ...]) -> None:
            if name == operation:
                self.call_hook = None
                raise self.trouble

        self.call_hook = run_hook


class DispatcherEnv:
    """A dispatcher with everything between an event and a gateway."""

    def __init__(self, database: Database, policy: DeliveryPolicy | None = None) -> None:
        self.database = database
        self.clock = Clock()
        self.store = BreakableStore(SqlStore(database))
        self.sms, self.voice, self.fax = ScriptedGateway(), ScriptedGateway(ends=True), ScriptedGateway()
        self.modem = ScriptedGateway()
        self.tray = ScriptedGateway(certain=True)
        self.words = FakeComposer()
        self.policy = policy
        #: Whether nobody is notified, and the policy of an incident that was opened meanwhile.
        self.is_monitor_only = False
        self.snapshot: Callable[[Incident], PolicySnapshot | None] = lambda _: None
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
    def gateways(self) -> Sequence[ScriptedGateway]:
        return self.sms, self.modem, self.voice, self.fax, self.tray

    @property
    def calls(self) -> list[str]:
        return [call for gateway in self.gateways for call in gateway.calls]

    def restart(self, lines: Iterable[ConfiguredGateway] | None = None) -> None:
        """Drop everything that was in memory."""
        self.watcher = RecordingObserver()
        self.pool = GatewayPool(lines or self.lines())
        self.dispatcher = Dispatcher(
            store=_checked(self.store),
            pool=self.pool,
            composer=self.words,
            clock=self.clock,
            observer=self.watcher,
            policy=self.policy,
            is_monitor_only=lambda: self.is_monitor_only,
            policy_for=self._policy_for,
        )

    def _policy_for(self, incident: Incident) -> PolicySnapshot | None:
        return self.snapshot(incident)

    async def crash_and_restart(self) -> None:
        """Interrupt all calls in the middle of one cycle, and start again as `run` does."""
        before = self.watcher.cycles
        calls = asyncio.create_task(self._run_one_cycle())
        while self.watcher.cycles == before:
            self.watcher.cycled.clear()
            await self.watcher.cycled.wait()
        for _ in range(3):  # The calls start and reach their gateways.
            await asyncio.sleep(0)
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)
        self.restart()
        async with self.store.transaction() as uow:
            await uow.requery_orphaned_attempts(self.clock.now())

    async def _run_one_cycle(self) -> None:
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
        """Run the cycle until nothing more is due; return the next due time."""
        for _ in range(100):
            async with asyncio.TaskGroup() as calls:
                advance = await self.dispatcher.run_cycle(calls)
            if not advance.calls and (advance.next_due_at is None or advance.next_due_at > self.clock.now()):
                return advance.next_due_at
        raise AssertionError("the cycle does not come to rest")

    async def advance(self, by: timedelta) -> None:
        """Let time pass, and run the cycle at each due time."""
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
        """Return the events of the audit log, oldest first."""
        async with self.database.read() as connection:
            return list((await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars())

    async def active(self) -> Sequence[int]:
        async with self.store.transaction() as uow:
            return await uow.active_incidents()


def _checked(store: Store) -> Store:
    return store


@asynccontextmanager
async def open_dispatcher_env(place: Path, policy: DeliveryPolicy | None = None) -> AsyncIterator[DispatcherEnv]:
    async with open_inline_database(place) as database:
        yield DispatcherEnv(database, policy)
