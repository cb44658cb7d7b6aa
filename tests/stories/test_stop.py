"""The end of the service: audited while it still has the store, and not after a kill."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from monitor.app import App
from monitor.cli import app as command_line
from monitor.runtime.control_socket import linked_sockets
from monitor.store.backend.database import Database, StoreInUseError
from monitor.store.schema.tables import audit_log, process
from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.environment import demo_environment
from tests.stories.running_service import JCM


class ObservedApp(App):
    """An app that checks, before it records its stop, whether another process could have the store."""

    is_alone: bool | None = None
    fails = False

    async def _record_stop(self, failure: type[BaseException] | None, *more: object) -> None:
        try:
            async with Database.open(self._settings_file.parent / "state"):
                self.is_alone = False
        except StoreInUseError:
            self.is_alone = True
        await super()._record_stop(failure, *more)

    @property
    def is_seen(self) -> bool:
        """Whether its heartbeat is in the store."""
        watchdog = getattr(self, "_watchdog", None)
        return watchdog is not None and watchdog.process_heartbeat.written_at is not None

    async def fail(self) -> None:
        raise ZeroDivisionError

    def _background_tasks(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return [*super()._background_tasks(), *([self.fail()] if self.fails else [])]


async def run_once(directory: Path, *, fails: bool) -> tuple[ObservedApp, list[str], bool]:
    """Run the service once; return it, its audit log, and whether it told the other processes that it stopped."""
    async with demo_environment(directory, agencies=(JCM,)) as world:
        app = ObservedApp(world.settings, {})
        app.fails = fails
        running = asyncio.create_task(app.run())
        if fails:
            with pytest.raises(ExceptionGroup):
                await running
        else:
            async with asyncio.timeout(PATIENCE):
                while not (running.done() or app.is_seen):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.05)
            app.stop()
            await running
    async with Database.open(directory / "state") as database, database.read() as connection:
        events = list((await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars())
        ended = (await connection.execute(select(process.c.stopped_at))).scalars().all()
    return app, events, any(at is not None for at in ended)


async def test_stop_is_audited_before_database_is_released(tmp_path: Path) -> None:
    app, events, has_told = await run_once(tmp_path, fails=False)
    assert app.is_alone
    # The audit log is exported soon after a start; on a slow machine that precedes the stop.
    assert [event for event in events if event != "journal followed"] == [
        "service started",
        "documents written",
        "configuration taken up",
        "service stopped",
    ]
    assert has_told


async def test_service_ended_by_bug_does_not_report_ordered_stop(tmp_path: Path) -> None:
    app, events, has_told = await run_once(tmp_path, fails=True)
    assert app.is_alone
    assert events == ["service started", "documents written", "configuration taken up"]
    assert not has_told


async def test_running_service_is_found_without_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "session").mkdir(mode=0o700)
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "session"), "RUNTIME_DIRECTORY": ""}
    async with demo_environment(tmp_path / "world", agencies=(JCM,)) as world:
        app = App(world.settings, environ)
        running = asyncio.create_task(app.run())
        async with asyncio.timeout(PATIENCE):
            while not (running.done() or linked_sockets(environ)[0]):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        world.settings.write_text("state_dir: [\n")
        words = ["incidents", "--config", str(world.settings)]
        found = await asyncio.to_thread(CliRunner().invoke, command_line, words, env=environ)
        app.stop()
        await running

    assert found.exit_code == 0
    assert found.stdout.endswith("There have been no incidents.\n"), "below what the service logs"
    assert f"; asking the service at {tmp_path / 'world' / 'state' / 'control.sock'}" in found.stderr
    assert linked_sockets(environ) == ([], [])
    assert list((tmp_path / "session" / "pantau").iterdir()) == []
