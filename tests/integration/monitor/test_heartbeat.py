"""The heartbeat, against a dead-man's switch over a real socket, a real file, and systemd's way of listening."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alerts.persistence.store import StoreUnavailable
from monitor.config.service.heartbeat import HeartbeatSettings
from monitor.evaluation.liveness import LivenessInputs
from monitor.metrics import Metrics
from monitor.runtime.systemd import ServiceManager
from monitor.store.backend.database import Database
from monitor.store.probing.processes import Process, Processes
from monitor.watchdog import process_heartbeat
from monitor.watchdog.heartbeat import HeartbeatSender
from monitor.watchdog.process_heartbeat import ProcessHeartbeat
from pantau_lab.deadman import Beat, DeadMansSwitch
from pantau_lab.provider_fault import SubmissionFault
from pantau_lab.serving import serve
from tests.integration.alerts.station import Clock
from tests.unit.alerts.people import MINUTE, SECOND, T0

TOKEN = "tanda-rahsia-suis"
NOBODY = ServiceManager({})


class Rig:
    """A pulse on a real store, whose signs are as they are set."""

    def __init__(self, database: Database, settings: HeartbeatSettings | None, manager: ServiceManager) -> None:
        self.clock = Clock()
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.cycled_at: datetime | None = None
        made = None if settings is None else HeartbeatSender(settings, self.metrics.watchdog, self.clock)
        self.pulse = ProcessHeartbeat(
            processes=Processes(database, "utama"),
            liveness_inputs=self._signs,
            heartbeat=lambda: None if made is None or settings is None else (made, settings.interval),
            manager=manager,
            metrics=self.metrics.watchdog,
            clock=self.clock,
        )

    def _signs(self, written_at: datetime | None) -> LivenessInputs:
        now = self.clock.now()
        return LivenessInputs(
            started_at=T0,
            cycled_at=self.cycled_at or now,
            written_at=written_at,
            is_store_unavailable=False,
            audited_at=now,
            overdue=timedelta(0),
            probe_delay=timedelta(0),
        )

    def away_since(self) -> datetime | None:
        return self.pulse.failing_since

    async def beat(self, after: timedelta = timedelta(0)) -> None:
        self.clock.moment += after
        await self.pulse.beat()

    def value(self, series: str) -> str | None:
        lines = self.metrics.render().decode().splitlines()
        return next((line.rpartition(" ")[2] for line in lines if line.startswith(f"{series} ")), None)


@asynccontextmanager
async def rig(place: Path, settings: HeartbeatSettings | None, manager: ServiceManager = NOBODY) -> AsyncIterator[Rig]:
    async with Database.open(place) as database:
        yield Rig(database, settings, manager)


@dataclass
class Outside:
    switch: DeadMansSwitch
    url: str


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    switch = DeadMansSwitch()
    async with serve(switch.app()) as url:
        yield Outside(switch, url)


async def test_it_is_sent_as_often_as_agreed_with_its_token_in_a_header(outside: Outside, tmp_path: Path) -> None:
    settings = HeartbeatSettings(url=f"{outside.url}/pantau", token=SecretStr(TOKEN), method="POST")
    async with rig(tmp_path, settings) as at:
        for after in (0, 15, 15, 15, 15, 15):
            await at.beat(after * SECOND)
        assert outside.switch.beats == [Beat(method="POST", path="/pantau", authorization=f"Bearer {TOKEN}")] * 2
        heard = at.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}')
        assert float(heard or 0) == (T0 + MINUTE).timestamp()


async def test_a_token_may_stand_in_the_address(outside: Outside, tmp_path: Path) -> None:
    settings = HeartbeatSettings(url=f"{outside.url}/denyut/{{token}}", token=SecretStr(TOKEN))
    async with rig(tmp_path, settings) as at:
        await at.beat()
    assert outside.switch.beats == [Beat(method="GET", path=f"/denyut/{TOKEN}", authorization="")]


@pytest.mark.parametrize("token", ["tanda rahsia", "tanda#1?x", "rahsiå", "50%20"])
async def test_a_token_is_sent_whatever_it_is_made_of(token: str, outside: Outside, tmp_path: Path) -> None:
    for address in ("denyut/{token}", "denyut"):
        settings = HeartbeatSettings(url=f"{outside.url}/{address}", token=SecretStr(token))
        async with rig(tmp_path / str(len(address)), settings) as at:
            await at.beat()
    in_address, in_header = outside.switch.beats
    assert in_address.path == f"/denyut/{token}"
    assert in_header.authorization.encode("latin-1").decode() == f"Bearer {token}"


async def test_a_clock_that_is_set_back_does_not_silence_it(outside: Outside, tmp_path: Path) -> None:
    async with rig(tmp_path, HeartbeatSettings(url=outside.url)) as at:
        await at.beat()
        at.clock.moment -= timedelta(hours=1)
        await at.beat()
        await at.beat(15 * SECOND)
    assert len(outside.switch.beats) == 2


async def test_a_bug_in_a_beat_ends_neither_the_pulse_nor_the_service(outside: Outside, tmp_path: Path) -> None:
    async with rig(tmp_path, HeartbeatSettings(url=outside.url)) as at:
        at.cycled_at = "not a time"  # type: ignore[assignment]
        with structlog.testing.capture_logs() as logged:
            pulse = asyncio.create_task(at.pulse.run())
            async with asyncio.timeout(60):
                while not (logged or pulse.done()):  # noqa: ASYNC110 - a log tells nobody
                    await asyncio.sleep(0.01)
        assert [(line["event"], line["task"]) for line in logged] == [("task failed; retrying", "process heartbeat")]
        assert not pulse.done()
        pulse.cancel()
        await asyncio.gather(pulse, return_exceptions=True)


async def test_it_stops_when_the_cycle_stands_still_and_goes_on_when_it_turns(outside: Outside, tmp_path: Path) -> None:
    async with rig(tmp_path, HeartbeatSettings(url=outside.url)) as at:
        await at.beat()
        at.cycled_at = T0
        for _ in range(5):
            await at.beat(MINUTE)
        assert len(outside.switch.beats) == 4
        assert at.value('pantau_heartbeat_suppressed{reason="engine"}') == "1.0"
        at.cycled_at = None
        await at.beat(MINUTE)
        assert len(outside.switch.beats) == 5
        assert at.value('pantau_heartbeat_suppressed{reason="engine"}') == "0.0"


@pytest.mark.parametrize(
    "fault",
    [SubmissionFault.ERROR_AFTER, SubmissionFault.DROP_AFTER, SubmissionFault.TOO_MANY, SubmissionFault.DROP_BEFORE],
)
async def test_a_beat_that_is_not_heard_is_told_once_without_the_token_and_the_next_is_sent(
    fault: SubmissionFault, outside: Outside, tmp_path: Path
) -> None:
    outside.switch.faults.extend([fault, fault])
    async with rig(tmp_path, HeartbeatSettings(url=f"{outside.url}/{{token}}", token=SecretStr(TOKEN))) as at:
        with structlog.testing.capture_logs() as logged:
            await at.beat()
            await at.beat(MINUTE)
            assert at.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}') == "0.0"
            await at.beat(MINUTE)
        assert [line["event"] for line in logged] == ["heartbeat not delivered", "heartbeat delivered again"]
        assert TOKEN not in str(logged)
        heard = at.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}')
        assert float(heard or 0) == (T0 + 2 * MINUTE).timestamp()


async def test_a_redirect_is_no_ear(tmp_path: Path) -> None:
    """Where it leads may be a page that asks for a sign-in, and answers 200 whoever comes."""
    beats = []

    async def elsewhere(request: Request) -> Response:
        beats.append(request.url.path)
        return RedirectResponse("/log-masuk")

    app = Starlette(routes=[Route("/{path:path}", elsewhere)])
    async with serve(app) as url, rig(tmp_path, HeartbeatSettings(url=f"{url}/pantau")) as at:
        await at.beat()
        assert at.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}') == "0.0"
    assert beats == ["/pantau"]


async def test_a_switch_that_is_not_there_holds_nothing_up(tmp_path: Path) -> None:
    async with rig(tmp_path, HeartbeatSettings(url="http://127.0.0.1:1/x")) as at:
        await at.beat()
        assert at.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}') == "0.0"


async def test_a_file_shows_by_its_time_when_all_was_well(tmp_path: Path) -> None:
    file = tmp_path / "denyut"
    async with rig(tmp_path / "state", HeartbeatSettings(file=file)) as at:
        await at.beat()
        assert file.exists()
        os.utime(file, (0, 0))
        at.cycled_at = T0
        await at.beat(10 * MINUTE)
        assert file.stat().st_mtime == 0
        at.cycled_at = None
        await at.beat(MINUTE)
        assert file.stat().st_mtime > 0


# -- systemd ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.setblocking(False)
    return listening


def heard(manager: socket.socket) -> list[bytes]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(100))
        except BlockingIOError:
            return messages


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000000", **more}


async def test_systemd_hears_that_it_lives_and_nothing_when_a_restart_would_help(
    manager: socket.socket, tmp_path: Path
) -> None:
    with manager:
        async with rig(tmp_path / "state", None, ServiceManager(environ(tmp_path))) as at:
            await at.beat()
            assert heard(manager) == [b"WATCHDOG=1"]
            at.cycled_at = T0 - timedelta(hours=1)
            await at.beat(15 * SECOND)
            assert heard(manager) == []


# -- the store -------------------------------------------------------------------------------------------------------


async def test_a_store_that_cannot_be_written_holds_it_back_and_is_told_once(outside: Outside, tmp_path: Path) -> None:
    class Away(Processes):
        raises: Exception | None = TimeoutError()

        async def beat(self, started_at: datetime, now: datetime) -> list[Process]:
            if self.raises:
                raise self.raises
            return []

    async with rig(tmp_path, HeartbeatSettings(url=outside.url)) as at:
        await at.beat()
        broken = Away.__new__(Away)
        at.pulse._processes = broken
        with structlog.testing.capture_logs() as logged:
            for _ in range(3):
                await at.beat(MINUTE)
        assert at.away_since() == T0 + MINUTE
        # The first minute is forgiven: a group of commits on a slow disk.
        assert len(outside.switch.beats) == 2
        assert [line["event"] for line in logged] == ["database not writable", "heartbeat suppressed"]
        assert logged[-1]["reasons"] == "store", "words, and no repr of an enumeration"
        broken.raises = None
        with structlog.testing.capture_logs() as logged:
            await at.beat(MINUTE)
        assert at.away_since() is None
        assert len(outside.switch.beats) == 3
        assert [line["event"] for line in logged] == ["database writable again", "heartbeat no longer suppressed"]

        # A store that knows that it is away logs it itself.
        broken.raises = StoreUnavailable("disk full")
        with structlog.testing.capture_logs() as logged:
            await at.beat(MINUTE)
            assert at.away_since() is not None
            broken.raises = None
            await at.beat(MINUTE)
        assert at.away_since() is None
        assert logged == []


async def test_a_disk_that_hangs_does_not_hold_up_whoever_finds_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(Processes):
        """Lets nobody go until the disk answers, not even who is cancelled: so does a store on such a disk."""

        disk = asyncio.Event()
        begun = 0

        async def beat(self, started_at: datetime, now: datetime) -> list[Process]:
            self.begun += 1
            while not self.disk.is_set():
                with suppress(asyncio.CancelledError):
                    await self.disk.wait()
            return []

    async with rig(tmp_path, None) as at:
        await at.beat()
        monkeypatch.setattr(process_heartbeat, "_WRITE_TIMEOUT_SECONDS", 0.05)
        at.pulse._processes = hanging = Hanging.__new__(Hanging)
        for _ in range(3):
            await at.beat(MINUTE)
        assert at.away_since() == T0 + MINUTE
        assert hanging.begun == 1, "a thread that hangs is enough"
        hanging.disk.set()
        await at.beat(MINUTE)
        assert at.away_since() is None
        hanging.disk.clear()
        running = asyncio.create_task(at.pulse.run())
        await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        assert running.cancelled(), "the end does not wait for it either"
        hanging.disk.set()


async def test_each_process_sees_the_others_only_where_there_can_be_others(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        assert await Processes(database, "lama").beat(T0, T0) == []
        # The host was given another name: nobody else can be on this file.
        assert await Processes(database, "baharu").beat(T0, T0 + MINUTE) == []
        await Processes(database, "baharu").stop(T0 + 2 * MINUTE)
