"""The journal in the database: one chain however many write, refused every change, and every forced one found."""

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
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from alerts.persistence.audit import BEGINNING, ChainedEntry, ChainHead, Verifier, canonical, digest
from alerts.persistence.store import AuditEntry
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.migrations import upgrade
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, T0, trigger

#: What a purge does.
EMPTY = "UPDATE audit_log SET actor = '', event = '', incident_id = NULL, notification_id = NULL, detail = '{}', purged_by = 2"
COLUMNS = ("at", "actor", "event", "incident_id", "notification_id", "detail", "previous", "content", "hash")


def told(event: str, actor: str = "engine") -> AuditEntry:
    return AuditEntry(at=T0, actor=actor, event=event, incident_id=1, notification_id=2, detail={"number": "JCM-01"})


Open = Callable[[], AbstractAsyncContextManager[Database]]


async def write(database: Database, *events: str) -> None:
    async with SqlStore(database).transaction() as uow:
        for event in events:
            await uow.add_audit_entry(told(event))


async def append(database: Database, *events: str) -> None:
    """Write with nothing but the journal's own lock."""
    async with database.write() as connection:
        await audit.append(connection, [told(event) for event in events])


async def read(database: Database) -> list[ChainedEntry]:
    async with database.read() as connection:
        return readable(await audit.entries(connection))


def readable(entries: Sequence[ChainedEntry | int]) -> list[ChainedEntry]:
    return [entry for entry in entries if isinstance(entry, ChainedEntry)]


async def look(database: Database) -> Verifier:
    return await audit.verify(database.read)


async def test_entries_follow_each_other_from_the_beginning_and_over_a_restart(open_database: Open) -> None:
    async with open_database() as database:
        await write(database, "incident opened", "outage notice decided")
    async with open_database() as database:
        await write(database, "incident resolved")
        entries = await read(database)
        async with database.read() as connection:
            head = await audit.head(connection)
        verifier = await look(database)

    assert [(e.number, e.event) for e in entries] == [
        (1, "incident opened"),
        (2, "outage notice decided"),
        (3, "incident resolved"),
    ]
    assert [e.previous for e in entries] == [BEGINNING, entries[0].hash, entries[1].hash]
    assert all(digest(canonical(e)) == e.content for e in entries)
    assert head == ChainHead(number=3, hash=entries[2].hash)
    assert (verifier.flaws, verifier.entries) == ([], 3)


async def test_a_chain_of_many_batches_is_followed_to_its_end(database: Database) -> None:
    await write(database, *(f"event {n}" for n in range(2 * audit.BATCH + 1)))
    verifier = await look(database)
    assert (verifier.flaws, verifier.entries) == ([], 2 * audit.BATCH + 1)

    await write(database, *(f"event {n}" for n in range(audit.BATCH - 1)))
    verifier = await look(database)
    assert (verifier.flaws, verifier.entries) == ([], 3 * audit.BATCH)


async def test_what_is_told_in_a_transaction_that_fails_was_never_told(database: Database) -> None:
    await write(database, "incident opened")
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what fails
        async with SqlStore(database).transaction() as uow:
            await uow.add_incidents([trigger()])
            await uow.add_audit_entry(told("incident acknowledged"))
            raise RuntimeError
    await write(database, "incident resolved")

    assert [e.event for e in await read(database)] == ["incident opened", "incident resolved"]
    assert (await look(database)).flaws == []


async def test_however_many_write_at_once_the_chain_does_not_fork(database: Database) -> None:
    await asyncio.gather(*(write(database, f"{n} first", f"{n} second") for n in range(25)))

    entries = await read(database)
    assert [e.number for e in entries] == list(range(1, 51))
    # What one transaction tells stays together.
    assert all(a.event.split()[0] == b.event.split()[0] for a, b in zip(entries[::2], entries[1::2], strict=True))
    assert (await look(database)).flaws == []


@pytest.mark.real
async def test_however_many_processes_write_at_once_the_chain_does_not_fork(postgres: Postgres, tmp_path: Path) -> None:
    server = postgres.store()
    ours = Database.open(tmp_path / "a", server, name="a"), Database.open(tmp_path / "b", server, name="b")
    async with ours[0] as one, ours[1] as other:
        await asyncio.gather(*(append(each, f"{n} a", f"{n} b") for n, each in enumerate([one, other] * 20)))

        assert [e.number for e in await read(one)] == list(range(1, 81))
        assert (await look(other)).flaws == []


@pytest.mark.real
async def test_a_server_refuses_to_empty_the_journal_too(postgres: Postgres, tmp_path: Path) -> None:
    async with Database.open(tmp_path, postgres.store()) as database:
        await write(database, "incident opened")
        for table in ("audit_log", "audit_head"):
            with pytest.raises(DBAPIError, match="the audit log is append-only"):
                async with database.write() as connection:
                    await connection.execute(text(f"TRUNCATE {table}"))
        assert len(await read(database)) == 1


