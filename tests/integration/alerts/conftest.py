"""Simulated environments for stories."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store.backend.postgres import PostgresServer
from tests.integration.alerts.simulated_env import SimulatedEnv, open_simulated_env
from tests.real.postgres import Postgres


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[SimulatedEnv]:
    """Open a simulated environment; an unexpected message to anybody fails the test at its end."""
    async with open_simulated_env(tmp_path) as opened:
        yield opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
async def either_env(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SimulatedEnv]:
    """Open a simulated environment on either store."""
    server: PostgresServer | None = None
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        server = postgres.store()
    async with open_simulated_env(tmp_path, server) as opened:
        yield opened
