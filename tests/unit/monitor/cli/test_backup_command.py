"""`pantau backup`: a whole copy under its name, or none, whatever happens meanwhile."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.migrations import known, upgrade
from tests.hanging import HANGS
from tests.real.postgres import Postgres
from tests.unit.alerts.people import T0
from tests.unit.monitor.cli.office import IssuingOffice, full_disk


async def write(database: Database, entries: int, size: int = 10) -> None:
    async with SqlStore(database).transaction() as uow:
        for _ in range(entries):
            await uow.add_audit_entry(
                AuditEntry(at=T0, actor="Siti Contoh", event="remark", detail={"text": "a" * size})
            )


async def have_store(office: IssuingOffice, entries: int = 2, size: int = 10) -> Path:
    async with Database.open(office.state) as database:
        await write(database, entries, size)
    return office.state / "pantau.sqlite"


def run(office: IssuingOffice, *arguments: str) -> subprocess.Popen[str]:
    """Begin `pantau backup` as a process of its own."""
    command = [sys.executable, "-m", "monitor.cli", "backup", *arguments, "--config", str(office.config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()]


def killed_while_it_writes(copying: subprocess.Popen[str], directory: Path) -> None:
    end = time.monotonic() + 60
    while not names(directory) and time.monotonic() < end:
        time.sleep(0.001)
    copying.kill()
    copying.communicate(timeout=30)


def grown_old(directory: Path) -> None:
    for each in directory.iterdir():
        os.utime(each, (time.time() - 3600, time.time() - 3600))


def put_back(dump: Path, server: PostgresServer) -> None:
    command = ["pg_restore", "--no-owner", f"--dbname={server.database}", str(dump)]
    subprocess.run(command, check=True, env=os.environ | server.environ(), timeout=60)


def journal_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM audit_log").fetchone()[0])


async def test_a_copy_is_whole_while_the_store_is_written_and_nobody_waits_for_it(
    office: IssuingOffice, tmp_path: Path
) -> None:
    async with Database.open(office.state) as database:
        await write(database, 300, 1000)
        copying = asyncio.create_task(office.ask("backup", str(tmp_path / "copy.sqlite")))
        longest, written = 0.0, 0
        while not copying.done():
            begun = time.monotonic()
            await write(database, 1)
            longest, written = max(longest, time.monotonic() - begun), written + 1
        code, said = await copying

    assert code == 0, said
    copy = tmp_path / "copy.sqlite"
    assert said.startswith(f"{copy} is a verified copy of {office.state}/pantau.sqlite: ")
    assert f"schema {known()[0]}; its audit log ends with " in said
    assert 300 <= journal_of(copy) <= 300 + written
    assert written > 3
    # A busy machine stands still for seconds, too.
    assert longest < HANGS
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert (await office.ask("audit", "verify", "--store", str(copy)))[0] == 0
    assert not any("part" in name for name in names(tmp_path))


async def test_a_copy_in_a_directory_is_named_by_its_time(office: IssuingOffice, tmp_path: Path) -> None:
    await have_store(office)
    (tmp_path / "copies").mkdir()

    code, _ = await office.ask("backup", str(tmp_path / "copies"))

    assert code == 0
    (name,) = names(tmp_path / "copies")
    assert re.fullmatch(r"pantau-\d{8}T\d{6}Z\.sqlite", name)


async def test_no_copy_is_written_over_another(office: IssuingOffice, tmp_path: Path) -> None:
    await have_store(office)
    there = tmp_path / "copy.sqlite"
    there.write_text("the only one")

    code, said = await office.ask("backup", str(there))

    assert (code, there.read_text()) == (1, "the only one")
    assert said == f"{there} exists, and is not overwritten; name a new file, or a directory\n"


async def test_a_name_that_no_file_can_have_is_refused_in_words(office: IssuingOffice) -> None:
    await have_store(office)
    name = "a" * 300
    assert await office.ask("backup", name) == (1, f"{name} cannot be written: File name too long\n")


async def test_of_two_that_copy_to_one_name_one_does(office: IssuingOffice, tmp_path: Path) -> None:
    await have_store(office, 200, 1000)

    copies = [run(office, str(tmp_path / "copy.sqlite")) for _ in range(2)]
    ends = sorted([(copy.wait(60), copy.communicate()[1]) for copy in copies])

    assert [code for code, _ in ends] == [0, 1]
    assert "exists, and is not overwritten" in ends[1][1]
    assert journal_of(tmp_path / "copy.sqlite") == 200
    assert not any("part" in name for name in names(tmp_path))


async def test_who_is_killed_leaves_nothing_under_the_name_and_the_next_one_clears_up(
    office: IssuingOffice, tmp_path: Path
) -> None:
    await have_store(office, 300, 40_000)
    copies = tmp_path / "copies"
    copies.mkdir()

    killed_while_it_writes(run(office, str(copies / "copy.sqlite")), copies)

    assert names(copies)
    assert "copy.sqlite" not in names(copies)
    grown_old(copies)
    code, said = await office.ask("backup", str(copies / "copy.sqlite"))
    assert code == 0, said
    assert names(copies) == ["copy.sqlite"]


async def test_a_full_disk_leaves_no_copy_and_says_so(office: IssuingOffice, tmp_path: Path) -> None:
    store = await have_store(office, 50, 40_000)
    copies = tmp_path / "copies"
    copies.mkdir()
    with full_disk():
        code, said = await office.ask("backup", str(copies / "copy.sqlite"))

    assert code == 1
    assert said.startswith(f"{store} cannot be copied to {copies}: ")
    assert names(copies) == []


async def test_a_damaged_store_gives_no_copy_that_counts(office: IssuingOffice, tmp_path: Path) -> None:
    store = await have_store(office, 500, 1000)
    with store.open("r+b") as file:
        file.seek(store.stat().st_size // 2)
        file.write(b"\xff" * 8192)

    code, said = await office.ask("backup", str(tmp_path / "copy.sqlite"))

    assert code == 1
    assert said.startswith(f"{store} is damaged and cannot be used: ")
    assert not (tmp_path / "copy.sqlite").exists()


async def test_what_is_no_store_gives_no_copy(office: IssuingOffice, tmp_path: Path) -> None:
    code, said = await office.ask("backup", str(tmp_path / "copy.sqlite"))
    assert code == 1
    assert said.startswith(f"there is no {office.state}/pantau.sqlite: ")

    with closing(sqlite3.connect(office.state / "pantau.sqlite")) as other:
        other.execute("CREATE TABLE another (id INTEGER)")
    code, said = await office.ask("backup", str(tmp_path / "copy.sqlite"))
    assert code == 1
    assert "it is no store of Pantau" in said

    code, said = await office.ask("backup", str(tmp_path / "nowhere" / "copy.sqlite"))
    assert (code, said[:21]) == (1, "there is no directory")


async def test_a_store_of_an_older_schema_is_copied_and_that_is_said(office: IssuingOffice, tmp_path: Path) -> None:
    upgrade(f"sqlite:///{office.state}/pantau.sqlite", "0015")

    code, said = await office.ask("backup", str(tmp_path / "copy.sqlite"))

    assert code == 0
    assert f"schema 0015, which a start of this program migrates to {known()[0]}" in said


async def test_a_journal_that_was_changed_is_copied_and_that_is_said(office: IssuingOffice, tmp_path: Path) -> None:
    store = await have_store(office)
    with closing(sqlite3.connect(store)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1")
        connection.commit()

    code, said = await office.ask("backup", str(tmp_path / "copy.sqlite"))

    assert code == 0
    assert "its AUDIT LOG WAS CHANGED (entry 1: was changed" in said


async def test_of_a_server_the_copy_is_what_its_own_program_makes(
    office: IssuingOffice, tmp_path: Path, postgres: Postgres
) -> None:
    server, other = postgres.store(), postgres.database()
    url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
    office.config.write_text(f"{office.config.read_text()}\nstore: {{url: '{url}'}}\n")
    async with Database.open(office.state, server) as database:
        await write(database, 7)

        code, said = await office.ask("backup", str(tmp_path / "copy.dump"))

    assert code == 0, said
    assert said.startswith(f"{tmp_path}/copy.dump is a copy of the database {server.database} of the PostgreSQL at ")
    assert stat.S_IMODE((tmp_path / "copy.dump").stat().st_mode) == 0o600
    put_back(tmp_path / "copy.dump", other)
    with psycopg.connect(postgres.address(other.database)) as connection:
        assert connection.execute("SELECT count(*) FROM audit_log").fetchone() == (7,)
