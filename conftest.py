"""What holds for every test."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import structlog
from hypothesis import settings

import monitor.store.backend.sqlite
from monitor.store.schema.migrations import upgrade
from tests.real.postgres import Postgres

# How long an example takes is the machine's affair: what it costs is measured in the bench.
settings.register_profile("pantau", deadline=None)
settings.load_profile("pantau")

#: Files whose tests take longest. Begun last, they would keep one process busy while the others have nothing to do.
LONGEST = (
    "test_attribution_on_three_systems",
    "test_prometheus",
    "test_a_thousand_rounds",
    "test_vigil",
    "test_answers",
    "test_store_away",
    "test_our_own_fault",
    "test_proof",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish() -> None:
    """Set thousands of collected tests aside: the collector would go through them again and again, and find nothing."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command sets up for its own standard error, which is closed when its test ends."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL of our own, for all tests of this process: each makes a database."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _stores_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the tables of a file once: to run the migrations takes longer than most of the tests that want a store."""
    made = tmp_path_factory.mktemp("made") / "pantau.sqlite"
    upgrade(f"sqlite:///{made}")

    def made_or_upgraded(url: str) -> None:
        file = Path(url.removeprefix("sqlite:///"))
        if file.stat().st_size == 0:
            shutil.copyfile(made, file)
        else:
            upgrade(url)

    with patch.object(monitor.store.backend.sqlite, "upgrade", made_or_upgraded):
        yield
