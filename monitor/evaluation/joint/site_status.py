"""How one site judges an agency's mail, or something of its own: a level that is said again, not an event. Pure."""

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
    """What a site says now. Neither in trouble nor well: not known, not clear yet, or not believed yet. Never both."""

    trouble: ActiveProblem | None = None
    #: Why most of it fails, where that is known.
    cause: Cause | None = None
    #: Since when all of it is proven to work; `None`: not all is, or it goes down and up too often to be believed.
    well_since: datetime | None = None
    #: How each direction is judged that the site probes; unknown, too, where a fault of ours keeps all its runs from telling.
    #: Nothing of what is our own.
    directions: Mapping[Direction, Health] = field(default_factory=dict)
    #: The routes that are in trouble, by name.
    troubled: frozenset[str] = frozenset()


#: Nothing is known to be wrong. Whether it is proven to work was not asked.
UNTROUBLED = SiteStatus()
