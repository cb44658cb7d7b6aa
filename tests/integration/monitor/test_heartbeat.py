"""Heartbeat to a dead-man's switch over a real socket, to a real file, and to systemd."""

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
from tests.integration.alerts.dispatcher_env import Clock
from tests.unit.alerts.people import MINUTE, SECOND, T0

TOKEN = "tanda-rahsia-suis"
NO_MANAGER = ServiceManager({})


class HeartbeatEnv:
    """Process heartbeat on a real store, with liveness inputs that the test sets."""

    def __init__(self, database: Database, settings: HeartbeatSettings | None, manager: ServiceManager) -> None:
        self.clock = Clock()
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.cycled_at: datetime | None = None
        made = None if settings is None else HeartbeatSender(settings, self.metrics.watchdog, self.clock)
        self.process_heartbeat = ProcessHeartbeat(
            processes=Processes(database, "utama"),
            liveness_inputs=self._inputs,
            current_sender=lambda: None if made is None or settings is None else (made, settings.interval),
            manager=manager,
            metrics=self.metrics.watchdog,
            clock=self.clock,
        )

    def _inputs(self, written_at: datetime | None) -> LivenessInputs:
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

    def failing_since(self) -> datetime | None:
        return self.process_heartbeat.failing_since

    async def beat(self, after: timedelta = timedelta(0)) -> None:
        self.clock.moment += after
        await self.process_heartbeat.beat()

    def value(self, series: str) -> str | None:
        lines = self.metrics.render().decode().splitlines()
        return next((line.rpartition(" ")[2] for line in lines if line.startswith(f"{series} ")), None)


@asynccontextmanager
async def open_env(
    place: Path, settings: HeartbeatSettings | None, manager: ServiceManager = NO_MANAGER
) -> AsyncIterator[HeartbeatEnv]:
    async with Database.open(place) as database:
        yield HeartbeatEnv(database, settings, manager)


@dataclass
class ExternalSwitch:
    switch: DeadMansSwitch
    url: str


@pytest.fixture
async def external() -> AsyncIterator[ExternalSwitch]:
    switch = DeadMansSwitch()
    async with serve(switch.app()) as url:
        yield ExternalSwitch(switch, url)


async def test_heartbeat_sent_at_interval_with_token_in_header(external: ExternalSwitch, tmp_path: Path) -> None:
    settings = HeartbeatSettings(url=f"{external.url}/pantau", token=SecretStr(TOKEN), method="POST")
    async with open_env(tmp_path, settings) as env:
        for after in (0, 15, 15, 15, 15, 15):
            await env.beat(after * SECOND)
        assert external.switch.beats == [Beat(method="POST", path="/pantau", authorization=f"Bearer {TOKEN}")] * 2
        received = env.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}')
        assert float(received or 0) == (T0 + MINUTE).timestamp()


async def test_heartbeat_token_in_url(external: ExternalSwitch, tmp_path: Path) -> None:
    settings = HeartbeatSettings(url=f"{external.url}/denyut/{{token}}", token=SecretStr(TOKEN))
    async with open_env(tmp_path, settings) as env:
        await env.beat()
    assert external.switch.beats == [Beat(method="GET", path=f"/denyut/{TOKEN}", authorization="")]


@pytest.mark.parametrize("token", ["tanda rahsia", "tanda#1?x", "rahsiå", "50%20"])
async def test_heartbeat_token_with_special_characters_is_sent_unchanged(
    token: str, external: ExternalSwitch, tmp_path: Path
) -> None:
    for address in ("denyut/{token}", "denyut"):
        settings = HeartbeatSettings(url=f"{external.url}/{address}", token=SecretStr(token))
        async with open_env(tmp_path / str(len(address)), settings) as env:
            await env.beat()
    in_address, in_header = external.switch.beats
    assert in_address.path == f"/denyut/{token}"
    assert in_header.authorization.encode("latin-1").decode() == f"Bearer {token}"


