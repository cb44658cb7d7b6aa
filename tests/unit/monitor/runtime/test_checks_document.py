"""docs/reference/checks.md lists every check kind and its aspects."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.runtime.plugins import check_kinds
from probes.domain import blocklist

TEXT = (Path(__file__).parents[4] / "docs/reference/checks.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return re.split(r"^## ", TEXT.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(check_kinds()))
def test_checks_document_lists_every_aspect(name: str) -> None:
    assert first_cells(section(name)) == list(check_kinds()[name].aspects)


def test_checks_document_lists_every_kind_with_interval() -> None:
    told = dict(re.findall(r"^\| `([a-z]+)` \| ([^|]+) \|", section("Schedule and connections"), re.MULTILINE))
    assert told == {name: _often(kind.interval, off=kind.opt_in) for name, kind in check_kinds().items()}


def _often(interval: timedelta, *, off: bool) -> str:
    hours, minutes = divmod(int(interval.total_seconds()) // 60, 60)
    span = "hour" if (hours, minutes) == (1, 0) else f"{hours} h" if hours else f"{minutes} min"
    return f"off; every {span}" if off else f"every {span}"


def test_checks_document_names_every_block_list() -> None:
    assert [zone for zone in blocklist.DEFAULT_LISTS if zone not in TEXT] == []
