"""What watches the watcher, put together, with the configuration that ships: at the start, and when it is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from alerts.persistence.clock import SystemClock
from alerts.wording.texts import load as load_wording
from monitor.config.loading import Configuration, load
from monitor.evaluation.out_of_band import ActiveReason, ActiveReasons, OutOfBandReason
from monitor.metrics import Metrics
from monitor.runtime.systemd import ServiceManager
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.backend.database import Database, StoreInUseError
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.processes import Process, Processes
from monitor.watchdog.out_of_band import MemoryFile
from monitor.watchdog.watchdog import MEMORY_FILE, Watchdog, alert_on_failed_opening, build_out_of_band_alerter
from pantau_lab.deadman import DeadMansSwitch
from pantau_lab.serving import serve
from tests.integration.alerts.station import Station
from tests.unit.alerts.people import MINUTE, SECOND, trigger
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.scrape import Scrape

WITHOUT_LIFELINE = ""
LIFELINE = "out_of_band: {numbers_file: nombor, gateways: [sms-utama]}\n"


def configured(office: IssuingOffice, sections: str) -> Configuration:
    settings = office.directory / "other.yaml"
    line = "      name: sms-utama\n"
    text = office.config.read_text()
    assert line in text
    # The sample names a provider that is really there.
    settings.write_text(text.replace(line, f"{line}      base_url: http://127.0.0.1:1\n") + sections)
    return load(settings, ENVIRON).accepted()


@pytest.fixture
def office(tmp_path: Path) -> IssuingOffice:
    (tmp_path / "nombor").write_text("010-000 0900\n")
    return IssuingOffice(tmp_path)


class Watchroom:
    """A watchdog over a service whose configuration is changed as by a reload."""

    def __init__(self, office: IssuingOffice, database: Database) -> None:
        self.office = office
        self.station = Station(database)
        self.metrics = Metrics(version="1", now=self.station.clock.now)
        self.reload(WITHOUT_LIFELINE)
        self.watchdog = Watchdog(
            database=database,
            store=SqlStore(database),
            pool=self.station.pool,
            dispatcher=self.station.dispatcher,
            metrics=self.metrics,
            clock=self.station.clock,
            runtime=lambda: self.runtime,
            processes=Processes(database, "utama"),
            name="utama",
            directory=office.directory,
            manager=ServiceManager({}),
            wording=load_wording(),
        )
        # It beats by the store's clock, which is ours where nobody else is on the store.
        self.watchdog.process_heartbeat._clock = self.station.clock

    def reload(self, sections: str) -> None:
        configuration = configured(self.office, sections)
        prober = SimpleNamespace(next_run_delay=lambda _: 0 * SECOND)
        evaluator = SimpleNamespace(failing_routes=lambda _: ())
        runtime = SimpleNamespace(configuration=configuration, prober=prober, failing_routes=evaluator.failing_routes)
        self.runtime = cast(ProbingRuntime, runtime)

    def value(self, name: str, **labels: str) -> float | None:
        return Scrape(self.metrics).value(name, **labels)


@pytest.fixture
async def room(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[Watchroom]:
    async with Database.open(tmp_path / "store") as database:
        made = Watchroom(office, database)
        yield made
        await made.watchdog._close()


async def test_a_lifeline_comes_and_goes_with_the_configuration(room: Watchroom) -> None:
    await room.watchdog._check_out_of_band()
    assert room.value("out_of_band_numbers") is None
    room.reload(LIFELINE)
    await room.watchdog._check_out_of_band()
    assert room.value("out_of_band_numbers") == 1
    room.reload(WITHOUT_LIFELINE)
    await room.watchdog._check_out_of_band()
    assert room.value("out_of_band_numbers") is None


HEARTBEAT = "heartbeat: {url: http://127.0.0.1:1/}\n"


async def test_while_nobody_is_told_it_rings_nobody_beats_for_nobody_and_drills_nobody(room: Watchroom) -> None:
    drills = room.watchdog.drill_runner

    async def tried() -> int:
        async with asyncio.TaskGroup() as calls:
            await drills.run_once(calls)
        return len(await drills.latest_results(1))

    room.reload("mode: monitor_only\n" + LIFELINE + HEARTBEAT)
    assert await drills.start("all", "Ali Contoh", timedelta(hours=2)) is not None
    assert await tried() == 0
    await room.watchdog._check_out_of_band()
    assert room.value("out_of_band_numbers") is None
    assert (
        build_out_of_band_alerter(
            room.runtime.configuration, room.office.directory, room.metrics.watchdog, room.station.clock
        )
        is None
    )
    assert room.watchdog._current_heartbeat() is None

    room.reload(LIFELINE + HEARTBEAT)
    assert await tried() > 0
    await room.watchdog._check_out_of_band()
    assert room.value("out_of_band_numbers") == 1
    assert room.watchdog._current_heartbeat() is not None


@pytest.mark.blind
async def test_pulse_clock_set_back_gives_the_others_time_to_beat_again(room: Watchroom) -> None:
    """Defect: After a clock is set back, all processes seem dead.

    Pantau: They get time for a heartbeat by the new time.
    """
    pulse, clock = room.watchdog.process_heartbeat, room.station.clock
    await pulse.beat()
    clock.moment += 9 * MINUTE
    await pulse.beat()
    assert pulse.peers_observed_since == clock.now() - 9 * MINUTE
    clock.moment -= timedelta(hours=8)
    await pulse.beat()
    assert pulse.peers_observed_since == pulse.written_at == clock.now()


async def test_while_nobody_is_told_nobody_is_left_untold(room: Watchroom) -> None:
    room.reload("mode: monitor_only\n")
    await room.station.dispatcher.submit(trigger())
    room.station.clock.moment += 30 * MINUTE
    await room.watchdog.auditor.audit()
    assert room.value("escalation_overdue_seconds") == 0
    room.reload("")
    await room.watchdog.auditor.audit()
    assert (room.value("escalation_overdue_seconds") or 0) > 0


async def test_the_lifeline_has_the_gateways_of_the_configuration_in_force(room: Watchroom) -> None:
    """A token that was changed while all was well must not be missed when it rings."""

    async def accounts() -> list[object]:
        await room.watchdog._check_out_of_band()
        assert room.watchdog._out_of_band is not None
        lines = cast(Any, room.watchdog._out_of_band[1]._gateways)
        return [line.gateway for line in lines]

    room.reload(LIFELINE)
    before = await accounts()
    assert await accounts() == before
    room.reload(LIFELINE)
    assert not set(await accounts()) & set(before)


class Rings:
    """What a lifeline was told of, and would have rung about."""

    def __init__(self, room: Watchroom) -> None:
        self.room = room
        self.memory = MemoryFile(room.runtime.configuration.settings.state_dir / MEMORY_FILE)

    async def look(self) -> ActiveReasons:
        """Look once, and return what is remembered as told."""
        await self.room.watchdog._check_out_of_band()
        return {trouble: spell for trouble, spell in self.memory.read().items() if spell.notified_at is not None}


async def test_before_anything_is_known_of_the_store_nobody_is_told_that_it_is_back(room: Watchroom) -> None:
    """An operator starts the service again, on a disk that is full still."""
    room.reload(LIFELINE)
    rings, now = Rings(room), room.station.clock.now()
    rings.memory.write({OutOfBandReason.STORE: ActiveReason(since=now - 60 * MINUTE, notified_at=now - MINUTE)})
    assert set(await rings.look()) == {OutOfBandReason.STORE}
    room.watchdog.process_heartbeat.failing_since = now
    assert set(await rings.look()) == {OutOfBandReason.STORE}
    # No gateway answers here, and it is over all the same.
    await room.watchdog.process_heartbeat.beat()
    assert await rings.look() == {}


async def test_a_store_that_goes_away_does_not_bring_a_silent_peer_back(room: Watchroom) -> None:
    room.reload(LIFELINE)
    rings, now = Rings(room), room.station.clock.now()
    rings.memory.write(
        {OutOfBandReason.PEER: ActiveReason(since=now - 60 * MINUTE, notified_at=now - MINUTE, whose="kedua")}
    )
    room.watchdog.process_heartbeat.failing_since = now
    room.station.clock.moment += 5 * MINUTE
    assert set(await rings.look()) == {OutOfBandReason.PEER}


async def test_the_lifeline_hears_of_a_peer_that_the_pulse_has_missed(room: Watchroom) -> None:
    class SharedSettings(Processes):
        async def beat(self, started_at: datetime, now: datetime) -> list[Process]:
            at = SystemClock().now() - 5 * MINUTE
            return [Process(name="kedua", started_at=at, heartbeat_at=at)]

    room.reload(LIFELINE)
    rings = Rings(room)
    room.watchdog.process_heartbeat._processes = SharedSettings.__new__(SharedSettings)
    await room.watchdog.process_heartbeat.beat()
    await rings.look()
    assert {trouble: spell.whose for trouble, spell in rings.memory.read().items()} == {OutOfBandReason.PEER: "kedua"}


async def test_a_switch_that_a_reload_names_hears_of_us_with_the_next_beat(room: Watchroom) -> None:
    first, second = DeadMansSwitch(), DeadMansSwitch()
    async with serve(first.app()) as one, serve(second.app()) as other:
        room.reload(f"heartbeat: {{url: {one}, interval: 10m}}\n")
        await room.watchdog.process_heartbeat.beat()
        room.reload(f"heartbeat: {{url: {other}, interval: 10m}}\n")
        for _ in range(3):
            room.station.clock.moment += 15 * SECOND
            await room.watchdog.process_heartbeat.beat()
        room.reload("")
        await room.watchdog.process_heartbeat.beat()
    assert (len(first.beats), len(second.beats)) == (1, 1)
    assert room.value("heartbeat_last_success_timestamp_seconds", receiver="switch") is None


# -- at the start ----------------------------------------------------------------------------------------------------


async def opening(office: IssuingOffice, error: Exception, clock: SystemClock | None = None) -> list[str]:
    """Let the store not open for *error*; return what was logged."""
    metrics = Metrics(version="1", now=SystemClock().now).watchdog
    with capture_logs() as logged, pytest.raises(type(error)):
        async with alert_on_failed_opening(
            configured(office, LIFELINE), office.directory, metrics, clock or SystemClock()
        ):
            raise error
    return [line["event"] for line in logged]


async def test_a_store_that_does_not_open_is_remembered_and_one_that_another_process_has_is_not(
    office: IssuingOffice,
) -> None:
    assert await opening(office, StoreInUseError("somebody has it")) == []
    assert not (office.state / MEMORY_FILE).exists()
    assert await opening(office, OSError("no such disk")) == []
    assert b'"store"' in (office.state / MEMORY_FILE).read_bytes()


async def test_a_bug_in_the_lifeline_does_not_hide_why_the_store_was_not_opened(office: IssuingOffice) -> None:
    class Stopped(SystemClock):
        def now(self) -> datetime:
            raise ZeroDivisionError

    assert await opening(office, OSError("no such disk"), Stopped()) == ["out-of-band check failed"]
