"""Two days without mail, over a weekend and a holiday: tests/data/two-days.md tells it from each person's side."""

from __future__ import annotations

import pytest

from tests.two_days import DOCUMENT, document

pytestmark = pytest.mark.story


async def test_two_days_without_mail_are_told_as_the_page_says() -> None:
    """An outage of two days over a weekend and a holiday is recorded for each person in `tests/data/two-days.md`."""
    assert await document() == DOCUMENT.read_text(), "`make texts` writes the page anew: read what has changed"
