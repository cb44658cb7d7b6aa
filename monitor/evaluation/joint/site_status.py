"""Status of an agency's mail, or of a fault source, at one site. It is reported repeatedly, not as an event. Pure."""

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
    """Current status at a site: either *trouble* or *up_since*, or neither if it is undecided, unknown or flapping."""

    trouble: ActiveProblem | None = None
    #: The most frequent cause, if known.
    cause: Cause | None = None
    #: Since when everything works; `None`: not everything does, or it flaps.
    up_since: datetime | None = None
    #: Health of each direction that the site probes; unknown also if all its runs are inconclusive because of a
    #: monitoring fault. Empty for fault sources.
    directions: Mapping[Direction, Health] = field(default_factory=dict)
    #: Names of unhealthy routes.
    failing_routes: frozenset[str] = frozenset()


#: No known problem; recovery was not examined.
UNTROUBLED = SiteStatus()
