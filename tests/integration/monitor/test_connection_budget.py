"""How many connections a PostgreSQL has for the processes on a store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from monitor.cli.operation.check import connection_problems
from monitor.config.loading import load
from monitor.store.admin.connections import ConnectionBudget, connection_budget
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import CONNECTIONS
from monitor.store.probing.processes import Processes
from tests.real.postgres import Postgres

BUDGET = ConnectionBudget(room=97, reserved=3, others=0, processes=frozenset({"satu", "dua"}))


@pytest.mark.parametrize(
    ("own", "sites", "others", "needed"),
    [
        ("satu", 0, 0, 2 * CONNECTIONS + 5),
        # This one has not been started yet.
        ("tiga", 0, 0, 3 * CONNECTIONS + 5),
        ("satu", 0, 40, 2 * CONNECTIONS + 45),
        # A hub looks at its own end of each wire, all at a time.
        ("satu", 3, 0, 2 * (CONNECTIONS + 3) + 5),
    ],
)
def test_connections_needed_are_those_of_all_processes_and_of_others(
    own: str, sites: int, others: int, needed: int
) -> None:
    assert replace(BUDGET, others=others).needed(own=own, sites=sites) == needed


@pytest.mark.real
async def test_connection_budget_is_what_the_server_says(postgres: Postgres, tmp_path: Path) -> None:
    server, now = postgres.store(), datetime.now(UTC)
    assert connection_budget(postgres.database(), tmp_path) is None, "no store yet"
    assert connection_budget(replace(server, port=1), tmp_path) is None, "it cannot be asked"
    async with Database.open(tmp_path, server, name="satu") as database:
        for name, beat_at in (("satu", now), ("dua", now), ("lama", now - timedelta(days=2)), ("tamat", now)):
            await Processes(database, name).beat(now, beat_at)
        await Processes(database, "tamat").stop(now)
        found = connection_budget(server, tmp_path)
    assert found is not None
    assert (found.room, found.reserved, found.processes) == (97, 3, frozenset({"satu", "dua"}))
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{server.database}" CONNECTION LIMIT 21')
        limited = connection_budget(server, tmp_path)
    assert limited is not None
    assert (limited.room, limited.others >= 1) == (21, True)


@pytest.mark.real
def test_check_warns_of_a_server_with_too_few_connections(postgres: Postgres, tmp_path: Path, sample: Path) -> None:
    server = postgres.store()
    url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
    written = f"{sample.read_text()}store: {{url: {url}, tls: false}}\n"
    sample.write_text(written)
    found = load(sample, {"PANTAU_MPCONTOH_PASSWORD": "kata-laluan-contoh"}).accepted().settings
    assert not connection_problems(sample, found)

    async def begin() -> None:
        async with Database.open(tmp_path, server, name="satu") as database:
            now = datetime.now(UTC)
            for number in range(10):
                await Processes(database, f"p{number}").beat(now, now)

    asyncio.run(begin())
    (problem,) = connection_problems(sample, found)
    line = len(written.splitlines())
    assert str(problem).startswith(f"{sample}:{line}: warning: store: 11 processes on it may open ")
    assert "and the server has 97 for them; write instead: max_connections = " in str(problem)