@pytest.mark.real
async def test_a_change_that_was_forced_on_a_server_is_found(postgres: Postgres, tmp_path: Path) -> None:
    async with Database.open(tmp_path, postgres.store()) as database:
        await write(database, "incident opened", "incident resolved")
        async with database.write() as connection:
            await connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
            await connection.execute(text("UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1"))
        assert [flaw.number for flaw in (await look(database)).flaws] == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 1",
        "UPDATE audit_log SET id = 9 WHERE id = 2",
        # As a purge does, without one.
        f"{EMPTY} WHERE id = 1",
        "DELETE FROM audit_log WHERE id = 2",
        "DELETE FROM audit_log",
        "DELETE FROM audit_head",
    ],
)
async def test_the_database_itself_refuses_to_change_what_is_written(database: Database, statement: str) -> None:
    await write(database, "incident opened", "incident resolved")
    with pytest.raises(DBAPIError, match="the audit log is append-only"):
        async with database.write() as connection:
            await connection.execute(text(statement))

    assert len(await read(database)) == 2
    assert (await look(database)).flaws == []


async def test_an_entry_is_not_replaced_by_another_of_its_number(tmp_path: Path) -> None:
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


async def test_two_entries_cannot_follow_the_same_one(database: Database) -> None:
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


# -- a file that somebody has written into ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    """Return a store that was closed, with six entries."""
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_write_six(Path(directory)))
        yield Path(directory) / "pantau.sqlite"


async def _write_six(place: Path) -> None:
    async with Database.open(place) as database:
        for n in range(6):
            await write(database, f"event {n}")


def tampered(written: Path, place: Path, *statements: tuple[str, Sequence[Any]]) -> Path:
    """Do to a copy of the store what nobody may: take its triggers away first."""
    copy = shutil.copy(written, place / "pantau.sqlite")
    with closing(sqlite3.connect(copy)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement, values in statements:
            connection.execute(statement, values)
        connection.commit()
    return Path(copy)


async def found(file: Path, against: ChainHead | None = None) -> list[str]:
    verifier = await audit.verify(lambda: audit.open_sqlite_file(file), against)
    return [str(flaw) for flaw in verifier.flaws]


def test_a_store_whose_service_does_not_run_is_read_where_it_lies_and_not_touched(
    written: Path, tmp_path: Path
) -> None:
    file = Path(shutil.copy(written, tmp_path / "50% copy #1.sqlite"))
    file.chmod(0o400)
    before = file.read_bytes()

    assert asyncio.run(found(file)) == []
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


async def test_what_a_crash_left_beside_the_file_is_read_too(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "running") as database:
        await write(database, "incident opened")
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "running", copy)
    async with audit.open_sqlite_file(copy / "pantau.sqlite") as connection:
        assert [e.event for e in readable(await audit.entries(connection))] == ["incident opened"]


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(found(tmp_path / "pantau.sqlite"))
    assert list(tmp_path.iterdir()) == []


