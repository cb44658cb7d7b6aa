"""The days of agencies as the service keeps them, over restarts, reloads, midnights, odd clocks and a store that is away."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alerts.engine.event_handler import handle_event
from alerts.model.event import Close, Declare, Event, MarkFalseAlarm, Trigger
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.config.model.registry import Agency, Registry
from monitor.model.day import MINUTES, DayTimeline, MinuteState
from monitor.model.route import MonitoredRoute, ProbingPolicy
from monitor.model.window import Hours, OneTimeWindow, WindowOccurrence
from monitor.service.days.timeline_recorder import TimelineRecorder
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.store.probing.processes import Processes
from probes.model.probe import Timeouts
from tests.unit.alerts.people import BRIEF
from tests.unit.monitor.trial import MINUTE, REFUSED, T0, World, agency_routes, controls

TODAY = date(2026, 11, 24)
#: T0 in Malaysia.
NINE = 9 * 60
HOUR = timedelta(hours=1)
BEAT = timedelta(seconds=15)
WELL, OUT, MAINTENANCE = MinuteState.UP, MinuteState.NO_MAIL, MinuteState.MAINTENANCE
FALSE = MinuteState.FALSE_ALARM


@dataclass
class Service:
    """The part of the service that the daybook looks at: runs every five minutes, a look every minute."""

    database: Database
    probing: ProbingPolicy = field(default_factory=ProbingPolicy)
    now: datetime = T0
    #: What was measured after a person had ended it.
    ended_by_hand: dict[str, Incident] = field(default_factory=dict)
    #: "" for none.
    agency: str = "JCM"
    #: Agencies that another process watches.
    elsewhere: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.records, self.store = DayRecords(self.database), SqlStore(self.database)
        self.processes = Processes(self.database, "utama")
        self.world = World([*self.routes("JCM"), *controls()], now=self.now)
        self.book = self.daybook()

    def routes(self, *agencies: str) -> list[MonitoredRoute]:
        return [route for agency in agencies for route in agency_routes(agency, probing=self.probing)]

    def daybook(self) -> TimelineRecorder:
        return TimelineRecorder(
            records=self.records,
            store=self.store,
            clock=cast(Clock, SimpleNamespace(now=lambda: self.now)),
            runtime=lambda: cast(ProbingRuntime, self.runtime),
        )

    @property
    def runtime(self) -> Any:
        agencies = {self.agency: SimpleNamespace()} if self.agency else {}
        registry = Registry(
            agencies=cast(Mapping[str, Agency], agencies), routes=tuple(self.routes(self.agency) if self.agency else ())
        )
        return SimpleNamespace(
            configuration=SimpleNamespace(registry=registry),
            evaluator=self.world.evaluator,
            owned={self.agency} - {""} - self.elsewhere,
            reporter=SimpleNamespace(closed_by_hand=self.ended_by_hand),
        )

    async def minutes(self, count: int, *, runs: bool = True) -> None:
        """Let so many minutes pass."""
        for _ in range(count):
            if runs and self.now >= self.world.now:
                self.world.now = self.now
                self.world.rounds(1)
            self.now += MINUTE
            await self.book.record()
        # Whoever starts next asks when the last one was.
        await self.processes.beat(T0, self.now - BEAT)

    async def restart(self, away: timedelta) -> None:
        """Be killed, and start again."""
        before = self.world
        self.now += away
        self.world = World(before.routes, dict(before.faults), now=max(self.now, before.now))
        self.world.evaluator.restore(before.evaluator.healths())
        self.book = self.daybook()
        await self.book.begin(await self.processes.last_beat())

    async def kept(self, on: date = TODAY, agency: str = "JCM") -> list[tuple[MinuteState, int, int]]:
        """Return the states of a day, with their minutes since `T0`'s time of day."""
        sheet = (await self.records.since(agency, on)).get(on, DayTimeline())
        return [(s, b - NINE, e - NINE) for s, b, e in sheet.runs() if s is not MinuteState.NO_DATA]

    async def say(self, event: Event) -> Incident:
        async with self.store.transaction() as uow:
            found = await handle_event(uow, event)
            assert found is not None
        return found

    async def declare(self, matter: IncidentType = IncidentType.BOTH, *, since: datetime | None = None) -> Incident:
        return await self.say(
            Declare(
                dedup_key="JCM",
                at=self.now,
                by="Siti Contoh",
                type=matter,
                began_at=since or self.now,
                reason="webmel",
                policy=BRIEF,
            )
        )


@pytest.fixture
def service(database: Database) -> Service:
    return Service(database)


