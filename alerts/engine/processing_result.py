"""What came of bringing an incident forward. Data only."""

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
    """A notice came into a state; for those who count."""

    channel: Channel
    purpose: Purpose
    state: NotificationState


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncident:
    """An incident that is open; for those who show it."""

    #: Whose it is; "" for something of ours.
    agency: str
    #: What people quote.
    number: str
    opened_at: datetime
    #: What a person has declared about it that nobody has said to be over.
    declared: IncidentType | None = None


@dataclass(slots=True)
class ProcessingResult:
    """What came of bringing an incident forward."""

    calls: list[GatewayCall] = field(default_factory=list)
    #: The gateways of which a slot was taken, once for each: they are given back if all this comes to nothing.
    taken: list[str] = field(default_factory=list)
    entered: list[StateChange] = field(default_factory=list)
    #: When there is something to do again.
    wake: datetime | None = None
    #: Since when the oldest of its notices is due and not sent.
    oldest_pending: datetime | None = None
    #: The incident, while it is open.
    open: OpenIncident | None = None
    #: Rotas that were to tell somebody and had nobody on call, by agency.
    deserted: Counter[str] = field(default_factory=Counter)
    #: Notices that were bundled into others.
    bundled: Counter[Channel] = field(default_factory=Counter)
    #: Notices that a brake holds back.
    held: Counter[tuple[Channel, RateLimitScope]] = field(default_factory=Counter)
    #: Other incidents that share a notice whose state has changed.
    stirred: set[int] = field(default_factory=set)
    #: Nothing more is owed to anybody.
    at_rest: bool = False

    def wake_at(self, at: datetime | None) -> None:
        """Remember the earliest time at which something is due."""
        if at is not None and (self.wake is None or at < self.wake):
            self.wake = at
