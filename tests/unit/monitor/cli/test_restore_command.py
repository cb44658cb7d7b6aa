"""`pantau restore`: the copy or what was there, each whole; and a copy says of itself that it is one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from alerts.persistence.restoration import DetectionMethod, Restoration
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.migrations import upgrade
from tests.real.postgres import Postgres
from tests.unit.monitor.cli.office import IssuingOffice, full_disk
from tests.unit.monitor.cli.test_backup_command import journal_of, names, write


async def have_copy(office: IssuingOffice, tmp_path: Path, entries: int = 3, size: int = 10) -> Path:
    """Return a copy after which the store went on."""
    copy = tmp_path / "copy.sqlite"
    async with Database.open(office.state) as database:
        await write(database, entries, size)
        code, said = await office.ask("backup", str(copy))
        assert code == 0, said
        await write(database, 4)
    return copy


async def found_in(office: IssuingOffice) -> list[Restoration]:
    async with Database.open(office.state) as database, SqlStore(database).reading() as uow:
        return list(await uow.restorations.all())


def kept(office: IssuingOffice) -> list[str]:
    return [name for name in names(office.state) if ".before-" in name]


def nothing_is_left_over(office: IssuingOffice) -> bool:
    return not any(name.startswith(".pantau-restore") for name in names(office.state))


async def test_a_copy_is_put_back_and_what_was_there_is_kept(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await have_copy(office, tmp_path)
    before = copy.read_bytes()

    code, said = await office.ask(
        "restore", str(copy), "--by", "Siti Contoh", "--last-number", "JCM-23", "--last-number", "jcm-7/3"
    )

    assert code == 0, said
    assert f"{copy} is the store now: schema " in said
    (old,) = kept(office)
    assert f"The store before it is {office.state}/{old}." in said
    assert "Letters and faxes are paused" in said
    assert journal_of(office.state / "pantau.sqlite") == 4, "and that it was put back"
    assert journal_of(office.state / old) == 7
    assert (office.state / "pantau.sqlite").stat().st_mode & 0o777 == 0o600
    assert nothing_is_left_over(office)
    (restoration,) = await found_in(office)
    assert (restoration.how, restoration.by) == (DetectionMethod.RESTORED, "Siti Contoh")
    assert (restoration.numbers, restoration.pages) == ({"JCM": 23}, {"JCM-07": 3})
    assert restoration.skipped is None
    assert (await office.ask("audit", "verify"))[0] == 0
    assert copy.read_bytes() == before


async def test_a_copy_is_put_where_there_is_nothing(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await have_copy(office, tmp_path)
    for name in names(office.state):
        (office.state / name).unlink()

    code, said = await office.ask("restore", str(copy))

    assert code == 0, said
    assert kept(office) == []
    assert len(await found_in(office)) == 1


async def test_what_a_store_left_behind_that_was_killed_and_deleted_is_not_read_into_the_copy(
    office: IssuingOffice, tmp_path: Path
) -> None:
    copy = await have_copy(office, tmp_path)
    store = office.state / "pantau.sqlite"
    log = store.with_name(f"{store.name}-wal")
    async with Database.open(office.state) as database:
        await write(database, 40, 4000)
        written_last = log.read_bytes()
    for name in names(office.state):
        (office.state / name).unlink()
    log.write_bytes(written_last)

    code, said = await office.ask("restore", str(copy))

    assert code == 0, said
    assert journal_of(store) == 4
    assert (await office.ask("audit", "verify"))[0] == 0
    (aside,) = kept(office)
    assert (office.state / aside).read_bytes() == written_last, "somebody may make something of it yet"


async def test_nothing_is_put_back_while_a_service_runs(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await have_copy(office, tmp_path)
    async with Database.open(office.state):
        for words in (["restore", str(copy)], ["restore", "--in-place"]):
            code, said = await office.ask(*words)
            assert (code, said[:24]) == (1, "nothing was restored: " + str(office.state)[:2])
            assert "is in use by another pantau process" in said
    assert journal_of(office.state / "pantau.sqlite") == 7


@pytest.mark.parametrize("what", ["newer", "torn", "another", "none", "changed"])
async def test_what_is_no_whole_copy_of_this_version_is_not_put_back(
    office: IssuingOffice, tmp_path: Path, what: str
) -> None:
    copy = await have_copy(office, tmp_path, 300, 1000)
    why = spoil(copy, what)

    code, said = await office.ask("restore", str(copy))

    assert code == 1
    assert why in said
    assert journal_of(office.state / "pantau.sqlite") == 304
    assert kept(office) == []
    assert nothing_is_left_over(office)


def spoil(copy: Path, what: str) -> str:
    match what:
        case "newer":
            with closing(sqlite3.connect(copy)) as connection:
                connection.execute("UPDATE alembic_version SET version_num = '9999'")
                connection.commit()
            return "was made by a newer version of Pantau"
        case "torn":
            copy.write_bytes(copy.read_bytes()[:150_000])
            return f"{copy} cannot be copied to "
        case "another":
            copy.write_bytes(b"a letter to the Director General " * 9)
            return "file is not a database"
        case "none":
            copy.unlink()
            return f"there is no {copy}"
        case _:
            with closing(sqlite3.connect(copy)) as connection:
                for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                    connection.execute(f"DROP TRIGGER {name}")
                connection.execute("UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1")
                connection.commit()
            return "Use another copy, or repeat this with --allow-broken-chain"


async def test_the_only_copy_is_put_back_even_if_its_journal_was_changed(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await have_copy(office, tmp_path)
    spoil(copy, "changed")

    code, said = await office.ask("restore", str(copy), "--allow-broken-chain")

    assert code == 0
    assert "its AUDIT LOG WAS CHANGED" in said


async def test_a_copy_of_an_older_schema_is_brought_up_to_date(office: IssuingOffice, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    upgrade(f"sqlite:///{copy}", "0015")

    code, said = await office.ask("restore", str(copy))

    assert code == 0, said
    assert len(await found_in(office)) == 1


async def test_one_that_came_by_other_means_is_marked_where_it_is(office: IssuingOffice, tmp_path: Path) -> None:
    await have_copy(office, tmp_path)

    code, said = await office.ask("restore", "--in-place", "--by", "Siti Contoh")
    again, _ = await office.ask("restore", "--in-place", "--by", "Siti Contoh")

    assert (code, again) == (0, 0), said
    assert [each.how for each in await found_in(office)] == [DetectionMethod.RESTORED]
    assert kept(office) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
async def test_root_does_not_leave_a_store_that_the_service_cannot_open(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await have_copy(office, tmp_path)
    os.chown(office.state, 65534, -1)

    code, said = await office.ask("restore", str(copy))

    assert code == 1
    assert "belongs to another user, and the store must, too: run this command as nobody" in said
    assert journal_of(office.state / "pantau.sqlite") == 7


async def test_what_holds_no_store_is_no_older_copy(office: IssuingOffice) -> None:
    code, said = await office.ask("restore", "--in-place")

    assert (code, said) == (
        1,
        f"{office.state}/pantau.sqlite holds no store: restore the copy there first (docs/how-to/operator/backup.md)\n",
    )
    assert names(office.state) == []


async def test_who_mistypes_is_told_how_it_is_written(office: IssuingOffice, tmp_path: Path) -> None:
    assert (await office.ask("restore"))[0] == 2
    assert (await office.ask("restore", str(tmp_path / "x"), "--in-place"))[0] == 2
    code, said = await office.ask("restore", "--in-place", "--last-number", "23")
    assert (code, "as JCM-23" in said) == (2, True)
    for words in (("restore", "--in-place"), ("paper", "resume", "--reason", "dilihat")):
        code, said = await office.ask(*words, "--last-number", "JCM-23", "--last-number", " ")
        assert (code, "is empty" in said) == (2, True), "nothing said is something else, and no number was meant"


async def test_who_is_killed_leaves_the_one_or_the_other_whole(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await have_copy(office, tmp_path, 100, 40_000)
    command = [sys.executable, "-m", "monitor.cli", "restore", str(copy), "--config", str(office.config)]

    for wait in (0.0, 0.2, 0.5):
        killed_after_it_began(command, office, wait)
        assert journal_of(office.state / "pantau.sqlite") in {104, 101}

    code, said = await office.ask("restore", str(copy))
    assert code == 0, said
    assert journal_of(office.state / "pantau.sqlite") == 101
    assert nothing_is_left_over(office)


def killed_after_it_began(command: list[str], office: IssuingOffice, wait: float) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while nothing_is_left_over(office) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.001)
    time.sleep(wait)
    process.kill()
    process.wait(30)


async def test_a_full_disk_leaves_what_was_there(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await have_copy(office, tmp_path, 50, 40_000)

    with full_disk():
        code, said = await office.ask("restore", str(copy))

    assert code == 1
    assert "nothing was restored: " in said
    assert journal_of(office.state / "pantau.sqlite") == 54
    assert nothing_is_left_over(office)


@pytest.mark.real
async def test_a_database_is_marked_once_its_administrator_has_put_a_copy_there(
    office: IssuingOffice, tmp_path: Path, postgres: Postgres
) -> None:
    server = postgres.store()
    url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
    office.config.write_text(f"{office.config.read_text()}\nstore: {{url: '{url}'}}\n")

    code, said = await office.ask("restore", str(tmp_path / "copy.dump"))
    assert (code, "such as pg_restore, and then run: pantau restore --in-place" in said) == (1, True)
    for _ in range(2):
        code, said = await office.ask("restore", "--in-place")
        assert (code, "holds no store: restore the copy there first" in said) == (1, True), (
            "pg_restore wants it empty, too"
        )

    async with Database.open(office.state, server) as database:
        await write(database, 3)
    code, said = await office.ask("restore", "--in-place")
    assert code == 0, said

    async with Database.open(office.state, server) as database, SqlStore(database).reading() as uow:
        assert [each.how for each in await uow.restorations.all()] == [DetectionMethod.RESTORED]
        assert os.environ.get("PGPASSWORD") is None
