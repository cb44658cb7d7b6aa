"""`pantau store copy`: a year on SQLite goes on on PostgreSQL, whole, once, and in one place only."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.move.copying import MoveProgress, MoveStage, move
from monitor.store.move.rows import BATCH
from monitor.store.move.source import SERVED, opened
from monitor.store.move.target import Target, taken
from monitor.store.schema.migrations import StoreBarredError, known, upgrade
from monitor.store.schema.tables import Moment, audit_head, audit_log, metadata, run
from tests.integration.alerts.station import Station
from tests.real.postgres import PASSWORD, WITH_PASSWORD, Postgres
from tests.unit.alerts.people import T0, trigger
from tests.unit.monitor.cli.office import IssuingOffice

pytestmark = pytest.mark.real


@pytest.fixture
def empty(postgres: Postgres) -> PostgresServer:
    return postgres.database()


@pytest.fixture
def server(postgres: Postgres) -> PostgresServer:
    """One with the tables of a store, and nothing in them: to make them takes longer than most that is told here."""
    return postgres.store()


@pytest.fixture
def office(tmp_path: Path, server: PostgresServer) -> IssuingOffice:
    """One whose settings name the server already; its store is still the file."""
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


def file_of(office: IssuingOffice) -> Path:
    return office.state / SERVED


#: What `lived` left, by the number of runs: made once.
_LIVES: dict[int, bytes] = {}


async def lived(office: IssuingOffice, runs: int = 0) -> None:
    """Leave the store of a service that has told of one outage and is in the middle of another."""
    if runs not in _LIVES:
        async with Database.open(office.state) as database:
            station = Station(database)
            await station.submit(trigger())
            await station.acknowledge()
            await station.submit(Resolve(dedup_key="JCM", at=T0, ended_at=T0))
            await station.submit(replace(trigger(), dedup_key="KPC"))
            await have_runs(database, runs)
        _LIVES[runs] = file_of(office).read_bytes()
    file_of(office).write_bytes(_LIVES[runs])


async def have_runs(database: Database, runs: int) -> None:
    values = {"agency": "JCM", "route": "JCM/internal", "started_at": T0, "duration": 1.5, "outcome": "delivered"}
    rows = [values | {"token_id": f"{n:08x}", "result": json.dumps({"n": n, "pad": "x" * 300})} for n in range(runs)]
    if rows:
        async with database.write() as connection:
            await connection.execute(insert(run), rows)


async def all_of(database: Database) -> Mapping[str, Sequence[Any]]:
    async with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in await connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


async def told(database: Database) -> Sequence[Any]:
    """Return what the engine reads of it."""
    async with SqlStore(database).reading() as uow:
        found: list[Any] = [await uow.active_incidents(), await uow.open_incidents()]
        for number in (1, 2):
            found += [await uow.incident(number), await uow.notifications(number)]
        return found


# -- all of it -------------------------------------------------------------------------------------------------------


async def test_what_was_in_the_file_goes_on_on_the_server(office: IssuingOffice, empty: PostgresServer) -> None:
    name_server(office, empty)
    await lived(office, runs=20)
    async with Database.open(office.state) as database:
        before, rows = await told(database), await all_of(database)

    code, said = await office.ask("store", "copy", "--by", "Siti Contoh")

    assert code == 0, said
    assert f"{file_of(office)} was copied to the {empty}: " in said
    assert "each compared" in said
    async with Database.open(office.state, empty) as database:
        assert await told(database) == before
        there = await all_of(database)
        (moved,) = (entry for entry in there["audit_log"] if entry not in rows["audit_log"])
        assert [entry for entry in there["audit_log"] if entry is not moved] == rows["audit_log"]
        assert moved[2:4] == ("Siti Contoh", "store moved")
        assert moved[6]["from"] == str(file_of(office))
        of_the_journal = {"audit_log", "audit_head"}
        assert {n: r for n, r in there.items() if n not in of_the_journal} == {
            n: r for n, r in rows.items() if n not in of_the_journal
        }
        verifier = await audit.verify(database.read)
        assert (verifier.flaws, verifier.head.number) == ([], len(rows["audit_log"]) + 1)
        # What comes new gets an id and a number of its own.
        async with SqlStore(database).transaction() as uow:
            [added] = await uow.add_incidents([replace(trigger(), dedup_key="other")])
            assert (added.id, added.number) == (3, "JCM-03")
        await have_runs(database, 1)
    async with Database.open(office.state, empty) as database:
        station = Station(database)
        await station.acknowledge()
    assert not half_of(empty)


def test_no_service_starts_on_the_file_after_that_and_its_journal_can_be_read(office: IssuingOffice) -> None:
    asyncio.run(lived(office))
    assert office.run("store", "copy")[0] == 0

    # Somebody puts the old settings back.
    office.config.write_text(office.config.read_text().partition("\nstore: ")[0])

    code, said = office.run("run")
    assert code == 78
    assert "pantau cannot run: this store was moved to the database pantau" in said
    code, said = office.run("audit", "verify", "--store", str(file_of(office)))
    assert code == 0, said
    code, said = office.run("backup", str(office.directory / "copy.sqlite"))
    assert code == 0, said
    assert f"schema {known()[0]}, and this store was moved to the database pantau" in said


async def test_the_way_back_is_to_restore_the_file_as_an_older_copy(office: IssuingOffice) -> None:
    await lived(office)
    assert (await office.ask("store", "copy"))[0] == 0
    office.config.write_text(office.config.read_text().partition("\nstore: ")[0])

    code, said = await office.ask("restore", str(file_of(office)))

    assert code == 0, said
    assert "Letters and faxes are paused" in said
    async with Database.open(office.state) as database, SqlStore(database).reading() as uow:
        assert await uow.is_paper_paused()


async def test_nothing_else_in_the_file_is_changed(office: IssuingOffice) -> None:
    await lived(office, runs=3)
    before = dump(file_of(office))

    assert (await office.ask("store", "copy"))[0] == 0

    after = dump(file_of(office))
    (changed,) = (line for line in after if line not in before)
    assert changed.startswith('INSERT INTO "alembic_version"')


def dump(file: Path) -> Sequence[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [*connection.iterdump()]


async def test_a_copy_of_the_file_can_be_copied_and_is_left_as_it_is_while_the_service_runs(
    office: IssuingOffice, tmp_path: Path
) -> None:
    await lived(office)
    copy = tmp_path / "copy.sqlite"
    copy_file(file_of(office), copy)
    before = copy.read_bytes()

    async with Database.open(office.state):
        code, said = await office.ask("store", "copy", "--from", str(copy))

    assert code == 0, said
    assert "The file is a copy and was not changed" in said
    assert copy.read_bytes() == before
    async with Database.open(office.state):
        pass


async def test_who_repeats_it_is_told_that_it_is_done(
    office: IssuingOffice, server: PostgresServer, postgres: Postgres
) -> None:
    await lived(office)
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
    """Draw what may stand in the *n*th row of a table. What is a number and a key, or of another table, is *n*."""
    column = table.c[name]
    if column.foreign_keys or (column.primary_key and isinstance(column.type, Integer)):
        return st.just(n)
    match column.type:
        case Moment() | DateTime():
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
                # JSON has no infinity; Python's would be written all the same.
                TEXTS,
                TEXTS | st.lists(NUMBERS) | st.none() | st.floats(allow_nan=False, allow_infinity=False),
                max_size=3,
            )
        case String():
            # Short enough for any column, and no two alike: many are keys.
            drawn = TEXTS.map(lambda text: f"{text[:4]}{n}")
        case other:
            raise TypeError(f"nothing is drawn for {other!r}")
    return drawn | st.none() if column.nullable else drawn


@st.composite
def stores(draw: st.DrawFn) -> Mapping[Table, Sequence[Mapping[str, Any]]]:
    """Draw rows for every table there is, and for any that will be."""
    rows = range(1, 1 + draw(st.integers(1, 3)))
    return {
        table: [{c.name: draw(value(table, c.name, n)) for c in table.columns} for n in rows]
        for table in metadata.sorted_tables
        if table is not audit_head
    }


# Each example is a database; smaller ones say no more. Some are long to print.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(
    max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(drawn=stores())
def test_whatever_stands_in_any_table_is_the_same_there(
    drawn: Mapping[Table, Sequence[Mapping[str, Any]]], postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place, server = tmp_path_factory.mktemp("drawn"), postgres.store()

    async def story() -> None:
        async with Database.open(place) as database:
            head = {"number": len(drawn[audit_log]), "hash": "f" * 64}
            async with database.write() as connection:
                for table, rows in drawn.items():
                    await connection.execute(insert(table), rows)
                await connection.execute(update(audit_head).values(head))
            before = await all_of(database)
        seen: list[MoveProgress] = []
        with opened(place / SERVED) as source:
            async with taken(server) as target:
                moved = await move(source, target, "Siti Contoh", seen.append)
        async with Database.open(place, server) as database:
            there = await all_of(database)
        assert set(moved.rows) == set(before)
        assert all(moved.rows.values()), "every table is tried"
        for name, rows in before.items():
            if name == "audit_head":
                continue
            added = 1 if name == "audit_log" else 0
            assert [row for row in there[name] if row in rows] == rows
            assert len(there[name]) == len(rows) + added
        ends = {stage: [p for p in seen if p.stage is stage][-1] for stage in (MoveStage.COPIED, MoveStage.COMPARED)}
        assert all(progress.done == progress.of == sum(moved.rows.values()) for progress in ends.values())

    asyncio.run(story())


async def test_all_tables_that_the_migrations_make_are_copied(office: IssuingOffice) -> None:
    await lived(office)
    with closing(sqlite3.connect(file_of(office))) as connection:
        made = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert made - {"alembic_version"} == set(metadata.tables)


# -- broken off ------------------------------------------------------------------------------------------------------


def half_of(server: PostgresServer) -> bool:
    """Whether the database holds what is there only while half a store is."""
    with psycopg.connect(address(server)) as connection:
        row = connection.execute("SELECT to_regclass('half_copy') IS NOT NULL").fetchone()
    assert row is not None
    return bool(row[0])


def address(server: PostgresServer) -> str:
    return f"host={server.host} port={server.port} user={server.user} dbname={server.database}"


def there(server: PostgresServer, table: str = "run") -> int:
    """Return how many rows are there now."""
    with psycopg.connect(address(server)) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


async def nobody_is_there(server: PostgresServer) -> None:
    """Wait until the server has let go of all that have ended: it does so in its own time."""
    asked = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(address(server), autocommit=True) as connection:
        while connection.execute(asked).fetchone() is not None:  # noqa: ASYNC110 - it can only be asked
            await asyncio.sleep(0.05)


def before_each_run(connection: psycopg.Connection[Any], does: str) -> None:
    """Let the server do this, and nothing else, before it takes a run in."""
    connection.execute(
        "CREATE OR REPLACE FUNCTION before_each_run() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {does}; RETURN NEW; END $$"
    )
    connection.execute(
        "CREATE OR REPLACE TRIGGER before_each_run BEFORE INSERT ON run FOR EACH ROW EXECUTE FUNCTION before_each_run()"
    )


MANY = BATCH + 10


@asynccontextmanager
async def halfway(server: PostgresServer) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Let whoever copies runs wait behind the first batch, for as long as the block lasts. What is given waits for that."""
    with psycopg.connect(address(server), autocommit=True) as connection:
        before_each_run(connection, f"IF NEW.id > {BATCH} THEN PERFORM pg_advisory_xact_lock(1); END IF")
        connection.execute("SELECT pg_advisory_lock(1)")
        waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

        async def reached() -> None:
            while connection.execute(waits).fetchone() is None:  # noqa: ASYNC110 - the server can only be asked
                await asyncio.sleep(0.05)

        yield reached