async def test_heartbeat_clock_set_back_continues(external: ExternalSwitch, tmp_path: Path) -> None:
    async with open_env(tmp_path, HeartbeatSettings(url=external.url)) as env:
        await env.beat()
        env.clock.moment -= timedelta(hours=1)
        await env.beat()
        await env.beat(15 * SECOND)
    assert len(external.switch.beats) == 2


async def test_heartbeat_bug_ends_neither_task_nor_service(external: ExternalSwitch, tmp_path: Path) -> None:
    async with open_env(tmp_path, HeartbeatSettings(url=external.url)) as env:
        env.cycled_at = "not a time"  # type: ignore[assignment]
        with structlog.testing.capture_logs() as logged:
            beating = asyncio.create_task(env.process_heartbeat.run())
            async with asyncio.timeout(60):
                while not (logged or beating.done()):  # noqa: ASYNC110 - a log cannot be awaited
                    await asyncio.sleep(0.01)
        assert [(line["event"], line["task"]) for line in logged] == [("task failed; retrying", "process heartbeat")]
        assert not beating.done()
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def test_heartbeat_stops_while_engine_stalled_and_resumes(external: ExternalSwitch, tmp_path: Path) -> None:
    async with open_env(tmp_path, HeartbeatSettings(url=external.url)) as env:
        await env.beat()
        env.cycled_at = T0
        for _ in range(5):
            await env.beat(MINUTE)
        assert len(external.switch.beats) == 4
        assert env.value('pantau_heartbeat_suppressed{reason="engine"}') == "1.0"
        env.cycled_at = None
        await env.beat(MINUTE)
        assert len(external.switch.beats) == 5
        assert env.value('pantau_heartbeat_suppressed{reason="engine"}') == "0.0"


@pytest.mark.parametrize(
    "fault",
    [SubmissionFault.ERROR_AFTER, SubmissionFault.DROP_AFTER, SubmissionFault.TOO_MANY, SubmissionFault.DROP_BEFORE],
)
async def test_heartbeat_undelivered_logged_once_without_token_and_retried(
    fault: SubmissionFault, external: ExternalSwitch, tmp_path: Path
) -> None:
    external.switch.faults.extend([fault, fault])
    async with open_env(tmp_path, HeartbeatSettings(url=f"{external.url}/{{token}}", token=SecretStr(TOKEN))) as env:
        with structlog.testing.capture_logs() as logged:
            await env.beat()
            await env.beat(MINUTE)
            assert env.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}') == "0.0"
            await env.beat(MINUTE)
        assert [line["event"] for line in logged] == ["heartbeat not delivered", "heartbeat delivered again"]
        assert TOKEN not in str(logged)
        received = env.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}')
        assert float(received or 0) == (T0 + 2 * MINUTE).timestamp()


async def test_heartbeat_redirect_is_not_success(tmp_path: Path) -> None:
    """The target may be a sign-in page that answers 200 to everyone."""
    beats = []

    async def elsewhere(request: Request) -> Response:
        beats.append(request.url.path)
        return RedirectResponse("/log-masuk")

    app = Starlette(routes=[Route("/{path:path}", elsewhere)])
    async with serve(app) as url, open_env(tmp_path, HeartbeatSettings(url=f"{url}/pantau")) as env:
        await env.beat()
        assert env.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}') == "0.0"
    assert beats == ["/pantau"]


async def test_heartbeat_unreachable_switch_does_not_block(tmp_path: Path) -> None:
    async with open_env(tmp_path, HeartbeatSettings(url="http://127.0.0.1:1/x")) as env:
        await env.beat()
        assert env.value('pantau_heartbeat_last_success_timestamp_seconds{receiver="switch"}') == "0.0"


async def test_heartbeat_file_mtime_is_last_healthy_time(tmp_path: Path) -> None:
    file = tmp_path / "denyut"
    async with open_env(tmp_path / "state", HeartbeatSettings(file=file)) as env:
        await env.beat()
        assert file.exists()
        os.utime(file, (0, 0))
        env.cycled_at = T0
        await env.beat(10 * MINUTE)
        assert file.stat().st_mtime == 0
        env.cycled_at = None
        await env.beat(MINUTE)
        assert file.stat().st_mtime > 0


