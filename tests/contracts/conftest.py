"""The two stores of the contract tests: an SQLite file and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.unit_of_work import SqlStore
from tests.real.postgres import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def server(request: pytest.FixtureRequest) -> PostgresServer | None:
    """Return the server with an empty store, or None for the SQLite file."""
    if request.param == "sqlite":
        return None
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.store()


@pytest.fixture
def open_database(server: PostgresServer | None, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Database]]:
    """Return a function that opens the same store, empty at first."""
    return lambda: Database.open(tmp_path, server)


@pytest.fixture
async def database(
    open_database: Callable[[], AbstractAsyncContextManager[Database]],
) -> AsyncIterator[Database]:
    async with open_database() as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database)