#: Other than before in every column: letters, or a number that SQLite does not take for 1 or 2.
_OTHER = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=20) | st.integers(3).map(str)


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 6), column=st.sampled_from(COLUMNS), other=_OTHER)
def test_any_single_change_of_any_row_is_found(written: Path, number: int, column: str, other: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        change = (f"UPDATE audit_log SET {column} = ? WHERE id = ?", (other, number))
        flaws = asyncio.run(found(tampered(written, Path(place), change)))
    assert flaws
    assert flaws[0].startswith((f"entry {number}:", f"entry {number + 1}:"))


@pytest.mark.parametrize("column", COLUMNS)
async def test_what_is_no_text_and_no_number_keeps_nobody_from_looking(
    written: Path, tmp_path: Path, column: str
) -> None:
    change = (f"UPDATE audit_log SET {column} = ? WHERE id = 3", (b"\xff\x00",))
    flaws = await found(tampered(written, tmp_path, change, ("UPDATE audit_log SET actor = 'x' WHERE id = 6", ())))
    assert flaws[0].startswith("entry 3:")
    assert flaws[-1] == "entry 6: was changed: its content does not match its hash"


async def test_a_second_head_beside_the_first_hides_nothing(written: Path, tmp_path: Path) -> None:
    another = ("INSERT INTO audit_head (id, number, hash) VALUES (2, 5, 'f')", ())
    assert await found(tampered(written, tmp_path, another)) == []
    flaws = await found(tampered(written, tmp_path, another, ("DELETE FROM audit_log WHERE id = 6", ())))
    assert flaws == ["entry 6: was written last, but entry 5 is the last one present"]


@pytest.mark.parametrize("number", range(1, 7))
async def test_any_row_that_was_taken_out_is_missed(written: Path, tmp_path: Path, number: int) -> None:
    flaws = await found(tampered(written, tmp_path, ("DELETE FROM audit_log WHERE id = ?", (number,))))
    last = "was written last, but entry 5 is the last one present"
    assert flaws[0] == (
        f"entry {number + 1}: entry {number} is missing before it" if number < 6 else f"entry 6: {last}"
    )


async def test_rows_that_changed_places_are_noticed(written: Path, tmp_path: Path) -> None:
    swap = [("UPDATE audit_log SET id = ? WHERE id = ?", pair) for pair in ((99, 2), (2, 3), (3, 99))]
    flaws = await found(tampered(written, tmp_path, *swap))
    assert flaws[0].startswith("entry 2: does not continue the entry before it")


async def test_a_row_that_was_put_at_the_end_is_noticed(written: Path, tmp_path: Path) -> None:
    more = (
        "INSERT INTO audit_log (id, at, actor, event, detail, previous, content, hash)"
        " SELECT 7, at, actor, event, detail, hash, content, 'f' FROM audit_log WHERE id = 6"
    )
    flaws = await found(tampered(written, tmp_path, (more, ())))
    assert flaws == [
        "entry 7: was changed: its hash does not match its data",
        "entry 7: is the last one present, but entry 6 was written last",
    ]


async def test_a_head_that_was_taken_away_is_noticed(written: Path, tmp_path: Path) -> None:
    flaws = await found(tampered(written, tmp_path, ("DELETE FROM audit_head", ())))
    assert flaws == ["entry 6: is the last one present, but entry 0 was written last"]


async def test_a_chain_that_was_cut_off_with_its_head_is_shown_by_a_copy_of_the_head(
    written: Path, tmp_path: Path
) -> None:
    async with audit.open_sqlite_file(written) as connection:
        kept = await audit.head(connection)
    cut = [
        ("DELETE FROM audit_log WHERE id = 6", ()),
        ("UPDATE audit_head SET number = 5, hash = (SELECT hash FROM audit_log WHERE id = 5)", ()),
    ]
    file = tampered(written, tmp_path, *cut)

    assert await found(file) == [], "by itself it looks whole"
    assert await found(file, kept) == ["entry 6: is missing, but was present when the copy of the head was made"]


# -- an older store ---------------------------------------------------------------------------------------------------


def test_what_an_older_version_has_journalled_is_chained(tmp_path: Path) -> None:
    file = tmp_path / "pantau.sqlite"
    url = f"sqlite:///{file}"
    upgrade(url, to="0002")
    engine = create_engine(url)
    with engine.begin() as connection:
        for id_, actor, detail in ((3, "engine", "{}"), (7, "Siti Contoh", '{"number": "JCM-01"}')):
            connection.execute(
                text("INSERT INTO journal VALUES (:id, '2026-11-24 06:15:00.000001', :actor, 'x', 1, NULL, :detail)"),
                {"id": id_, "actor": actor, "detail": detail},
            )
    engine.dispose()
    upgrade(url)

    async def look() -> tuple[list[str], list[tuple[int, str, str]]]:
        async with audit.open_sqlite_file(file) as connection:
            entries = readable(await audit.entries(connection))
            return await found(file), [(e.number, e.actor, e.event) for e in entries]

    flaws, entries = asyncio.run(look())
    assert flaws == []
    assert entries == [(1, "engine", "x"), (2, "Siti Contoh", "x"), (3, "engine", "journal chained")]


# -- purges -----------------------------------------------------------------------------------------------------------


async def test_a_purge_empties_what_its_own_entry_tells_of_and_nothing_else_can(database: Database) -> None:
    nobody = AuditEntry(at=T0, actor="Siti Contoh", event="configuration taken up", detail={"files": "3"})
    async with SqlStore(database).transaction() as uow:
        for entry in (nobody, told("incident opened"), nobody):
            await uow.add_audit_entry(entry)
    said = AuditEntry(at=T0, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"})
    async with database.write() as connection:
        search = purge.Search(T0 + MINUTE)
        while not (purge_set := await search.further(connection)).entries:
            assert not search.is_over
        await purge.carry_out(connection, purge_set, said)

    assert purge_set.counts == "0/0/2"
    first, second, third, told_of = await read(database)
    assert (first.actor, first.detail, first.purged_by) == ("", {}, told_of.number)
    assert (second.event, third.event, told_of.event) == ("incident opened", "", "records purged")
    verifier = await look(database)
    assert (verifier.flaws, verifier.tombstones) == ([], 2)

    for forced in (
        f"{EMPTY} WHERE id = 4",
        "UPDATE audit_log SET actor = 'x' WHERE id = 1",
        "UPDATE audit_log SET purged_by = NULL WHERE id = 1",
        "UPDATE audit_log SET purged_by = 4 WHERE id = 2",
    ):
        with pytest.raises(DBAPIError, match="the audit log is append-only"):
            async with database.write() as connection:
                await connection.execute(text(forced))
    assert (await look(database)).flaws == []


async def test_an_entry_that_is_emptied_in_the_shadow_of_a_purge_is_noticed(database: Database) -> None:
    # The database itself cannot know what a purge was to take: the digest in the purge's entry does.
    await write(database, "incident opened")
    said = AuditEntry(at=T0, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"})
    async with database.write() as connection:
        await purge.carry_out(connection, purge.PurgeSet(incidents=[], notices=[], entries=[]), said)
        await connection.execute(text(f"{EMPTY} WHERE id = 1"))

    assert [str(flaw) for flaw in (await look(database)).flaws] == [
        "entry 2: records a purge of other entries than the empty ones"
    ]
