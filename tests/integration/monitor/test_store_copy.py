"""`pantau store copy`: moves an SQLite store to PostgreSQL completely, once, and blocks the file."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import JSON, Boolean, Date, DateTime, Float, Integer, String, Table, insert, select, update

from alerts.model.event import Resolve
from alerts.persistence.audit import ChainHead
from alerts.persistence.store import AuditEntry
from monitor.store.backend.copy import copy as copy_file
from monitor.store.backend.database import Database, StoreInUseError
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.move.copying import MoveProgress, MoveStage, move
from monitor.store.move.rows import BATCH
from monitor.store.move.source import SERVICE_FILE_NAME, open_source
from monitor.store.move.target import Target, open_target
from monitor.store.schema.migrations import StoreBlockedError, known_revisions, upgrade
from monitor.store.schema.tables import UtcDateTime, audit_head, audit_log, metadata, run
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.real.postgres import PASSWORD, WITH_PASSWORD, Postgres
from tests.unit.alerts.people import T0, trigger
from tests.unit.monitor.cli.office import IssuingOffice

pytestmark = pytest.mark.real


@pytest.fixture
def empty(postgres: Postgres) -> PostgresServer:
    return postgres.database()


@pytest.fixture
def server(postgres: Postgres) -> PostgresServer:
    """Return a database with the empty tables of a store; creating them takes longer than most tests here."""
    return postgres.store()


@pytest.fixture
def office(tmp_path: Path, server: PostgresServer) -> IssuingOffice:
    """Return an office whose settings already name the server; its store is still the file."""
    office = IssuingOffice(tmp_path)
    name_server(office, server)
    return office


def name_server(office: IssuingOffice, server: PostgresServer, password: str = "") -> None:
    settings = office.config.read_text().partition("\nstore: ")[0]
    url = f"url: 'postgresql://{server.user}@{server.host}:{server.port}/{server.database}'"
    if password:
        (office.directory / "password").write_text(password)
        (office.directory / "password").chmod(0o600)
        url += ", password_file: password"
    office.config.write_text(f"{settings}\nstore: {{{url}}}\n")


def store_file(office: IssuingOffice) -> Path:
    return office.state / SERVICE_FILE_NAME


#: Files that `write_store` has made, by the number of runs.
_STORES: dict[int, bytes] = {}


async def write_store(office: IssuingOffice, runs: int = 0) -> None:
    """Write the store of a service with one resolved outage and one open outage."""
    if runs not in _STORES:
        async with Database.open(office.state) as database:
            station = DispatcherEnv(database)
            await station.submit(trigger())
            await station.acknowledge()
            await station.submit(Resolve(dedup_key="JCM", at=T0, ended_at=T0))
            await station.submit(replace(trigger(), dedup_key="KPC"))
            await add_runs(database, runs)
        _STORES[runs] = store_file(office).read_bytes()
    store_file(office).write_bytes(_STORES[runs])


async def add_runs(database: Database, runs: int) -> None:
    values = {"agency": "JCM", "route": "JCM/internal", "started_at": T0, "duration": 1.5, "outcome": "delivered"}
    rows = [values | {"token_id": f"{n:08x}", "result": json.dumps({"n": n, "pad": "x" * 300})} for n in range(runs)]
    if rows:
        async with database.write() as connection:
            await connection.execute(insert(run), rows)


async def all_rows(database: Database) -> Mapping[str, Sequence[Any]]:
    async with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in await connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


async def read_by_engine(database: Database) -> Sequence[Any]:
    """Return what the engine reads of a store."""
    async with SqlStore(database).reading() as uow:
        found: list[Any] = [await uow.active_incidents(), await uow.open_incidents()]
        for number in (1, 2):
            found += [await uow.incident(number), await uow.notifications(number)]
        return found


# -- complete copies -------------------------------------------------------------------------------------------------


async def test_store_copy_continues_on_server(office: IssuingOffice, empty: PostgresServer) -> None:
    name_server(office, empty)
    await write_store(office, runs=20)
    async with Database.open(office.state) as database:
        before, rows = await read_by_engine(database), await all_rows(database)

    code, said = await office.ask("store", "copy", "--by", "Siti Contoh")

    assert code == 0, said
    assert f"{store_file(office)} was copied to the {empty}: " in said
    assert "each compared" in said
    async with Database.open(office.state, empty) as database:
        assert await read_by_engine(database) == before
        there = await all_rows(database)
        (moved,) = (entry for entry in there["audit_log"] if entry not in rows["audit_log"])
        assert [entry for entry in there["audit_log"] if entry is not moved] == rows["audit_log"]
        assert moved[2:4] == ("Siti Contoh", "store moved")
        assert moved[6]["from"] == str(store_file(office))
        of_the_journal = {"audit_log", "audit_head"}
        assert {n: r for n, r in there.items() if n not in of_the_journal} == {
            n: r for n, r in rows.items() if n not in of_the_journal
        }
        verifier = await audit.verify(database.read)
        assert (verifier.violations, verifier.head.number) == ([], len(rows["audit_log"]) + 1)
        # New rows get new ids and numbers.
        async with SqlStore(database).transaction() as uow:
            [added] = await uow.add_incidents([replace(trigger(), dedup_key="other")])
            assert (added.id, added.number) == (3, "JCM-03")
        await add_runs(database, 1)
    async with Database.open(office.state, empty) as database:
        station = DispatcherEnv(database)
        await station.acknowledge()
    assert not is_incomplete(empty)


def test_copied_file_starts_no_service_and_its_audit_log_is_readable(office: IssuingOffice) -> None:
    asyncio.run(write_store(office))
    assert office.run("store", "copy")[0] == 0

    # The old settings are restored.
    office.config.write_text(office.config.read_text().partition("\nstore: ")[0])

    code, said = office.run("run")
    assert code == 78
    assert "pantau cannot run: this store was moved to the database pantau" in said
    code, said = office.run("audit", "verify", "--store", str(store_file(office)))
    assert code == 0, said
    code, said = office.run("backup", str(office.directory / "copy.sqlite"))
    assert code == 0, said
    assert f"schema {known_revisions()[0]}, and this store was moved to the database pantau" in said


async def test_restore_of_copied_file_continues_on_file(office: IssuingOffice) -> None:
    await write_store(office)
    assert (await office.ask("store", "copy"))[0] == 0
    office.config.write_text(office.config.read_text().partition("\nstore: ")[0])

    code, said = await office.ask("restore", str(store_file(office)))

    assert code == 0, said
    assert "Letters and faxes are paused" in said
    async with Database.open(office.state) as database, SqlStore(database).reading() as uow:
        assert await uow.is_paper_paused()


async def test_store_copy_changes_only_revision_in_file(office: IssuingOffice) -> None:
    await write_store(office, runs=3)
    before = dump(store_file(office))

    assert (await office.ask("store", "copy"))[0] == 0

    after = dump(store_file(office))
    (changed,) = (line for line in after if line not in before)
    assert changed.startswith('INSERT INTO "alembic_version"')


def dump(file: Path) -> Sequence[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [*connection.iterdump()]


async def test_store_copy_from_backup_leaves_it_unchanged_while_service_runs(
    office: IssuingOffice, tmp_path: Path
) -> None:
    await write_store(office)
    copy = tmp_path / "copy.sqlite"
    copy_file(store_file(office), copy)
    before = copy.read_bytes()

    async with Database.open(office.state):
        code, said = await office.ask("store", "copy", "--from", str(copy))

    assert code == 0, said
    assert "The file is a copy and was not changed" in said
    assert copy.read_bytes() == before
    async with Database.open(office.state):
        pass


async def test_store_copy_repeated_reports_done(
    office: IssuingOffice, server: PostgresServer, postgres: Postgres
) -> None:
    await write_store(office)
    assert (await office.ask("store", "copy"))[0] == 0

    code, said = await office.ask("store", "copy")
    assert code == 0
    assert said.endswith(f"was copied to the {server} before: nothing to do.\n")

    name_server(office, postgres.database())
    code, said = await office.ask("store", "copy")
    assert code == 1
    assert f"this store was moved to the {server}" in said


# -- every table -----------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
MOMENTS = st.datetimes(datetime(1999, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
NUMBERS = st.integers(0, 2**31 - 1)


@cache
def value(table: Table, name: str, n: int) -> st.SearchStrategy[Any]:
    """Draw a value for the *n*th row of a table. Numeric and foreign keys are *n*."""
    column = table.c[name]
    if column.foreign_keys or (column.primary_key and isinstance(column.type, Integer)):
        return st.just(n)
    match column.type:
        case UtcDateTime() | DateTime():
            drawn: st.SearchStrategy[Any] = MOMENTS
        case Date():
            drawn = st.dates()
        case Boolean():
            drawn = st.booleans()
        case Float():
            drawn = st.floats(allow_nan=False, allow_infinity=False)
        case Integer():
            drawn = NUMBERS
        case JSON():
            drawn = st.dictionaries(
                # JSON has no infinity, but Python would write it.
                TEXTS,
                TEXTS | st.lists(NUMBERS) | st.none() | st.floats(allow_nan=False, allow_infinity=False),
                max_size=3,
            )
        case String():
            # Short enough for any column, and unique: many are keys.
            drawn = TEXTS.map(lambda text: f"{text[:4]}{n}")
        case other:
            raise TypeError(f"nothing is drawn for {other!r}")
    return drawn | st.none() if column.nullable else drawn


@st.composite
def stores(draw: st.DrawFn) -> Mapping[Table, Sequence[Mapping[str, Any]]]:
    """Draw rows for every table of the metadata."""
    rows = range(1, 1 + draw(st.integers(1, 3)))
    return {
        table: [{c.name: draw(value(table, c.name, n)) for c in table.columns} for n in rows]
        for table in metadata.sorted_tables
        if table is not audit_head
    }


# Each example is a database, so there are few and none is shrunk. Some are long to print.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(
    max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(drawn=stores())
def test_store_copy_any_rows_in_all_tables_are_equal(
    drawn: Mapping[Table, Sequence[Mapping[str, Any]]], postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place, server = tmp_path_factory.mktemp("drawn"), postgres.store()

    async def move_and_compare() -> None:
        async with Database.open(place) as database:
            head = {"number": len(drawn[audit_log]), "hash": "f" * 64}
            async with database.write() as connection:
                for table, rows in drawn.items():
                    await connection.execute(insert(table), rows)
                await connection.execute(update(audit_head).values(head))
            before = await all_rows(database)
        seen: list[MoveProgress] = []
        with open_source(place / SERVICE_FILE_NAME) as source:
            async with open_target(server) as target:
                moved = await move(source, target, "Siti Contoh", seen.append)
        async with Database.open(place, server) as database:
            there = await all_rows(database)
        assert set(moved.rows) == set(before)
        assert all(moved.rows.values()), "every table has rows"
        for name, rows in before.items():
            if name == "audit_head":
                continue
            added = 1 if name == "audit_log" else 0
            assert [row for row in there[name] if row in rows] == rows
            assert len(there[name]) == len(rows) + added
        ends = {stage: [p for p in seen if p.stage is stage][-1] for stage in (MoveStage.COPIED, MoveStage.COMPARED)}
        assert all(progress.done == progress.of == sum(moved.rows.values()) for progress in ends.values())

    asyncio.run(move_and_compare())


async def test_store_copy_covers_all_migrated_tables(office: IssuingOffice) -> None:
    await write_store(office)
    with closing(sqlite3.connect(store_file(office))) as connection:
        made = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert made - {"alembic_version"} == set(metadata.tables)


# -- interrupted copies ----------------------------------------------------------------------------------------------


def is_incomplete(server: PostgresServer) -> bool:
    """Return whether the database holds an incomplete copy."""
    with psycopg.connect(address(server)) as connection:
        row = connection.execute("SELECT to_regclass('half_copy') IS NOT NULL").fetchone()
    assert row is not None
    return bool(row[0])


def address(server: PostgresServer) -> str:
    return f"host={server.host} port={server.port} user={server.user} dbname={server.database}"


def row_count(server: PostgresServer, table: str = "run") -> int:
    """Return the number of rows in a table of the server."""
    with psycopg.connect(address(server)) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


async def wait_for_disconnects(server: PostgresServer) -> None:
    """Wait until the server has closed all ended connections, which it does asynchronously."""
    asked = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(address(server), autocommit=True) as connection:
        while connection.execute(asked).fetchone() is not None:  # noqa: ASYNC110 - the server can only be polled
            await asyncio.sleep(0.05)


def run_before_insert(connection: psycopg.Connection[Any], statement: str) -> None:
    """Let the server run a statement before each insert of a run."""
    connection.execute(
        "CREATE OR REPLACE FUNCTION before_each_run() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {statement}; RETURN NEW; END $$"
    )
    connection.execute(
        "CREATE OR REPLACE TRIGGER before_each_run BEFORE INSERT ON run FOR EACH ROW EXECUTE FUNCTION before_each_run()"
    )


MANY = BATCH + 10


@asynccontextmanager
async def halfway(server: PostgresServer) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Stop a copy of runs after the first batch until the end of the block. Yield a function that waits for that."""
    with psycopg.connect(address(server), autocommit=True) as connection:
        run_before_insert(connection, f"IF NEW.id > {BATCH} THEN PERFORM pg_advisory_xact_lock(1); END IF")
        connection.execute("SELECT pg_advisory_lock(1)")
        waiting_query = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

        async def reached() -> None:
            while connection.execute(waiting_query).fetchone() is None:  # noqa: ASYNC110 - the server can only be polled
                await asyncio.sleep(0.05)

        yield reached


