"""The kinds of probes that ship."""

from __future__ import annotations

import probes.kinds
from monitor.runtime.plugins import discover
from probes.model.check import CheckKind
from probes.model.probe import ProbeKind

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