async def test_an_outage_is_in_the_day_from_its_first_failing_run_to_its_first_good_one(service: Service) -> None:
    await service.minutes(20)
    service.world.faults["JCM/utama"] = REFUSED
    await service.minutes(30)
    service.world.faults.clear()
    await service.minutes(21)
    assert await service.kept() == [(WELL, 5, 20), (OUT, 20, 50), (WELL, 50, 71)]


async def test_of_an_agency_that_only_another_process_judges_no_minute_is_known_here(database: Database) -> None:
    service = Service(database, agency="MDC", elsewhere={"MDC"})
    await service.minutes(6)
    assert await service.kept(agency="MDC") == []


async def test_what_goes_on_over_midnight_is_a_part_of_two_days(database: Database) -> None:
    # 23:40 in Malaysia.
    service = Service(database, now=T0 + 14 * HOUR + 40 * MINUTE)
    await service.minutes(41)
    begins = MINUTES - NINE - 20
    assert await service.kept() == [(WELL, begins + 5, MINUTES - NINE)]
    assert await service.kept(TODAY + timedelta(days=1)) == [(WELL, -NINE, -NINE + 21)]


async def test_what_is_probed_more_often_than_it_is_looked_at_is_watched_without_gaps(database: Database) -> None:
    timeouts = Timeouts(session=BEAT / 3, arrival=BEAT)
    service = Service(database, probing=replace(ProbingPolicy(), interval=BEAT, timeouts=timeouts))
    for _ in range(12):
        service.world.now = service.now
        service.world.rounds(1)
        # A busy machine looks a little later than it should.
        service.now += 5 * BEAT
        await service.book.record()
    assert await service.kept() == [(WELL, 1, 14)]


# -- absence ---------------------------------------------------------------------------------------------------------


async def test_a_restart_of_seconds_costs_no_minute(service: Service) -> None:
    await service.minutes(22)
    await service.restart(timedelta(seconds=40))
    await service.minutes(14)
    assert await service.kept() == [(WELL, 5, 36)]


async def test_an_agency_that_is_taken_over_from_another_process_loses_no_minute(service: Service) -> None:
    other = Service(service.database, elsewhere={"JCM"})
    for _ in range(22):
        await service.minutes(1)
        await other.minutes(1)
    assert await service.kept() == [(WELL, 5, 21)], "one of them has seen its mail"

    other.elsewhere.clear()
    other.world = World(service.world.routes, now=service.now)
    other.world.evaluator.restore(service.world.evaluator.healths())
    await other.minutes(14)

    assert await service.kept() == [(WELL, 5, 33)]


@pytest.mark.parametrize("away", [10 * MINUTE, 5 * HOUR])
async def test_what_happened_while_no_process_was_there_is_not_known(service: Service, away: timedelta) -> None:
    await service.minutes(22)
    await service.restart(away)
    begins = 22 + away // MINUTE
    await service.minutes(14)
    assert await service.kept() == [(WELL, 5, 21), (WELL, begins, begins + 11)]


async def test_a_process_that_stood_still_has_not_watched(service: Service) -> None:
    await service.minutes(22)
    service.now += 10 * MINUTE
    await service.minutes(13)
    assert await service.kept() == [(WELL, 5, 21), (WELL, 32, 43)]


async def test_a_clock_that_is_set_back_or_forward_makes_up_no_minute(service: Service) -> None:
    await service.minutes(22)
    for by in (-2 * HOUR, 4 * HOUR):
        service.now += by
        service.world.now = service.now
        await service.minutes(12)
    minutes = sum(end - begin for _, begin, end in await service.kept())
    assert minutes <= 22 + 2 * 12


async def test_what_the_store_did_not_take_is_written_when_it_is_back(service: Service) -> None:
    await service.minutes(22)
    write = service.database.write

    def away() -> Any:
        raise StoreUnavailable("contoh")

    service.database.write = away  # type: ignore[method-assign]
    for _ in range(15):
        if service.now >= service.world.now:
            service.world.rounds(1)
        service.now += MINUTE
        # Where nothing was settled nothing is owed.
        with suppress(StoreUnavailable):
            await service.book.record()
    service.database.write = write  # type: ignore[method-assign]
    await service.minutes(1)
    assert await service.kept() == [(WELL, 5, 36)]


async def test_an_agency_that_leaves_the_configuration_and_comes_back_was_not_watched_meanwhile(
    service: Service,
) -> None:
    await service.minutes(22)
    service.agency = ""
    await service.minutes(20)
    service.agency = "JCM"
    await service.minutes(10)
    # Its runs went on in this test; nobody looked at them.
    assert await service.kept() == [(WELL, 5, 21), (WELL, 40, 51)]


# -- hours -----------------------------------------------------------------------------------------------------------


