"""Fixtures for all tests of the web interface."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from monitor.service.access import secret


@pytest.fixture(scope="module", autouse=True)
def _passwords_are_kept_at_once() -> Iterator[None]:
    """Reduce the cost of password hashing: the tests hash hundreds. `test_password` checks the real cost."""
    with patch.multiple(secret, _MEMORY_KIB=8, _PASSES=1):
        yield
