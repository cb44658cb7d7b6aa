"""A town with telephones, for stories: everything of ours is real, and only the clock and the networks' ends are not.

The dispatcher, its store, the wording, the gateways that ship and the listener for their callbacks; a carrier, a fax
service and a tray at which people answer, press keys, reply, reject, or are away. Whatever reached somebody and was not
expected by the story fails it, at the latest when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, cast
from zoneinfo import ZoneInfo

from alerts.decide.drill import DrillTarget
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.paper import LetterStep
from alerts.decide.silence import SilenceLookup, active_silence
from alerts.engine.composer import WordingComposer
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.gateways.tray import LetterPlace
from alerts.gateways.twilio.sms import Replies
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.inbound.callback_handler import CallbackHandlers
from alerts.inbound.pin import PinStore
from alerts.inbound.poller import Poller
from alerts.model.delivery import Notification
from alerts.model.notification import IncidentType, IssuingOffice
from alerts.persistence.store import StoreUnavailable
from alerts.wording.texts import load
from monitor.drills.runner import DrillPlan, DrillRunner
from monitor.drills.sender import DrillSender
from monitor.metrics import Metrics
from monitor.model.window import OneTimeWindow, Window, WindowOccurrence
from monitor.service.order_check import OrderCheck
from monitor.service.paper.letters import Letters
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.status_reader import StatusReader
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
from monitor.web.callbacks import callbacks
from pantau_lab.carrier import api as carrier_api
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.faxservice import api as fax_api
from pantau_lab.faxservice.service import FaxService
from pantau_lab.serving import serve
from tests.in_the_loop import opened_in_the_loop
from tests.integration.alerts.door import Door, TownFront
from tests.integration.alerts.outside import Outside
from tests.integration.alerts.station import Station
from tests.integration.alerts.townsfolk import Person
from tests.unit.alerts.measured import Measured
from tests.unit.alerts.people import FAX, SECOND, SMS_RAVI, SMS_SITI, T0

WORDING = load()
SITI, RAVI, MEI, NOC = SMS_SITI.number, SMS_RAVI.number, "+60100000103", "+60100000900"
#: A desk in an office.
DESK = "+60300000101"
NEVER = OneTimeWindow(WindowOccurrence(T0, T0))
NOC_OFFICE = IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain="")


@dataclass(slots=True)
class Round:
    """Something that is done again and again beside the cycle."""

    every: timedelta
    do: Callable[[], Awaitable[None]]
    due: datetime


async def _never(by: str) -> NoReturn:
    raise AssertionError(f"{by} reloads a town")


class Town(Station):
    """A station whose gateways are those that ship."""

    def __init__(self, database: Database, outside: Outside, policy: DeliveryPolicy | None = None) -> None:
        self.outside = outside
        self.pins = PinStore()
        self.rounds: list[Round] = []
        #: Whom drills try, and when they are held by themselves.
        self.targets: list[DrillTarget] = []
        self.drill_hours: Window = NEVER
        self.clerks_hours = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
        self.silence_lookup: SilenceLookup = active_silence
        #: What the probes show.
        self.measured = Measured()
        self._made: list[ConfiguredGateway] = []
        super().__init__(database, policy)
        self.store.trouble = StoreUnavailable("disk full")
        self.carrier.now = self.clock.now
        for number in (SITI, RAVI, MEI, NOC):
            self.carrier.phone(number)

    @property
    def carrier(self) -> Carrier:
        return self.outside.carrier

    @property
    def fax_service(self) -> FaxService:
        return self.outside.fax_service

    def lines(self) -> list[ConfiguredGateway]:
        """Return new gateways: as a process has that has just started."""
        lines = self.outside.lines()
        self._made += lines
        return lines

    @property
    def check(self) -> OrderCheck:
        return OrderCheck(store=self.store_itself, clock=self.clock, measure_mail=self.measured.measure)

    def restart(self, lines: Iterable[ConfiguredGateway] | None = None) -> None:
        """Forget all that was in memory, as a new process has."""
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.pool = GatewayPool(lines or self.lines())
        self.metrics.register_agency("JCM", routes=[])
        for line in self.pool:
            self.metrics.register_gateway(line.channel, line.name)
        composer = WordingComposer(WORDING, self._may_release, lambda: NOC_OFFICE)
        self.dispatcher = Dispatcher(
            store=self.store,
            pool=self.pool,
            composer=composer,
            clock=self.clock,
            observer=self.metrics,
            policy=self.policy,
            owner="utama" if self.database.is_shared else None,
            silence_lookup=self.silence_lookup,
        )
        drills = Drills(self.database)
        sender = DrillSender(drills=drills, pool=self.pool, wording=WORDING, metrics=self.metrics, clock=self.clock)
        self.desks = CallbackHandlers(
            dispatcher=self.dispatcher,
            store=self.store,
            wording=WORDING,
            pins=lambda: self.pins,
            clock=self.clock,
            drills=sender,
            measuring=self.measured,
        )
        self.poller = Poller(store=self.store, pool=self.pool, callback_handlers=self.desks, clock=self.clock)
        self.store_itself = SqlStore(self.database)
        self.facade = TownFront(
            store=self.store_itself,
            status_reader=cast(StatusReader, None),
            dispatcher=self.dispatcher,
            callback_handlers=self.desks,
            pool=self.pool,
            composer=composer,
            metrics=self.metrics,
            clock=self.clock,
            runtime=cast("Callable[[], ProbingRuntime]", _never),
            reload=_never,
            order_check=self.check,
        )
        self.facade.public = self.outside.public
        self.driller = DrillRunner(
            drills=drills,
            store=self.store_itself,
            pool=self.pool,
            sender=sender,
            current_plan=self._roster,
            metrics=self.metrics,
            clock=self.clock,
        )
        self.facade.just_before = {}
        self.letters = Letters(
            store=self.store_itself,
            pool=self.pool,
            dispatcher=self.dispatcher,
            metrics=self.metrics,
            clock=self.clock,
            hours=lambda _: self.clerks_hours,
        )

    def _roster(self) -> DrillPlan:
        return DrillPlan(
            targets=self.targets,
            pace=30 * SECOND,
            next_window=self.drill_hours.next_occurrence,
            takes_part=lambda _: True,
        )

    async def look_at_drills(self) -> None:
        """Do what is due of a drill."""
        async with asyncio.TaskGroup() as calls:
            await self.driller.run_once(calls)
        await self.carrier.settled()

    def _may_release(self, notice: Notification) -> bool:
        return self.pins.has_pin(notice.facts.office.short, notice.person)

    def value(self, series: str) -> float:
        """Return what Prometheus would read."""
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"there is no series {series}")

    async def close(self) -> None:
        for line in self._made:
            await line.gateway.close()

    # -- time ----------------------------------------------------------------------------------------------------

    async def settle(self) -> datetime | None:
        """Let everything happen that is due now, on both sides; return when something is due again."""
        while True:
            before = self._traffic()
            wake = await super().settle()
            await self.carrier.settled()
            await self.fax_service.settled()
            if self._traffic() == before:
                return wake

    def _traffic(self) -> tuple[int, ...]:
        return (
            len(self.carrier.messages),
            len(self.carrier.calls),
            len(self.fax_service.faxes),
            self.facade.heard,
        )

    def go_round(self, every: timedelta, do: Callable[[], Awaitable[None]]) -> None:
        """Do something now and again from now on."""
        self.rounds.append(Round(every, do, self.clock.now()))

    async def advance(self, by: timedelta) -> None:
        """Let time pass, and do all that is due in it, in its order."""
        until = self.clock.moment + by
        while True:
            for each in self.rounds:
                if each.due <= self.clock.moment:
                    each.due = self.clock.moment + each.every
                    await each.do()
            wake = await self.settle()
            moments = [at for at in (wake, *(each.due for each in self.rounds)) if at is not None]
            if self.clock.moment == until and all(at > until for at in moments):
                return
            self.clock.moment = min([until, *moments])

    async def later(self, by: timedelta) -> None:
        """Let time pass at once: who looks every minute whether a letter has been posted does so only at the end."""
        self.clock.moment += by
        await self.settle()

    # -- people --------------------------------------------------------------------------------------------------

    def person(self, number: str) -> Person:
        """Return whoever answers this number."""
        return Person(self.carrier.phones[number], self.carrier, self.settle)

    def moves_in(self, number: str, **how: Any) -> Person:
        """Give somebody a telephone."""
        return Person(self.carrier.phone(number, **how), self.carrier, self.settle)

    @property
    def siti(self) -> Person:
        return self.person(SITI)

    @property
    def ravi(self) -> Person:
        return self.person(RAVI)

    @property
    def mei(self) -> Person:
        return self.person(MEI)

    @property
    def noc(self) -> Person:
        return self.person(NOC)

    # -- paper ---------------------------------------------------------------------------------------------------

    def gets_fax(self, *words: str, number: str = FAX.number) -> str:
        """Expect a fax that has come already to a machine; return its text."""
        return self.outside.expect_fax(number, *words)

    def gets_letter(self, *words: str, place: LetterPlace = LetterPlace.TRAY) -> str:
        """Expect a letter that lies in the tray, or where it went from there; return its text."""
        return self.outside.expect_letter(place, *words)

    async def posts(self, notification_id: int, by: str) -> bool:
        """Let a clerk post a letter and say so; return whether nobody had said so before."""
        return (await self.letters.record_step(notification_id, LetterStep.POSTED, by, unprinted=True)).by == by

    async def handles(self, notification_id: int, step: LetterStep, by: str) -> str:
        """Let a clerk print or post a letter and say so; return who is written down as having done it."""
        return (await self.letters.record_step(notification_id, step, by)).by

    def tray_letters(self, place: LetterPlace) -> int:
        """Return how many letters lie there."""
        return len(self.outside.letters(place))

    def arrives(self, *ways: IncidentType) -> None:
        """Let the newest message in each of these directions arrive, and in no other."""
        self.measured.delivered["JCM"] = dict.fromkeys(ways, self.clock.now())

    def expect_nothing_more(self) -> None:
        """Fail if anything has come to anybody that the story did not expect."""
        strays = self.outside.unexpected()
        assert not strays, strays


@asynccontextmanager
async def town_at(
    place: Path,
    server: PostgresServer | None = None,
    *,
    reachable: bool = True,
    replies: Replies = Replies.WEBHOOK,
    policy: DeliveryPolicy | None = None,
) -> AsyncIterator[Town]:
    """Open a town. *server*: instead of the embedded store. *reachable*: providers can call us back."""
    carrier, fax_service = Carrier(), FaxService()
    fax_service.machine(FAX.number)
    async with (
        serve(carrier_api.app(carrier)) as carrier_url,
        serve(fax_api.app(fax_service)) as fax_url,
        opened_in_the_loop(place / "state", server) as database,
    ):
        outside = Outside(carrier, carrier_url, fax_service, fax_url, place, replies)
        town = Town(database, outside, policy)
        door = callbacks(cast(Any, Door(lambda: town.facade)))
        async with serve(door) as public:
            if reachable:
                outside.public = public
                if replies is Replies.WEBHOOK:
                    carrier.incoming_url = f"{public}/callbacks/sms/sms"
            town.restart()
            yield town
            await town.settle()
            town.expect_nothing_more()
            await town.close()