@pytest.mark.crash
async def test_killed_in_the_middle_it_goes_on_where_it_was_and_nobody_runs_on_half_of_it(
    office: IssuingOffice, server: PostgresServer
) -> None:
    await lived(office, runs=MANY)
    async with halfway(server) as reached:
        first = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "monitor.cli", "store", "copy", "--config", str(office.config)
        )
        await asyncio.wait_for(reached(), 60)
        first.kill()
        await first.wait()

    await nobody_is_there(server)
    assert there(server) == BATCH
    with pytest.raises(StoreBarredError, match="half a copy of another: finish it with `pantau store copy`"):
        async with Database.open(office.state, server):
            pass
    # The file is as good as ever: who must, goes back to it.
    with closing(sqlite3.connect(file_of(office))) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (known()[0],)

    async with watching_inserts(server) as inserted:
        code, said = await office.ask("store", "copy")
        assert code == 0, said
        assert inserted() == MANY - BATCH
    assert there(server) == MANY
    async with Database.open(office.state, server) as database:
        assert (await audit.verify(database.read)).flaws == []


@asynccontextmanager
async def watching_inserts(server: PostgresServer) -> AsyncIterator[Callable[[], int]]:
    """Count the runs that are inserted from now on."""
    with psycopg.connect(address(server), autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE seen")
        before_each_run(connection, "PERFORM nextval('seen')")

        def inserted() -> int:
            row = connection.execute("SELECT last_value FROM seen").fetchone()
            assert row is not None
            return int(row[0])

        yield inserted


class Killed(Exception):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dying(Target):
    """Ends when the file is left behind, and that is not committed there."""

    @asynccontextmanager
    async def complete(self, entry: AuditEntry) -> AsyncIterator[ChainHead]:
        async with Target.complete(self, entry) as head:
            yield head
            raise Killed


async def test_ended_between_the_two_bars_neither_can_be_used_and_it_goes_on(
    office: IssuingOffice, server: PostgresServer
) -> None:
    await lived(office)
    with opened(file_of(office)) as source:
        async with taken(server) as target:
            dying = _Dying(server=target.server, clock=target.clock, engine=target.engine)
            with pytest.raises(Killed):
                await move(source, dying, "Siti Contoh", lambda _: None)

    for place in (None, server):
        with pytest.raises(StoreBarredError):
            async with Database.open(office.state, place):
                pass
    code, said = await office.ask("store", "copy")
    assert code == 0, said
    async with Database.open(office.state, server):
        pass


async def test_a_server_that_goes_away_in_the_middle_is_named_and_it_goes_on_when_it_is_back(
    office: IssuingOffice, server: PostgresServer, postgres: Postgres
) -> None:
    await lived(office, runs=MANY)
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
    assert there(server) == MANY


async def test_a_server_whose_disk_is_full_is_named(office: IssuingOffice, server: PostgresServer) -> None:
    await lived(office, runs=10)
    with psycopg.connect(address(server), autocommit=True) as connection:
        before_each_run(connection, "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'")

        code, said = await office.ask("store", "copy")
        assert code == 1
        assert said.endswith("the copy is incomplete: could not extend file; run this again to continue\n")

        connection.execute("DROP TRIGGER before_each_run ON run")
    assert (await office.ask("store", "copy"))[0] == 0


async def copy_half(office: IssuingOffice, server: PostgresServer) -> None:
    """Copy no more than the runs, and what comes before them."""

    def tell(progress: MoveProgress) -> None:
        if progress.table == "run" and there(server):
            raise Killed

    with opened(file_of(office)) as source, pytest.raises(Killed):
        async with taken(server) as target:
            await move(source, target, "Siti Contoh", tell)


async def test_after_the_service_ran_on_the_file_once_more_it_begins_anew(
    office: IssuingOffice, server: PostgresServer
) -> None:
    await lived(office, runs=20)
    await copy_half(office, server)
    async with Database.open(office.state) as database:
        async with SqlStore(database).transaction() as uow:
            await uow.add_audit_entry(AuditEntry(at=T0, actor="pantau@utama", event="service started"))
        async with database.write() as connection:
            await connection.execute(run.delete().where(run.c.id > 10))
        before = await all_of(database)

    code, said = await office.ask("store", "copy")

    assert code == 0, said
    async with Database.open(office.state, server) as database:
        assert (await all_of(database))["run"] == before["run"]


async def test_what_was_changed_by_hand_in_between_is_found_and_the_file_is_still_the_store(
    office: IssuingOffice, server: PostgresServer
) -> None:
    await lived(office, runs=20)
    await copy_half(office, server)
    with closing(sqlite3.connect(file_of(office))) as connection, connection:
        connection.execute("UPDATE run SET outcome = 'lost' WHERE id = 7")

    code, said = await office.ask("store", "copy")

    assert code == 1
    assert f"the store was not copied, and the service can still use {file_of(office)}: run 7 differs" in said
    async with Database.open(office.state):
        pass
    with pytest.raises(StoreBarredError):
        async with Database.open(office.state, server):
            pass


# -- older schemas ---------------------------------------------------------------------------------------------------


def older(office: IssuingOffice) -> None:
    """Leave a file of an older schema, in which a migration will write what time it is."""
    upgrade(f"sqlite:///{file_of(office)}", "0013")
    shutil_row = (
        "INSERT INTO incident (dedup_key, number, agency, matter, state, brief, began_at, opened_at, since, wave, round,"
        " step, step_since, acknowledged_by, at_rest) VALUES ('JCM', 'JCM-01', 'JCM', 'both', 'acknowledged', '{}', :at,"
        " :at, :at, 1, 1, 0, :at, 'Siti Contoh', 0)"
    )
    with closing(sqlite3.connect(file_of(office))) as connection, connection:
        connection.execute(shutil_row, {"at": "2026-11-24 06:15:00.000000"})


async def test_a_file_of_an_older_schema_is_brought_up_to_date_on_a_copy(
    office: IssuingOffice, server: PostgresServer
) -> None:
    older(office)
    before = dump(file_of(office))
    with opened(file_of(office)) as source:
        async with taken(server) as target:
            dying = _Dying(server=target.server, clock=target.clock, engine=target.engine)
            with pytest.raises(Killed):
                await move(source, dying, "Siti Contoh", lambda _: None)
    assert [path.name for path in office.state.glob("*.moving")] == [f"{SERVED}.moving"]

    code, said = await office.ask("store", "copy")

    assert code == 0, said
    assert len([line for line in dump(file_of(office)) if line not in before]) == 1
    assert not [*office.state.glob("*.moving")]
    with psycopg.connect(address(server)) as connection:
        row = connection.execute("SELECT number, last_response_at IS NOT NULL FROM incident").fetchone()
    assert row == ("JCM-01", True)


async def test_half_of_an_older_one_whose_copy_is_gone_says_what_to_do(
    office: IssuingOffice, server: PostgresServer
) -> None:
    older(office)
    with opened(file_of(office)) as source:
        async with taken(server) as target:
            dying = _Dying(server=target.server, clock=target.clock, engine=target.engine)
            with pytest.raises(Killed):
                await move(source, dying, "Siti Contoh", lambda _: None)
    (office.state / f"{SERVED}.moving").unlink()

    code, said = await office.ask("store", "copy")

    assert code == 1
    assert "is gone, from which half of it was copied: empty the database, and begin anew" in said


# -- what is refused -------------------------------------------------------------------------------------------------


async def refused(office: IssuingOffice) -> str:
    code, said = await office.ask("store", "copy")
    assert code == 1, said
    assert "Traceback" not in said
    return said


async def test_it_is_refused_while_a_service_runs_on_the_file(office: IssuingOffice, server: PostgresServer) -> None:
    await lived(office)
    async with Database.open(office.state):
        assert f"{office.state} is in use by another pantau process; stop that one" in await refused(office)
    assert there(server, "incident") == 0


async def test_it_is_refused_while_a_service_runs_on_the_server(office: IssuingOffice, server: PostgresServer) -> None:
    await lived(office)
    async with Database.open(office.state, server, name="utama"):
        assert f"a pantau service runs on the {server}; stop it, on whichever machine it is" in await refused(office)
    assert not half_of(server)
    await nobody_is_there(server)
    assert (await office.ask("store", "copy"))[0] == 0


async def test_it_is_refused_where_somebody_copies_already(office: IssuingOffice, server: PostgresServer) -> None:
    await lived(office)
    async with taken(server):
        assert f"another `pantau store copy` is at work on the {server}" in await refused(office)


async def test_while_it_copies_no_service_starts_on_the_file(office: IssuingOffice, server: PostgresServer) -> None:
    await lived(office)
    with opened(file_of(office)), pytest.raises(StoreInUseError):
        async with Database.open(office.state):
            pass


async def test_what_another_installation_has_written_is_not_copied_over(
    office: IssuingOffice, server: PostgresServer, tmp_path: Path
) -> None:
    await lived(office)
    async with Database.open(tmp_path / "other", server) as database, SqlStore(database).transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="service started"))

    await nobody_is_there(server)
    said = await refused(office)

    assert f"nothing was copied: the {server} holds another store already, with 1 entries in its journal" in said
    async with Database.open(tmp_path / "other", server):
        pass


