"""All targets, by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

import tests.fuzz
from tests.fuzz.target import Target


def targets() -> Mapping[str, Target]:
    """Return the targets of every module here that has some."""
    modules = (
        importlib.import_module(f"tests.fuzz.{each.name}")
        for each in pkgutil.iter_modules(tests.fuzz.__path__)
        if each.name not in {"__main__", "guided"}  # What is run, and needs what only `make fuzz` installs.
    )
    found = [target for module in modules for target in getattr(module, "TARGETS", ())]
    return {target.name: target for target in sorted(found, key=lambda target: target.name)}