@pytest.mark.crash
async def test_store_copy_killed_continues_and_incomplete_store_is_blocked(
    office: IssuingOffice, server: PostgresServer
) -> None:
    await write_store(office, runs=MANY)
    async with halfway(server) as reached:
        first = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "monitor.cli", "store", "copy", "--config", str(office.config)
        )
        await asyncio.wait_for(reached(), 60)
        first.kill()
        await first.wait()

    await wait_for_disconnects(server)
    assert row_count(server) == BATCH
    with pytest.raises(StoreBlockedError, match="incomplete copy of another one: finish it with `pantau store copy`"):
        async with Database.open(office.state, server):
            pass
    # The file is unchanged and can still be used.
    with closing(sqlite3.connect(store_file(office))) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (known_revisions()[0],)

    async with count_inserts(server) as inserted:
        code, said = await office.ask("store", "copy")
        assert code == 0, said
        assert inserted() == MANY - BATCH
    assert row_count(server) == MANY
    async with Database.open(office.state, server) as database:
        assert (await audit.verify(database.read)).violations == []


@asynccontextmanager
async def count_inserts(server: PostgresServer) -> AsyncIterator[Callable[[], int]]:
    """Count the runs that are inserted in the block."""
    with psycopg.connect(address(server), autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE seen")
        run_before_insert(connection, "PERFORM nextval('seen')")

        def inserted() -> int:
            row = connection.execute("SELECT last_value FROM seen").fetchone()
            assert row is not None
            return int(row[0])

        yield inserted


class Killed(Exception):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class _FailingTarget(Target):
    """Fails after the file is blocked and before the commit on the server."""

    @asynccontextmanager
    async def complete(self, entry: AuditEntry) -> AsyncIterator[ChainHead]:
        async with Target.complete(self, entry) as head:
            yield head
            raise Killed


async def test_store_copy_stopped_between_blocks_leaves_both_blocked_and_continues(
    office: IssuingOffice, server: PostgresServer
) -> None:
    await write_store(office)
    with open_source(store_file(office)) as source:
        async with open_target(server) as target:
            failing = _FailingTarget(server=target.server, clock=target.clock, engine=target.engine)
            with pytest.raises(Killed):
                await move(source, failing, "Siti Contoh", lambda _: None)

    for place in (None, server):
        with pytest.raises(StoreBlockedError):
            async with Database.open(office.state, place):
                pass
    code, said = await office.ask("store", "copy")
    assert code == 0, said
    async with Database.open(office.state, server):
        pass


async def test_store_copy_server_stopped_is_named_and_continues(
    office: IssuingOffice, server: PostgresServer, postgres: Postgres
) -> None:
    await write_store(office, runs=MANY)
    async with halfway(server) as reached:
        first = asyncio.create_task(office.ask("store", "copy"))
        await asyncio.wait_for(reached(), 60)
        postgres.stop()
        try:
            code, said = await asyncio.wait_for(first, 60)
        finally:
            postgres.start()

    assert code == 1
    assert "the copy is incomplete: " in said
    assert "run this again to continue" in said
    assert "Traceback" not in said
    code, said = await office.ask("store", "copy")
    assert code == 0, said
    assert row_count(server) == MANY


async def test_store_copy_server_disk_full_is_reported(office: IssuingOffice, server: PostgresServer) -> None:
    await write_store(office, runs=10)
    with psycopg.connect(address(server), autocommit=True) as connection:
        run_before_insert(connection, "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'")

        code, said = await office.ask("store", "copy")
        assert code == 1
        assert said.endswith("the copy is incomplete: could not extend file; run this again to continue\n")

        connection.execute("DROP TRIGGER before_each_run ON run")
    assert (await office.ask("store", "copy"))[0] == 0


async def copy_partly(office: IssuingOffice, server: PostgresServer) -> None:
    """Copy the tables up to and including a part of the runs."""

    def fail_at_runs(progress: MoveProgress) -> None:
        if progress.table == "run" and row_count(server):
            raise Killed

    with open_source(store_file(office)) as source, pytest.raises(Killed):
        async with open_target(server) as target:
            await move(source, target, "Siti Contoh", fail_at_runs)


async def test_store_copy_restarts_after_service_used_file(office: IssuingOffice, server: PostgresServer) -> None:
    await write_store(office, runs=20)
    await copy_partly(office, server)
    async with Database.open(office.state) as database:
        async with SqlStore(database).transaction() as uow:
            await uow.add_audit_entry(AuditEntry(at=T0, actor="pantau@utama", event="service started"))
        async with database.write() as connection:
            await connection.execute(run.delete().where(run.c.id > 10))
        before = await all_rows(database)

    code, said = await office.ask("store", "copy")

    assert code == 0, said
    async with Database.open(office.state, server) as database:
        assert (await all_rows(database))["run"] == before["run"]


async def test_store_copy_row_changed_meanwhile_is_found_and_file_stays_usable(
    office: IssuingOffice, server: PostgresServer
) -> None:
    await write_store(office, runs=20)
    await copy_partly(office, server)
    with closing(sqlite3.connect(store_file(office))) as connection, connection:
        connection.execute("UPDATE run SET outcome = 'lost' WHERE id = 7")

    code, said = await office.ask("store", "copy")

    assert code == 1
    assert f"the store was not copied, and the service can still use {store_file(office)}: run 7 differs" in said
    async with Database.open(office.state):
        pass
    with pytest.raises(StoreBlockedError):
        async with Database.open(office.state, server):
            pass


# -- older schemas ---------------------------------------------------------------------------------------------------


def write_older_schema(office: IssuingOffice) -> None:
    """Write a file of an older schema."""
    upgrade(f"sqlite:///{store_file(office)}", "0018")
    incident_row = (
        "INSERT INTO incident (dedup_key, number, agency, matter, state, brief, began_at, opened_at, since, wave, round,"
        " step, step_since, acknowledged_by, heard_at, at_rest) VALUES ('JCM', 'JCM-01', 'JCM', 'both', 'acknowledged', '{}', :at,"
        " :at, :at, 1, 1, 0, :at, 'Siti Contoh', :at, 0)"
    )
    with closing(sqlite3.connect(store_file(office))) as connection, connection:
        connection.execute(incident_row, {"at": "2026-11-24 06:15:00.000000"})


async def test_store_copy_older_schema_is_migrated_on_a_copy(office: IssuingOffice, server: PostgresServer) -> None:
    write_older_schema(office)
    before = dump(store_file(office))
    with open_source(store_file(office)) as source:
        async with open_target(server) as target:
            failing = _FailingTarget(server=target.server, clock=target.clock, engine=target.engine)
            with pytest.raises(Killed):
                await move(source, failing, "Siti Contoh", lambda _: None)
    assert [path.name for path in office.state.glob("*.moving")] == [f"{SERVICE_FILE_NAME}.moving"]

    code, said = await office.ask("store", "copy")

    assert code == 0, said
    assert len([line for line in dump(store_file(office)) if line not in before]) == 1
    assert not [*office.state.glob("*.moving")]
    with psycopg.connect(address(server)) as connection:
        row = connection.execute("SELECT number, last_response_at IS NOT NULL FROM incident").fetchone()
    assert row == ("JCM-01", True)


async def test_store_copy_older_schema_copy_missing_says_what_to_do(
    office: IssuingOffice, server: PostgresServer
) -> None:
    write_older_schema(office)
    with open_source(store_file(office)) as source:
        async with open_target(server) as target:
            failing = _FailingTarget(server=target.server, clock=target.clock, engine=target.engine)
            with pytest.raises(Killed):
                await move(source, failing, "Siti Contoh", lambda _: None)
    (office.state / f"{SERVICE_FILE_NAME}.moving").unlink()

    code, said = await office.ask("store", "copy")

    assert code == 1
    assert "of which a part was copied, is missing: empty the database, and start the copy again" in said


# -- refusals --------------------------------------------------------------------------------------------------------


async def copy_error(office: IssuingOffice) -> str:
    code, said = await office.ask("store", "copy")
    assert code == 1, said
    assert "Traceback" not in said
    return said


async def test_store_copy_service_running_on_file_is_refused(office: IssuingOffice, server: PostgresServer) -> None:
    await write_store(office)
    async with Database.open(office.state):
        assert f"{office.state} is in use by another pantau process; stop that one" in await copy_error(office)
    assert row_count(server, "incident") == 0


async def test_store_copy_service_running_on_server_is_refused(office: IssuingOffice, server: PostgresServer) -> None:
    await write_store(office)
    async with Database.open(office.state, server, name="utama"):
        assert f"a pantau service uses the {server}; stop it, on whichever machine it runs" in await copy_error(office)
    assert not is_incomplete(server)
    await wait_for_disconnects(server)
    assert (await office.ask("store", "copy"))[0] == 0


async def test_store_copy_already_running_is_refused(office: IssuingOffice, server: PostgresServer) -> None:
    await write_store(office)
    async with open_target(server):
        assert f"another `pantau store copy` is running on the {server}" in await copy_error(office)


async def test_store_copy_running_prevents_service_start_on_file(office: IssuingOffice, server: PostgresServer) -> None:
    await write_store(office)
    with open_source(store_file(office)), pytest.raises(StoreInUseError):
        async with Database.open(office.state):
            pass


async def test_store_copy_does_not_overwrite_other_store(
    office: IssuingOffice, server: PostgresServer, tmp_path: Path
) -> None:
    await write_store(office)
    async with Database.open(tmp_path / "other", server) as database, SqlStore(database).transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="service started"))

    await wait_for_disconnects(server)
    said = await copy_error(office)

    assert f"nothing was copied: the {server} holds another store already, with 1 entries in its audit log" in said
    async with Database.open(tmp_path / "other", server):
        pass


