"""Discovery of plug-ins: kinds of probes, checks and gateways, one module each."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Protocol, TypeVar

import probes.kinds
from probes.model.check import CheckKind
from probes.model.probe import ProbeKind


class Plugin(Protocol):
    """A plug-in constant."""

    @property
    def name(self) -> str:
        """The configured name: that of the module, prefixed with that of its folder if it has one."""


K = TypeVar("K", bound=Plugin)


def discover(package: ModuleType, constant: str, *kinds: type[K]) -> dict[str, K]:
    """Return the plug-ins that the modules of *package* define as *constant*, by name.

    Plug-ins of one provider may share a folder: `twilio/sms.py` defines "twilio_sms", and a module there without the
    constant is a helper. Raise `TypeError` for a module or folder without a plug-in or with another name: the bug must
    stop the start and not appear in the first incident.
    """
    found: dict[str, K] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        offering = _folder_plugins(module, info.name, constant) if info.ispkg else {}
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


def _folder_plugins(folder: ModuleType, prefix: str, constant: str) -> dict[str, ModuleType]:
    """Return the modules of a folder that define a plug-in, by the required name."""
    modules = {
        f"{prefix}_{info.name}": importlib.import_module(f"{folder.__name__}.{info.name}")
        for info in pkgutil.iter_modules(folder.__path__)
    }
    return {name: module for name, module in modules.items() if hasattr(module, constant)}


#: The kind that probes every route.
ROUND_TRIP = "roundtrip"


def kinds() -> dict[str, ProbeKind | CheckKind]:
    """Return all kinds by name. Raise `TypeError` for a malformed module."""
    return discover(probes.kinds, "KIND", ProbeKind, CheckKind)


def probe_kinds() -> dict[str, ProbeKind]:
    """Return the kinds that send a message on a route."""
    return {name: kind for name, kind in kinds().items() if isinstance(kind, ProbeKind)}


def check_kinds() -> dict[str, CheckKind]:
    """Return the kinds that check the configuration of mail."""
    return {name: kind for name, kind in kinds().items() if isinstance(kind, CheckKind)}
