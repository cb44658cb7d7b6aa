"""Writes a past into an empty store before its service starts: the engine itself plays it, by a clock that leaps.

So every incident has the notices, attempts and entries of the journal that it would have had, and nobody is owed anything at the
end. No provider is called: stand-ins take everything, and tell a moment later that it arrived.
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
from pantau_lab.seed.sample_history import OVER_FOR, Past, PastOutage
from pantau_lab.world import CLERK

#: From the message to its receipt.
_RECEIPT_AFTER: Final = timedelta(seconds=4)
#: From the outage to the call, and to when the announcement has been released; as the demo's plans have it, and a
#: little more.
_LOOKS: Final = (timedelta(seconds=12), timedelta(seconds=90))
#: From the first failure, and from the end, to the letter box.
_POSTED_AFTER: Final = timedelta(minutes=24)
#: Whoever has taken it on is heard of so often, before somebody else would be called.
_HEARD_EVERY: Final = timedelta(minutes=45)
#: From the first message that arrives again to the verdict.
_RESOLVED_AFTER: Final = timedelta(seconds=20)
_REMARK: Final = "Pembekal telah dihubungi dan sedang membaiki pelayan."


@dataclass(slots=True)
class SteppedClock:
    """Stands where it was put."""

    moment: datetime

    def now(self) -> datetime:
        """Return that moment."""
        return self.moment


class AcceptingGateway:
    """A gateway that takes whatever it is given, and remembers it until it is asked for receipts."""

    def __init__(self) -> None:
        self._taken: list[str] = []

    def hand_over(self) -> Sequence[str]:
        """Return the references of what was taken, and forget them."""
        taken, self._taken = sorted(self._taken), []
        return taken

    async def send(self, order: SendRequest) -> DeliveryReport:
        """Take an order."""
        self._taken.append(order.reference)
        return _accepted(order)

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        """Return what is known of an order."""
        return _accepted(order) if order.reference in self._taken else SubmissionNotFound(certain=True)

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:  # noqa: ARG002 - the contract's
        """Return that it was taken."""
        return _accepted(order)

    async def withdraw(self, order: SendRequest, provider_id: str) -> bool:  # noqa: ARG002 - the contract's
        """Give back what lies here still."""
        if order.reference not in self._taken:
            return False
        self._taken.remove(order.reference)
        return True

    async def handle_callback(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:  # noqa: ARG002 - the contract's
        """Refuse: nobody calls back."""
        raise CallbackRejectedError(404, "no callbacks")

    async def close(self) -> None:
        """Do nothing: nothing is open."""


def _accepted(order: SendRequest) -> DeliveryReport:
    return DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id=_provider_id(order.reference))


def _provider_id(reference: str) -> str:
    return f"lampau-{reference}"


class _Composer:
    """Puts what is said into words, and leaves paper blank: to set a page takes as long as all else here of an incident."""

    def __init__(self, words: WordingComposer) -> None:
        self._words = words

    async def compose(self, notice: Notification, channel: Channel, *, response: str = "") -> Content:
        """Return what to send."""
        if channel in ON_PAPER:
            return PageContent(pdf=b"", title=notice.facts.number, pages=1)
        return await self._words.compose(notice, channel, response=response)


async def write_past(database: Database, configuration: Configuration, past: Past) -> None:
    """Write all of *past*; *configuration*: by which agencies tell their people, and by which gateways."""
    await DayRecords(database).add(dict(past.sheets))
    if not past.outages:
        return
    if database.is_shared:
        # There a commit costs little, and a transaction that takes long has met a server that hangs.
        await _Chronicle(SqlStore(database), configuration, past.outages).play()
        return
    async with database.exclusive() as connection:
        await _Chronicle(_OneTransaction(connection), configuration, past.outages).play()


class _OneTransaction:
    """A store all of whose transactions are one: two hundred commits would be most of the work, and wait for the disk."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlUnitOfWork]:
        """Begin what would be a transaction; they come one after the other."""
        async with self._turn:
            uow = SqlUnitOfWork(self._connection)
            yield uow
            await uow.seal_audit_log()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlUnitOfWork]:
        """Give a view of what is there."""
        async with self._turn:
            yield SqlUnitOfWork(self._connection)