async def test_store_copy_does_not_overwrite_same_store(
    office: IssuingOffice, server: PostgresServer, tmp_path: Path
) -> None:
    await write_store(office)
    shutil.copy(store_file(office), tmp_path / "copy.sqlite")
    assert (await office.ask("store", "copy", "--from", str(tmp_path / "copy.sqlite")))[0] == 0

    assert f"the {server} holds this store already, up to entry " in await copy_error(office)


async def test_store_copy_does_not_overwrite_incomplete_copy_of_other_store(
    office: IssuingOffice, server: PostgresServer, tmp_path: Path
) -> None:
    await write_store(office)
    (tmp_path / "other").mkdir()
    other = IssuingOffice(tmp_path / "other")
    async with Database.open(other.state) as database, SqlStore(database).transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="service started"))
    with open_source(store_file(other)) as source:
        async with open_target(server) as target:
            await target.prepare(source.origin, str(source.file))

    assert f"holds an incomplete copy of another store, {store_file(other)}, started on 20" in await copy_error(office)


async def test_store_copy_leaves_tables_of_other_program(office: IssuingOffice, empty: PostgresServer) -> None:
    name_server(office, empty)
    await write_store(office)
    with psycopg.connect(address(empty), autocommit=True) as connection:
        connection.execute("CREATE TABLE run (distance int)")

    assert "has tables of another program (run); give Pantau a database of its own" in await copy_error(office)


