"""What several tests of the service need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pantau_lab.serving import claimed


@pytest.fixture
def port() -> Iterator[int]:
    """Return one for a portal, that nobody else gets before it listens there."""
    with claimed(1) as [number]:
        yield number
