"""Messages to systemd: ready, reloading, stopping, and failed starts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from monitor.app import App
from monitor.cli.service import is_open
from monitor.store.backend.database import Database
from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.environment import DemoEnvironment, demo_environment
from tests.stories.running_service import JCM
from tests.stories.service_process import run_process


class Systemd:
    """The systemd end of the notification socket."""

    def __init__(self, place: Path) -> None:
        self.environ = {"NOTIFY_SOCKET": str(place / "notify"), "WATCHDOG_USEC": "120000000"}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(place / "notify"))
        self._socket.setblocking(False)

    async def hears(self, word: str, *, after: float = PATIENCE) -> list[str]:
        """Wait until a datagram begins with *word*; return all datagrams up to that one."""
        heard: list[str] = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(after):
            while not heard or not heard[-1].startswith(word):
                heard.append((await loop.sock_recv(self._socket, 4096)).decode())
        return heard

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def started(place: Path) -> AsyncIterator[tuple[App, Systemd, DemoEnvironment, list[str]]]:
    """Run the service until the end of the block; yield the messages to systemd until it was ready."""
    systemd = Systemd(place)
    async with demo_environment(place / "world", agencies=(JCM,)) as world:
        app = App(world.settings, systemd.environ)
        running = asyncio.create_task(app.run())
        try:
            yield app, systemd, world, await systemd.hears("READY=1")
        finally:
            app.stop()
            await running
            systemd.close()


async def test_service_reports_ready_when_listening_and_status_with_agencies(tmp_path: Path) -> None:
    async with started(tmp_path) as (_, systemd, world, before):
        assert before[0] == "EXTEND_TIMEOUT_USEC=60000000"
        assert [line for line in before if line.startswith("STATUS=")] == [
            "STATUS=Reading the configuration",
            "STATUS=Opening the store; one of an older version is brought up to date first",
        ]
        assert is_open(world.settings.parent / "state" / "control.sock")
        said = await systemd.hears("STATUS=")
        assert said[-1].startswith("STATUS=Monitoring 1 agency by ")
        await systemd.hears("WATCHDOG=1", after=PATIENCE)


async def test_stopping_is_reported_before_anything_closes(tmp_path: Path) -> None:
    async with started(tmp_path) as (app, systemd, world, _):
        app.stop()
        await systemd.hears("STOPPING=1")
        assert is_open(world.settings.parent / "state" / "control.sock")


async def test_reload_signal_is_answered_at_end_of_reload_on_success_or_failure(tmp_path: Path) -> None:
    async with started(tmp_path) as (app, systemd, world, _):
        good = world.settings.read_text()
        for settings in (good, "state_dir: [\n", good):
            world.settings.write_text(settings)
            app.request_reload()
            await systemd.hears("RELOADING=1\nMONOTONIC_USEC=")
            assert (await systemd.hears("READY=1"))[-1] == "READY=1"


async def test_service_without_database_is_never_ready(tmp_path: Path) -> None:
    async with (
        demo_environment(tmp_path / "world", agencies=(JCM,)) as world,
        Database.open(world.settings.parent / "state"),
    ):
        systemd = Systemd(tmp_path)
        with pytest.raises(Exception, match="in use"):
            await App(world.settings, systemd.environ).run()
        with pytest.raises(TimeoutError):
            await systemd.hears("READY=1", after=0.1)
        systemd.close()


async def run(settings: Path) -> tuple[int, str]:
    """Run the service as systemd does; return its exit code and output."""
    said = settings.with_name("said")
    said.unlink(missing_ok=True)
    words = ("monitor.cli", "run", "--config", str(settings))
    code = await asyncio.wait_for(run_process(words, said), PATIENCE)
    return code, said.read_text()


async def test_permanent_start_errors_have_another_exit_code_than_temporary(tmp_path: Path) -> None:
    async with demo_environment(tmp_path / "world", agencies=(JCM,)) as world:
        state = world.settings.parent / "state"
        async with Database.open(state) as database:
            code, said = await run(world.settings)
            assert code == 1
            assert "is in use by another pantau process" in said
            async with database.write() as connection:
                await connection.execute(text("UPDATE alembic_version SET version_num = 'masa_depan'"))
        code, said = await run(world.settings)
        assert code == 78
        assert "a newer version of Pantau has used this store" in said
        world.settings.write_text("state_dir: [\n")
        code, said = await run(world.settings)
        assert code == 78
        assert "pantau.yaml" in said