# -- systemd ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.setblocking(False)
    return listening


def received(manager: socket.socket) -> list[bytes]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(100))
        except BlockingIOError:
            return messages


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000000", **more}


async def test_systemd_watchdog_notified_only_while_restart_would_not_help(
    manager: socket.socket, tmp_path: Path
) -> None:
    with manager:
        async with open_env(tmp_path / "state", None, ServiceManager(environ(tmp_path))) as env:
            await env.beat()
            assert received(manager) == [b"WATCHDOG=1"]
            env.cycled_at = T0 - timedelta(hours=1)
            await env.beat(15 * SECOND)
            assert received(manager) == []


# -- the store -------------------------------------------------------------------------------------------------------


async def test_heartbeat_store_not_writable_is_suppressed_and_logged_once(
    external: ExternalSwitch, tmp_path: Path
) -> None:
    class UnavailableProcesses(Processes):
        raises: Exception | None = TimeoutError()

        async def beat(self, started_at: datetime, now: datetime) -> list[Process]:
            if self.raises:
                raise self.raises
            return []

    async with open_env(tmp_path, HeartbeatSettings(url=external.url)) as env:
        await env.beat()
        broken = UnavailableProcesses.__new__(UnavailableProcesses)
        env.process_heartbeat._processes = broken
        with structlog.testing.capture_logs() as logged:
            for _ in range(3):
                await env.beat(MINUTE)
        assert env.failing_since() == T0 + MINUTE
        # The first minute is tolerated: a slow disk delays a group of commits.
        assert len(external.switch.beats) == 2
        assert [line["event"] for line in logged] == ["database not writable", "heartbeat suppressed"]
        assert logged[-1]["reasons"] == "store", "values, not the repr of an enumeration"
        broken.raises = None
        with structlog.testing.capture_logs() as logged:
            await env.beat(MINUTE)
        assert env.failing_since() is None
        assert len(external.switch.beats) == 3
        assert [line["event"] for line in logged] == ["database writable again", "heartbeat no longer suppressed"]

        # A store that is known to be unavailable logs it itself.
        broken.raises = StoreUnavailable("disk full")
        with structlog.testing.capture_logs() as logged:
            await env.beat(MINUTE)
            assert env.failing_since() is not None
            broken.raises = None
            await env.beat(MINUTE)
        assert env.failing_since() is None
        assert logged == []


async def test_process_heartbeat_hanging_disk_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class HangingProcesses(Processes):
        """Blocks until the disk answers, also when cancelled, like a store on such a disk."""

        disk = asyncio.Event()
        begun = 0

        async def beat(self, started_at: datetime, now: datetime) -> list[Process]:
            self.begun += 1
            while not self.disk.is_set():
                with suppress(asyncio.CancelledError):
                    await self.disk.wait()
            return []

    async with open_env(tmp_path, None) as env:
        await env.beat()
        monkeypatch.setattr(process_heartbeat, "_WRITE_TIMEOUT_SECONDS", 0.05)
        env.process_heartbeat._processes = hanging = HangingProcesses.__new__(HangingProcesses)
        for _ in range(3):
            await env.beat(MINUTE)
        assert env.failing_since() == T0 + MINUTE
        assert hanging.begun == 1, "one hanging thread is enough"
        hanging.disk.set()
        await env.beat(MINUTE)
        assert env.failing_since() is None
        hanging.disk.clear()
        running = asyncio.create_task(env.process_heartbeat.run())
        await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        assert running.cancelled(), "the stop does not wait for the disk"
        hanging.disk.set()


async def test_processes_on_sqlite_do_not_see_each_other(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        assert await Processes(database, "lama").beat(T0, T0) == []
        # The host was renamed: no other process can use this file.
        assert await Processes(database, "baharu").beat(T0, T0 + MINUTE) == []
        await Processes(database, "baharu").stop(T0 + 2 * MINUTE)
