"""All targets, by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

import tests.fuzz
from tests.fuzz.target import Target


def targets() -> Mapping[str, Target]:
    """Return the targets of all modules of this package."""
    modules = (
        importlib.import_module(f"tests.fuzz.{each.name}")
        for each in pkgutil.iter_modules(tests.fuzz.__path__)
        if each.name not in {"__main__", "guided"}  # The program, and a module that needs atheris.
    )
    found = [target for module in modules for target in getattr(module, "TARGETS", ())]
    return {target.name: target for target in sorted(found, key=lambda target: target.name)}
