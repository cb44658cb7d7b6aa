"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command sets up for its own standard error, which is closed when its test ends."""
    yield
    structlog.reset_defaults()
