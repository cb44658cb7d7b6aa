"""Status of an agency's mail, or of a fault source, at one site. Pure.

A site is a place from which mail is probed. A fault source is a part of the monitoring that may be at fault. A status
is reported repeatedly, not as an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from alerts.model.notification import Cause
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import Health
from monitor.model.route import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """Current status at a site.

    Either `trouble` or `up_since` is set, or neither if the status is undecided, unknown or flapping.
    """

    #: The current problem; `None`: no problem is known.
    trouble: ActiveProblem | None = None
    #: The most frequent cause of failed runs; `None`: unknown.
    cause: Cause | None = None
    #: Since when everything works; `None`: not everything works, or it flaps, or recovery was not examined.
    up_since: datetime | None = None
    #: Health of each direction that the site probes. It is also unknown if all runs are inconclusive, because of a
    #: monitoring fault (a fault of our own side). Empty for fault sources.
    directions: Mapping[Direction, Health] = field(default_factory=dict)
    #: Names of unhealthy routes.
    failing_routes: frozenset[str] = frozenset()


#: Status without a known problem. Recovery was not examined, because no incident was open.
UNTROUBLED = SiteStatus()
