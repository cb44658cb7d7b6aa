"""Monitored routes with their probing policies.

A route is a pair of mailboxes: probe messages are sent from one to the other. An agency's route connects two mailboxes
of the agency, or one with a *reference*: a mailbox of the operator outside the agencies. A control route connects two
references.
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
    #: After this time a run that contradicts the current health is repeated.
    retry_interval: timedelta = timedelta(seconds=60)
    timeouts: Timeouts = field(default_factory=Timeouts)
    #: A message with a longer transit time counts as slow.
    slow_threshold: timedelta = timedelta(seconds=60)
    #: For this long, a rejection by greylisting (RFC 6647) is not a failure. Any other 4xx reply is a failure.
    deferral_timeout: timedelta = timedelta(minutes=30)
    health: HealthPolicy = field(default_factory=HealthPolicy)
    #: The route is probed only in these hours.
    hours: Hours = ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredRoute:
    """A route with its agency and policy."""

    route: Route
    #: The agency's short code, or "" for a control route.
    agency: str
    direction: Direction
    probing: ProbingPolicy
    #: Whether the route is forwarded: the message is sent to an address of the agency, which forwards it to a reference
    #: mailbox, where it is read. Its direction is inbound.
    forwarded: bool = False

    @property
    def name(self) -> str:
        """The route's unique name."""
        return self.route.name

    @property
    def reference(self) -> str | None:
        """Name of the reference to or from which the agency's mail goes; `None` for internal and control routes."""
        if self.direction is Direction.OUTBOUND:
            return self.route.recipient.name
        if self.direction is Direction.INBOUND:
            return self.route.sender.name
        return None

    @property
    def references(self) -> tuple[str, ...]:
        """Names of the references at the ends of a route of an agency; empty for internal and control routes."""
        if self.forwarded:
            return (self.route.sender.name, self.route.recipient.name)
        return () if self.reference is None else (self.reference,)
