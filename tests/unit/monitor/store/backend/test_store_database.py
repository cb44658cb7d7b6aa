"""The embedded database: who may open it, what it promises to the disk, and how its schema comes about."""

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
from monitor.store.backend.postgres import objection
from monitor.store.schema.migrations import StoreTooNewError, upgrade
from monitor.store.schema.tables import counter


@pytest.fixture
def careless() -> Iterator[None]:
    """Give everything new to everybody, as a service does that nobody gave a umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_second_process_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    async with Database.open(tmp_path):
        with pytest.raises(StoreInUseError, match=f"{tmp_path} is in use by another pantau process; stop that one"):
            async with Database.open(tmp_path):
                pass
        # The refused one has not let go of the first one's lock.
        with pytest.raises(StoreInUseError):
            async with Database.open(tmp_path):
                pass


@pytest.mark.parametrize("way", ["a link to the directory", "a link to the file", "the lock's file was deleted"])
async def test_a_second_process_is_refused_by_whatever_way_it_comes(tmp_path: Path, way: str) -> None:
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


async def test_when_the_first_has_closed_it_the_store_can_be_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        async with Database.open(tmp_path):
            pass


async def test_only_we_can_read_what_is_in_it(tmp_path: Path, careless: None) -> None:
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


async def test_a_store_that_others_could_read_is_closed_to_them(tmp_path: Path, careless: None) -> None:
    (tmp_path / "pantau.sqlite").touch(0o644)
    async with Database.open(tmp_path):
        assert mode(tmp_path / "pantau.sqlite") == 0o600


@pytest.mark.parametrize("reading", [False, True])
async def test_what_is_committed_survives_a_power_cut(tmp_path: Path, *, reading: bool) -> None:
    async with Database.open(tmp_path) as database, database.read() if reading else database.write() as connection:
        asked = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


async def test_readers_see_one_moment_and_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    count = text("SELECT count(*) FROM callback_event")
    async with Database.open(tmp_path) as database, database.read() as reader:
        assert (await reader.execute(count)).scalar() == 0
        async with database.write() as writer:
            await writer.execute(text("INSERT INTO callback_event VALUES ('sms', '1', '2026-11-24 06:15:00.000000')"))
            assert (await reader.execute(count)).scalar() == 0
        assert (await reader.execute(count)).scalar() == 0
        async with database.read() as later:
            assert (await later.execute(count)).scalar() == 1


async def test_a_row_that_belongs_to_nothing_is_refused(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        with pytest.raises(Exception, match="FOREIGN KEY"):
            async with database.write() as connection:
                await connection.execute(text("INSERT INTO delivery VALUES (1, 1, 'sms', '', '')"))


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "fresh.sqlite"
    upgrade(f"sqlite:///{file}")
    before = file.read_bytes()
    upgrade(f"sqlite:///{file}")

    assert file.read_bytes() == before


def test_a_store_that_a_newer_version_has_used_is_left_alone_and_says_what_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    before = (tmp_path / "fresh.sqlite").read_bytes()

    with pytest.raises(StoreTooNewError, match="install that version again, or put back the copy"):
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
            "keeps text as SQL_ASCII; make a database with ENCODING 'UTF8' TEMPLATE template0",
        ),
    ],
)
def test_a_server_that_cannot_be_the_store_is_told_from_one_that_can(
    version: int, encoding: str, wrong: str | None, *, standby: bool
) -> None:
    assert objection(version=version, standby=standby, encoding=encoding) == wrong


async def test_a_directory_with_signs_in_its_name_is_no_trouble(tmp_path: Path) -> None:
    directory = tmp_path / "50% state, bahagian #1"
    async with Database.open(directory):
        assert (directory / "pantau.sqlite").exists()


async def test_whoever_is_cut_off_in_the_middle_of_a_transaction_does_not_keep_the_others_from_writing(
    tmp_path: Path,
) -> None:
    cut_off: list[object] = []

    async def write(database: Database) -> None:
        async with database.write() as connection:
            # It is kept, and with it whatever is open: as a traceback does.
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
async def test_a_file_that_is_deleted_or_replaced_while_it_is_open_is_noticed_and_can_be_put_back(
    tmp_path: Path, way: str
) -> None:
    file, aside = tmp_path / "pantau.sqlite", tmp_path / "aside"
    changes: list[bool] = []
    with capture_logs() as said:
        async with Database.open(tmp_path) as database:
            database.presence.on_change = changes.append
            await database.together.write([(insert(counter), {"name": "a", "next": 1})])
            file.rename(aside)
            if way == "replaced":
                file.write_bytes(aside.read_bytes())
            for _ in range(2):  # Nobody makes an empty file in its place meanwhile.
                with pytest.raises(StoreUnavailable, match=f"{file} was deleted, moved or replaced.*restart Pantau"):
                    await database.together.write([(insert(counter), {"name": "b", "next": 1})])
                with pytest.raises(StoreUnavailable, match="deleted, moved or replaced"):
                    async with database.write():
                        pass
                with pytest.raises(StoreUnavailable, match="deleted, moved or replaced"):
                    async with database.read():
                        pass
            assert file.exists() == (way == "replaced")

            aside.replace(file)
            database.presence._failed_at = -math.inf  # A second has passed.
            await database.together.write([(insert(counter), {"name": "c", "next": 1})])
            async with database.read() as connection:
                assert [row.name for row in await connection.execute(select(counter).order_by("name"))] == ["a", "c"]
    assert changes == [False, True]
    assert [line["event"].partition(";")[0] for line in said] == ["database unavailable", "database available again"]


@pytest.mark.blind
async def test_an_attempt_that_fails_while_the_file_is_opened_does_not_keep_it_open(tmp_path: Path) -> None:
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
        # As a full disk: nothing more is written to any file.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
        try:
            for _ in range(3):
                with suppress(StoreUnavailable), capture_logs():
                    await database.together.write([(insert(counter), {"name": "a", "next": 1})])
                database.presence.away_since = None
                with suppress(StoreUnavailable):
                    async with database.read():
                        pass
            after = held()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            gc.enable()
    assert after == before
