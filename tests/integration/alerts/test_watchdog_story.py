"""Self-monitoring: heartbeat, out-of-band alerts, and silent processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from alerts.gateways.twilio.sms import TwilioSmsSettings
from alerts.gateways.twilio.voice import TwilioVoiceSettings
from alerts.model.channel import Channel
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, Step
from alerts.persistence.store import StoreUnavailable
from monitor.config.service.heartbeat import HeartbeatSettings
from monitor.config.service.out_of_band import OutOfBandSettings
from monitor.metrics import Metrics
from monitor.runtime.systemd import ServiceManager
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.processes import Process, Processes
from monitor.watchdog.watchdog import Watchdog
from pantau_lab.deadman import DeadMansSwitch
from pantau_lab.serving import serve
from tests.integration.alerts.simulated_env import NOC, NOC_OFFICE, WORDING, SimulatedEnv, open_simulated_env
from tests.integration.monitor.test_escalation_auditor import incident_policy
from tests.real.postgres import Postgres
from tests.unit.alerts.people import LONG, MINUTE, RAVI, SECOND, SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
#: Interval of heartbeat and out-of-band check of a process.
HEARTBEAT_INTERVAL = 15 * SECOND
TO_SITI = Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,))
THEN_A_CALL = Step(after=5 * MINUTE, contacts=(SITI, RAVI), channels=(Channel.VOICE,))
STAFF = replace(
    SNAPSHOT,
    escalation=EscalationPolicy(steps=(TO_SITI, THEN_A_CALL), rounds=1, repeat_interval=LONG),
    announcement=AnnouncementPlan(),
)

BEGAN = trigger().at


class SilencedProcesses(Processes):
    """The process rows, on a store that is unavailable when the environment's is."""

    def __init__(self, database: Database, name: str, env: SimulatedEnv) -> None:
        super().__init__(database, name)
        self.env = env

    async def beat(self, started_at: datetime, now: datetime) -> Sequence[Process]:
        if self.env.store.away:
            raise StoreUnavailable("disk full")
        return await super().beat(started_at, now)


@dataclass
class WatchdogEnv:
    """The watchdog of one process, with its out-of-band alerter and an external switch."""

    env: SimulatedEnv
    watchdog: Watchdog
    switch: DeadMansSwitch
    metrics: Metrics
    #: Whether the process is gone: killed, or its machine stopped.
    gone: bool = False
    heard: list[int] = field(default_factory=list)

    async def beat(self) -> None:
        if not self.gone:
            await self.watchdog.process_heartbeat.beat()
            await self.watchdog._check_out_of_band()
            await self.env.carrier.settled()

    async def audit(self) -> None:
        if not self.env.store.away:
            await self.watchdog.auditor.audit()

    def heartbeats_since(self) -> int:
        """Return the number of heartbeats since the last call."""
        self.heard.append(len(self.switch.beats))
        return self.heard[-1] - sum(self.heard[-2:-1])


@asynccontextmanager
async def open_watchdog(env: SimulatedEnv, name: str, database: Database | None = None) -> AsyncIterator[WatchdogEnv]:
    """Run the watchdog of a process with this name. *database*: by default the environment's."""
    place = env.outside.directory / name
    place.mkdir()
    (place / "nombor").write_text(f"{NOC}  # NOC\n")
    account = env.outside.account
    voice, text = TwilioVoiceSettings(**account), TwilioSmsSettings(**account)
    entries = {
        Channel.VOICE: (SimpleNamespace(name="suara", kind="twilio_voice", channel=Channel.VOICE, config=voice),),
        Channel.SMS: (SimpleNamespace(name="sms", kind="twilio_sms", channel=Channel.SMS, config=text),),
    }
    switch = DeadMansSwitch()
    async with serve(switch.app()) as url:
        settings = SimpleNamespace(
            notifies=True,
            heartbeat=HeartbeatSettings(url=url),
            out_of_band=OutOfBandSettings(numbers_file=place / "nombor", gateways=("suara", "sms")),
            gateways=entries,
            noc=SimpleNamespace(build_office=lambda: NOC_OFFICE),
            incident_policy=lambda subject, subject_en: incident_policy(subject or subject_en),
            state_dir=place,
        )
        configuration = SimpleNamespace(settings=settings, wording=WORDING)
        runtime = SimpleNamespace(
            configuration=configuration,
            prober=SimpleNamespace(next_run_delay=lambda _: timedelta(0)),
            failing_routes=lambda _: (),
        )
        metrics = env.metrics if database is None else Metrics(version="1", now=env.clock.now)
        base = database or env.database
        watchdog = Watchdog(
            database=base,
            store=SqlStore(base),
            pool=env.pool,
            dispatcher=env.dispatcher,
            metrics=metrics,
            clock=env.clock,
            runtime=lambda: cast(ProbingRuntime, runtime),
            processes=Processes(base, name),
            name=name,
            directory=place,
            manager=ServiceManager({}),
            wording=WORDING,
        )
        # The heartbeat uses the store's clock.
        watchdog.process_heartbeat._clock = watchdog._shared_clock = env.clock
        watchdog.process_heartbeat._processes = SilencedProcesses(base, name, env)
        watchdog_env = WatchdogEnv(env, watchdog, switch, metrics)
        env.run_every(HEARTBEAT_INTERVAL, watchdog_env.beat)
        if database is None:
            env.run_every(30 * SECOND, watchdog_env.audit)
        yield watchdog_env
        await watchdog._close()


