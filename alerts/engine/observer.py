"""Interface by which the engine reports to the metrics."""

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
    """Receiver of metrics. Each method is called after the commit of the transaction that it reports."""

    def count_notification(self, channel: Channel, purpose: Purpose, state: NotificationState) -> None:
        """Count a notification that has reached this state."""

    def record_latency(self, latency: NotificationLatency) -> None:
        """Record how long a notification took to be accepted, delivered or acknowledged. Each is reported once."""

    def count_empty_rotas(self, agency: str, rotas: int) -> None:
        """Count the rotas of a started escalation step on which nobody is on call."""

    def count_bundled_notifications(self, channel: Channel, notifications: int) -> None:
        """Count notifications that joined a bundle, that is, a notification about several incidents."""

    def count_throttled_notifications(self, channel: Channel, scope: RateLimitScope, notifications: int) -> None:
        """Count notifications that a rate limit begins to delay. *scope*: whether it is the contact's or gateway's."""

    def set_gateway_up(self, channel: Channel, gateway: str, *, up: bool) -> None:
        """Record whether a gateway call succeeded."""

    def set_receipts_overdue(self, channel: Channel, gateway: str, *, overdue: bool | None) -> None:
        """Record whether a gateway's delivery receipts are overdue. `None`: unknown, because it has sent too few."""

    def count_rejected_callback(self, gateway: str, reason: str) -> None:
        """Count a provider's callback that was rejected."""

    def set_declared_outages(self, declared: Mapping[str, IncidentType], *, all_known: bool) -> None:
        """Record the types of the outages that people have declared and that have not ended, by agency.

        *all_known*: whether every open incident was processed since the start; otherwise there may be more.
        """

    def record_cycle(
        self, now: datetime, oldest_pending: datetime | None, open_incidents: Collection[OpenIncident]
    ) -> None:
        """Record the end of a cycle of the engine, and the open incidents.

        *oldest_pending*: since when the oldest unsent notification is due; `None`: none is unsent.
        """
