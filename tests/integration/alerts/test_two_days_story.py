"""A two-day outage over a weekend and a holiday, as recorded in tests/data/two-days.md."""

from __future__ import annotations

import pytest

from tests.two_days import DOCUMENT, document

pytestmark = pytest.mark.story


async def test_two_day_outage_matches_document() -> None:
    """An outage of two days over a weekend and a holiday is recorded for each person in `tests/data/two-days.md`."""
    assert await document() == DOCUMENT.read_text(), "`make texts` writes the page anew: read what has changed"
