"""Embedded database: exclusive use, durability, file permissions and schema."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select, text
from structlog.testing import capture_logs

from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.database import Database, StoreInUseError
from monitor.store.backend.postgres import unsuitable_reason
from monitor.store.schema.migrations import StoreTooNewError, upgrade
from monitor.store.schema.tables import counter


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Set a umask of 0, like a service without a configured one."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_open_second_process_is_refused_with_advice(tmp_path: Path) -> None:
    async with Database.open(tmp_path):
        with pytest.raises(StoreInUseError, match=f"{tmp_path} is in use by another pantau process; stop that one"):
            async with Database.open(tmp_path):
                pass
        # The refused process has not released the lock of the first.
        with pytest.raises(StoreInUseError):
            async with Database.open(tmp_path):
                pass


@pytest.mark.parametrize("way", ["a link to the directory", "a link to the file", "the lock's file was deleted"])
async def test_open_second_process_by_link_or_deleted_lock_is_refused(tmp_path: Path, way: str) -> None:
    place, other = tmp_path / "state", tmp_path / "other"
    async with Database.open(place):
        match way:
            case "a link to the directory":
                other.symlink_to(place)
            case "a link to the file":
                other.mkdir()
                (other / "pantau.sqlite").symlink_to(place / "pantau.sqlite")
            case _:
                (place / "pantau.lock").unlink()
                other = place
        with pytest.raises(StoreInUseError, match=f"{place} is in use by another pantau process"):
            async with Database.open(other):
                pass
    async with Database.open(other):
        pass


async def test_open_after_close_succeeds(tmp_path: Path) -> None:
    for _ in range(2):
        async with Database.open(tmp_path):
            pass


async def test_open_creates_private_files(tmp_path: Path, open_umask: None) -> None:
    directory = tmp_path / "state"
    async with Database.open(directory) as database, database.write() as connection:
        await connection.execute(text("DELETE FROM callback_event"))
        assert mode(directory) == 0o700
        assert {path.name: mode(path) for path in directory.iterdir()} == {
            "pantau.lock": 0o600,
            "pantau.sqlite": 0o600,
            "pantau.sqlite-wal": 0o600,
            "pantau.sqlite-shm": 0o600,
        }


async def test_open_file_readable_by_others_is_made_private(tmp_path: Path, open_umask: None) -> None:
    (tmp_path / "pantau.sqlite").touch(0o644)
    async with Database.open(tmp_path):
        assert mode(tmp_path / "pantau.sqlite") == 0o600


@pytest.mark.parametrize("reading", [False, True])
async def test_pragmas_are_durable(tmp_path: Path, *, reading: bool) -> None:
    async with Database.open(tmp_path) as database, database.read() if reading else database.write() as connection:
        asked = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


async def test_readers_see_snapshot_without_waiting_for_writer(tmp_path: Path) -> None:
    count = text("SELECT count(*) FROM callback_event")
    async with Database.open(tmp_path) as database, database.read() as reader:
        assert (await reader.execute(count)).scalar() == 0
        async with database.write() as writer:
            await writer.execute(text("INSERT INTO callback_event VALUES ('sms', '1', '2026-11-24 06:15:00.000000')"))
            assert (await reader.execute(count)).scalar() == 0
        assert (await reader.execute(count)).scalar() == 0
        async with database.read() as later:
            assert (await later.execute(count)).scalar() == 1


async def test_foreign_key_violation_is_refused(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        with pytest.raises(Exception, match="FOREIGN KEY"):
            async with database.write() as connection:
                await connection.execute(text("INSERT INTO delivery VALUES (1, 1, 'sms', '', '')"))


def test_upgrade_current_schema_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "fresh.sqlite"
    upgrade(f"sqlite:///{file}")
    before = file.read_bytes()
    upgrade(f"sqlite:///{file}")

    assert file.read_bytes() == before


def test_upgrade_newer_schema_is_refused_unchanged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    before = (tmp_path / "fresh.sqlite").read_bytes()

    with pytest.raises(StoreTooNewError, match="install that version again, or restore the backup"):
        upgrade(url)
    assert (tmp_path / "fresh.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    ("version", "standby", "encoding", "wrong"),
    [
        (150000, False, "UTF8", None),
        (180001, False, "UTF8", None),
        (149999, False, "UTF8", "is version 14; Pantau needs PostgreSQL 15 or newer"),
        (160004, True, "UTF8", "is a standby that takes no writes; name the primary"),
        (
            160004,
            False,
            "SQL_ASCII",
            "stores text as SQL_ASCII; create a database with ENCODING 'UTF8' TEMPLATE template0",
        ),
    ],
)
def test_unsuitable_reason_of_postgresql_server(
    version: int, encoding: str, wrong: str | None, *, standby: bool
) -> None:
    assert unsuitable_reason(version=version, standby=standby, encoding=encoding) == wrong


async def test_open_directory_with_special_characters_works(tmp_path: Path) -> None:
    directory = tmp_path / "50% state, bahagian #1"
    async with Database.open(directory):
        assert (directory / "pantau.sqlite").exists()


async def test_write_cancelled_in_transaction_does_not_block_others(
    tmp_path: Path,
) -> None:
    cut_off: list[object] = []

    async def write(database: Database) -> None:
        async with database.write() as connection:
            # The result stays referenced, as by a traceback.
            cut_off.append(await connection.stream(text("SELECT * FROM sqlite_master")))
            while True:
                await connection.execute(text("DELETE FROM callback_event"))

    async with Database.open(tmp_path) as database:
        for number in range(20):
            writing = asyncio.create_task(write(database))
            await asyncio.sleep(0.001 * number)
            writing.cancel()
            cut_off += await asyncio.gather(writing, return_exceptions=True)
            async with asyncio.timeout(60), database.write() as connection:
                await connection.execute(text("DELETE FROM callback_event"))


@pytest.mark.parametrize("way", ["deleted", "replaced"])
async def test_database_file_deleted_or_replaced_is_reported_until_restored(tmp_path: Path, way: str) -> None:
    file, aside = tmp_path / "pantau.sqlite", tmp_path / "aside"
    changes: list[bool] = []
    with capture_logs() as said:
        async with Database.open(tmp_path) as database:
            database.availability.on_change = changes.append
            await database.group_commit.write([(insert(counter), {"name": "a", "next": 1})])
            file.rename(aside)
            if way == "replaced":
                file.write_bytes(aside.read_bytes())
            for _ in range(2):  # No process creates an empty file in its place.
                with pytest.raises(StoreUnavailable, match=f"{file} was deleted, moved or replaced.*restart Pantau"):
                    await database.group_commit.write([(insert(counter), {"name": "b", "next": 1})])
                with pytest.raises(StoreUnavailable, match="deleted, moved or replaced"):
                    async with database.write():
                        pass
                with pytest.raises(StoreUnavailable, match="deleted, moved or replaced"):
                    async with database.read():
                        pass
            assert file.exists() == (way == "replaced")

            aside.replace(file)
            database.availability._failed_at = -math.inf  # A second has passed.
            await database.group_commit.write([(insert(counter), {"name": "c", "next": 1})])
            async with database.read() as connection:
                assert [row.name for row in await connection.execute(select(counter).order_by("name"))] == ["a", "c"]
    assert changes == [False, True]
    assert [line["event"].partition(";")[0] for line in said] == ["database unavailable", "database available again"]


@pytest.mark.blind
async def test_failed_open_attempt_closes_file(tmp_path: Path) -> None:
    """Defect: With a full disk each attempt to open the store leaks a file.

    Pantau: It is closed at once.
    """

    def held() -> int:
        return sum(
            os.path.realpath(each) == str(tmp_path / "pantau.sqlite") for each in Path("/proc/self/fd").iterdir()
        )

    async with Database.open(tmp_path) as database:
        before, limits = held(), resource.getrlimit(resource.RLIMIT_FSIZE)
        gc.disable()
        # Like a full disk: no file can grow.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
        try:
            for _ in range(3):
                with suppress(StoreUnavailable), capture_logs():
                    await database.group_commit.write([(insert(counter), {"name": "a", "next": 1})])
                database.availability.unavailable_since = None
                with suppress(StoreUnavailable):
                    async with database.read():
                        pass
            after = held()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            gc.enable()
    assert after == before
