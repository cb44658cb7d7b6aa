"""How the service ends: it says so while the store is still its own, and what it was killed in says nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from monitor.app import App
from monitor.cli import app as command_line
from monitor.runtime.place import linked_sockets
from monitor.store.backend.database import Database, StoreInUseError
from monitor.store.schema.tables import audit_log, process
from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.environment import stage
from tests.stories.theatre import JCM


class Watched(App):
    """Looks, when it is about to say that it ends, whether another could have the store already."""

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
        """Whether it has told those who share the store that it lives."""
        watchdog = getattr(self, "_watchdog", None)
        return watchdog is not None and watchdog.process_heartbeat.written_at is not None

    async def fail(self) -> None:
        raise ZeroDivisionError

    def _background_tasks(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return [*super()._background_tasks(), *([self.fail()] if self.fails else [])]


async def lived(directory: Path, *, fails: bool) -> tuple[Watched, list[str], bool]:
    """Live once; return the service, what its journal says, and whether it has told the others that it ended."""
    async with stage(directory, agencies=(JCM,)) as world:
        app = Watched(world.settings, {})
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


async def test_it_says_that_it_ends_before_another_can_have_the_store(tmp_path: Path) -> None:
    app, events, has_told = await lived(tmp_path, fails=False)
    assert app.is_alone
    # The journal is followed soon after a start; on a slow machine that comes before the end.
    assert [event for event in events if event != "journal followed"] == [
        "service started",
        "documents written",
        "configuration taken up",
        "service stopped",
    ]
    assert has_told


async def test_a_service_that_ends_for_a_bug_does_not_say_that_it_was_told_to(tmp_path: Path) -> None:
    app, events, has_told = await lived(tmp_path, fails=True)
    assert app.is_alone
    assert events == ["service started", "documents written", "configuration taken up"]
    assert not has_told


async def test_until_it_ends_it_is_found_without_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "session").mkdir(mode=0o700)
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "session"), "RUNTIME_DIRECTORY": ""}
    async with stage(tmp_path / "world", agencies=(JCM,)) as world:
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
