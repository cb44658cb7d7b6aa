"""Watchdog with the shipped configuration: at the start and after reloads."""

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
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.processes import Process, Processes
from monitor.watchdog.out_of_band import StateFile
from monitor.watchdog.watchdog import STATE_FILE_NAME, Watchdog, alert_on_failed_opening, build_out_of_band_alerter
from pantau_lab.deadman import DeadMansSwitch
from pantau_lab.serving import serve
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.alerts.people import MINUTE, SECOND, trigger
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.scrape import Scrape

NO_OUT_OF_BAND = ""
OUT_OF_BAND = "out_of_band: {numbers_file: nombor, gateways: [sms-utama]}\n"


def configured(office: IssuingOffice, sections: str) -> Configuration:
    settings = office.directory / "other.yaml"
    line = "      name: sms-utama\n"
    text = office.config.read_text()
    assert line in text
    # The sample names a real provider.
    settings.write_text(text.replace(line, f"{line}      base_url: http://127.0.0.1:1\n") + sections)
    return load(settings, ENVIRON).require_configuration()


@pytest.fixture
def office(tmp_path: Path) -> IssuingOffice:
    (tmp_path / "nombor").write_text("010-000 0900\n")
    return IssuingOffice(tmp_path)


class WatchdogEnv:
    """A watchdog of a service whose configuration the test reloads."""

    def __init__(self, office: IssuingOffice, database: Database) -> None:
        self.office = office
        self.station = DispatcherEnv(database)
        self.metrics = Metrics(version="1", now=self.station.clock.now)
        self.reload(NO_OUT_OF_BAND)
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
        # The heartbeat uses the clock of the store; here it is the station's.
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
async def env(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[WatchdogEnv]:
    async with Database.open(tmp_path / "store") as database:
        made = WatchdogEnv(office, database)
        yield made
        await made.watchdog._close()


async def test_out_of_band_alerter_follows_configuration(env: WatchdogEnv) -> None:
    await env.watchdog._check_out_of_band()
    assert env.value("out_of_band_numbers") is None
    env.reload(OUT_OF_BAND)
    await env.watchdog._check_out_of_band()
    assert env.value("out_of_band_numbers") == 1
    env.reload(NO_OUT_OF_BAND)
    await env.watchdog._check_out_of_band()
    assert env.value("out_of_band_numbers") is None


HEARTBEAT = "heartbeat: {url: http://127.0.0.1:1/}\n"


async def test_monitor_only_sends_no_out_of_band_alert_heartbeat_or_drill(env: WatchdogEnv) -> None:
    drills = env.watchdog.drill_runner

    async def run_drills() -> int:
        async with asyncio.TaskGroup() as calls:
            await drills.run_once(calls)
        return len(await drills.latest_results(1))

    env.reload("mode: monitor_only\n" + OUT_OF_BAND + HEARTBEAT)
    assert await drills.start("all", "Ali Contoh", timedelta(hours=2)) is not None
    assert await run_drills() == 0
    await env.watchdog._check_out_of_band()
    assert env.value("out_of_band_numbers") is None
    assert (
        build_out_of_band_alerter(
            env.runtime.configuration, env.office.directory, env.metrics.watchdog, env.station.clock
        )
        is None
    )
    assert env.watchdog._current_sender() is None

    env.reload(OUT_OF_BAND + HEARTBEAT)
    assert await run_drills() > 0
    await env.watchdog._check_out_of_band()
    assert env.value("out_of_band_numbers") == 1
    assert env.watchdog._current_sender() is not None


@pytest.mark.blind
async def test_process_heartbeat_clock_set_back_gives_peers_time(env: WatchdogEnv) -> None:
    """Defect: After a clock is set back, all processes seem dead.

    Pantau: They get time for a heartbeat by the new time.
    """
    beating, clock = env.watchdog.process_heartbeat, env.station.clock
    await beating.beat()
    clock.moment += 9 * MINUTE
    await beating.beat()
    assert beating.peers_observed_since == clock.now() - 9 * MINUTE
    clock.moment -= timedelta(hours=8)
    await beating.beat()
    assert beating.peers_observed_since == beating.written_at == clock.now()


async def test_monitor_only_reports_no_overdue_escalation(env: WatchdogEnv) -> None:
    env.reload("mode: monitor_only\n")
    await env.station.dispatcher.submit(trigger())
    env.station.clock.moment += 30 * MINUTE
    await env.watchdog.auditor.audit()
    assert env.value("escalation_overdue_seconds") == 0
    env.reload("")
    await env.watchdog.auditor.audit()
    assert (env.value("escalation_overdue_seconds") or 0) > 0


async def test_out_of_band_alerter_uses_gateways_of_current_configuration(env: WatchdogEnv) -> None:
    """A gateway token that was changed by a reload is used for the next alert."""

    async def gateways() -> list[object]:
        await env.watchdog._check_out_of_band()
        assert env.watchdog._out_of_band is not None
        lines = cast(Any, env.watchdog._out_of_band[1]._gateways)
        return [line.gateway for line in lines]

    env.reload(OUT_OF_BAND)
    before = await gateways()
    assert await gateways() == before
    env.reload(OUT_OF_BAND)
    assert not set(await gateways()) & set(before)


class AlertState:
    """Stored state of the out-of-band alerter."""

    def __init__(self, env: WatchdogEnv) -> None:
        self.env = env
        self.state_file = StateFile(env.runtime.configuration.settings.state_dir / STATE_FILE_NAME)

    async def check(self) -> ActiveReasons:
        """Check once and return the reasons that are stored as notified."""
        await self.env.watchdog._check_out_of_band()
        return {reason: active for reason, active in self.state_file.read().items() if active.notified_at is not None}


async def test_store_recovery_not_sent_before_store_state_is_known(env: WatchdogEnv) -> None:
    """The service is restarted while the disk is still full."""
    env.reload(OUT_OF_BAND)
    alert_state, now = AlertState(env), env.station.clock.now()
    alert_state.state_file.write(
        {OutOfBandReason.STORE: ActiveReason(since=now - 60 * MINUTE, notified_at=now - MINUTE)}
    )
    assert set(await alert_state.check()) == {OutOfBandReason.STORE}
    env.watchdog.process_heartbeat.failing_since = now
    assert set(await alert_state.check()) == {OutOfBandReason.STORE}
    # No gateway answers, and the reason still ends.
    await env.watchdog.process_heartbeat.beat()
    assert await alert_state.check() == {}


async def test_store_unavailable_does_not_end_silent_peer_alert(env: WatchdogEnv) -> None:
    env.reload(OUT_OF_BAND)
    alert_state, now = AlertState(env), env.station.clock.now()
    alert_state.state_file.write(
        {OutOfBandReason.PEER: ActiveReason(since=now - 60 * MINUTE, notified_at=now - MINUTE, whose="kedua")}
    )
    env.watchdog.process_heartbeat.failing_since = now
    env.station.clock.moment += 5 * MINUTE
    assert set(await alert_state.check()) == {OutOfBandReason.PEER}


async def test_out_of_band_alerter_reports_peer_missing_heartbeat(env: WatchdogEnv) -> None:
    class PeerProcesses(Processes):
        async def beat(self, started_at: datetime, now: datetime) -> list[Process]:
            at = SystemClock().now() - 5 * MINUTE
            return [Process(name="kedua", started_at=at, heartbeat_at=at)]

    env.reload(OUT_OF_BAND)
    alert_state = AlertState(env)
    env.watchdog.process_heartbeat._processes = PeerProcesses.__new__(PeerProcesses)
    await env.watchdog.process_heartbeat.beat()
    await alert_state.check()
    assert {reason: active.whose for reason, active in alert_state.state_file.read().items()} == {
        OutOfBandReason.PEER: "kedua"
    }


async def test_heartbeat_url_changed_by_reload_gets_next_beat(env: WatchdogEnv) -> None:
    first, second = DeadMansSwitch(), DeadMansSwitch()
    async with serve(first.app()) as one, serve(second.app()) as other:
        env.reload(f"heartbeat: {{url: {one}, interval: 10m}}\n")
        await env.watchdog.process_heartbeat.beat()
        env.reload(f"heartbeat: {{url: {other}, interval: 10m}}\n")
        for _ in range(3):
            env.station.clock.moment += 15 * SECOND
            await env.watchdog.process_heartbeat.beat()
        env.reload("")
        await env.watchdog.process_heartbeat.beat()
    assert (len(first.beats), len(second.beats)) == (1, 1)
    assert env.value("heartbeat_last_success_timestamp_seconds", receiver="switch") is None


# -- at the start ----------------------------------------------------------------------------------------------------


async def log_of_failed_opening(office: IssuingOffice, error: Exception, clock: SystemClock | None = None) -> list[str]:
    """Let opening the store fail with *error*; return the logged events."""
    metrics = Metrics(version="1", now=SystemClock().now).watchdog
    with capture_logs() as logged, pytest.raises(type(error)):
        async with alert_on_failed_opening(
            configured(office, OUT_OF_BAND), office.directory, metrics, clock or SystemClock()
        ):
            raise error
    return [line["event"] for line in logged]


async def test_failed_opening_is_recorded_unless_store_in_use(
    office: IssuingOffice,
) -> None:
    assert await log_of_failed_opening(office, StoreInUseError("somebody has it")) == []
    assert not (office.state / STATE_FILE_NAME).exists()
    assert await log_of_failed_opening(office, OSError("no such disk")) == []
    assert b'"store"' in (office.state / STATE_FILE_NAME).read_bytes()


async def test_failed_opening_error_is_kept_despite_alerter_bug(office: IssuingOffice) -> None:
    class FailingClock(SystemClock):
        def now(self) -> datetime:
            raise ZeroDivisionError

    assert await log_of_failed_opening(office, OSError("no such disk"), FailingClock()) == ["out-of-band check failed"]
