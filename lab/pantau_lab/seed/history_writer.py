"""Writer of the sample history, into an empty database before its service starts.

The notification engine itself processes the events, with a clock that is set to each event's time. So every incident
has the notifications, attempts and audit entries that it would have had, and at the end no work is due. No provider is
called: simulated gateways accept everything, and delivery is reported a few seconds later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.paper import LetterStep
from alerts.engine.composer import WordingComposer
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.delivery import Notification
from alerts.model.event import Acknowledge, AddNote, Event, Resolve, Trigger
from alerts.model.gateway import (
    CallbackEvent,
    CallbackHandler,
    CallbackRejectedError,
    CallbackRequest,
    CallbackResponse,
    Content,
    DeliveryReport,
    PageContent,
    SendRequest,
    SubmissionNotFound,
    SubmissionState,
)
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.store import Store
from monitor.config.loading import Configuration
from monitor.metrics import Metrics
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore, SqlUnitOfWork
from monitor.store.probing.days import DayRecords
from pantau_lab.seed.sample_history import QUIET_PERIOD, PastOutage, SampleHistory
from pantau_lab.world import CLERK

#: Time from the sending of a message to its delivery report.
_DELIVERY_TIME: Final = timedelta(seconds=4)
#: Times from the detection of an outage to further runs of the engine: for the call, and for the announcement that has
#: been released. They are a little longer than the delays of the demo's plans.
_RUN_AFTER: Final = (timedelta(seconds=12), timedelta(seconds=90))
#: Time from the beginning of an outage, and from its resolution, to the posting of the letters.
_POSTED_AFTER: Final = timedelta(minutes=24)
#: Interval of notes by the assignee; without them the engine would notify somebody else.
_NOTE_INTERVAL: Final = timedelta(minutes=45)
#: Time from the first message that arrives again to the resolution of the incident.
_RESOLVED_AFTER: Final = timedelta(seconds=20)
_NOTE: Final = "Pembekal telah dihubungi dan sedang membaiki pelayan."


@dataclass(slots=True)
class SteppedClock:
    """Clock that stands still until `time` is set."""

    time: datetime

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.time


class AcceptingGateway:
    """Gateway that accepts every message, and keeps the references of attempts until `pop_references`."""

    def __init__(self) -> None:
        self._references: list[str] = []

    def pop_references(self) -> Sequence[str]:
        """Return the references of the accepted attempts, and forget them."""
        references, self._references = sorted(self._references), []
        return references

    async def send(self, order: SendRequest) -> DeliveryReport:
        """Accept a message."""
        self._references.append(order.reference)
        return _accepted(order)

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        """Return whether `send` has accepted a message."""
        return _accepted(order) if order.reference in self._references else SubmissionNotFound(certain=True)

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:  # noqa: ARG002 - the contract's
        """Return that the message was accepted."""
        return _accepted(order)

    async def withdraw(self, order: SendRequest, provider_id: str) -> bool:  # noqa: ARG002 - the contract's
        """Withdraw a message that is not delivered yet."""
        if order.reference not in self._references:
            return False
        self._references.remove(order.reference)
        return True

    async def handle_callback(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:  # noqa: ARG002 - the contract's
        """Refuse: there is no provider that posts callbacks."""
        raise CallbackRejectedError(404, "no callbacks")

    async def close(self) -> None:
        """Do nothing: no connection is open."""


def _accepted(order: SendRequest) -> DeliveryReport:
    return DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id=_provider_id(order.reference))


def _provider_id(reference: str) -> str:
    return f"lampau-{reference}"


class _Composer:
    """Composer of SMS and calls. Faxes and letters are empty: one page takes as long as the rest of an incident."""

    def __init__(self, wording: WordingComposer) -> None:
        self._wording = wording

    async def compose(self, notice: Notification, channel: Channel, *, response: str = "") -> Content:
        """Return the content of a notification."""
        if channel in ON_PAPER:
            return PageContent(pdf=b"", title=notice.facts.number, pages=1)
        return await self._wording.compose(notice, channel, response=response)


async def write_history(database: Database, configuration: Configuration, history: SampleHistory) -> None:
    """Write the *history*, with the agencies' policies and the gateways of the *configuration*."""
    await DayRecords(database).add(dict(history.timelines))
    if not history.outages:
        return
    if database.is_shared:
        # PostgreSQL commits fast, and one long transaction would exceed the time limit of transactions there.
        await _HistoryPlayer(SqlStore(database), configuration, history.outages).play()
        return
    async with database.exclusive() as connection:
        await _HistoryPlayer(_SingleTransactionStore(connection), configuration, history.outages).play()


