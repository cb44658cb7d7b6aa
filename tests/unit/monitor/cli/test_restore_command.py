"""`pantau restore`: the store is the complete copy or the complete old one, and a copy is marked as restored."""

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
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.migrations import upgrade
from tests.real.postgres import Postgres
from tests.unit.monitor.cli.office import IssuingOffice, full_disk
from tests.unit.monitor.cli.test_backup_command import audit_log_length, file_names, write


async def create_copy(office: IssuingOffice, tmp_path: Path, entries: int = 3, size: int = 10) -> Path:
    """Return a copy that is older than the store."""
    copy = tmp_path / "copy.sqlite"
    async with Database.open(office.state) as database:
        await write(database, entries, size)
        code, output = await office.ask("backup", str(copy))
        assert code == 0, output
        await write(database, 4)
    return copy


async def stored_restorations(office: IssuingOffice) -> list[Restoration]:
    async with Database.open(office.state) as database, SqlStore(database).reading() as uow:
        return list(await uow.restorations.all())


def kept_stores(office: IssuingOffice) -> list[str]:
    return [name for name in file_names(office.state) if ".before-" in name]


def has_no_leftovers(office: IssuingOffice) -> bool:
    return not any(name.startswith(".pantau-restore") for name in file_names(office.state))


async def test_restore_replaces_store_and_keeps_previous_one(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await create_copy(office, tmp_path)
    before = copy.read_bytes()

    code, output = await office.ask(
        "restore", str(copy), "--by", "Siti Contoh", "--last-number", "JCM-23", "--last-number", "jcm-7/3"
    )

    assert code == 0, output
    assert f"{copy} is the store now: schema " in output
    (old,) = kept_stores(office)
    assert f"The store before it is {office.state}/{old}." in output
    assert "Letters and faxes are paused" in output
    assert audit_log_length(office.state / "pantau.sqlite") == 4, "and that it was put back"
    assert audit_log_length(office.state / old) == 7
    assert (office.state / "pantau.sqlite").stat().st_mode & 0o777 == 0o600
    assert has_no_leftovers(office)
    (restoration,) = await stored_restorations(office)
    assert (restoration.how, restoration.by) == (DetectionMethod.RESTORED, "Siti Contoh")
    assert (restoration.numbers, restoration.pages) == ({"JCM": 23}, {"JCM-07": 3})
    assert restoration.skipped is None
    assert (await office.ask("audit", "verify"))[0] == 0
    assert copy.read_bytes() == before


async def test_restore_into_empty_directory_succeeds(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await create_copy(office, tmp_path)
    for name in file_names(office.state):
        (office.state / name).unlink()

    code, output = await office.ask("restore", str(copy))

    assert code == 0, output
    assert kept_stores(office) == []
    assert len(await stored_restorations(office)) == 1


async def test_restore_ignores_write_ahead_log_of_deleted_store(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await create_copy(office, tmp_path)
    store = office.state / "pantau.sqlite"
    log = store.with_name(f"{store.name}-wal")
    async with Database.open(office.state) as database:
        await write(database, 40, 4000)
        written_last = log.read_bytes()
    for name in file_names(office.state):
        (office.state / name).unlink()
    log.write_bytes(written_last)

    code, output = await office.ask("restore", str(copy))

    assert code == 0, output
    assert audit_log_length(store) == 4
    assert (await office.ask("audit", "verify"))[0] == 0
    (aside,) = kept_stores(office)
    assert (office.state / aside).read_bytes() == written_last, "somebody may make something of it yet"


async def test_restore_while_service_runs_is_refused(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await create_copy(office, tmp_path)
    async with Database.open(office.state):
        for words in (["restore", str(copy)], ["restore", "--in-place"]):
            code, output = await office.ask(*words)
            assert (code, output[:24]) == (1, "nothing was restored: " + str(office.state)[:2])
            assert "is in use by another pantau process" in output
    assert audit_log_length(office.state / "pantau.sqlite") == 7


@pytest.mark.parametrize("what", ["newer", "torn", "another", "none", "changed"])
async def test_restore_of_invalid_copy_is_refused(office: IssuingOffice, tmp_path: Path, what: str) -> None:
    copy = await create_copy(office, tmp_path, 300, 1000)
    why = damage(copy, what)

    code, output = await office.ask("restore", str(copy))

    assert code == 1
    assert why in output
    assert audit_log_length(office.state / "pantau.sqlite") == 304
    assert kept_stores(office) == []
    assert has_no_leftovers(office)


def damage(copy: Path, what: str) -> str:
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


async def test_restore_allow_broken_chain_accepts_changed_audit_log(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await create_copy(office, tmp_path)
    damage(copy, "changed")

    code, output = await office.ask("restore", str(copy), "--allow-broken-chain")

    assert code == 0
    assert "its AUDIT LOG WAS CHANGED" in output


async def test_restore_of_older_schema_is_migrated(office: IssuingOffice, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    upgrade(f"sqlite:///{copy}", "0018")

    code, output = await office.ask("restore", str(copy))

    assert code == 0, output
    assert len(await stored_restorations(office)) == 1


async def test_restore_in_place_marks_store_once(office: IssuingOffice, tmp_path: Path) -> None:
    await create_copy(office, tmp_path)

    code, output = await office.ask("restore", "--in-place", "--by", "Siti Contoh")
    again, _ = await office.ask("restore", "--in-place", "--by", "Siti Contoh")

    assert (code, again) == (0, 0), output
    assert [each.how for each in await stored_restorations(office)] == [DetectionMethod.RESTORED]
    assert kept_stores(office) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
async def test_restore_as_root_into_directory_of_another_user_is_refused(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await create_copy(office, tmp_path)
    os.chown(office.state, 65534, -1)

    code, output = await office.ask("restore", str(copy))

    assert code == 1
    assert "belongs to another user, and the store must, too: run this command as nobody" in output
    assert audit_log_length(office.state / "pantau.sqlite") == 7


async def test_restore_in_place_without_store_is_refused(office: IssuingOffice) -> None:
    code, output = await office.ask("restore", "--in-place")

    assert (code, output) == (
        1,
        f"{office.state}/pantau.sqlite holds no store: restore the copy there first (docs/how-to/operator/backup.md)\n",
    )
    assert file_names(office.state) == []


async def test_restore_invalid_arguments_are_refused_with_format(office: IssuingOffice, tmp_path: Path) -> None:
    assert (await office.ask("restore"))[0] == 2
    assert (await office.ask("restore", str(tmp_path / "x"), "--in-place"))[0] == 2
    code, output = await office.ask("restore", "--in-place", "--last-number", "23")
    assert (code, "as JCM-23" in output) == (2, True)
    for words in (("restore", "--in-place"), ("paper", "resume", "--reason", "dilihat")):
        code, output = await office.ask(*words, "--last-number", "JCM-23", "--last-number", " ")
        assert (code, "is empty" in output) == (2, True), "nothing said is something else, and no number was meant"


async def test_restore_killed_leaves_old_or_new_store_complete(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await create_copy(office, tmp_path, 100, 40_000)
    command = [sys.executable, "-m", "monitor.cli", "restore", str(copy), "--config", str(office.config)]

    for wait in (0.0, 0.2, 0.5):
        kill_after_start(command, office, wait)
        assert audit_log_length(office.state / "pantau.sqlite") in {104, 101}

    code, output = await office.ask("restore", str(copy))
    assert code == 0, output
    assert audit_log_length(office.state / "pantau.sqlite") == 101
    assert has_no_leftovers(office)


def kill_after_start(command: list[str], office: IssuingOffice, wait: float) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while has_no_leftovers(office) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.001)
    time.sleep(wait)
    process.kill()
    process.wait(30)


async def test_restore_disk_full_keeps_old_store(office: IssuingOffice, tmp_path: Path) -> None:
    copy = await create_copy(office, tmp_path, 50, 40_000)

    with full_disk():
        code, output = await office.ask("restore", str(copy))

    assert code == 1
    assert "nothing was restored: " in output
    assert audit_log_length(office.state / "pantau.sqlite") == 54
    assert has_no_leftovers(office)


@pytest.mark.real
async def test_restore_in_place_marks_database_restored_by_administrator(
    office: IssuingOffice, tmp_path: Path, postgres: Postgres
) -> None:
    server = postgres.store()
    url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
    office.config.write_text(f"{office.config.read_text()}\nstore: {{url: '{url}'}}\n")

    code, output = await office.ask("restore", str(tmp_path / "copy.dump"))
    assert (code, "such as pg_restore, and then run: pantau restore --in-place" in output) == (1, True)
    for _ in range(2):
        code, output = await office.ask("restore", "--in-place")
        assert (code, "holds no store: restore the copy there first" in output) == (1, True), (
            "pg_restore wants it empty, too"
        )

    async with Database.open(office.state, server) as database:
        await write(database, 3)
    code, output = await office.ask("restore", "--in-place")
    assert code == 0, output

    async with Database.open(office.state, server) as database, SqlStore(database).reading() as uow:
        assert [each.how for each in await uow.restorations.all()] == [DetectionMethod.RESTORED]
        assert os.environ.get("PGPASSWORD") is None