async def test_what_this_installation_has_there_already_is_not_copied_over(
    office: IssuingOffice, server: PostgresServer, tmp_path: Path
) -> None:
    await lived(office)
    shutil.copy(file_of(office), tmp_path / "copy.sqlite")
    assert (await office.ask("store", "copy", "--from", str(tmp_path / "copy.sqlite")))[0] == 0

    assert f"the {server} holds this store already, up to entry " in await refused(office)


async def test_half_of_another_store_is_not_copied_over(
    office: IssuingOffice, server: PostgresServer, tmp_path: Path
) -> None:
    await lived(office)
    (tmp_path / "other").mkdir()
    other = IssuingOffice(tmp_path / "other")
    async with Database.open(other.state) as database, SqlStore(database).transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="service started"))
    with opened(file_of(other)) as source:
        async with taken(server) as target:
            await target.begin(source.origin, str(source.file))

    assert f"holds half a copy of another store, {file_of(other)}, begun on 20" in await refused(office)


async def test_tables_of_another_program_are_left_alone(office: IssuingOffice, empty: PostgresServer) -> None:
    name_server(office, empty)
    await lived(office)
    with psycopg.connect(address(empty), autocommit=True) as connection:
        connection.execute("CREATE TABLE run (distance int)")

    assert "has tables of another program (run); give Pantau a database of its own" in await refused(office)


