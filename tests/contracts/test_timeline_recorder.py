"""Timeline recorder: days of agencies over restarts, reloads, midnights, clock changes and an unavailable store."""

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
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.store.probing.processes import Processes
from probes.model.probe import Timeouts
from tests.unit.alerts.people import SNAPSHOT
from tests.unit.monitor.world import MINUTE, REFUSED, T0, World, agency_routes, controls

TODAY = date(2026, 11, 24)
#: T0 in Malaysia.
MINUTE_OF_T0 = 9 * 60
HOUR = timedelta(hours=1)
BEAT = timedelta(seconds=15)
UP, NO_MAIL, MAINTENANCE = MinuteState.UP, MinuteState.NO_MAIL, MinuteState.MAINTENANCE
FALSE_ALARM = MinuteState.FALSE_ALARM


@dataclass
class Service:
    """The parts of the service that the recorder uses: runs every five minutes, a record every minute."""

    database: Database
    probing: ProbingPolicy = field(default_factory=ProbingPolicy)
    now: datetime = T0
    #: Incidents that are detected after a manual closure.
    manually_closed: dict[str, Incident] = field(default_factory=dict)
    #: The configured agency, or "".
    agency: str = "JCM"
    #: Agencies that another process owns.
    owned_elsewhere: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.records, self.store = DayRecords(self.database), SqlStore(self.database)
        self.processes = Processes(self.database, "utama")
        self.world = World([*self.routes("JCM"), *controls()], now=self.now)
        self.recorder = self.make_recorder()

    def routes(self, *agencies: str) -> list[MonitoredRoute]:
        return [route for agency in agencies for route in agency_routes(agency, probing=self.probing)]

    def make_recorder(self) -> TimelineRecorder:
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
            owned={self.agency} - {""} - self.owned_elsewhere,
            reporter=SimpleNamespace(manually_closed=self.manually_closed),
        )

    async def minutes(self, count: int, *, runs: bool = True) -> None:
        """Let minutes pass."""
        for _ in range(count):
            if runs and self.now >= self.world.now:
                self.world.now = self.now
                self.world.rounds(1)
            self.now += MINUTE
            await self.recorder.record()
        # The next start reads the last heartbeat.
        await self.processes.beat(T0, self.now - BEAT)

    async def restart(self, away: timedelta) -> None:
        """Kill and restart the process."""
        before = self.world
        self.now += away
        self.world = World(before.routes, dict(before.faults), now=max(self.now, before.now))
        self.world.evaluator.restore(before.evaluator.healths())
        self.recorder = self.make_recorder()
        await self.recorder.begin(await self.processes.last_heartbeat())

    async def states(self, on: date = TODAY, agency: str = "JCM") -> list[tuple[MinuteState, int, int]]:
        """Return the states of a day, with their minutes since `T0`'s time of day."""
        sheet = (await self.records.since(agency, on)).get(on, DayTimeline())
        return [(s, b - MINUTE_OF_T0, e - MINUTE_OF_T0) for s, b, e in sheet.runs() if s is not MinuteState.NO_DATA]

    async def handle(self, event: Event) -> Incident:
        async with self.store.transaction() as uow:
            found = await handle_event(uow, event)
            assert found is not None
        return found

    async def declare(self, type_: IncidentType = IncidentType.BOTH, *, since: datetime | None = None) -> Incident:
        return await self.handle(
            Declare(
                dedup_key="JCM",
                at=self.now,
                by="Siti Contoh",
                type=type_,
                began_at=since or self.now,
                reason="webmel",
                policy=SNAPSHOT,
            )
        )


@pytest.fixture
def service(database: Database) -> Service:
    return Service(database)


async def test_outage_lasts_from_first_failed_to_first_good_run(service: Service) -> None:
    await service.minutes(20)
    service.world.faults["JCM/utama"] = REFUSED
    await service.minutes(30)
    service.world.faults.clear()
    await service.minutes(21)
    assert await service.states() == [(UP, 5, 20), (NO_MAIL, 20, 50), (UP, 50, 71)]


async def test_agency_evaluated_by_other_process_has_no_minutes(database: Database) -> None:
    service = Service(database, agency="MDC", owned_elsewhere={"MDC"})
    await service.minutes(6)
    assert await service.states(agency="MDC") == []


