"""What the dispatcher says about its work to whoever counts it."""

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
    """Told of what happened, after it was committed."""

    def notice_entered(self, channel: Channel, purpose: Purpose, state: NotificationState) -> None:
        """Count a notice that came into this state."""

    def told(self, telling: NotificationLatency) -> None:
        """Note how long it took to come to a milestone of telling somebody: each once."""

    def nobody_on_call(self, agency: str, rotas: int) -> None:
        """Count rotas that an incident was to tell somebody by, and that had nobody on call."""

    def notices_bundled(self, channel: Channel, notices: int) -> None:
        """Count notices that were joined to others instead of being sent by themselves."""

    def notices_held(self, channel: Channel, brake: RateLimitScope, notices: int) -> None:
        """Count notices that a brake has begun to hold back."""

    def gateway_judged(self, channel: Channel, gateway: str, *, up: bool) -> None:
        """Note that a gateway answered, or did not."""

    def gateway_doubted(self, channel: Channel, gateway: str, *, doubted: bool | None) -> None:
        """Note whether a gateway's receipts are overdue against its habit; `None`: it has none."""

    def callback_refused(self, gateway: str, reason: str) -> None:
        """Count a provider's callback that could not be trusted or understood."""

    def outages_declared(self, declared: Mapping[str, IncidentType], *, all_known: bool) -> None:
        """Note what people have declared of agencies that nobody has said to be over.

        *all_known*: every open incident has been looked at since the start; else there may be more.
        """

    def cycle_finished(
        self, now: datetime, oldest_pending: datetime | None, open_incidents: Collection[OpenIncident]
    ) -> None:
        """Note that all that was due is done, and which incidents are open.

        *oldest_pending*: creation of the oldest notice not yet sent.
        """
