"""Result of processing incidents. Data only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.engine.gateway_call import GatewayCall
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.notification import IncidentType, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """New state of a notification, for metrics."""

    channel: Channel
    purpose: Purpose
    state: NotificationState


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncident:
    """An open incident, for metrics."""

    #: Short code of the agency; "" for a monitoring fault.
    agency: str
    #: The incident number that people quote.
    number: str
    opened_at: datetime
    #: A declared type that has not ended.
    declared: IncidentType | None = None


@dataclass(slots=True)
class ProcessingResult:
    """Result of processing an incident."""

    calls: list[GatewayCall] = field(default_factory=list)
    #: Names of gateways, once for each slot that was taken; the slots are released after a rollback.
    taken_slots: list[str] = field(default_factory=list)
    state_changes: list[StateChange] = field(default_factory=list)
    #: When the next action is due.
    wake: datetime | None = None
    #: Since when the oldest unsent notification is due.
    oldest_pending: datetime | None = None
    #: The incident while it is open.
    open: OpenIncident | None = None
    #: Number of rotas of started steps with nobody on call, by agency.
    empty_rotas: Counter[str] = field(default_factory=Counter)
    #: Number of notifications that joined a bundle.
    bundled: Counter[Channel] = field(default_factory=Counter)
    #: Number of notifications that a rate limit delays.
    throttled: Counter[tuple[Channel, RateLimitScope]] = field(default_factory=Counter)
    #: Other incidents to process, because the state of a notification that they share has changed.
    affected_incidents: set[int] = field(default_factory=set)
    #: Whether no action will be due without another event.
    is_inactive: bool = False

    def wake_at(self, at: datetime | None) -> None:
        """Set when the next action is due, unless an earlier time is set."""
        if at is not None and (self.wake is None or at < self.wake):
            self.wake = at