class _Chronicle:
    def __init__(self, store: Store, configuration: Configuration, outages: Sequence[PastOutage]) -> None:
        settings = configuration.settings
        self._outages = outages
        self._store = store
        self._clock = SteppedClock(outages[0].began_at)
        self._briefs: dict[str, PolicySnapshot] = {
            code: settings.effective_policy(agency.build_policy(settings.build_shared()))
            for code, agency in configuration.registry.agencies.items()
        }
        self._gateways = {
            gateway.name: (channel, AcceptingGateway())
            for channel, gateways in settings.gateways.items()
            for gateway in gateways
        }
        lines = [
            ConfiguredGateway(name=name, channel=channel, gateway=each)
            for name, (channel, each) in self._gateways.items()
        ]
        #: By outage, once it is noticed.
        self._ids: dict[PastOutage, int] = {}
        self._receipts = count(1)
        self._dispatcher = Dispatcher(
            store=self._store,
            pool=GatewayPool(lines),
            composer=_Composer(WordingComposer(configuration.wording)),
            clock=self._clock,
            observer=Metrics(version="demo", now=self._clock.now),
            # Whatever arrives is told: to ask would be half of the work.
            policy=DeliveryPolicy(check_interval=dict.fromkeys(Channel, timedelta(days=1))),
        )

    async def play(self) -> None:
        """Let everything happen at its time."""
        deeds = [(at, do) for outage in self._outages for at, do in self._deeds(outage)]
        for at, do in sorted(deeds, key=lambda each: each[0]):
            self._clock.moment = max(self._clock.moment, at)
            await do()
        self._clock.moment += OVER_FOR
        self._dispatcher.wake()
        await self._look()
        async with self._store.reading() as uow:
            if active := await uow.active_incidents():
                raise RuntimeError(f"the past does not come to rest: {active}")

    def _deeds(self, outage: PastOutage) -> Sequence[tuple[datetime, Callable[[], Awaitable[object]]]]:
        resolved_at = outage.ended_at + _RESOLVED_AFTER
        found: list[tuple[datetime, Callable[[], Awaitable[object]]]] = [
            (outage.noticed_at, partial(self._notice, outage)),
            # Whom the plan calls is called, and whom it announces to is told.
            *((outage.noticed_at + after, self._look) for after in _LOOKS),
            (outage.taken_at, partial(self._take_on, outage)),
            (outage.began_at + _POSTED_AFTER, self._post),
            (resolved_at, partial(self._resolve, outage)),
            (resolved_at + _POSTED_AFTER, self._post),
        ]
        heard_at = outage.taken_at + _HEARD_EVERY
        while heard_at < outage.ended_at:
            found.append((heard_at, partial(self._remark, outage)))
            heard_at += _HEARD_EVERY
        return found

    # -- what happens --------------------------------------------------------------------------------------------

    async def _notice(self, outage: PastOutage) -> None:
        brief = replace(self._briefs[outage.agency], cause=outage.cause)
        opened = await self._dispatcher.submit(
            Trigger(
                dedup_key=outage.agency,
                at=self._clock.now(),
                type=outage.type,
                began_at=outage.began_at,
                policy=brief,
            )
        )
        if opened is None:
            raise RuntimeError(f"an outage of {outage.agency} opened no incident")
        self._ids[outage] = opened.id
        await self._look()

    async def _take_on(self, outage: PastOutage) -> None:
        await self._submit(Acknowledge(incident_id=self._ids[outage], at=self._clock.now(), by=outage.taken_by))

    async def _remark(self, outage: PastOutage) -> None:
        said = AddNote(incident_id=self._ids[outage], at=self._clock.now(), by=outage.taken_by, text=_REMARK)
        await self._submit(said)

    async def _resolve(self, outage: PastOutage) -> None:
        await self._submit(Resolve(dedup_key=outage.agency, at=self._clock.now(), ended_at=outage.ended_at))
        await self._look()

    async def _submit(self, event: Event) -> None:
        await self._dispatcher.submit(event)

    async def _post(self) -> None:
        """Post what lies in the trays."""
        for channel, gateway in self._gateways.values():
            if channel is Channel.LETTER:
                for reference in gateway.hand_over():
                    await self._dispatcher.record_letter_step(reference, LetterStep.POSTED, CLERK)

    # -- how the engine hears of it ------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Let the engine do what is due, and tell it of what has arrived then, until nothing is: staff come before others."""
        has_called = True
        while has_called:
            async with asyncio.TaskGroup() as calls:
                has_called = bool((await self._dispatcher.run_cycle(calls)).calls)
            if has_called:
                await self._tell_receipts()

    async def _tell_receipts(self) -> None:
        """Tell of what was sent that it arrived, but for letters."""
        arrived = [
            (name, reference)
            for name, (channel, gateway) in self._gateways.items()
            if channel is not Channel.LETTER
            for reference in gateway.hand_over()
        ]
        self._clock.moment += _RECEIPT_AFTER
        # At once: what comes at the same time is committed together.
        async with asyncio.TaskGroup() as reports:
            for name, reference in arrived:
                report = DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=_provider_id(reference))
                heard = CallbackEvent(reference=reference, event_id=f"lampau-{next(self._receipts)}", report=report)
                reports.create_task(self._dispatcher.record_callback(name, heard))
