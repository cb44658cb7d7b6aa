"""Conditions for a release, and the contents of its bill of materials."""

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


def test_release_with_dated_section_and_clean_tree_is_ready() -> None:
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
def test_release_without_dated_section_with_entries_is_not_ready(changelog: str) -> None:
    assert not_ready(changelog) == ["CHANGELOG.md has no section '## 0.2.0 - YEAR-MONTH-DAY' with what changed"]


def test_release_with_unreleased_entries_is_not_ready() -> None:
    (told,) = not_ready(RELEASED.replace("Unreleased\n", "Unreleased\n\n- Another.\n"))
    assert "under 'Unreleased'" in told


def test_release_with_uncommitted_files_names_them() -> None:
    assert not_ready(RELEASED, changed=[" M pyproject.toml", "?? new.py"]) == [
        "These files are not committed:\n M pyproject.toml\n?? new.py"
    ]


def test_bill_of_materials_omits_addresses() -> None:
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
