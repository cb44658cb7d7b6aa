"""The kinds of probes that ship."""

from __future__ import annotations

import probes.kinds
from monitor.plugins import discover
from probes.probe import ProbeKind

#: What every route is probed with.
ROUND_TRIP = "roundtrip"


def probe_kinds() -> dict[str, ProbeKind]:
    """Return every kind by its name. Raise `TypeError` when a module is not what it should be: that stops the start."""
    return discover(probes.kinds, "KIND", ProbeKind)
