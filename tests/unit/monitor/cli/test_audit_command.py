"""`pantau audit` with a running service, and on the database file of a stopped one."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from alerts.persistence.store import AuditEntry
from monitor.audit.archive import Archive
from monitor.config.service.store import RetentionSettings
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.web.command.records import record_commands
from pantau_lab.serving import claimed
from tests.real.postgres import Postgres
from tests.unit.alerts.people import T0
from tests.unit.alerts.wording.situations import WORDING
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.web.fake_service import Service


async def write(database: Database, *events: str) -> None:
    async with SqlStore(database).transaction() as uow:
        for event in events:
            await uow.add_audit_entry(AuditEntry(at=T0, actor="Siti Contoh", event=event, detail={"number": "JCM-01"}))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Clock:
    def now(self) -> datetime:
        return T0


def archive(database: Database) -> Archive:
    return Archive(
        database=database,
        history=History(database),
        clock=Clock(),
        wording=lambda: WORDING,
        retention=RetentionSettings().build,
    )


@asynccontextmanager
async def running(office: IssuingOffice) -> AsyncIterator[Database]:
    """Run a service with two entries in its audit log."""
    async with Database.open(office.state) as database, office.open(Service(), record_commands(archive(database))):
        await write(database, "incident opened", "incident resolved")
        yield database


def change(file: Path, statement: str) -> None:
    """Change the database file after removal of its triggers."""
    with closing(sqlite3.connect(file)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        connection.commit()


async def test_audit_verify_intact_log_is_reported_with_and_without_service(office: IssuingOffice) -> None:
    async with running(office):
        code, printed = await office.ask("audit", "verify")
        _, head = await office.ask("audit", "head")
    assert (code, printed) == (0, f"The audit log is intact: 2 entries, the last {head.strip()}.\n")
    assert head.startswith("2:")

    assert await office.ask("audit", "verify") == (0, printed)
    assert await office.ask("audit", "head") == (0, head)


async def test_audit_verify_changed_entry_is_reported(office: IssuingOffice) -> None:
    async with running(office) as database:
        change(office.state / "pantau.sqlite", "UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1")
        code, printed = await office.ask("audit", "verify")
        assert code == 3
        assert printed.startswith(
            "entry 1: was changed: its content does not match its hash\nThe audit log was CHANGED: 2 entries"
        )
        await write(database, "goes on")
    code, printed = await office.ask("audit", "verify")
    assert code == 3
    assert printed.startswith(
        "entry 1: was changed: its content does not match its hash\nThe audit log was CHANGED: 3 entries"
    )


async def test_audit_verify_includes_entries_written_meanwhile(office: IssuingOffice) -> None:
    async with Database.open(office.state) as database:
        log_archive = archive(database)
        pages = log_archive.entries

        async def entries(after: int) -> Sequence[Mapping[str, Any]]:
            page = await pages(after)
            if after < 3:
                await write(database, "goes on")
            return page

        log_archive.entries = entries  # type: ignore[method-assign]  # what others do meanwhile
        async with office.open(Service(), record_commands(log_archive)):
            code, printed = await office.ask("audit", "verify")
    assert (code, printed[:36]) == (0, "The audit log is intact: 4 entries, ")


async def test_audit_verify_unreadable_entry_is_named(office: IssuingOffice) -> None:
    async with running(office):
        change(office.state / "pantau.sqlite", "UPDATE audit_log SET at = 'yesterday' WHERE id = 1")
        code, printed = await office.ask("audit", "verify")
    assert code == 3
    assert printed.startswith("entry 1: is invalid: it was changed\n")


async def test_audit_verify_expected_head_matches_after_more_entries(office: IssuingOffice) -> None:
    async with running(office) as database:
        _, head = await office.ask("audit", "head")
        await write(database, "goes on")
        code, printed = await office.ask("audit", "verify", "--expect-head", head.strip())
        assert (code, printed[:37]) == (0, "The audit log is intact: 3 entries, t")
        other = f"2:{'0' * 64}"
        code, printed = await office.ask("audit", "verify", "--expect-head", other)
    assert code == 3
    assert printed.startswith("entry 2: differs from the copy of the head")
    code, printed = await office.ask("audit", "verify", "--expect-head", other)
    assert code == 3


@pytest.mark.parametrize("expected_head", ["2", "two:abc", "2:abc", f"2:{'z' * 64}", f"²:{'0' * 64}"])
async def test_audit_verify_malformed_head_is_refused_with_format(office: IssuingOffice, expected_head: str) -> None:
    async with running(office):
        code, printed = await office.ask("audit", "verify", "--expect-head", expected_head)
    assert code == 2
    assert "must be NUMBER:HASH, as `pantau audit head` prints it" in printed


def test_audit_verify_without_service_and_file_names_store_option(office: IssuingOffice) -> None:
    code, printed = office.run("audit", "verify")
    assert code == 1
    assert "the service is not running, and there is no" in printed
    assert "--store" in printed


async def test_audit_verify_store_on_server_ignores_old_file(office: IssuingOffice) -> None:
    async with Database.open(office.state) as database:
        await write(database, "incident opened")
    settings = office.config.read_text()
    with claimed(1) as (nobody,):
        office.config.write_text(f"{settings}\nstore: {{url: 'postgresql://pantau@127.0.0.1:{nobody}/pantau'}}\n")
        code, printed = await office.ask("audit", "verify")
    assert code == 1
    assert printed.startswith("database pantau of the PostgreSQL at 127.0.0.1, port ")
    assert "refused" in printed
    office.config.write_text(f"{settings}\nstore: {{host: pangkalan-data.contoh.gov.my}}\n")
    code, printed = await office.ask("audit", "verify")
    assert code == 2
    assert "store.host: is no known key" in printed


@pytest.mark.real
async def test_audit_verify_reads_server_without_service(
    office: IssuingOffice, tmp_path: Path, postgres: Postgres
) -> None:
    server = postgres.database()
    url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
    (office.directory / "kata-laluan").write_text("rahsia-pangkalan")
    with office.config.open("a") as settings:
        settings.write(f"\nstore: {{url: '{url}', password_file: kata-laluan}}\n")
    code, printed = await office.ask("audit", "verify")
    assert (code, "is not a store of this version" in printed) == (1, True)

    async with Database.open(tmp_path / "elsewhere", server) as database:
        await write(database, "incident opened", "incident resolved")
    _, head = await office.ask("audit", "head")
    expected = f"The audit log is intact: 2 entries, the last {head.strip()}.\n"
    assert await office.ask("audit", "verify", "--expect-head", head.strip()) == (0, expected)
    _, lines = await office.ask("audit", "export")
    assert [json.loads(line)["event"] for line in lines.splitlines()] == ["incident opened", "incident resolved"]

    with psycopg.connect(postgres.address(server.database), autocommit=True) as connection:
        connection.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        connection.execute("UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1")
    code, printed = await office.ask("audit", "verify")
    assert (code, printed.partition("\n")[0]) == (3, "entry 1: was changed: its content does not match its hash")


def test_audit_verify_file_that_is_no_store_is_named(office: IssuingOffice, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    other.write_text("not a database, but longer than the header of one, which has a hundred bytes" * 9)
    code, printed = office.run("audit", "verify", "--store", str(other))
    assert code == 1
    assert f"{other} cannot be read" in printed
    # A script passes this if its variable is empty.
    assert office.run("audit", "head", "--store", "") == (1, "there is no file .\n")


async def test_audit_verify_store_option_reads_copy_beside_running_service(
    office: IssuingOffice, tmp_path: Path
) -> None:
    async with Database.open(tmp_path / "other") as database:
        await write(database, "incident opened")
    async with running(office):
        code, printed = await office.ask("audit", "verify", "--store", str(tmp_path / "other" / "pantau.sqlite"))
    assert (code, printed[:34]) == (0, "The audit log is intact: 1 entries")


async def test_audit_export_can_be_verified_with_standard_tools(office: IssuingOffice, tmp_path: Path) -> None:
    output = tmp_path / "audit-log.jsonl"
    # An older file that others can read.
    output.write_text("x" * 10_000)
    output.chmod(0o644)
    async with running(office):
        code, printed = await office.ask("audit", "export", "--output", str(output))
        assert (code, printed) == (0, f"{output} is written.\n")
        assert (await office.ask("audit", "export"))[1] == output.read_text()
    assert (await office.ask("audit", "export"))[1] == output.read_text(), "without the service too"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600

    previous = "0" * 64
    for line in output.read_text().splitlines():
        entry = json.loads(line)
        hashes = entry.pop("previous"), entry.pop("content"), entry.pop("hash")
        content = sha256(json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
        assert hashes == (previous, content, sha256(f"{previous} {content}"))
        previous = hashes[-1]
    assert (await office.ask("audit", "head"))[1] == f"2:{previous}\n"


async def test_audit_program_in_documentation_matches_audit_head(office: IssuingOffice, tmp_path: Path) -> None:
    document = (Path(__file__).parents[4] / "docs/explanation/audit.md").read_text()
    program = document.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "check.py").write_text(program)
    async with running(office):
        _, lines = await office.ask("audit", "export")
    (tmp_path / "audit-log.jsonl").write_text(lines)

    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "check.py", "audit-log.jsonl"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    _, head = await office.ask("audit", "head")
    assert (check().returncode, check().stdout) == (0, f"whole: {head}")
    (tmp_path / "audit-log.jsonl").write_text(lines.replace("incident opened", "incident closed"))
    assert (check().returncode, check().stdout) == (1, "entry 1 was changed\n")
    (tmp_path / "audit-log.jsonl").write_text(lines.splitlines()[1] + "\n")
    assert (check().returncode, check().stdout) == (1, "entry 2 does not follow the one before it\n")
