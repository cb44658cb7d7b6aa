"""What holds for every test of a page."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from monitor.service.access import secret


@pytest.fixture(scope="module", autouse=True)
def _passwords_are_kept_at_once() -> Iterator[None]:
    """Spend on a password as little as can be: hundreds are chosen and typed. `test_password` has what is spent otherwise."""
    with patch.multiple(secret, _MEMORY_KIB=8, _PASSES=1):
        yield
