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
    """A changed notification state, for metrics."""

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
    #: Gateways with a taken slot, once for each; released after a rollback.
    taken: list[str] = field(default_factory=list)
    entered: list[StateChange] = field(default_factory=list)
    #: When the next action is due.
    wake: datetime | None = None
    #: Since when the oldest unsent notification is due.
    oldest_pending: datetime | None = None
    #: The incident while it is open.
    open: OpenIncident | None = None
    #: Rotas of started steps without anybody on call, by agency.
    deserted: Counter[str] = field(default_factory=Counter)
    #: Notifications that joined a bundle.
    bundled: Counter[Channel] = field(default_factory=Counter)
    #: Notifications that a rate limit delays.
    held: Counter[tuple[Channel, RateLimitScope]] = field(default_factory=Counter)
    #: Other incidents of a notification with a changed state.
    stirred: set[int] = field(default_factory=set)
    #: No action is due without another event.
    at_rest: bool = False

    def wake_at(self, at: datetime | None) -> None:
        """Keep the earliest due time."""
        if at is not None and (self.wake is None or at < self.wake):
            self.wake = at
