"""The shared store on a real PostgreSQL: who gets in, and what becomes of a server that is away."""

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
from monitor.store.backend.process_lock import LET_GO_WITHIN, ProcessNameLock
from monitor.store.schema.block import BlockReason, StoreBlock
from monitor.store.schema.lock import LOCKS, NAMES, Lock
from monitor.store.schema.migrations import NEWEST, StoreBarredError
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
    """Return what is said when the store cannot be opened. It never holds the password."""
    with pytest.raises((StoreUnusableError, StoreInUseError)) as refused:
        async with Database.open(place, server, name=name):
            pass
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


# -- who gets in -----------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_named(tmp_path: Path, server: PostgresServer) -> None:
    with claimed(1) as (nobody,):
        said = await refusal(tmp_path, replace(server, port=nobody, password=PASSWORD))
    assert said.startswith(f"the store, database {server.database} of the PostgreSQL at 127.0.0.1, port ")
    assert "cannot be reached" in said
    assert "refused" in said


async def test_a_database_that_is_not_there_is_named(tmp_path: Path, server: PostgresServer) -> None:
    assert 'database "tiada" does not exist' in await refusal(tmp_path, replace(server, database="tiada"))


async def test_a_database_that_cannot_hold_our_texts_is_refused(tmp_path: Path, postgres: Postgres) -> None:
    latin = postgres.database(encoding="LATIN1", template="template0", locale="C")
    assert "keeps text as LATIN1; make a database with ENCODING 'UTF8'" in await refusal(tmp_path, latin)


async def test_a_role_needs_its_password_and_to_own_the_database(tmp_path: Path, postgres: Postgres) -> None:
    server = postgres.database()
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD '{PASSWORD}'")
    guest = replace(server, user=WITH_PASSWORD)

    assert "no password" in await refusal(tmp_path, guest)
    assert "password authentication failed" in await refusal(tmp_path, replace(guest, password="salah"))
    guest = replace(guest, password=PASSWORD)
    owner = f"ALTER DATABASE {server.database} OWNER TO {WITH_PASSWORD}"
    assert f"may not make tables there; let it own the database: {owner}" in await refusal(tmp_path, guest)
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(owner)
    async with Database.open(tmp_path, guest):
        pass


async def test_tls_means_that_the_certificate_is_right(
    tmp_path: Path, postgres: Postgres, server: PostgresServer
) -> None:
    trusted = replace(server, tls=True, ca_file=postgres.ca_file)
    async with Database.open(tmp_path, replace(trusted, host="localhost")) as database, database.read() as connection:
        asked = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert (await connection.execute(asked)).scalar_one() is True

    # The certificate is of another name; of an authority that nobody knows.
    assert "does not match" in await refusal(tmp_path, trusted)
    assert "certificate verify failed" in await refusal(tmp_path, replace(trusted, host="localhost", ca_file=None))


async def test_two_of_one_name_would_delete_each_others_mail_and_are_refused(
    tmp_path: Path, server: PostgresServer
) -> None:
    async with Database.open(tmp_path, server, name="putrajaya-1"):
        said = await refusal(tmp_path, server, name="putrajaya-1")
        assert "another pantau process called putrajaya-1 uses the store" in said
        assert "process_name:" in said
        async with Database.open(tmp_path, server, name="putrajaya-2"):
            pass
    async with Database.open(tmp_path, server, name="putrajaya-1"):
        pass


@asynccontextmanager
async def held(server: PostgresServer) -> AsyncIterator[ProcessNameLock]:
    """Hold the name that `refusal` asks for."""
    engine = create_async_engine(server.url(), connect_args=server.arguments(), pool_pre_ping=True)
    name = ProcessNameLock(engine, "pantau", str(server))
    try:
        await name.take()
        yield name
    finally:
        await name.let_go()
        await engine.dispose()


