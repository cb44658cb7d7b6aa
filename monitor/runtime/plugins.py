"""Discovery of plug-ins: the kinds of probes, checks and gateways. Each kind is one module."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Protocol, TypeVar

import probes.kinds
from probes.model.check import CheckKind
from probes.model.probe import ProbeKind


class Plugin(Protocol):
    """A plug-in: the value of a known constant in its module, such as `KIND`."""

    @property
    def name(self) -> str:
        """The name in the configuration: the module's name, in a folder prefixed with the folder's name."""


P = TypeVar("P", bound=Plugin)


def discover(package: ModuleType, constant: str, *plugin_types: type[P]) -> dict[str, P]:
    """Return the plug-ins, of any of *plugin_types*, that the modules of *package* define as *constant*, by name.

    Plug-ins of one provider may share a folder: `twilio/sms.py` defines "twilio_sms". A module in a folder without the
    constant is a helper. Raise `TypeError` for any other module without it, for a folder without a plug-in, and for a
    plug-in with another name than its module requires. So such a bug appears at the start and not during the first
    incident.
    """
    plugins: dict[str, P] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        plugin_modules = _folder_plugins(module, info.name, constant) if info.ispkg else {}
        for name, plugin_module in (plugin_modules or {info.name: module}).items():
            plugin = getattr(plugin_module, constant, None)
            if not isinstance(plugin, plugin_types):
                expected = " or ".join(each.__name__ for each in plugin_types)
                raise TypeError(f"{plugin_module.__name__} has no {expected} called {constant}")
            if plugin.name != name:
                raise TypeError(f"{plugin_module.__name__} must have the name {name!r}, and has {plugin.name!r}")
            plugins[name] = plugin
    return plugins


def _folder_plugins(folder: ModuleType, prefix: str, constant: str) -> dict[str, ModuleType]:
    """Return the modules of a folder that define a plug-in, by the required name."""
    modules = {
        f"{prefix}_{info.name}": importlib.import_module(f"{folder.__name__}.{info.name}")
        for info in pkgutil.iter_modules(folder.__path__)
    }
    return {name: module for name, module in modules.items() if hasattr(module, constant)}


#: Name of the probe kind that probes every route.
ROUND_TRIP = "roundtrip"


def kinds() -> dict[str, ProbeKind | CheckKind]:
    """Return all kinds by name. Raise `TypeError` for a malformed module."""
    return discover(probes.kinds, "KIND", ProbeKind, CheckKind)


def probe_kinds() -> dict[str, ProbeKind]:
    """Return the kinds that send a message on a route."""
    return {name: kind for name, kind in kinds().items() if isinstance(kind, ProbeKind)}


def check_kinds() -> dict[str, CheckKind]:
    """Return the kinds that send no message, and examine something that mail depends on."""
    return {name: kind for name, kind in kinds().items() if isinstance(kind, CheckKind)}
