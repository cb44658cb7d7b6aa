"""How often an officer's telephone rings in a day on which mail comes and goes, as docs/explanation/notification-limits.md has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.monitor.restless import COLUMNS, PATTERNS, row

DOCUMENT = (Path(__file__).parents[4] / "docs/explanation/notification-limits.md").read_text()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_table_says_what_an_officer_hears_in_a_day(pattern: str) -> None:
    assert row(pattern) in DOCUMENT.splitlines()


def test_the_table_has_nothing_else() -> None:
    lines = [line for line in DOCUMENT.partition("## Flapping\n")[2].splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(PATTERNS)
    assert [cell.strip() for cell in lines[0].strip("|").split("|")[1:]] == [*COLUMNS]
