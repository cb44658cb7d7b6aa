"""Towns for stories."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store.backend.postgres import PostgresServer
from tests.integration.alerts.town import Town, town_at
from tests.real.postgres import Postgres


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """Open a town; what came to anybody and was not expected fails the test at its end."""
    async with town_at(tmp_path) as opened:
        yield opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
async def either_town(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Town]:
    """Open a town on either store."""
    server: PostgresServer | None = None
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        server = postgres.store()
    async with town_at(tmp_path, server) as opened:
        yield opened
