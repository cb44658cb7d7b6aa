"""Declared dependencies: each imported library is declared by the distribution that imports it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Packages of this repository.
_OWN = {"alerts", "grafana", "monitor", "pantau_lab", "probes"}
#: A part of pydantic, which requires one exact version of it.
_PARTS = {"pydantic_core"}


def imported_packages(*folders: str) -> set[str]:
    """Return the top-level packages that the modules below *folders* import, also inside functions."""
    found = set[str]()
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_bytes())):
                match node:
                    case ast.Import():
                        found |= {alias.name.partition(".")[0] for alias in node.names}
                    case ast.ImportFrom(module=str(module), level=0):
                        found.add(module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - _OWN - _PARTS


def declared_libraries(*projects: str) -> set[str]:
    requirements = [
        each
        for project in projects
        for each in tomllib.loads((ROOT / project).read_text(encoding="utf-8"))["project"]["dependencies"]
    ]
    return {_normalized(re.split(r"[^A-Za-z0-9_.-]", each)[0]) for each in requirements}


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize(
    ("folders", "projects"),
    [
        (("alerts", "monitor", "probes"), ("pyproject.toml",)),
        # The lab requires the product of the same version.
        (("lab/pantau_lab",), ("lab/pyproject.toml", "pyproject.toml")),
    ],
    ids=["product", "lab"],
)
def test_imported_libraries_are_declared(folders: tuple[str, ...], projects: tuple[str, ...]) -> None:
    declared, distributions = declared_libraries(*projects), packages_distributions()

    undeclared = {
        package
        for package in imported_packages(*folders)
        if declared.isdisjoint(map(_normalized, distributions.get(package, ())))
    }

    assert undeclared == set()