class _SingleTransactionStore:
    """Store whose transactions are parts of one database transaction, because 200 commits would take most of the time."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        #: Only one part runs at a time.
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlUnitOfWork]:
        """Begin a part that reads and writes."""
        async with self._lock:
            uow = SqlUnitOfWork(self._connection)
            yield uow
            await uow.seal_audit_log()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlUnitOfWork]:
        """Begin a part that only reads."""
        async with self._lock:
            yield SqlUnitOfWork(self._connection)


class _HistoryPlayer:
    """Player of outages, as events for the notification engine."""

    def __init__(self, store: Store, configuration: Configuration, outages: Sequence[PastOutage]) -> None:
        settings = configuration.settings
        self._outages = outages
        self._store = store
        self._clock = SteppedClock(outages[0].began_at)
        #: By agency code.
        self._policies: dict[str, PolicySnapshot] = {
            code: settings.effective_policy(agency.build_policy(settings.build_shared()))
            for code, agency in configuration.registry.agencies.items()
        }
        self._gateways = {
            gateway.name: (channel, AcceptingGateway())
            for channel, gateways in settings.gateways.items()
            for gateway in gateways
        }
        configured_gateways = [
            ConfiguredGateway(name=name, channel=channel, gateway=each)
            for name, (channel, each) in self._gateways.items()
        ]
        #: Incident ids of detected outages.
        self._ids: dict[PastOutage, int] = {}
        self._event_numbers = count(1)
        self._dispatcher = Dispatcher(
            store=self._store,
            pool=GatewayPool(configured_gateways),
            composer=_Composer(WordingComposer(configuration.wording)),
            clock=self._clock,
            observer=Metrics(version="demo", now=self._clock.now),
            # No status queries: `_report_deliveries` reports every delivery, and queries would take half of the time.
            policy=DeliveryPolicy(check_interval=dict.fromkeys(Channel, timedelta(days=1))),
        )

    async def play(self) -> None:
        """Process the events of all outages in the order of their times."""
        actions = [(at, act) for outage in self._outages for at, act in self._actions(outage)]
        for at, act in sorted(actions, key=lambda each: each[0]):
            self._clock.time = max(self._clock.time, at)
            await act()
        self._clock.time += QUIET_PERIOD
        self._dispatcher.wake()
        await self._run_engine()
        async with self._store.reading() as uow:
            if active := await uow.active_incidents():
                raise RuntimeError(f"incidents of the sample history are still active: {active}")

    def _actions(self, outage: PastOutage) -> Sequence[tuple[datetime, Callable[[], Awaitable[object]]]]:
        """Return what happens in an outage, each with its time."""
        resolved_at = outage.ended_at + _RESOLVED_AFTER
        actions: list[tuple[datetime, Callable[[], Awaitable[object]]]] = [
            (outage.detected_at, partial(self._open_incident, outage)),
            *((outage.detected_at + after, self._run_engine) for after in _RUN_AFTER),
            (outage.acknowledged_at, partial(self._acknowledge, outage)),
            (outage.began_at + _POSTED_AFTER, self._post_letters),
            (resolved_at, partial(self._resolve, outage)),
            (resolved_at + _POSTED_AFTER, self._post_letters),
        ]
        note_at = outage.acknowledged_at + _NOTE_INTERVAL
        while note_at < outage.ended_at:
            actions.append((note_at, partial(self._add_note, outage)))
            note_at += _NOTE_INTERVAL
        return actions

    # -- actions --------------------------------------------------------------------------------------------------

    async def _open_incident(self, outage: PastOutage) -> None:
        policy = replace(self._policies[outage.agency], cause=outage.cause)
        opened = await self._dispatcher.submit(
            Trigger(
                dedup_key=outage.agency,
                at=self._clock.now(),
                type=outage.type,
                began_at=outage.began_at,
                policy=policy,
            )
        )
        if opened is None:
            raise RuntimeError(f"an outage of {outage.agency} opened no incident")
        self._ids[outage] = opened.id
        await self._run_engine()

    async def _acknowledge(self, outage: PastOutage) -> None:
        await self._submit(Acknowledge(incident_id=self._ids[outage], at=self._clock.now(), by=outage.acknowledged_by))

    async def _add_note(self, outage: PastOutage) -> None:
        note = AddNote(incident_id=self._ids[outage], at=self._clock.now(), by=outage.acknowledged_by, text=_NOTE)
        await self._submit(note)

    async def _resolve(self, outage: PastOutage) -> None:
        await self._submit(Resolve(dedup_key=outage.agency, at=self._clock.now(), ended_at=outage.ended_at))
        await self._run_engine()

    async def _submit(self, event: Event) -> None:
        await self._dispatcher.submit(event)

    async def _post_letters(self) -> None:
        """Record that the clerk has posted all letters."""
        for channel, gateway in self._gateways.values():
            if channel is Channel.LETTER:
                for reference in gateway.pop_references():
                    await self._dispatcher.record_letter_step(reference, LetterStep.POSTED, CLERK)

    # -- engine ---------------------------------------------------------------------------------------------------

    async def _run_engine(self) -> None:
        """Run the engine and report deliveries, until a cycle sends nothing.

        One cycle is not enough, because announcements wait until notifications to staff are delivered.
        """
        has_sent = True
        while has_sent:
            async with asyncio.TaskGroup() as gateway_calls:
                has_sent = bool((await self._dispatcher.run_cycle(gateway_calls)).calls)
            if has_sent:
                await self._report_deliveries()

    async def _report_deliveries(self) -> None:
        """Report the delivery of all sent messages but letters."""
        sent = [
            (name, reference)
            for name, (channel, gateway) in self._gateways.items()
            if channel is not Channel.LETTER
            for reference in gateway.pop_references()
        ]
        self._clock.time += _DELIVERY_TIME
        # Report concurrently, because the engine commits concurrent callbacks together.
        async with asyncio.TaskGroup() as tasks:
            for name, reference in sent:
                report = DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=_provider_id(reference))
                event_id = f"lampau-{next(self._event_numbers)}"
                callback = CallbackEvent(reference=reference, event_id=event_id, report=report)
                tasks.create_task(self._dispatcher.record_callback(name, callback))
