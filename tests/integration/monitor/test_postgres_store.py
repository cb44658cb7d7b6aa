"""The shared store on a real PostgreSQL: opening, transactions and unavailability."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.database import Database, StoreInUseError, StoreUnusableError
from monitor.store.backend.postgres import PostgresServer, ServerClock
from monitor.store.backend.process_lock import TAKEN_AFTER_SECONDS, ProcessNameLock
from monitor.store.schema.block import BlockReason, StoreBlock
from monitor.store.schema.lock import LOCK_CLASS, NAME_LOCK_CLASS, Lock
from monitor.store.schema.migrations import NEWEST, StoreBlockedError
from monitor.store.schema.tables import counter
from pantau_lab.serving import claimed
from tests.real.postgres import PASSWORD, WITH_PASSWORD, Postgres

pytestmark = pytest.mark.real


@pytest.fixture
def server(postgres: Postgres) -> PostgresServer:
    return postgres.store()


@pytest.fixture
async def database(server: PostgresServer, tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path, server) as opened:
        yield opened


async def refusal(place: Path, server: PostgresServer, *, name: str = "pantau") -> str:
    """Return the error of a store that cannot be opened. It never contains the password."""
    with pytest.raises((StoreUnusableError, StoreInUseError)) as refused:
        async with Database.open(place, server, name=name):
            pass
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


# -- opening ---------------------------------------------------------------------------------------------------------


async def test_open_server_unreachable_error_names_it(tmp_path: Path, server: PostgresServer) -> None:
    with claimed(1) as (nobody,):
        said = await refusal(tmp_path, replace(server, port=nobody, password=PASSWORD))
    assert said.startswith(f"the store, database {server.database} of the PostgreSQL at 127.0.0.1, port ")
    assert "cannot be reached" in said
    assert "refused" in said


async def test_open_database_missing_error_names_it(tmp_path: Path, server: PostgresServer) -> None:
    assert 'database "tiada" does not exist' in await refusal(tmp_path, replace(server, database="tiada"))


async def test_open_database_with_other_encoding_is_refused(tmp_path: Path, postgres: Postgres) -> None:
    latin = postgres.database(encoding="LATIN1", template="template0", locale="C")
    assert "stores text as LATIN1; create a database with ENCODING 'UTF8'" in await refusal(tmp_path, latin)


async def test_open_role_needs_password_and_database_ownership(tmp_path: Path, postgres: Postgres) -> None:
    server = postgres.database()
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD '{PASSWORD}'")
    guest = replace(server, user=WITH_PASSWORD)

    assert "no password" in await refusal(tmp_path, guest)
    assert "password authentication failed" in await refusal(tmp_path, replace(guest, password="salah"))
    guest = replace(guest, password=PASSWORD)
    owner = f"ALTER DATABASE {server.database} OWNER TO {WITH_PASSWORD}"
    assert f"may not create tables there; let it own the database: {owner}" in await refusal(tmp_path, guest)
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(owner)
    async with Database.open(tmp_path, guest):
        pass


async def test_open_tls_verifies_certificate(tmp_path: Path, postgres: Postgres, server: PostgresServer) -> None:
    trusted = replace(server, tls=True, ca_file=postgres.ca_file)
    async with Database.open(tmp_path, replace(trusted, host="localhost")) as database, database.read() as connection:
        asked = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert (await connection.execute(asked)).scalar_one() is True

    # The certificate is for another name, or of an unknown authority.
    assert "does not match" in await refusal(tmp_path, trusted)
    assert "certificate verify failed" in await refusal(tmp_path, replace(trusted, host="localhost", ca_file=None))


async def test_open_duplicate_process_name_is_refused(tmp_path: Path, server: PostgresServer) -> None:
    async with Database.open(tmp_path, server, name="putrajaya-1"):
        said = await refusal(tmp_path, server, name="putrajaya-1")
        assert "another pantau process called putrajaya-1 uses the store" in said
        assert "process_name:" in said
        async with Database.open(tmp_path, server, name="putrajaya-2"):
            pass
    async with Database.open(tmp_path, server, name="putrajaya-1"):
        pass


@asynccontextmanager
async def hold_name(server: PostgresServer) -> AsyncIterator[ProcessNameLock]:
    """Hold the process name that `refusal` uses."""
    engine = create_async_engine(server.url(), connect_args=server.arguments(), pool_pre_ping=True)
    name = ProcessNameLock(engine, "pantau", str(server))
    try:
        await name.acquire()
        yield name
    finally:
        await name.release()
        await engine.dispose()


async def test_name_lock_lost_session_is_reacquired_before_others(
    tmp_path: Path, postgres: Postgres, server: PostgresServer
) -> None:
    async with hold_name(server) as name:
        await name.check_once(0.0)
        await break_connections(postgres, server)
        await name.check_once(5.0)
        assert "another pantau process called pantau" in await refusal(tmp_path, server)
    async with Database.open(tmp_path, server):
        pass


async def test_name_lock_taken_by_other_process_raises(
    tmp_path: Path, postgres: Postgres, server: PostgresServer
) -> None:
    async with hold_name(server) as name:
        await break_connections(postgres, server)
        async with Database.open(tmp_path, server):
            await name.check_once(0.0)
            with pytest.raises(StoreInUseError, match="another pantau process called pantau"):
                await name.check_once(TAKEN_AFTER_SECONDS + 1)


async def test_name_lock_stale_own_session_is_waited_for(
    tmp_path: Path, postgres: Postgres, server: PostgresServer
) -> None:
    async with hold_name(server) as name:
        await break_connections(postgres, server)
        with psycopg.connect(postgres.address(server.database), autocommit=True) as stale:
            stale.execute("SELECT pg_advisory_lock(%s, hashtext('pantau'))", (NAME_LOCK_CLASS,))
            for now in (0.0, TAKEN_AFTER_SECONDS):
                await name.check_once(now)
            stale.execute("SELECT pg_advisory_unlock_all()")
            await name.check_once(TAKEN_AFTER_SECONDS + 5)
        assert "called pantau" in await refusal(tmp_path, server)


async def test_name_lock_server_unreachable_is_kept(server: PostgresServer, postgres: Postgres) -> None:
    async with hold_name(server) as name:
        with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {server.database} ALLOW_CONNECTIONS false")
            await break_connections(postgres, server)
            for now in (0.0, TAKEN_AFTER_SECONDS + 1, 2 * TAKEN_AFTER_SECONDS + 2):
                await name.check_once(now)
            connection.execute(f"ALTER DATABASE {server.database} ALLOW_CONNECTIONS true")
        await name.check_once(3 * TAKEN_AFTER_SECONDS)


async def test_engines_starting_together_wait_for_migration(tmp_path: Path, postgres: Postgres) -> None:
    server = postgres.database()

    async def begin() -> None:
        async with Database.open(tmp_path, server):
            pass

    with psycopg.connect(postgres.address(server.database), autocommit=True) as another:
        another.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, Lock.MIGRATING))
        beginning = asyncio.create_task(begin())
        await asyncio.wait({beginning}, timeout=1)
        assert not beginning.done()
        tables = another.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (0,)
    await beginning


async def test_engine_starting_on_blocked_store_waits_and_refuses(tmp_path: Path, postgres: Postgres) -> None:
    server = postgres.store()

    async def begin() -> None:
        async with Database.open(tmp_path, server):
            pass

    with psycopg.connect(postgres.address(server.database)) as another:
        another.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, Lock.MIGRATING))
        another.execute(
            "UPDATE alembic_version SET version_num = %s", [str(StoreBlock(reason=BlockReason.COPYING, schema=NEWEST))]
        )
        beginning = asyncio.create_task(begin())
        await asyncio.wait({beginning}, timeout=1)
        assert not beginning.done()
    with pytest.raises(StoreBlockedError):
        await beginning


# -- transactions ----------------------------------------------------------------------------------------------------


async def test_exclusive_transactions_of_two_engines_are_serialized(tmp_path: Path, server: PostgresServer) -> None:
    async def count_up(database: Database) -> None:
        async with database.exclusive() as connection:
            count = (await connection.execute(text("SELECT next FROM counter WHERE name = 'x'"))).scalar_one()
            await asyncio.sleep(0)
            await connection.execute(text("UPDATE counter SET next = :n WHERE name = 'x'"), {"n": count + 1})

    async with Database.open(tmp_path, server) as one, Database.open(tmp_path, server, name="kedua") as other:
        async with one.write() as connection:
            await connection.execute(insert(counter).values(name="x", next=0))
        await asyncio.gather(*(count_up(database) for database in (one, other) for _ in range(25)))
        async with one.read() as connection:
            assert (await connection.execute(text("SELECT next FROM counter"))).scalar_one() == 50


async def test_read_is_snapshot_and_read_only(database: Database) -> None:
    count = text("SELECT count(*) FROM counter")
    async with database.read() as reader:
        assert (await reader.execute(count)).scalar_one() == 0
        async with database.exclusive() as writer:
            await writer.execute(insert(counter).values(name="x", next=1))
        assert (await reader.execute(count)).scalar_one() == 0
    with pytest.raises(Exception, match="read-only transaction"):
        async with database.read() as reader:
            await reader.execute(insert(counter).values(name="y", next=1))


async def test_clock_is_server_time(database: Database) -> None:
    assert isinstance(database.clock, ServerClock)
    # Simulate a clock of this machine that is an hour off.
    database.clock.set_server_time(datetime.now(UTC) - timedelta(hours=1))
    async with database.exclusive() as connection:
        said = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    assert abs(database.clock.now() - said) < timedelta(seconds=5)


# -- unavailability --------------------------------------------------------------------------------------------------


async def break_connections(postgres: Postgres, server: PostgresServer) -> None:
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (server.database,)
        )


async def test_idle_broken_connection_is_replaced(
    database: Database, postgres: Postgres, server: PostgresServer
) -> None:
    async with database.exclusive():
        pass
    await break_connections(postgres, server)
    async with database.exclusive() as connection:
        await connection.execute(insert(counter).values(name="x", next=1))
    async with database.read():
        pass
    assert database.availability.unavailable_since is None


@pytest.mark.parametrize(
    "failure",
    [
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_sleep(5)",
        "DO $$ BEGIN RAISE SQLSTATE '53100'; END $$",
        "DO $$ BEGIN RAISE SQLSTATE '25006'; END $$",
    ],
)
async def test_transient_failure_raises_store_unavailable_and_recovers(database: Database, failure: str) -> None:
    async def write_and_fail() -> None:
        async with database.exclusive() as connection:
            await connection.execute(insert(counter).values(name="x", next=1))
            await connection.execute(text("SET LOCAL statement_timeout = 500"))
            await connection.execute(text(failure))

    with pytest.raises(StoreUnavailable):
        await write_and_fail()
    assert database.availability.unavailable_since is not None
    with pytest.raises(StoreUnavailable):
        await write_and_fail()  # The server is not contacted again so soon.

    await asyncio.sleep(1)
    async with database.exclusive() as connection:
        await connection.execute(insert(counter).values(name="x", next=1))
    assert database.availability.unavailable_since is None


async def test_read_only_server_refuses_writes_also_after_read(
    tmp_path: Path, postgres: Postgres, server: PostgresServer
) -> None:
    async with Database.open(tmp_path, server):
        pass
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {server.database} SET default_transaction_read_only = on")
    async with Database.open(tmp_path, server) as database:
        async with database.read() as reading:
            await reading.execute(text("SELECT 1"))
        with pytest.raises(StoreUnavailable, match="read-only"):
            async with database.write() as writing:
                await writing.execute(insert(counter).values(name="x", next=1))


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
async def test_lost_race_can_be_retried_at_once(database: Database, state: str) -> None:
    with pytest.raises(StoreUnavailable):
        async with database.exclusive() as connection:
            await connection.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$"))
    assert database.availability.unavailable_since is None
    async with database.exclusive():
        pass


async def test_programming_error_does_not_mark_store_unavailable(database: Database) -> None:
    async with database.exclusive() as connection:
        await connection.execute(insert(counter).values(name="x", next=1))
    with pytest.raises(IntegrityError):
        async with database.exclusive() as connection:
            await connection.execute(insert(counter).values(name="x", next=1))
    with pytest.raises(ProgrammingError):
        async with database.exclusive() as connection:
            await connection.execute(text("SELECT * FROM tiada"))
    assert database.availability.unavailable_since is None


async def test_several_servers_unreachable_one_is_skipped(server: PostgresServer, tmp_path: Path) -> None:
    async with (
        Database.open(tmp_path, replace(server, host=f"/tiada,{server.host}"), name="lain") as database,
        database.read() as connection,
    ):
        assert (await connection.execute(text("SELECT NOT pg_is_in_recovery()"))).scalar_one()


async def test_session_timeouts_are_set_on_server(database: Database, server: PostgresServer) -> None:
    async with database.read() as connection:
        asked = text("SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout' OR name LIKE 'tcp_keep%'")
        settings = {row.name: row.setting for row in await connection.execute(asked)}

    assert settings["idle_in_transaction_session_timeout"] == "10000"
    assert settings["lock_timeout"] == "8000"
    assert settings["statement_timeout"] == "30000"
    assert settings["tcp_keepalives_idle"] == "10"
