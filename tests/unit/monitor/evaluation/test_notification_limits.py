"""Notifications that an officer receives on a day of flapping, as listed in docs/explanation/notification-limits.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.monitor.flapping_day import COLUMNS, PATTERNS, row

DOCUMENT = (Path(__file__).parents[4] / "docs/explanation/notification-limits.md").read_text()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_notification_limits_table_row_matches_simulation(pattern: str) -> None:
    assert row(pattern) in DOCUMENT.splitlines()


def test_notification_limits_table_has_no_other_rows() -> None:
    lines = [line for line in DOCUMENT.partition("## Flapping\n")[2].splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(PATTERNS)
    assert [cell.strip() for cell in lines[0].strip("|").split("|")[1:]] == [*COLUMNS]
