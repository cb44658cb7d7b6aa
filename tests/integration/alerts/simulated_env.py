"""A simulated environment for stories: only the clock and the providers are not real.

Real are the dispatcher, its store, the wording, the gateways and the callback listener. A simulated carrier, a fax
service and a tray have phone users who answer, press keys, reply, reject, or are unreachable. A message that the test
does not expect fails it, at the latest at its end.
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
from monitor.service.operation_check import OperationCheck
from monitor.service.paper.letters import Letters
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.status_reader import StatusReader
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.web.callbacks import callbacks
from pantau_lab.carrier import api as carrier_api
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.faxservice import api as fax_api
from pantau_lab.faxservice.service import FaxService
from pantau_lab.serving import serve
from tests.inline_database import open_inline_database
from tests.integration.alerts.callback_relay import CallbackRelay, RecordingFacade
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.integration.alerts.phone_user import PhoneUser
from tests.integration.alerts.providers import Providers
from tests.unit.alerts.people import FAX, SECOND, SMS_RAVI, SMS_SITI, T0
from tests.unit.alerts.probe_runs import FakeProbeRuns

WORDING = load()
SITI, RAVI, MEI, NOC = SMS_SITI.number, SMS_RAVI.number, "+60100000103", "+60100000900"
#: An office phone.
DESK = "+60300000101"
NEVER = OneTimeWindow(WindowOccurrence(T0, T0))
NOC_OFFICE = IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain="")


@dataclass(slots=True)
class PeriodicTask:
    """A function that runs periodically beside the cycle."""

    every: timedelta
    do: Callable[[], Awaitable[None]]
    due: datetime


async def _never(by: str) -> NoReturn:
    raise AssertionError(f"{by} reloads a town")


class SimulatedEnv(DispatcherEnv):
    """A dispatcher environment with the real gateways and simulated providers."""

    def __init__(self, database: Database, outside: Providers, policy: DeliveryPolicy | None = None) -> None:
        self.outside = outside
        self.pins = PinStore()
        self.rounds: list[PeriodicTask] = []
        #: The contacts of drills, and when drills run.
        self.targets: list[DrillTarget] = []
        self.drill_hours: Window = NEVER
        self.clerks_hours = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
        self.silence_lookup: SilenceLookup = active_silence
        #: The runs of the probes.
        self.measured = FakeProbeRuns()
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
        """Return new gateways, as after a start."""
        lines = self.outside.lines()
        self._made += lines
        return lines

    @property
    def check(self) -> OperationCheck:
        return OperationCheck(store=self.real_store, clock=self.clock, measure_mail=self.measured.measure)

    def restart(self, lines: Iterable[ConfiguredGateway] | None = None) -> None:
        """Drop everything in memory, as a new process does."""
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
        self.real_store = SqlStore(self.database)
        self.facade = RecordingFacade(
            store=self.real_store,
            status_reader=cast(StatusReader, None),
            dispatcher=self.dispatcher,
            callback_handlers=self.desks,
            pool=self.pool,
            composer=composer,
            metrics=self.metrics,
            clock=self.clock,
            runtime=cast("Callable[[], ProbingRuntime]", _never),
            reload=_never,
            operation_check=self.check,
        )
        self.facade.public = self.outside.public
        self.drill_runner = DrillRunner(
            drills=drills,
            store=self.real_store,
            pool=self.pool,
            sender=sender,
            current_plan=self._roster,
            metrics=self.metrics,
            clock=self.clock,
        )
        self.facade.before_callback = {}
        self.letters = Letters(
            store=self.real_store,
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
            is_participant=lambda _: True,
        )

    async def run_due_drills(self) -> None:
        """Process the due steps of a drill."""
        async with asyncio.TaskGroup() as calls:
            await self.drill_runner.run_once(calls)
        await self.carrier.settled()

    def _may_release(self, notice: Notification) -> bool:
        return self.pins.has_pin(notice.facts.office.short, notice.person)

    def value(self, series: str) -> float:
        """Return the value that Prometheus reads."""
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"there is no series {series}")

    async def close(self) -> None:
        for line in self._made:
            await line.gateway.close()

    # -- time ----------------------------------------------------------------------------------------------------

    async def settle(self) -> datetime | None:
        """Process everything that is due, on both sides; return the next due time."""
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

    def run_every(self, every: timedelta, do: Callable[[], Awaitable[None]]) -> None:
        """Run a function periodically from now on."""
        self.rounds.append(PeriodicTask(every, do, self.clock.now()))

    async def advance(self, by: timedelta) -> None:
        """Let time pass, and process everything due in its order."""
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
        """Let time pass in one step, so that periodic checks run only at its end."""
        self.clock.moment += by
        await self.settle()

    # -- people --------------------------------------------------------------------------------------------------

    def person(self, number: str) -> PhoneUser:
        """Return the user of this number."""
        return PhoneUser(self.carrier.phones[number], self.carrier, self.settle)

    def add_phone(self, number: str, **how: Any) -> PhoneUser:
        """Add a phone."""
        return PhoneUser(self.carrier.phone(number, **how), self.carrier, self.settle)

    @property
    def siti(self) -> PhoneUser:
        return self.person(SITI)

    @property
    def ravi(self) -> PhoneUser:
        return self.person(RAVI)

    @property
    def mei(self) -> PhoneUser:
        return self.person(MEI)

    @property
    def noc(self) -> PhoneUser:
        return self.person(NOC)

    # -- paper ---------------------------------------------------------------------------------------------------

    def gets_fax(self, *words: str, number: str = FAX.number) -> str:
        """Expect a received fax; return its text."""
        return self.outside.expect_fax(number, *words)

    def gets_letter(self, *words: str, place: LetterPlace = LetterPlace.TRAY) -> str:
        """Expect a letter in the tray or in *place*; return its text."""
        return self.outside.expect_letter(place, *words)

    async def posts(self, notification_id: int, by: str) -> bool:
        """Record that a clerk posted a letter; return whether it was the first record."""
        return (await self.letters.record_step(notification_id, LetterStep.POSTED, by, unprinted=True)).by == by

    async def handles(self, notification_id: int, step: LetterStep, by: str) -> str:
        """Record that a clerk printed or posted a letter; return who is recorded."""
        return (await self.letters.record_step(notification_id, step, by)).by

    def tray_letters(self, place: LetterPlace) -> int:
        """Return the number of letters in this place."""
        return len(self.outside.letters(place))

    def set_delivered(self, *ways: IncidentType) -> None:
        """Let the newest message arrive in these directions only."""
        self.measured.delivered["JCM"] = dict.fromkeys(ways, self.clock.now())

    def expect_nothing_more(self) -> None:
        """Fail if anything arrived that was not expected."""
        strays = self.outside.unexpected()
        assert not strays, strays


@asynccontextmanager
async def open_simulated_env(
    place: Path,
    server: PostgresServer | None = None,
    *,
    reachable: bool = True,
    replies: Replies = Replies.WEBHOOK,
    policy: DeliveryPolicy | None = None,
) -> AsyncIterator[SimulatedEnv]:
    """Open a simulated environment. *server*: instead of the embedded store. *reachable*: providers send callbacks."""
    carrier, fax_service = Carrier(), FaxService()
    fax_service.machine(FAX.number)
    async with (
        serve(carrier_api.app(carrier)) as carrier_url,
        serve(fax_api.app(fax_service)) as fax_url,
        open_inline_database(place / "state", server) as database,
    ):
        outside = Providers(carrier, carrier_url, fax_service, fax_url, place, replies)
        env = SimulatedEnv(database, outside, policy)
        door = callbacks(cast(Any, CallbackRelay(lambda: env.facade)))
        async with serve(door) as public:
            if reachable:
                outside.public = public
                if replies is Replies.WEBHOOK:
                    carrier.incoming_url = f"{public}/callbacks/sms/sms"
            env.restart()
            yield env
            await env.settle()
            env.expect_nothing_more()
            await env.close()
