"""Monitored routes with their probing policies.

A route is a pair of mailboxes between which probe messages are sent: of an agency, or of an agency and a *reference*, a
mailbox of the operator outside the agencies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from monitor.model.health import HealthPolicy
from monitor.model.window import ALWAYS, Hours
from probes.model.probe import Route, Timeouts


class Direction(StrEnum):
    """Direction of a route, seen from the agency."""

    #: Agency to itself.
    INTERNAL = "internal"
    #: Agency to a reference mailbox.
    OUTBOUND = "outbound"
    #: Reference mailbox to the agency.
    INBOUND = "inbound"
    #: From one reference mailbox to another: proves that the monitoring itself works.
    CONTROL = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbingPolicy:
    """Policy for probing and evaluating a route."""

    interval: timedelta = timedelta(minutes=5)
    #: A run that contradicts the current health is repeated after this.
    retry_interval: timedelta = timedelta(seconds=60)
    timeouts: Timeouts = field(default_factory=Timeouts)
    #: A message that takes longer is slow.
    slow_threshold: timedelta = timedelta(seconds=60)
    #: Greylisting (RFC 6647) is no verdict for this long. Any other 4xx is a failure.
    deferral_timeout: timedelta = timedelta(minutes=30)
    health: HealthPolicy = field(default_factory=HealthPolicy)
    hours: Hours = ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredRoute:
    """A route with its agency and policy."""

    route: Route
    #: The agency's short code, or "" for a control route.
    agency: str
    direction: Direction
    probing: ProbingPolicy
    #: The message is sent to an address of the agency and read in a reference mailbox, to which it is forwarded.
    forwarded: bool = False

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

    @property
    def references(self) -> tuple[str, ...]:
        """Names of all reference mailboxes at its ends; empty for internal and control routes."""
        if self.forwarded:
            return (self.route.sender.name, self.route.recipient.name)
        return () if self.reference is None else (self.reference,)
