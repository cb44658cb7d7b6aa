"""Fixtures for tests of the service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pantau_lab.serving import claimed


@pytest.fixture
def port() -> Iterator[int]:
    """Return a reserved port for a portal."""
    with claimed(1) as [number]:
        yield number