async def test_a_name_whose_session_was_ended_is_taken_again_before_another_can_have_it(
    tmp_path: Path, postgres: Postgres, server: PostgresServer
) -> None:
    async with held(server) as name:
        await name.look(0.0)
        await break_connections(postgres, server)
        await name.look(5.0)
        assert "another pantau process called pantau" in await refusal(tmp_path, server)
    async with Database.open(tmp_path, server):
        pass


async def test_who_finds_its_name_taken_by_another_gives_way(
    tmp_path: Path, postgres: Postgres, server: PostgresServer
) -> None:
    async with held(server) as name:
        await break_connections(postgres, server)
        async with Database.open(tmp_path, server):
            await name.look(0.0)
            with pytest.raises(StoreInUseError, match="another pantau process called pantau"):
                await name.look(LET_GO_WITHIN + 1)


async def test_a_session_of_ours_that_only_the_network_has_ended_is_waited_for(
    tmp_path: Path, postgres: Postgres, server: PostgresServer
) -> None:
    async with held(server) as name:
        await break_connections(postgres, server)
        with psycopg.connect(postgres.address(server.database), autocommit=True) as last:
            last.execute("SELECT pg_advisory_lock(%s, hashtext('pantau'))", (NAMES,))
            for now in (0.0, LET_GO_WITHIN):
                await name.look(now)
            last.execute("SELECT pg_advisory_unlock_all()")
            await name.look(LET_GO_WITHIN + 5)
        assert "called pantau" in await refusal(tmp_path, server)


async def test_a_server_that_cannot_be_asked_gives_the_name_to_nobody(
    server: PostgresServer, postgres: Postgres
) -> None:
    async with held(server) as name:
        with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {server.database} ALLOW_CONNECTIONS false")
            await break_connections(postgres, server)
            for now in (0.0, LET_GO_WITHIN + 1, 2 * LET_GO_WITHIN + 2):
                await name.look(now)
            connection.execute(f"ALTER DATABASE {server.database} ALLOW_CONNECTIONS true")
        await name.look(3 * LET_GO_WITHIN)


async def test_engines_that_start_together_wait_for_the_one_that_makes_the_schema(
    tmp_path: Path, postgres: Postgres
) -> None:
    server = postgres.database()

    async def begin() -> None:
        async with Database.open(tmp_path, server):
            pass

    with psycopg.connect(postgres.address(server.database), autocommit=True) as another:
        another.execute("SELECT pg_advisory_lock(%s, %s)", (LOCKS, Lock.MIGRATING))
        beginning = asyncio.create_task(begin())
        await asyncio.wait({beginning}, timeout=1)
        assert not beginning.done()
        tables = another.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (0,)
    await beginning


async def test_an_engine_that_starts_while_its_store_is_shut_waits_and_does_not_start(
    tmp_path: Path, postgres: Postgres
) -> None:
    server = postgres.store()

    async def begin() -> None:
        async with Database.open(tmp_path, server):
            pass

    with psycopg.connect(postgres.address(server.database)) as another:
        another.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, Lock.MIGRATING))
        another.execute(
            "UPDATE alembic_version SET version_num = %s", [str(StoreBlock(barred=BlockReason.COPYING, schema=NEWEST))]
        )
        beginning = asyncio.create_task(begin())
        await asyncio.wait({beginning}, timeout=1)
        assert not beginning.done()
    with pytest.raises(StoreBarredError):
        await beginning


# -- what transactions promise ---------------------------------------------------------------------------------------


async def test_decisions_of_two_engines_come_one_after_the_other(tmp_path: Path, server: PostgresServer) -> None:
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


async def test_a_view_stays_as_it_is_while_others_write_and_writes_nothing(database: Database) -> None:
    count = text("SELECT count(*) FROM counter")
    async with database.read() as reader:
        assert (await reader.execute(count)).scalar_one() == 0
        async with database.exclusive() as writer:
            await writer.execute(insert(counter).values(name="x", next=1))
        assert (await reader.execute(count)).scalar_one() == 0
    with pytest.raises(Exception, match="read-only transaction"):
        async with database.read() as reader:
            await reader.execute(insert(counter).values(name="y", next=1))