@pytest.fixture
def guest(empty: PostgresServer, postgres: Postgres) -> Iterator[PostgresServer]:
    """Return it for a role that needs its password, and owns nothing."""
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [WITH_PASSWORD]).fetchone()
        if there is None:
            connection.execute(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD '{PASSWORD}'")
        yield replace(empty, user=WITH_PASSWORD)
        if there is None:
            connection.execute(f"DROP ROLE {WITH_PASSWORD}")


async def test_a_wrong_password_is_said_and_never_shown(office: IssuingOffice, guest: PostgresServer) -> None:
    await lived(office)
    name_server(office, guest, "salah-benar")

    said = await refused(office)

    assert "password authentication failed" in said
    assert "salah-benar" not in said


async def test_a_role_that_may_make_no_tables_is_told_what_it_needs(
    office: IssuingOffice, guest: PostgresServer
) -> None:
    await lived(office)
    name_server(office, guest, PASSWORD)

    assert "let it own the database: ALTER DATABASE" in await refused(office)


async def test_without_a_server_or_a_file_it_says_what_is_missing(office: IssuingOffice) -> None:
    assert f"there is no {file_of(office)}" in await refused(office)
    office.config.write_text(office.config.read_text().partition("\nstore: ")[0])

    code, said = await office.ask("store", "copy")

    assert code == 2
    assert "has no PostgreSQL server: write it under `store:` first" in said


@pytest.mark.parametrize("what", ["another", "newer", "0002"])
async def test_what_is_no_store_of_this_version_is_not_copied(office: IssuingOffice, what: str) -> None:
    if what == "another":
        file_of(office).write_bytes(b"a letter to the Director General " * 9)
        why = "it is no store of Pantau"
    elif what == "newer":
        await lived(office)
        with closing(sqlite3.connect(file_of(office))) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        why = "a newer version of Pantau has used it"
    else:
        upgrade(f"sqlite:///{file_of(office)}", what)
        why = "from before the first release"
    assert why in await refused(office)


async def test_a_row_that_postgresql_cannot_keep_is_named(office: IssuingOffice, server: PostgresServer) -> None:
    await lived(office, runs=30)
    with closing(sqlite3.connect(file_of(office))) as connection, connection:
        connection.execute("UPDATE run SET outcome = 'delivered at the very last moment' WHERE id = 17")

    said = await refused(office)

    assert f"the service can still use {file_of(office)}: run 17 cannot be kept by PostgreSQL: value too long" in said
    # Mended, it goes on.
    with closing(sqlite3.connect(file_of(office))) as connection, connection:
        connection.execute("UPDATE run SET outcome = 'delivered' WHERE id = 17")
    assert (await office.ask("store", "copy"))[0] == 0


async def test_a_journal_that_was_changed_is_copied_and_that_is_said(office: IssuingOffice) -> None:
    await lived(office)
    with closing(sqlite3.connect(file_of(office))) as connection, connection:
        connection.execute("DROP TRIGGER audit_log_is_not_changed")
        connection.execute("UPDATE audit_log SET actor = 'Ravi Contoh' WHERE id = 2")

    code, said = await office.ask("store", "copy")

    assert code == 0
    assert "it WAS CHANGED in the file already (entry 2: was changed" in said
