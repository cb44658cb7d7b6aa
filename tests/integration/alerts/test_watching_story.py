"""Pantau watches itself, told as stories: what an outside switch hears, and who is rung when nothing can be written."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.processes import Process, Processes
from monitor.watchdog.watchdog import Watchdog
from pantau_lab.deadman import DeadMansSwitch
from pantau_lab.serving import serve
from tests.integration.alerts.town import NOC, NOC_OFFICE, WORDING, Town, town_at
from tests.integration.monitor.test_escalation_auditor import incident_policy
from tests.real.postgres import Postgres
from tests.unit.alerts.people import BRIEF, LONG, MINUTE, RAVI, SECOND, SITI, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
#: How often a process beats and looks at its lifeline.
BEAT = 15 * SECOND
TO_SITI = Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,))
THEN_A_CALL = Step(after=5 * MINUTE, contacts=(SITI, RAVI), channels=(Channel.VOICE,))
STAFF = replace(
    BRIEF,
    escalation=EscalationPolicy(steps=(TO_SITI, THEN_A_CALL), rounds=1, repeat_interval=LONG),
    announcement=AnnouncementPlan(),
)

BEGAN = trigger().at


class Interrupted(Processes):
    """The rows of the processes, on a store that is away when the town's is."""

    def __init__(self, database: Database, name: str, town: Town) -> None:
        super().__init__(database, name)
        self.town = town

    async def beat(self, started_at: datetime, now: datetime) -> Sequence[Process]:
        if self.town.store.away:
            raise StoreUnavailable("disk full")
        return await super().beat(started_at, now)


@dataclass
class Vigil:
    """One process's watchdog, with a lifeline of its own, and a switch outside."""

    town: Town
    watchdog: Watchdog
    switch: DeadMansSwitch
    metrics: Metrics
    #: It is not there: killed, or its machine is.
    gone: bool = False
    heard: list[int] = field(default_factory=list)

    async def beat(self) -> None:
        if not self.gone:
            await self.watchdog.process_heartbeat.beat()
            await self.watchdog._check_out_of_band()
            await self.town.carrier.settled()

    async def audit(self) -> None:
        if not self.town.store.away:
            await self.watchdog.auditor.audit()

    def beats_since(self) -> int:
        """Return how often the switch was heard since it was asked the last time."""
        self.heard.append(len(self.switch.beats))
        return self.heard[-1] - sum(self.heard[-2:-1])


@asynccontextmanager
async def vigil(town: Town, name: str, database: Database | None = None) -> AsyncIterator[Vigil]:
    """Let a process of this name watch itself from now on, as the service does. *database*: the town's, if not said."""
    place = town.outside.directory / name
    place.mkdir()
    (place / "nombor").write_text(f"{NOC}  # NOC\n")
    account = town.outside.account
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
        metrics = town.metrics if database is None else Metrics(version="1", now=town.clock.now)
        base = database or town.database
        watchdog = Watchdog(
            database=base,
            store=SqlStore(base),
            pool=town.pool,
            dispatcher=town.dispatcher,
            metrics=metrics,
            clock=town.clock,
            runtime=lambda: cast(ProbingRuntime, runtime),
            processes=Processes(base, name),
            name=name,
            directory=place,
            manager=ServiceManager({}),
            wording=WORDING,
        )
        # It beats by the store's clock.
        watchdog.process_heartbeat._clock = watchdog._shared_clock = town.clock
        watchdog.process_heartbeat._processes = Interrupted(base, name, town)
        watching = Vigil(town, watchdog, switch, metrics)
        town.go_round(BEAT, watching.beat)
        if database is None:
            town.go_round(30 * SECOND, watching.audit)
        yield watching
        await watchdog._close()


async def hears_who_has_it(town: Town) -> None:
    """Expect an SMS to whoever of the two pressed the key second."""
    (second,) = (person for person in (town.siti, town.ravi) if person.waits)
    await second.gets("JCM-01 telah disahkan oleh")


async def test_when_the_store_is_away_for_ten_minutes_the_noc_is_rung_from_a_file_and_told_when_it_is_over(
    town: Town,
) -> None:
    """When the store is unavailable for ten minutes, the NOC is called from a local file, by gateways without the store."""
    async with vigil(town, "utama") as watching:
        await town.submit(trigger(brief=STAFF))
        await town.siti.gets("AMARAN")
        await town.advance(2 * MINUTE)
        assert watching.beats_since() >= 2
        town.store.away = True
        await town.advance(10 * MINUTE - BEAT)
        town.expect_nothing_more()
        assert watching.beats_since() <= 2, "the switch hears nothing any more, and calls somebody"
        assert town.value('pantau_heartbeat_suppressed{reason="store"}') == 1

        await town.advance(2 * BEAT)
        await town.noc.is_called("Sistem Pantau tidak dapat menyimpan data")
        await town.noc.gets("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal sejak 24/11, 2.17 ptg")
        assert town.value('pantau_out_of_band_active{reason="store"}') == 1
        await town.advance(30 * MINUTE - BEAT)
        town.expect_nothing_more()
        await town.advance(BEAT)
        await town.noc.is_called("tidak dapat menyimpan data")
        await town.noc.gets("Simpanan data Pantau gagal")

        # It is back: what was owed is done at once.
        for person in (town.siti, town.ravi):
            person.presses("1")
        town.store.away = False
        await town.advance(BEAT)
        await town.noc.gets("SELESAI. Pantau berfungsi semula")
        await town.siti.is_called("gagal")
        await town.ravi.is_called("gagal")
        await hears_who_has_it(town)
        watching.beats_since()
        await town.advance(3 * MINUTE)
        assert watching.beats_since() == 3
        assert town.value('pantau_out_of_band_active{reason="store"}') == 0