async def test_the_time_is_the_servers(database: Database) -> None:
    assert isinstance(database.clock, ServerClock)
    # As if this machine's clock was an hour off.
    database.clock.tell(datetime.now(UTC) - timedelta(hours=1))
    async with database.exclusive() as connection:
        said = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    assert abs(database.clock.now() - said) < timedelta(seconds=5)


# -- when it is away -------------------------------------------------------------------------------------------------


async def break_connections(postgres: Postgres, server: PostgresServer) -> None:
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (server.database,)
        )


async def test_a_connection_that_broke_while_nobody_used_it_is_replaced_unseen(
    database: Database, postgres: Postgres, server: PostgresServer
) -> None:
    async with database.exclusive():
        pass
    await break_connections(postgres, server)
    async with database.exclusive() as connection:
        await connection.execute(insert(counter).values(name="x", next=1))
    async with database.read():
        pass
    assert database.presence.away_since is None


@pytest.mark.parametrize(
    "trouble",
    [
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_sleep(5)",
        "DO $$ BEGIN RAISE SQLSTATE '53100'; END $$",
        "DO $$ BEGIN RAISE SQLSTATE '25006'; END $$",
    ],
)
async def test_what_passes_is_told_as_such_and_the_next_try_is_as_ever(database: Database, trouble: str) -> None:
    async def try_it() -> None:
        async with database.exclusive() as connection:
            await connection.execute(insert(counter).values(name="x", next=1))
            await connection.execute(text("SET LOCAL statement_timeout = 500"))
            await connection.execute(text(trouble))

    with pytest.raises(StoreUnavailable):
        await try_it()
    assert database.presence.away_since is not None
    with pytest.raises(StoreUnavailable):
        await try_it()  # It is not even asked, so soon.

    await asyncio.sleep(1)
    async with database.exclusive() as connection:
        await connection.execute(insert(counter).values(name="x", next=1))
    assert database.presence.away_since is None


async def test_what_is_to_take_no_writes_takes_none_also_after_it_was_read(
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
async def test_who_lost_a_race_may_try_again_at_once(database: Database, state: str) -> None:
    with pytest.raises(StoreUnavailable):
        async with database.exclusive() as connection:
            await connection.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$"))
    assert database.presence.away_since is None
    async with database.exclusive():
        pass


async def test_a_bug_of_ours_is_no_absence(database: Database) -> None:
    async with database.exclusive() as connection:
        await connection.execute(insert(counter).values(name="x", next=1))
    with pytest.raises(IntegrityError):
        async with database.exclusive() as connection:
            await connection.execute(insert(counter).values(name="x", next=1))
    with pytest.raises(ProgrammingError):
        async with database.exclusive() as connection:
            await connection.execute(text("SELECT * FROM tiada"))
    assert database.presence.away_since is None


async def test_of_several_servers_one_that_is_not_there_is_passed_over(server: PostgresServer, tmp_path: Path) -> None:
    async with (
        Database.open(tmp_path, replace(server, host=f"/tiada,{server.host}"), name="lain") as database,
        database.read() as connection,
    ):
        assert (await connection.execute(text("SELECT NOT pg_is_in_recovery()"))).scalar_one()


async def test_who_holds_up_all_others_and_says_nothing_is_thrown_out(
    database: Database, server: PostgresServer
) -> None:
    async with database.read() as connection:
        asked = text("SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout' OR name LIKE 'tcp_keep%'")
        settings = {row.name: row.setting for row in await connection.execute(asked)}

    assert settings["idle_in_transaction_session_timeout"] == "10000"
    assert settings["lock_timeout"] == "8000"
    assert settings["statement_timeout"] == "30000"
    assert settings["tcp_keepalives_idle"] == "10"
