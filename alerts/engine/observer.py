"""Metrics interface of the engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from alerts.decide.gateway.latency import NotificationLatency
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.engine.processing_result import OpenIncident
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.notification import IncidentType, Purpose


class Observer(Protocol):
    """Receives what happened, after the commit."""

    def notice_entered(self, channel: Channel, purpose: Purpose, state: NotificationState) -> None:
        """Count a notification that has reached this state."""

    def told(self, telling: NotificationLatency) -> None:
        """Record the latency of a milestone, once each."""

    def nobody_on_call(self, agency: str, rotas: int) -> None:
        """Count rotas of a started step without anybody on call."""

    def notices_bundled(self, channel: Channel, notices: int) -> None:
        """Count notifications that joined a bundle."""

    def notices_held(self, channel: Channel, brake: RateLimitScope, notices: int) -> None:
        """Count notifications that a rate limit delays from now on."""

    def gateway_judged(self, channel: Channel, gateway: str, *, up: bool) -> None:
        """Record whether a gateway call succeeded."""

    def gateway_doubted(self, channel: Channel, gateway: str, *, doubted: bool | None) -> None:
        """Record whether a gateway's receipts are overdue; `None`: it has no baseline."""

    def callback_refused(self, gateway: str, reason: str) -> None:
        """Count a provider's callback that was rejected."""

    def outages_declared(self, declared: Mapping[str, IncidentType], *, all_known: bool) -> None:
        """Record the declared outages that have not ended.

        *all_known*: every open incident was processed since the start; otherwise there may be more.
        """

    def cycle_finished(
        self, now: datetime, oldest_pending: datetime | None, open_incidents: Collection[OpenIncident]
    ) -> None:
        """Record the end of a cycle and the open incidents.

        *oldest_pending*: creation of the oldest unsent notification.
        """
