"""The kinds of probes and gateways that ship, each a module: found, and not listed."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Protocol, TypeVar

import probes.kinds
from probes.model.check import CheckKind
from probes.model.probe import ProbeKind


class Plugin(Protocol):
    """What every such constant tells of itself."""

    @property
    def name(self) -> str:
        """The name it is configured by: that of its module, behind that of its folder if it has one of its own."""


K = TypeVar("K", bound=Plugin)


def discover(package: ModuleType, constant: str, *kinds: type[K]) -> dict[str, K]:
    """Return what each module of *package* offers under the name *constant*, keyed by its own name.

    What a provider's kinds share stands beside them in a folder: `twilio/sms.py` offers "twilio_sms", and a module there
    need not offer anything, as long as another does. Raise `TypeError` for a module or folder without it or with another
    name: that is our bug, and it must stop the start and not the first incident.
    """
    found: dict[str, K] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        offering = _inside(module, info.name, constant) if info.ispkg else {}
        for name, one in (offering or {info.name: module}).items():
            offered = getattr(one, constant, None)
            if not isinstance(offered, kinds):
                raise TypeError(
                    f"{one.__name__} does not end with a {' or '.join(kind.__name__ for kind in kinds)} called {constant}"
                )
            if offered.name != name:
                raise TypeError(f"{one.__name__} calls itself {offered.name!r}")
            found[name] = offered
    return found


def _inside(folder: ModuleType, prefix: str, constant: str) -> dict[str, ModuleType]:
    """Return the modules of a folder that offer something, by the name that each has to bear."""
    modules = {
        f"{prefix}_{info.name}": importlib.import_module(f"{folder.__name__}.{info.name}")
        for info in pkgutil.iter_modules(folder.__path__)
    }
    return {name: module for name, module in modules.items() if hasattr(module, constant)}


#: What every route is probed with.
ROUND_TRIP = "roundtrip"


def kinds() -> dict[str, ProbeKind | CheckKind]:
    """Return every kind by its name. Raise `TypeError` when a module is not what it should be: that stops the start."""
    return discover(probes.kinds, "KIND", ProbeKind, CheckKind)


def probe_kinds() -> dict[str, ProbeKind]:
    """Return the kinds that send a message on a route."""
    return {name: kind for name, kind in kinds().items() if isinstance(kind, ProbeKind)}


def check_kinds() -> dict[str, CheckKind]:
    """Return the kinds that look at what mail rests on."""
    return {name: kind for name, kind in kinds().items() if isinstance(kind, CheckKind)}