async def test_minutes_over_midnight_are_split_between_days(database: Database) -> None:
    # 23:40 in Malaysia.
    service = Service(database, now=T0 + 14 * HOUR + 40 * MINUTE)
    await service.minutes(41)
    begins = MINUTES - MINUTE_OF_T0 - 20
    assert await service.states() == [(UP, begins + 5, MINUTES - MINUTE_OF_T0)]
    assert await service.states(TODAY + timedelta(days=1)) == [(UP, -MINUTE_OF_T0, -MINUTE_OF_T0 + 21)]


async def test_frequent_probes_have_no_gaps(database: Database) -> None:
    timeouts = Timeouts(session=BEAT / 3, arrival=BEAT)
    service = Service(database, probing=replace(ProbingPolicy(), interval=BEAT, timeouts=timeouts))
    for _ in range(12):
        service.world.now = service.now
        service.world.rounds(1)
        # A busy machine records later than planned.
        service.now += 5 * BEAT
        await service.recorder.record()
    assert await service.states() == [(UP, 1, 14)]


# -- restarts and gaps -----------------------------------------------------------------------------------------------


async def test_restart_of_seconds_loses_no_minute(service: Service) -> None:
    await service.minutes(22)
    await service.restart(timedelta(seconds=40))
    await service.minutes(14)
    assert await service.states() == [(UP, 5, 36)]


async def test_agency_taken_over_from_other_process_loses_no_minute(service: Service) -> None:
    other = Service(service.database, owned_elsewhere={"JCM"})
    for _ in range(22):
        await service.minutes(1)
        await other.minutes(1)
    assert await service.states() == [(UP, 5, 21)], "one of the processes has probed the agency"

    other.owned_elsewhere.clear()
    other.world = World(service.world.routes, now=service.now)
    other.world.evaluator.restore(service.world.evaluator.healths())
    await other.minutes(14)

    assert await service.states() == [(UP, 5, 33)]


@pytest.mark.parametrize("away", [10 * MINUTE, 5 * HOUR])
async def test_time_without_process_has_no_data(service: Service, away: timedelta) -> None:
    await service.minutes(22)
    await service.restart(away)
    begins = 22 + away // MINUTE
    await service.minutes(14)
    assert await service.states() == [(UP, 5, 21), (UP, begins, begins + 11)]


async def test_suspended_process_has_no_data(service: Service) -> None:
    await service.minutes(22)
    service.now += 10 * MINUTE
    await service.minutes(13)
    assert await service.states() == [(UP, 5, 21), (UP, 32, 43)]


async def test_clock_changes_add_no_minutes(service: Service) -> None:
    await service.minutes(22)
    for by in (-2 * HOUR, 4 * HOUR):
        service.now += by
        service.world.now = service.now
        await service.minutes(12)
    minutes = sum(end - begin for _, begin, end in await service.states())
    assert minutes <= 22 + 2 * 12


async def test_minutes_are_written_when_store_is_back(service: Service) -> None:
    await service.minutes(22)
    write = service.database.write

    def away() -> Any:
        raise StoreUnavailable("contoh")

    service.database.write = away  # type: ignore[method-assign]
    for _ in range(15):
        if service.now >= service.world.now:
            service.world.rounds(1)
        service.now += MINUTE
        # Without new minutes nothing is written.
        with suppress(StoreUnavailable):
            await service.recorder.record()
    service.database.write = write  # type: ignore[method-assign]
    await service.minutes(1)
    assert await service.states() == [(UP, 5, 36)]


async def test_agency_removed_and_restored_has_no_data_meanwhile(
    service: Service,
) -> None:
    await service.minutes(22)
    service.agency = ""
    await service.minutes(20)
    service.agency = "JCM"
    await service.minutes(10)
    # Runs continued in this test, but were not recorded.
    assert await service.states() == [(UP, 5, 21), (UP, 40, 51)]


# -- hours -----------------------------------------------------------------------------------------------------------


def with_hours(begins: datetime, ends: datetime, *, maintenance: bool) -> ProbingPolicy:
    windows = (OneTimeWindow(WindowOccurrence(begins, ends, "contoh")),)
    return replace(ProbingPolicy(), hours=Hours(maintenance=windows) if maintenance else Hours(active_windows=windows))


async def test_maintenance_is_no_outage_and_interrupts_health(database: Database) -> None:
    service = Service(database, probing=with_hours(T0 + 20 * MINUTE, T0 + 60 * MINUTE, maintenance=True))
    await service.minutes(20)
    await service.minutes(40, runs=False)
    await service.minutes(11)
    assert await service.states() == [(UP, 5, 16), (MAINTENANCE, 20, 60), (UP, 60, 71)]


