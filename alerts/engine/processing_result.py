"""Result of processing an incident in a cycle of the engine. Data only."""

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

    #: Short code of the agency; "" for a monitoring fault (a problem of Pantau itself).
    agency: str
    #: The incident number that people quote.
    number: str
    opened_at: datetime
    #: Type of outage that a person has declared, until a person ends the declaration; `None`: nothing is declared.
    declared: IncidentType | None = None


@dataclass(slots=True)
class ProcessingResult:
    """Result of processing an incident."""

    #: Gateway calls to start after the commit.
    calls: list[GatewayCall] = field(default_factory=list)
    #: Names of gateways, one for each slot that was taken for a call. The slots are released after a rollback.
    taken_slots: list[str] = field(default_factory=list)
    state_changes: list[StateChange] = field(default_factory=list)
    #: When the next action is due; `None`: not before another event.
    next_due_at: datetime | None = None
    #: Since when the oldest unsent notification is due; `None`: none is unsent.
    oldest_pending: datetime | None = None
    #: `None`: the incident has ended.
    open_incident: OpenIncident | None = None
    #: Number of rotas of started steps with nobody on call, by agency.
    empty_rotas: Counter[str] = field(default_factory=Counter)
    #: Number of notifications that joined a bundle (a notification about several incidents).
    bundled: Counter[Channel] = field(default_factory=Counter)
    #: Number of notifications that a rate limit (the contact's or the gateway's) begins to delay.
    throttled: Counter[tuple[Channel, RateLimitScope]] = field(default_factory=Counter)
    #: Ids of other incidents to process: a notification that they share has changed, or a telephone call has ended for
    #: which they wait.
    affected_incidents: set[int] = field(default_factory=set)
    #: Whether the incident need not be processed again before another event.
    is_inactive: bool = False

    def wake_at(self, at: datetime | None) -> None:
        """Set `next_due_at` to *at*, unless `next_due_at` is earlier already."""
        if at is not None and (self.next_due_at is None or at < self.next_due_at):
            self.next_due_at = at