async def test_a_store_that_is_back_within_ten_minutes_rings_nobody(town: Town) -> None:
    """A store that returns within ten minutes calls nobody."""
    async with vigil(town, "utama"):
        await town.advance(MINUTE)
        for _ in range(3):
            town.store.away = True
            await town.advance(9 * MINUTE)
            town.store.away = False
            await town.advance(MINUTE)


async def test_the_heartbeat_stops_when_a_step_is_overdue_and_goes_on_when_it_is_taken(town: Town) -> None:
    """An overdue step stops the heartbeat, and a metric shows it."""
    async with vigil(town, "utama") as watching:
        await town.submit(trigger(brief=STAFF))
        await town.siti.gets("AMARAN")
        # The cycle goes round, and does not get on: nobody but the auditor sees it.
        for _ in range(4 * 10):
            town.clock.moment += BEAT
            town.metrics.record_cycle(town.clock.now(), None, ())
            await watching.audit()
            await watching.beat()
            if town.clock.moment <= BEGAN + 7 * MINUTE:
                assert town.value("pantau_escalation_overdue_seconds") == 0
                watching.beats_since()
        assert town.value("pantau_escalation_overdue_seconds") == (3 * MINUTE + 2 * MINUTE).total_seconds()
        assert town.value('pantau_heartbeat_suppressed{reason="overdue"}') == 1
        assert watching.beats_since() == 0
        assert "step overdue" in await town.journal()

        for person in (town.siti, town.ravi):
            person.presses("1")
        await town.settle()
        await town.siti.is_called("gagal")
        await town.ravi.is_called("gagal")
        await hears_who_has_it(town)
        await town.advance(2 * MINUTE)
        assert town.value("pantau_escalation_overdue_seconds") == 0
        assert watching.beats_since() == 2
        assert "step overdue no more" in await town.journal()


async def test_the_heartbeat_stops_when_the_cycle_stands_still(town: Town) -> None:
    """A cycle that stands still stops the heartbeat."""
    async with vigil(town, "utama") as watching:
        await town.advance(2 * MINUTE)
        assert watching.beats_since() == 3
        for _ in range(4 * 6):
            town.clock.moment += BEAT
            await watching.audit()
            await watching.beat()
        assert 2 <= watching.beats_since() <= 4
        assert town.value('pantau_heartbeat_suppressed{reason="engine"}') == 1
        await town.advance(2 * MINUTE)
        assert watching.beats_since() >= 2


@asynccontextmanager
async def three_processes(place: Path, postgres: Postgres) -> AsyncIterator[tuple[Town, dict[str, Vigil]]]:
    """Open a town whose PostgreSQL three processes work on."""
    server = postgres.store()
    async with town_at(place, server) as town, AsyncExitStack() as stack:
        watching = {"utama": await stack.enter_async_context(vigil(town, "utama"))}
        for name in ("kedua", "ketiga"):
            database = await stack.enter_async_context(Database.open(place / f"stor-{name}", server, name=name))
            watching[name] = await stack.enter_async_context(vigil(town, name, database))
        await town.advance(MINUTE)
        town.expect_nothing_more()
        yield town, watching


@pytest.mark.real
async def test_a_process_that_says_nothing_for_two_minutes_is_told_to_the_noc_once_by_one_of_the_others(
    tmp_path: Path, postgres: Postgres
) -> None:
    """When a process is silent for two minutes, one of the others calls the NOC once."""
    async with three_processes(tmp_path, postgres) as (town, watching):
        watching["utama"].gone = True
        await town.advance(2 * MINUTE)
        town.expect_nothing_more()
        await town.advance(2 * BEAT)
        # Of the two that live the first by name.
        await town.noc.is_called("Satu proses Pantau, utama, tidak bertindak balas sejak")
        await town.noc.gets("RM0 PANTAU: AMARAN. Proses Pantau utama tidak bertindak balas sejak 24/11, 2.16 ptg")
        assert 'pantau_out_of_band_active{reason="peer"} 1.0' in watching["kedua"].metrics.render().decode()
        await town.advance(10 * MINUTE)
        town.expect_nothing_more()

        watching["utama"].gone = False
        await town.advance(2 * BEAT)
        await town.noc.gets("SELESAI. Pantau berfungsi semula")
        await town.advance(5 * MINUTE)


@pytest.mark.real
async def test_a_process_that_was_told_to_end_is_missed_by_nobody(tmp_path: Path, postgres: Postgres) -> None:
    """A process that is stopped properly is missed by nobody."""
    async with three_processes(tmp_path, postgres) as (town, watching):
        await watching["ketiga"].watchdog.process_heartbeat.stop()
        watching["ketiga"].gone = True
        await town.advance(5 * MINUTE)
