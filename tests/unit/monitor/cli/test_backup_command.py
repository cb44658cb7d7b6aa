"""`pantau backup`: a complete copy under the given name, or none."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg

from alerts.persistence.store import AuditEntry
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.migrations import known_revisions, upgrade
from tests.real.postgres import Postgres
from tests.timeouts import HANG_TIMEOUT
from tests.unit.alerts.people import T0
from tests.unit.monitor.cli.office import IssuingOffice, full_disk


async def write(database: Database, entries: int, size: int = 10) -> None:
    async with SqlStore(database).transaction() as uow:
        for _ in range(entries):
            await uow.add_audit_entry(
                AuditEntry(at=T0, actor="Siti Contoh", event="remark", detail={"text": "a" * size})
            )


async def create_store(office: IssuingOffice, entries: int = 2, size: int = 10) -> Path:
    async with Database.open(office.state) as database:
        await write(database, entries, size)
    return office.state / "pantau.sqlite"


def run(office: IssuingOffice, *arguments: str) -> subprocess.Popen[str]:
    """Start `pantau backup` as a separate process."""
    command = [sys.executable, "-m", "monitor.cli", "backup", *arguments, "--config", str(office.config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def file_names(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()]


def kill_while_writing(copying: subprocess.Popen[str], directory: Path) -> None:
    end = time.monotonic() + 60
    while not file_names(directory) and time.monotonic() < end:
        time.sleep(0.001)
    copying.kill()
    copying.communicate(timeout=30)


def make_old(directory: Path) -> None:
    for each in directory.iterdir():
        os.utime(each, (time.time() - 3600, time.time() - 3600))


def restore_dump(dump: Path, server: PostgresServer) -> None:
    command = ["pg_restore", "--no-owner", f"--dbname={server.database}", str(dump)]
    subprocess.run(command, check=True, env=os.environ | server.environ(), timeout=60)


def audit_log_length(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM audit_log").fetchone()[0])


async def test_backup_during_writes_is_complete_and_does_not_block(office: IssuingOffice, tmp_path: Path) -> None:
    async with Database.open(office.state) as database:
        await write(database, 300, 1000)
        copying = asyncio.create_task(office.ask("backup", str(tmp_path / "copy.sqlite")))
        longest, written = 0.0, 0
        while not copying.done():
            begun = time.monotonic()
            await write(database, 1)
            longest, written = max(longest, time.monotonic() - begun), written + 1
        code, output = await copying

    assert code == 0, output
    copy = tmp_path / "copy.sqlite"
    assert output.startswith(f"{copy} is a verified copy of {office.state}/pantau.sqlite: ")
    assert f"schema {known_revisions()[0]}; its audit log ends with " in output
    assert 300 <= audit_log_length(copy) <= 300 + written
    assert written > 3
    # A busy machine can stop for seconds, too.
    assert longest < HANG_TIMEOUT
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert (await office.ask("audit", "verify", "--store", str(copy)))[0] == 0
    assert not any("part" in name for name in file_names(tmp_path))


async def test_backup_to_directory_is_named_by_time(office: IssuingOffice, tmp_path: Path) -> None:
    await create_store(office)
    (tmp_path / "copies").mkdir()

    code, _ = await office.ask("backup", str(tmp_path / "copies"))

    assert code == 0
    (name,) = file_names(tmp_path / "copies")
    assert re.fullmatch(r"pantau-\d{8}T\d{6}Z\.sqlite", name)


async def test_backup_does_not_overwrite_file(office: IssuingOffice, tmp_path: Path) -> None:
    await create_store(office)
    there = tmp_path / "copy.sqlite"
    there.write_text("the only one")

    code, output = await office.ask("backup", str(there))

    assert (code, there.read_text()) == (1, "the only one")
    assert output == f"{there} exists, and is not overwritten; name a new file, or a directory\n"


async def test_backup_name_too_long_is_reported(office: IssuingOffice) -> None:
    await create_store(office)
    name = "a" * 300
    assert await office.ask("backup", name) == (1, f"{name} cannot be written: File name too long\n")


async def test_backup_two_at_once_to_one_name_one_succeeds(office: IssuingOffice, tmp_path: Path) -> None:
    await create_store(office, 200, 1000)

    copies = [run(office, str(tmp_path / "copy.sqlite")) for _ in range(2)]
    ends = sorted([(copy.wait(60), copy.communicate()[1]) for copy in copies])

    assert [code for code, _ in ends] == [0, 1]
    assert "exists, and is not overwritten" in ends[1][1]
    assert audit_log_length(tmp_path / "copy.sqlite") == 200
    assert not any("part" in name for name in file_names(tmp_path))


async def test_backup_killed_leaves_no_copy_and_next_removes_rest(office: IssuingOffice, tmp_path: Path) -> None:
    await create_store(office, 300, 40_000)
    copies = tmp_path / "copies"
    copies.mkdir()

    kill_while_writing(run(office, str(copies / "copy.sqlite")), copies)

    assert file_names(copies)
    assert "copy.sqlite" not in file_names(copies)
    make_old(copies)
    code, output = await office.ask("backup", str(copies / "copy.sqlite"))
    assert code == 0, output
    assert file_names(copies) == ["copy.sqlite"]


async def test_backup_disk_full_leaves_no_copy(office: IssuingOffice, tmp_path: Path) -> None:
    store = await create_store(office, 50, 40_000)
    copies = tmp_path / "copies"
    copies.mkdir()
    with full_disk():
        code, output = await office.ask("backup", str(copies / "copy.sqlite"))

    assert code == 1
    assert output.startswith(f"{store} cannot be copied to {copies}: ")
    assert file_names(copies) == []


async def test_backup_damaged_store_leaves_no_copy(office: IssuingOffice, tmp_path: Path) -> None:
    store = await create_store(office, 500, 1000)
    with store.open("r+b") as file:
        file.seek(store.stat().st_size // 2)
        file.write(b"\xff" * 8192)

    code, output = await office.ask("backup", str(tmp_path / "copy.sqlite"))

    assert code == 1
    assert output.startswith(f"{store} is damaged and cannot be used: ")
    assert not (tmp_path / "copy.sqlite").exists()


async def test_backup_without_store_or_directory_is_refused(office: IssuingOffice, tmp_path: Path) -> None:
    code, output = await office.ask("backup", str(tmp_path / "copy.sqlite"))
    assert code == 1
    assert output.startswith(f"there is no {office.state}/pantau.sqlite: ")

    with closing(sqlite3.connect(office.state / "pantau.sqlite")) as other:
        other.execute("CREATE TABLE another (id INTEGER)")
    code, output = await office.ask("backup", str(tmp_path / "copy.sqlite"))
    assert code == 1
    assert "it is no store of Pantau" in output

    code, output = await office.ask("backup", str(tmp_path / "nowhere" / "copy.sqlite"))
    assert (code, output[:21]) == (1, "there is no directory")


async def test_backup_older_schema_is_copied_and_reported(office: IssuingOffice, tmp_path: Path) -> None:
    upgrade(f"sqlite:///{office.state}/pantau.sqlite", "0018")

    code, output = await office.ask("backup", str(tmp_path / "copy.sqlite"))

    assert code == 0
    assert f"schema 0018, which a start of this program migrates to {known_revisions()[0]}" in output


async def test_backup_changed_audit_log_is_copied_and_reported(office: IssuingOffice, tmp_path: Path) -> None:
    store = await create_store(office)
    with closing(sqlite3.connect(store)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1")
        connection.commit()

    code, output = await office.ask("backup", str(tmp_path / "copy.sqlite"))

    assert code == 0
    assert "its AUDIT LOG WAS CHANGED (entry 1: was changed" in output


async def test_backup_of_server_is_pg_dump_that_restores(
    office: IssuingOffice, tmp_path: Path, postgres: Postgres
) -> None:
    server, other = postgres.store(), postgres.database()
    url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
    office.config.write_text(f"{office.config.read_text()}\nstore: {{url: '{url}'}}\n")
    async with Database.open(office.state, server) as database:
        await write(database, 7)

        code, output = await office.ask("backup", str(tmp_path / "copy.dump"))

    assert code == 0, output
    assert output.startswith(f"{tmp_path}/copy.dump is a copy of the database {server.database} of the PostgreSQL at ")
    assert stat.S_IMODE((tmp_path / "copy.dump").stat().st_mode) == 0o600
    restore_dump(tmp_path / "copy.dump", other)
    with psycopg.connect(postgres.address(other.database)) as connection:
        assert connection.execute("SELECT count(*) FROM audit_log").fetchone() == (7,)