async def expect_acknowledgement(env: SimulatedEnv) -> None:
    """Expect an SMS to whichever of the two pressed the key second."""
    (second,) = (person for person in (env.siti, env.ravi) if person.waits)
    await second.gets("JCM-01 telah disahkan oleh")


async def test_database_unavailable_ten_minutes_alerts_noc_from_file_until_over(
    env: SimulatedEnv,
) -> None:
    """When the database is unavailable for ten minutes, the NOC is alerted from a local file."""
    async with open_watchdog(env, "utama") as watchdog_env:
        await env.submit(trigger(snapshot=STAFF))
        await env.siti.gets("AMARAN")
        await env.advance(2 * MINUTE)
        assert watchdog_env.heartbeats_since() >= 2
        env.store.away = True
        await env.advance(10 * MINUTE - HEARTBEAT_INTERVAL)
        env.expect_nothing_more()
        assert watchdog_env.heartbeats_since() <= 2, "the switch hears nothing any more, and calls somebody"
        assert env.value('pantau_heartbeat_suppressed{reason="store"}') == 1

        await env.advance(2 * HEARTBEAT_INTERVAL)
        await env.noc.is_called("Sistem Pantau tidak dapat menyimpan data")
        await env.noc.gets("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal sejak 24/11, 2.17 ptg")
        assert env.value('pantau_out_of_band_active{reason="store"}') == 1
        await env.advance(30 * MINUTE - HEARTBEAT_INTERVAL)
        env.expect_nothing_more()
        await env.advance(HEARTBEAT_INTERVAL)
        await env.noc.is_called("tidak dapat menyimpan data")
        await env.noc.gets("Simpanan data Pantau gagal")

        # The store is available again: what is due is done at once.
        for person in (env.siti, env.ravi):
            person.presses("1")
        env.store.away = False
        await env.advance(HEARTBEAT_INTERVAL)
        await env.noc.gets("SELESAI. Pantau berfungsi semula")
        await env.siti.is_called("gagal")
        await env.ravi.is_called("gagal")
        await expect_acknowledgement(env)
        watchdog_env.heartbeats_since()
        await env.advance(3 * MINUTE)
        assert watchdog_env.heartbeats_since() == 3
        assert env.value('pantau_out_of_band_active{reason="store"}') == 0


async def test_database_back_within_ten_minutes_alerts_nobody(env: SimulatedEnv) -> None:
    """A store that returns within ten minutes calls nobody."""
    async with open_watchdog(env, "utama"):
        await env.advance(MINUTE)
        for _ in range(3):
            env.store.away = True
            await env.advance(9 * MINUTE)
            env.store.away = False
            await env.advance(MINUTE)


