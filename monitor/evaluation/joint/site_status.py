"""Status of an agency's mail, or of an own part, at one site: a level that is repeated, not an event. Pure."""

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
    """Current status at a site. Neither in trouble nor well: unknown, undecided, or flapping. Never both."""

    trouble: ActiveProblem | None = None
    #: The most frequent cause, if known.
    cause: Cause | None = None
    #: Since when all of it works; `None`: not all does, or it flaps.
    up_since: datetime | None = None
    #: Health of each direction that the site probes; unknown also if all its runs are inconclusive because of our own
    #: fault. Empty for own parts.
    directions: Mapping[Direction, Health] = field(default_factory=dict)
    #: Names of unhealthy routes.
    failing_routes: frozenset[str] = frozenset()


#: No known problem; recovery was not examined.
UNTROUBLED = SiteStatus()
