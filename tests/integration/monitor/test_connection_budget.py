"""Connections that a PostgreSQL server has for the processes on a store."""

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

BUDGET = ConnectionBudget(available=97, reserved=3, other_databases=0, processes=frozenset({"satu", "dua"}))


@pytest.mark.parametrize(
    ("own", "sites", "other_databases", "needed"),
    [
        ("satu", 0, 0, 2 * CONNECTIONS + 5),
        # This process has not been started yet.
        ("tiga", 0, 0, 3 * CONNECTIONS + 5),
        ("satu", 0, 40, 2 * CONNECTIONS + 45),
        # A hub checks its own end of all site links at the same time.
        ("satu", 3, 0, 2 * (CONNECTIONS + 3) + 5),
    ],
)
def test_connections_needed_counts_all_processes_and_other_databases(
    own: str, sites: int, other_databases: int, needed: int
) -> None:
    assert replace(BUDGET, other_databases=other_databases).needed(own=own, sites=sites) == needed


@pytest.mark.real
async def test_connection_budget_is_read_from_server(postgres: Postgres, tmp_path: Path) -> None:
    server, now = postgres.store(), datetime.now(UTC)
    assert connection_budget(postgres.database(), tmp_path) is None, "no store yet"
    assert connection_budget(replace(server, port=1), tmp_path) is None, "the server is unreachable"
    async with Database.open(tmp_path, server, name="satu") as database:
        for name, beat_at in (("satu", now), ("dua", now), ("lama", now - timedelta(days=2)), ("tamat", now)):
            await Processes(database, name).beat(now, beat_at)
        await Processes(database, "tamat").stop(now)
        found = connection_budget(server, tmp_path)
    assert found is not None
    assert (found.available, found.reserved, found.processes) == (97, 3, frozenset({"satu", "dua"}))
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{server.database}" CONNECTION LIMIT 21')
        limited = connection_budget(server, tmp_path)
    assert limited is not None
    assert (limited.available, limited.other_databases >= 1) == (21, True)


@pytest.mark.real
def test_check_server_with_too_few_connections_warns(postgres: Postgres, tmp_path: Path, sample: Path) -> None:
    server = postgres.store()
    url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
    written = f"{sample.read_text()}store: {{url: {url}, tls: false}}\n"
    sample.write_text(written)
    found = load(sample, {"PANTAU_MPCONTOH_PASSWORD": "kata-laluan-contoh"}).require_configuration().settings
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