async def test_overdue_step_stops_heartbeat_until_taken(env: SimulatedEnv) -> None:
    """An overdue step stops the heartbeat, and a metric shows it."""
    async with open_watchdog(env, "utama") as watchdog_env:
        await env.submit(trigger(snapshot=STAFF))
        await env.siti.gets("AMARAN")
        # The cycle runs without progress: only the auditor sees it.
        for _ in range(4 * 10):
            env.clock.moment += HEARTBEAT_INTERVAL
            env.metrics.record_cycle(env.clock.now(), None, ())
            await watchdog_env.audit()
            await watchdog_env.beat()
            if env.clock.moment <= BEGAN + 7 * MINUTE:
                assert env.value("pantau_escalation_overdue_seconds") == 0
                watchdog_env.heartbeats_since()
        assert env.value("pantau_escalation_overdue_seconds") == (3 * MINUTE + 2 * MINUTE).total_seconds()
        assert env.value('pantau_heartbeat_suppressed{reason="overdue"}') == 1
        assert watchdog_env.heartbeats_since() == 0
        assert "step overdue" in await env.journal()

        for person in (env.siti, env.ravi):
            person.presses("1")
        await env.settle()
        await env.siti.is_called("gagal")
        await env.ravi.is_called("gagal")
        await expect_acknowledgement(env)
        await env.advance(2 * MINUTE)
        assert env.value("pantau_escalation_overdue_seconds") == 0
        assert watchdog_env.heartbeats_since() == 2
        assert "step overdue no more" in await env.journal()


async def test_stalled_cycle_stops_heartbeat(env: SimulatedEnv) -> None:
    """A cycle that stands still stops the heartbeat."""
    async with open_watchdog(env, "utama") as watchdog_env:
        await env.advance(2 * MINUTE)
        assert watchdog_env.heartbeats_since() == 3
        for _ in range(4 * 6):
            env.clock.moment += HEARTBEAT_INTERVAL
            await watchdog_env.audit()
            await watchdog_env.beat()
        assert 2 <= watchdog_env.heartbeats_since() <= 4
        assert env.value('pantau_heartbeat_suppressed{reason="engine"}') == 1
        await env.advance(2 * MINUTE)
        assert watchdog_env.heartbeats_since() >= 2


@asynccontextmanager
async def three_processes(
    place: Path, postgres: Postgres
) -> AsyncIterator[tuple[SimulatedEnv, dict[str, WatchdogEnv]]]:
    """Open an environment whose PostgreSQL three processes share."""
    server = postgres.store()
    async with open_simulated_env(place, server) as env, AsyncExitStack() as stack:
        watchdog_env = {"utama": await stack.enter_async_context(open_watchdog(env, "utama"))}
        for name in ("kedua", "ketiga"):
            database = await stack.enter_async_context(Database.open(place / f"stor-{name}", server, name=name))
            watchdog_env[name] = await stack.enter_async_context(open_watchdog(env, name, database))
        await env.advance(MINUTE)
        env.expect_nothing_more()
        yield env, watchdog_env


@pytest.mark.real
async def test_process_silent_for_two_minutes_is_reported_to_noc_once(tmp_path: Path, postgres: Postgres) -> None:
    """When a process is silent for two minutes, one of the others calls the NOC once."""
    async with three_processes(tmp_path, postgres) as (env, watchdog_env):
        watchdog_env["utama"].gone = True
        await env.advance(2 * MINUTE)
        env.expect_nothing_more()
        await env.advance(2 * HEARTBEAT_INTERVAL)
        # The first by name of the two that live.
        await env.noc.is_called("Satu proses Pantau, utama, tidak bertindak balas sejak")
        await env.noc.gets("RM0 PANTAU: AMARAN. Proses Pantau utama tidak bertindak balas sejak 24/11, 2.16 ptg")
        assert 'pantau_out_of_band_active{reason="peer"} 1.0' in watchdog_env["kedua"].metrics.render().decode()
        await env.advance(10 * MINUTE)
        env.expect_nothing_more()

        watchdog_env["utama"].gone = False
        await env.advance(2 * HEARTBEAT_INTERVAL)
        await env.noc.gets("SELESAI. Pantau berfungsi semula")
        await env.advance(5 * MINUTE)


@pytest.mark.real
async def test_process_stopped_properly_is_not_reported(tmp_path: Path, postgres: Postgres) -> None:
    """A process that is stopped properly is missed by nobody."""
    async with three_processes(tmp_path, postgres) as (env, watchdog_env):
        await watchdog_env["ketiga"].watchdog.process_heartbeat.stop()
        watchdog_env["ketiga"].gone = True
        await env.advance(5 * MINUTE)
