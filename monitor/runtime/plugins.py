"""Find the probe kinds and gateways that ship as single modules."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Protocol, TypeVar


class Kind(Protocol):
    """What every such constant tells of itself."""

    @property
    def name(self) -> str:
        """The name it is configured by: that of its module."""


K = TypeVar("K", bound=Kind)


def discover(package: ModuleType, constant: str, *kinds: type[K]) -> dict[str, K]:
    """Return what each module of *package* offers under the name *constant*, keyed by its own name.

    Raise `TypeError` for a module without it or with another name: that is our bug, and it must stop the start and not
    the first incident.
    """
    found: dict[str, K] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        offered = getattr(module, constant, None)
        if not isinstance(offered, kinds):
            raise TypeError(
                f"{module.__name__} does not end with a {' or '.join(kind.__name__ for kind in kinds)} called {constant}"
            )
        if offered.name != info.name:
            raise TypeError(f"{module.__name__} calls itself {offered.name!r}")
        found[offered.name] = offered
    return found