def hours(begins: datetime, ends: datetime, *, maintenance: bool) -> ProbingPolicy:
    windows = (OneTimeWindow(WindowOccurrence(begins, ends, "contoh")),)
    return replace(ProbingPolicy(), hours=Hours(maintenance=windows) if maintenance else Hours(when=windows))


async def test_maintenance_is_no_outage_and_nothing_is_carried_over_it(database: Database) -> None:
    service = Service(database, probing=hours(T0 + 20 * MINUTE, T0 + 60 * MINUTE, maintenance=True))
    await service.minutes(20)
    await service.minutes(40, runs=False)
    await service.minutes(11)
    assert await service.kept() == [(WELL, 5, 16), (MAINTENANCE, 20, 60), (WELL, 60, 71)]


async def test_outside_of_its_hours_an_agency_is_not_missed(database: Database) -> None:
    service = Service(database, probing=hours(T0, T0 + 30 * MINUTE, maintenance=False))
    await service.minutes(29)
    await service.minutes(11, runs=False)
    assert await service.kept() == [(WELL, 5, 26), (MinuteState.OFF_HOURS, 30, 41)]


# -- what people say -------------------------------------------------------------------------------------------------


async def test_a_declared_outage_counts_from_when_it_is_said_to_have_begun_whatever_is_measured(
    service: Service,
) -> None:
    await service.minutes(20)
    incident = await service.declare(IncidentType.SENDING, since=T0 - 40 * HOUR)
    await service.minutes(10)
    await service.say(Close(incident_id=incident.id, at=service.now, by="Siti Contoh", reason="pulih", recovered=True))
    await service.minutes(6)
    no_sending = MinuteState.NO_SENDING
    assert await service.kept(TODAY - timedelta(days=2)) == [(no_sending, 8 * 60, MINUTES - NINE)]
    assert await service.kept(TODAY - timedelta(days=1)) == [(no_sending, -NINE, MINUTES - NINE)]
    assert await service.kept() == [(no_sending, -NINE, 31), (WELL, 31, 36)]


async def test_a_declared_outage_stands_while_nobody_watches(service: Service) -> None:
    await service.declare()
    await service.minutes(5)
    await service.restart(3 * HOUR)
    await service.minutes(2)
    assert await service.kept() == [(OUT, 0, 188)]


async def test_what_is_declared_beside_what_is_measured_counts_from_then_on(service: Service) -> None:
    await service.minutes(10)
    trigger = Trigger(dedup_key="JCM", at=service.now, type=IncidentType.SENDING, began_at=T0 - 5 * HOUR, policy=BRIEF)
    await service.say(trigger)
    await service.minutes(2)
    await service.declare(IncidentType.RECEIVING, since=T0 - 5 * HOUR)
    await service.minutes(6)
    assert await service.kept() == [(WELL, 5, 12), (MinuteState.NO_RECEIVING, 12, 19)]


async def test_a_false_alarm_is_no_outage_and_the_day_says_that_it_was_one(service: Service) -> None:
    await service.minutes(20)
    service.world.faults["JCM/utama"] = REFUSED
    await service.minutes(30)
    trigger = Trigger(
        dedup_key="JCM", at=service.now, type=IncidentType.BOTH, began_at=T0 + 20 * MINUTE, latest_at=T0, policy=BRIEF
    )
    opened = await service.say(trigger)
    corrected = await service.say(
        MarkFalseAlarm(incident_id=opened.id, at=service.now, by="Siti Contoh", reason="kuota kami")
    )
    # Measured all the same for another while.
    service.ended_by_hand["JCM"] = corrected
    await service.minutes(11)
    service.world.faults.clear()
    await service.minutes(11)
    service.ended_by_hand.clear()
    await service.minutes(9)
    kept = await service.kept()
    assert kept[:2] == [(WELL, 5, 20), (FALSE, 20, 73)]
    assert kept[2:] == [(WELL, 73, 81)]


async def test_a_false_alarm_is_taken_out_by_a_process_that_did_not_see_it(service: Service) -> None:
    trigger = Trigger(dedup_key="JCM", at=T0, type=IncidentType.BOTH, began_at=T0 - 26 * HOUR, policy=BRIEF)
    await service.records.add(
        {("JCM", TODAY): DayTimeline("b545"), ("JCM", TODAY - timedelta(days=1)): DayTimeline("w1440")}
    )
    opened = await service.say(trigger)
    await service.say(MarkFalseAlarm(incident_id=opened.id, at=T0, by="Siti Contoh", reason="kuota kami"))
    await service.restart(20 * HOUR)
    await service.book.record()
    assert (await service.kept())[:2] == [(FALSE, -NINE, 1), (OUT, 1, 5)]
    assert await service.kept(TODAY - timedelta(days=1)) == [
        (WELL, -NINE, -2 * 60),
        (FALSE, -2 * 60, MINUTES - NINE),
    ]
