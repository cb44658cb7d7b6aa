"""What keeps a tree from being released, and what its bill of materials does not say."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "deploy" / "release.py"))

RELEASED = """# Changelog

## Unreleased

## 0.2.0 - 2026-11-27

### Added

- Something.

## 0.1.0 - 2026-11-20

- The first.
"""


def not_ready(changelog: str, version: str = "0.2.0", changed: Sequence[str] = ()) -> list[str]:
    lacks: list[str] = SCRIPT["not_ready"](changelog, version, changed)
    return lacks


def test_a_tree_with_a_section_for_its_version_and_nothing_left_over_is_released() -> None:
    assert not_ready(RELEASED) == []
    assert not_ready(RELEASED, "0.1.0") == []
    assert not_ready(RELEASED.replace("2026-11-27", "2026-11-27 (commit 3786dfaa)")) == []


@pytest.mark.parametrize(
    "changelog",
    [
        RELEASED.replace("## 0.2.0 - 2026-11-27", "## 0.2.0"),
        RELEASED.replace("## 0.2.0 - 2026-11-27", "## 0.2.0 - soon"),
        RELEASED.replace("2026-11-27", "2026-11-27 (commit unknown)"),
        RELEASED.replace("0.2.0", "0x2.0"),
        RELEASED.replace("### Added\n\n- Something.\n", ""),
        "# Changelog\n",
    ],
)
def test_a_version_without_a_dated_section_that_tells_something_is_not_released(changelog: str) -> None:
    assert not_ready(changelog) == ["CHANGELOG.md has no section '## 0.2.0 - YEAR-MONTH-DAY' with what changed"]


def test_what_changed_and_is_told_under_no_version_keeps_a_release_back() -> None:
    (told,) = not_ready(RELEASED.replace("Unreleased\n", "Unreleased\n\n- Another.\n"))
    assert "under 'Unreleased'" in told


def test_files_that_are_not_committed_are_named() -> None:
    assert not_ready(RELEASED, changed=[" M pyproject.toml", "?? new.py"]) == [
        "These files are not committed:\n M pyproject.toml\n?? new.py"
    ]


def test_a_bill_of_materials_keeps_everything_but_addresses() -> None:
    address = [{"type": "website", "url": "https://registry.example/simple"}]
    bill: dict[str, Any] = {
        "metadata": {"tools": {"components": [{"name": "tool", "externalReferences": address}]}},
        "components": [
            {"name": "h11", "purl": "pkg:pypi/h11@0.16.0", "externalReferences": address, "description": "All of it."}
        ],
        "dependencies": [{"ref": "h11==0.16.0", "dependsOn": []}],
        "version": 1,
    }
    assert SCRIPT["without_addresses"](bill) == {
        "metadata": {"tools": {"components": [{"name": "tool"}]}},
        "components": [{"name": "h11", "purl": "pkg:pypi/h11@0.16.0"}],
        "dependencies": [{"ref": "h11==0.16.0", "dependsOn": []}],
        "version": 1,
    }