async def test_off_hours_are_not_missing_data(database: Database) -> None:
    service = Service(database, probing=with_hours(T0, T0 + 30 * MINUTE, maintenance=False))
    await service.minutes(29)
    await service.minutes(11, runs=False)
    assert await service.states() == [(UP, 5, 26), (MinuteState.OFF_HOURS, 30, 41)]


# -- declarations and false alarms -----------------------------------------------------------------------------------


async def test_declared_outage_counts_from_declared_beginning(
    service: Service,
) -> None:
    await service.minutes(20)
    incident = await service.declare(IncidentType.SENDING, since=T0 - 40 * HOUR)
    await service.minutes(10)
    await service.handle(
        Close(incident_id=incident.id, at=service.now, by="Siti Contoh", reason="pulih", recovered=True)
    )
    await service.minutes(6)
    no_sending = MinuteState.NO_SENDING
    assert await service.states(TODAY - timedelta(days=2)) == [(no_sending, 8 * 60, MINUTES - MINUTE_OF_T0)]
    assert await service.states(TODAY - timedelta(days=1)) == [(no_sending, -MINUTE_OF_T0, MINUTES - MINUTE_OF_T0)]
    assert await service.states() == [(no_sending, -MINUTE_OF_T0, 31), (UP, 31, 36)]


async def test_declared_outage_continues_without_data(service: Service) -> None:
    await service.declare()
    await service.minutes(5)
    await service.restart(3 * HOUR)
    await service.minutes(2)
    assert await service.states() == [(NO_MAIL, 0, 188)]


async def test_declaration_beside_detected_outage_counts_from_then(service: Service) -> None:
    await service.minutes(10)
    trigger = Trigger(
        dedup_key="JCM", at=service.now, type=IncidentType.SENDING, began_at=T0 - 5 * HOUR, policy=SNAPSHOT
    )
    await service.handle(trigger)
    await service.minutes(2)
    await service.declare(IncidentType.RECEIVING, since=T0 - 5 * HOUR)
    await service.minutes(6)
    assert await service.states() == [(UP, 5, 12), (MinuteState.NO_RECEIVING, 12, 19)]


async def test_false_alarm_is_no_outage_and_marked_in_day(service: Service) -> None:
    await service.minutes(20)
    service.world.faults["JCM/utama"] = REFUSED
    await service.minutes(30)
    trigger = Trigger(
        dedup_key="JCM",
        at=service.now,
        type=IncidentType.BOTH,
        began_at=T0 + 20 * MINUTE,
        latest_part_began_at=T0,
        policy=SNAPSHOT,
    )
    opened = await service.handle(trigger)
    corrected = await service.handle(
        MarkFalseAlarm(incident_id=opened.id, at=service.now, by="Siti Contoh", reason="kuota kami")
    )
    # The outage is still detected for some minutes.
    service.manually_closed["JCM"] = corrected
    await service.minutes(11)
    service.world.faults.clear()
    await service.minutes(11)
    service.manually_closed.clear()
    await service.minutes(9)
    kept = await service.states()
    assert kept[:2] == [(UP, 5, 20), (FALSE_ALARM, 20, 73)]
    assert kept[2:] == [(UP, 73, 81)]


async def test_false_alarm_is_removed_by_process_that_did_not_see_it(service: Service) -> None:
    trigger = Trigger(dedup_key="JCM", at=T0, type=IncidentType.BOTH, began_at=T0 - 26 * HOUR, policy=SNAPSHOT)
    await service.records.add(
        {("JCM", TODAY): DayTimeline("b545"), ("JCM", TODAY - timedelta(days=1)): DayTimeline("w1440")}
    )
    opened = await service.handle(trigger)
    await service.handle(MarkFalseAlarm(incident_id=opened.id, at=T0, by="Siti Contoh", reason="kuota kami"))
    await service.restart(20 * HOUR)
    await service.recorder.record()
    assert (await service.states())[:2] == [(FALSE_ALARM, -MINUTE_OF_T0, 1), (NO_MAIL, 1, 5)]
    assert await service.states(TODAY - timedelta(days=1)) == [
        (UP, -MINUTE_OF_T0, -2 * 60),
        (FALSE_ALARM, -2 * 60, MINUTES - MINUTE_OF_T0),
    ]
