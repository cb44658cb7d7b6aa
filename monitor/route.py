"""What the service knows of a route beside its two mailboxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from monitor.health import HealthPolicy
from probes.probe import Patience, Route


class Direction(StrEnum):
    """Which way a route goes, seen from the agency."""

    #: Agency to itself.
    INTERNAL = "internal"
    #: Agency to a reference mailbox.
    OUTBOUND = "outbound"
    #: A reference mailbox to the agency.
    INBOUND = "inbound"
    #: Reference to reference: proves that we and they work.
    CONTROL = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How a route is probed and judged."""

    interval: timedelta = timedelta(minutes=5)
    #: A run that contradicts the present health is repeated this soon.
    confirmation: timedelta = timedelta(seconds=60)
    patience: Patience = field(default_factory=Patience)
    #: A message that takes longer is slow.
    slow_after: timedelta = timedelta(seconds=60)
    #: 4xx answers are no verdict for this long (greylisting, a full queue).
    deferred_budget: timedelta = timedelta(minutes=30)
    health: HealthPolicy = field(default_factory=HealthPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRoute:
    """A route, whose it is, and how it is probed."""

    route: Route
    #: The agency's short code, or "" for a control route.
    agency: str
    direction: Direction
    probing: Probing

    @property
    def name(self) -> str:
        """The route's unique name."""
        return self.route.name

    @property
    def reference(self) -> str | None:
        """Name of the reference mailbox at the other end; `None` for internal and control routes."""
        if self.direction is Direction.OUTBOUND:
            return self.route.recipient.name
        if self.direction is Direction.INBOUND:
            return self.route.sender.name
        return None
