"""Contents of a store whose process is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from monitor.store.backend.database import Database, StoreInUseError
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.unit_of_work import SqlStore
from tests.real.postgres import Postgres

pytestmark = pytest.mark.crash

#: Commits one incident, writes others without a commit, prints "ready" and waits to be killed.
CHILD = """
import asyncio, json, sys
from dataclasses import replace
from pathlib import Path
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.backend.postgres import PostgresServer
from tests.unit.alerts.people import trigger

async def main():
    server = PostgresServer(**json.loads(sys.argv[2])) if len(sys.argv) > 2 else None
    async with Database.open(Path(sys.argv[1]), server) as database:
        store = SqlStore(database)
        async with store.transaction() as uow:
            await uow.add_incidents([trigger()])
        async with store.transaction() as uow:
            # In one call: a transaction has ten seconds, and the test reads the store meanwhile.
            await uow.add_incidents([replace(trigger(), dedup_key=f"lost-{n}") for n in range(200)])
            print("ready", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def during_transaction(place: Path, server: PostgresServer | None) -> AsyncIterator[None]:
    """Run a process with an open transaction; kill it at the end of the block."""
    arguments = [str(place)]
    if server is not None:
        arguments.append(json.dumps({n: getattr(server, n) for n in ("host", "port", "database", "user", "tls")}))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, *arguments), stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert child.stdout is not None
        while (line := await child.stdout.readline()) != b"ready\n":
            assert line, "the process ended"
        yield
    finally:
        child.kill()
        await child.communicate()
    assert child.returncode == -signal.SIGKILL


async def check_committed(place: Path, server: PostgresServer | None) -> None:
    async with Database.open(place, server) as database, SqlStore(database).transaction() as uow:
        assert await uow.active_incidents() == [1]
        kept = await uow.incident(1)
        assert kept is not None
        assert kept.number == "JCM-01"
        assert await uow.last_incident("lost-0") is None


async def test_kill_during_transaction_keeps_exactly_what_was_committed(
    tmp_path: Path,
) -> None:
    async with during_transaction(tmp_path, None):
        # While the process runs, the store is in use.
        with pytest.raises(StoreInUseError):
            async with Database.open(tmp_path):
                pass

    await check_committed(tmp_path, None)


@pytest.mark.real
async def test_killed_engine_does_not_block_shared_store(tmp_path: Path, postgres: Postgres) -> None:
    server = postgres.database()
    # While the process runs, others read, and their transactions wait for its transaction.
    async with during_transaction(tmp_path, server), Database.open(tmp_path, server, name="kedua") as database:
        store = SqlStore(database)
        async with store.reading() as uow:
            assert [incident.number for incident in await uow.open_incidents()] == ["JCM-01"]
        deciding = asyncio.create_task(store.transaction().__aenter__())
        await asyncio.wait({deciding}, timeout=0.5)
        assert not deciding.done()
        deciding.cancel()
        await asyncio.gather(deciding, return_exceptions=True)

    await check_committed(tmp_path, server)