@pytest.fixture
def guest(empty: PostgresServer, postgres: Postgres) -> Iterator[PostgresServer]:
    """Return the server for a role that needs a password and owns nothing."""
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [WITH_PASSWORD]).fetchone()
        if there is None:
            connection.execute(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD '{PASSWORD}'")
        yield replace(empty, user=WITH_PASSWORD)
        if there is None:
            connection.execute(f"DROP ROLE {WITH_PASSWORD}")


async def test_store_copy_wrong_password_is_reported_and_not_shown(
    office: IssuingOffice, guest: PostgresServer
) -> None:
    await write_store(office)
    name_server(office, guest, "salah-benar")

    said = await copy_error(office)

    assert "password authentication failed" in said
    assert "salah-benar" not in said


async def test_store_copy_role_without_create_right_is_told_what_it_needs(
    office: IssuingOffice, guest: PostgresServer
) -> None:
    await write_store(office)
    name_server(office, guest, PASSWORD)

    assert "let it own the database: ALTER DATABASE" in await copy_error(office)


async def test_store_copy_without_server_or_file_says_what_is_missing(office: IssuingOffice) -> None:
    assert f"there is no {store_file(office)}" in await copy_error(office)
    office.config.write_text(office.config.read_text().partition("\nstore: ")[0])

    code, said = await office.ask("store", "copy")

    assert code == 2
    assert "has no PostgreSQL server: write it under `store:` first" in said


@pytest.mark.parametrize("what", ["another", "newer", "emptied"])
async def test_store_copy_other_version_or_no_store_is_refused(office: IssuingOffice, what: str) -> None:
    if what == "another":
        store_file(office).write_bytes(b"a letter to the Director General " * 9)
        why = "it is no store of Pantau"
    elif what == "newer":
        await write_store(office)
        with closing(sqlite3.connect(store_file(office))) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        why = "a newer version of Pantau has used it"
    else:
        await write_store(office)
        with closing(sqlite3.connect(store_file(office))) as connection, connection:
            connection.execute("DROP TRIGGER audit_head_is_not_deleted")
            connection.execute("DELETE FROM audit_head")
        why = "its audit log is damaged"
    assert why in await copy_error(office)


async def test_store_copy_row_invalid_for_postgresql_is_named(office: IssuingOffice, server: PostgresServer) -> None:
    await write_store(office, runs=30)
    with closing(sqlite3.connect(store_file(office))) as connection, connection:
        connection.execute("UPDATE run SET outcome = 'delivered at the very last moment' WHERE id = 17")

    said = await copy_error(office)

    assert (
        f"the service can still use {store_file(office)}: run 17 cannot be stored by PostgreSQL: value too long" in said
    )
    # After a correction the copy continues.
    with closing(sqlite3.connect(store_file(office))) as connection, connection:
        connection.execute("UPDATE run SET outcome = 'delivered' WHERE id = 17")
    assert (await office.ask("store", "copy"))[0] == 0


async def test_store_copy_changed_audit_log_is_copied_and_reported(office: IssuingOffice) -> None:
    await write_store(office)
    with closing(sqlite3.connect(store_file(office))) as connection, connection:
        connection.execute("DROP TRIGGER audit_log_is_not_changed")
        connection.execute("UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 2")

    code, said = await office.ask("store", "copy")

    assert code == 0
    assert "it WAS CHANGED in the file already (entry 2: was changed" in said
