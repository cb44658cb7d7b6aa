"""The audit log in the database: one chain for all writers; changes are refused, and forced ones found."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from alerts.persistence.audit import INITIAL_HASH, ChainedEntry, ChainHead, Verifier, canonical, sha256_hex
from alerts.persistence.store import AuditEntry
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.unit_of_work import SqlStore
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, T0, trigger

#: The statement of a purge.
PURGE_SQL = "UPDATE audit_log SET actor = '', event = '', incident_id = NULL, notification_id = NULL, detail = '{}', purged_by = 2"
COLUMNS = ("at", "actor", "event", "incident_id", "notification_id", "detail", "previous", "content", "hash")


def entry_about(event: str, actor: str = "engine") -> AuditEntry:
    return AuditEntry(at=T0, actor=actor, event=event, incident_id=1, notification_id=2, detail={"number": "JCM-01"})


Open = Callable[[], AbstractAsyncContextManager[Database]]


async def write(database: Database, *events: str) -> None:
    async with SqlStore(database).transaction() as uow:
        for event in events:
            await uow.add_audit_entry(entry_about(event))


async def append(database: Database, *events: str) -> None:
    """Append with the lock of the audit log only."""
    async with database.write() as connection:
        await audit.append(connection, [entry_about(event) for event in events])


async def read(database: Database) -> list[ChainedEntry]:
    async with database.read() as connection:
        return readable(await audit.entries(connection))


def readable(entries: Sequence[ChainedEntry | int]) -> list[ChainedEntry]:
    return [entry for entry in entries if isinstance(entry, ChainedEntry)]


async def verify_chain(database: Database) -> Verifier:
    return await audit.verify(database.read)


async def test_entries_form_chain_from_start_over_restart(open_database: Open) -> None:
    async with open_database() as database:
        await write(database, "incident opened", "outage notice decided")
    async with open_database() as database:
        await write(database, "incident resolved")
        entries = await read(database)
        async with database.read() as connection:
            head = await audit.head(connection)
        verifier = await verify_chain(database)

    assert [(e.number, e.event) for e in entries] == [
        (1, "incident opened"),
        (2, "outage notice decided"),
        (3, "incident resolved"),
    ]
    assert [e.previous for e in entries] == [INITIAL_HASH, entries[0].hash, entries[1].hash]
    assert all(sha256_hex(canonical(e)) == e.content for e in entries)
    assert head == ChainHead(number=3, hash=entries[2].hash)
    assert (verifier.violations, verifier.entries) == ([], 3)


async def test_verify_chain_longer_than_batch_is_complete(database: Database) -> None:
    await write(database, *(f"event {n}" for n in range(2 * audit.BATCH + 1)))
    verifier = await verify_chain(database)
    assert (verifier.violations, verifier.entries) == ([], 2 * audit.BATCH + 1)

    await write(database, *(f"event {n}" for n in range(audit.BATCH - 1)))
    verifier = await verify_chain(database)
    assert (verifier.violations, verifier.entries) == ([], 3 * audit.BATCH)


async def test_audit_entries_of_failed_transaction_are_not_written(database: Database) -> None:
    await write(database, "incident opened")
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what fails
        async with SqlStore(database).transaction() as uow:
            await uow.add_incidents([trigger()])
            await uow.add_audit_entry(entry_about("incident acknowledged"))
            raise RuntimeError
    await write(database, "incident resolved")

    assert [e.event for e in await read(database)] == ["incident opened", "incident resolved"]
    assert (await verify_chain(database)).violations == []


async def test_concurrent_writers_do_not_fork_chain(database: Database) -> None:
    await asyncio.gather(*(write(database, f"{n} first", f"{n} second") for n in range(25)))

    entries = await read(database)
    assert [e.number for e in entries] == list(range(1, 51))
    # Entries of one transaction are consecutive.
    assert all(a.event.split()[0] == b.event.split()[0] for a, b in zip(entries[::2], entries[1::2], strict=True))
    assert (await verify_chain(database)).violations == []


@pytest.mark.real
async def test_concurrent_processes_do_not_fork_chain(postgres: Postgres, tmp_path: Path) -> None:
    server = postgres.store()
    databases = Database.open(tmp_path / "a", server, name="a"), Database.open(tmp_path / "b", server, name="b")
    async with databases[0] as one, databases[1] as other:
        await asyncio.gather(*(append(each, f"{n} a", f"{n} b") for n, each in enumerate([one, other] * 20)))

        assert [e.number for e in await read(one)] == list(range(1, 81))
        assert (await verify_chain(other)).violations == []


@pytest.mark.real
async def test_postgresql_refuses_to_truncate_audit_log(postgres: Postgres, tmp_path: Path) -> None:
    async with Database.open(tmp_path, postgres.store()) as database:
        await write(database, "incident opened")
        for table in ("audit_log", "audit_head"):
            with pytest.raises(DBAPIError, match="the audit log is append-only"):
                async with database.write() as connection:
                    await connection.execute(text(f"TRUNCATE {table}"))
        assert len(await read(database)) == 1


@pytest.mark.real
async def test_verify_finds_forced_change_on_postgresql(postgres: Postgres, tmp_path: Path) -> None:
    async with Database.open(tmp_path, postgres.store()) as database:
        await write(database, "incident opened", "incident resolved")
        async with database.write() as connection:
            await connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
            await connection.execute(text("UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1"))
        assert [violation.number for violation in (await verify_chain(database)).violations] == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1",
        "UPDATE audit_log SET id = 9 WHERE id = 2",
        # Like a purge, but without one.
        f"{PURGE_SQL} WHERE id = 1",
        "DELETE FROM audit_log WHERE id = 2",
        "DELETE FROM audit_log",
        "DELETE FROM audit_head",
    ],
)
async def test_database_refuses_change_of_audit_log(database: Database, statement: str) -> None:
    await write(database, "incident opened", "incident resolved")
    with pytest.raises(DBAPIError, match="the audit log is append-only"):
        async with database.write() as connection:
            await connection.execute(text(statement))

    assert len(await read(database)) == 2
    assert (await verify_chain(database)).violations == []


async def test_entry_is_not_replaced_by_same_number(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        await write(database, "incident opened")
        with pytest.raises(DBAPIError, match="the audit log is append-only"):
            async with database.write() as connection:
                await connection.execute(
                    text(
                        "INSERT OR REPLACE INTO audit_log (id, at, actor, event, detail, previous, content, hash)"
                        " VALUES (1, '2026-11-24 06:15:00.000000', 'x', 'x', '{}', 'p', 'c', 'h')"
                    )
                )


async def test_two_entries_with_same_previous_are_refused(database: Database) -> None:
    await write(database, "incident opened", "incident resolved")
    first = (await read(database))[0]
    with pytest.raises(DBAPIError):
        async with database.write() as connection:
            await connection.execute(
                text(
                    "INSERT INTO audit_log (id, at, actor, event, detail, previous, content, hash)"
                    " VALUES (3, '2026-11-24 06:15:00.000000', 'x', 'x', '{}', :previous, 'c', 'h')"
                ),
                {"previous": first.hash},
            )


# -- tampered files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    """Return the file of a closed store with six entries."""
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_write_six(Path(directory)))
        yield Path(directory) / "pantau.sqlite"


async def _write_six(place: Path) -> None:
    async with Database.open(place) as database:
        for n in range(6):
            await write(database, f"event {n}")


def tamper(written: Path, place: Path, *statements: tuple[str, Sequence[Any]]) -> Path:
    """Copy the store, drop its triggers, and run statements."""
    copy = shutil.copy(written, place / "pantau.sqlite")
    with closing(sqlite3.connect(copy)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement, values in statements:
            connection.execute(statement, values)
        connection.commit()
    return Path(copy)


async def violations_in(file: Path, against: ChainHead | None = None) -> list[str]:
    verifier = await audit.verify(lambda: audit.open_sqlite_file(file), against)
    return [str(violation) for violation in verifier.violations]


def test_verify_closed_store_file_leaves_it_untouched(written: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(written, tmp_path / "50% copy #1.sqlite"))
    file.chmod(0o400)
    before = file.read_bytes()

    assert asyncio.run(violations_in(file)) == []
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


async def test_open_sqlite_file_reads_wal_after_crash(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "running") as database:
        await write(database, "incident opened")
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "running", copy)
    async with audit.open_sqlite_file(copy / "pantau.sqlite") as connection:
        assert [e.event for e in readable(await audit.entries(connection))] == ["incident opened"]


def test_verify_missing_store_creates_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(violations_in(tmp_path / "pantau.sqlite"))
    assert list(tmp_path.iterdir()) == []


#: Differs from the stored value in every column: letters, or a number that SQLite does not read as 1 or 2.
_OTHER = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=20) | st.integers(3).map(str)


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 6), column=st.sampled_from(COLUMNS), other=_OTHER)
def test_verify_finds_any_single_change(written: Path, number: int, column: str, other: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        change = (f"UPDATE audit_log SET {column} = ? WHERE id = ?", (other, number))
        flaws = asyncio.run(violations_in(tamper(written, Path(place), change)))
    assert flaws
    assert flaws[0].startswith((f"entry {number}:", f"entry {number + 1}:"))


@pytest.mark.parametrize("column", COLUMNS)
async def test_verify_invalid_value_is_violation_and_rest_is_checked(
    written: Path, tmp_path: Path, column: str
) -> None:
    change = (f"UPDATE audit_log SET {column} = ? WHERE id = 3", (b"\xff\x00",))
    flaws = await violations_in(
        tamper(written, tmp_path, change, ("UPDATE audit_log SET actor = 'x' WHERE id = 6", ()))
    )
    assert flaws[0].startswith("entry 3:")
    assert flaws[-1] == "entry 6: was changed: its content does not match its hash"


async def test_verify_second_head_row_hides_nothing(written: Path, tmp_path: Path) -> None:
    another = ("INSERT INTO audit_head (id, number, hash) VALUES (2, 5, 'f')", ())
    assert await violations_in(tamper(written, tmp_path, another)) == []
    flaws = await violations_in(tamper(written, tmp_path, another, ("DELETE FROM audit_log WHERE id = 6", ())))
    assert flaws == ["entry 6: was written last, but entry 5 is the last one present"]


@pytest.mark.parametrize("number", range(1, 7))
async def test_verify_finds_any_deleted_row(written: Path, tmp_path: Path, number: int) -> None:
    flaws = await violations_in(tamper(written, tmp_path, ("DELETE FROM audit_log WHERE id = ?", (number,))))
    last = "was written last, but entry 5 is the last one present"
    assert flaws[0] == (
        f"entry {number + 1}: entry {number} is missing before it" if number < 6 else f"entry 6: {last}"
    )


async def test_verify_finds_swapped_rows(written: Path, tmp_path: Path) -> None:
    swap = [("UPDATE audit_log SET id = ? WHERE id = ?", pair) for pair in ((99, 2), (2, 3), (3, 99))]
    flaws = await violations_in(tamper(written, tmp_path, *swap))
    assert flaws[0].startswith("entry 2: does not continue the entry before it")


async def test_verify_finds_appended_row(written: Path, tmp_path: Path) -> None:
    more = (
        "INSERT INTO audit_log (id, at, actor, event, detail, previous, content, hash)"
        " SELECT 7, at, actor, event, detail, hash, content, 'f' FROM audit_log WHERE id = 6"
    )
    flaws = await violations_in(tamper(written, tmp_path, (more, ())))
    assert flaws == [
        "entry 7: was changed: its hash does not match its data",
        "entry 7: is the last one present, but entry 6 was written last",
    ]


async def test_verify_finds_deleted_head(written: Path, tmp_path: Path) -> None:
    flaws = await violations_in(tamper(written, tmp_path, ("DELETE FROM audit_head", ())))
    assert flaws == ["entry 6: is the last one present, but entry 0 was written last"]


async def test_verify_truncated_chain_and_head_found_by_copy_of_head(written: Path, tmp_path: Path) -> None:
    async with audit.open_sqlite_file(written) as connection:
        kept = await audit.head(connection)
    cut = [
        ("DELETE FROM audit_log WHERE id = 6", ()),
        ("UPDATE audit_head SET number = 5, hash = (SELECT hash FROM audit_log WHERE id = 5)", ()),
    ]
    file = tamper(written, tmp_path, *cut)

    assert await violations_in(file) == [], "without the copy it looks intact"
    assert await violations_in(file, kept) == [
        "entry 6: is missing, but was present when the copy of the head was made"
    ]


# -- purges -----------------------------------------------------------------------------------------------------------


async def test_purge_empties_only_entries_that_its_own_entry_records(database: Database) -> None:
    nobody = AuditEntry(at=T0, actor="Siti Contoh", event="configuration taken up", detail={"files": "3"})
    async with SqlStore(database).transaction() as uow:
        for entry in (nobody, entry_about("incident opened"), nobody):
            await uow.add_audit_entry(entry)
    purge_entry = AuditEntry(at=T0, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"})
    async with database.write() as connection:
        search = purge.Search(T0 + MINUTE)
        while not (purge_set := await search.search_next(connection)).entry_ids:
            assert not search.is_over
        await purge.delete_records(connection, purge_set, purge_entry)

    assert purge_set.counts == "0/0/2"
    first, second, third, purged = await read(database)
    assert (first.actor, first.detail, first.purged_by) == ("", {}, purged.number)
    assert (second.event, third.event, purged.event) == ("incident opened", "", "records purged")
    verifier = await verify_chain(database)
    assert (verifier.violations, verifier.tombstones) == ([], 2)

    for forced in (
        f"{PURGE_SQL} WHERE id = 4",
        "UPDATE audit_log SET actor = 'x' WHERE id = 1",
        "UPDATE audit_log SET purged_by = NULL WHERE id = 1",
        "UPDATE audit_log SET purged_by = 4 WHERE id = 2",
    ):
        with pytest.raises(DBAPIError, match="the audit log is append-only"):
            async with database.write() as connection:
                await connection.execute(text(forced))
    assert (await verify_chain(database)).violations == []


async def test_verify_finds_entry_emptied_outside_of_purge(database: Database) -> None:
    # The database does not know which entries a purge covers; the digest in the entry of the purge does.
    await write(database, "incident opened")
    purge_entry = AuditEntry(at=T0, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"})
    async with database.write() as connection:
        await purge.delete_records(
            connection, purge.PurgeSet(incidents=[], notification_ids=[], entry_ids=[]), purge_entry
        )
        await connection.execute(text(f"{PURGE_SQL} WHERE id = 1"))

    assert [str(violation) for violation in (await verify_chain(database)).violations] == [
        "entry 2: records a purge of other entries than the empty ones"
    ]
