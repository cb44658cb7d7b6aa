"""Receiver of the Alertmanager's webhooks: authorization, parsing, and the incidents that result."""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import structlog

from alerts.engine.dispatcher import Dispatcher
from alerts.inbound.alertmanager import read_webhook
from alerts.model.alert import OWN_ALERT, AlertEffect, AlertGroup, ReceivedAlert
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from monitor.config.model.alertmanager import ReceiveSettings
from monitor.config.model.settings import Settings
from monitor.metrics import Metrics
from monitor.runtime.log_throttle import LogThrottle
from monitor.service.alertmanager.intake import AlertIntake

log = structlog.get_logger()

#: Maximum of alerts per transaction, so that other writers do not wait long.
_AT_ONCE = 250


class AlertReceiver:
    """Receiver of webhooks."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        metrics: Metrics,
        clock: Clock,
        settings: Callable[[], Settings],
        intake: AlertIntake | None = None,
    ) -> None:
        """Take the current settings from *settings*; *intake* limits the webhooks in memory."""
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        self._intake = intake or AlertIntake()
        self._throttle = LogThrottle()

    def admits(self, token: str) -> bool | None:
        """Whether this is the token of the Alertmanager; `None`: no token is configured, and nobody is admitted."""
        if (receive := self._receive()) is None:
            return None
        return hmac.compare_digest(receive.token.get_secret_value().encode(), token.encode())

    def refuse(self, status: int, why: str) -> None:
        """Count a refusal, and log refusals from time to time."""
        self._metrics.alert_webhook_refused(status)
        self._say("webhook rejected; Alertmanager does not send it again", status=status, reason=why)

    def place(self, octets: int) -> AbstractContextManager[None]:
        """Reserve memory for a webhook of so many octets while it is read and stored.

        Raise `IntakeFullError`: it is to be sent again.
        """
        return self._intake.place(octets)

    async def take(self, body: bytes) -> Mapping[AlertEffect, int]:
        """Process a webhook, which is stored on return. Return the number of alerts by effect.

        After an interruption Alertmanager sends all of it again, and processing is idempotent. Raise
        `WebhookRejectedError`, or `StoreUnavailable`: then it is to be sent again.
        """
        # Parsing eight megabytes takes a quarter of a second.
        webhook = await asyncio.to_thread(read_webhook, body, self._clock.now())
        if webhook.omitted:
            self._say(
                "Alertmanager truncated alerts; remove max_alerts from its webhook_configs", count=webhook.omitted
            )
        # Incidents of ours that we sent it: people are notified of them already.
        alerts = [each for each in webhook.alerts if each.labels.get("alertname") != OWN_ALERT]
        firing, news = sum(each.ended_at is None for each in alerts), Counter[AlertEffect]()
        receive = self._receive()
        group = AlertGroup(name=webhook.group, is_folded=receive is not None and firing > receive.fold_above)
        for begin in range(0, len(alerts), _AT_ONCE):
            async with self._intake.turn():
                some = alerts[begin : begin + _AT_ONCE]
                news.update(await self._dispatcher.take_alerts(some, self._briefs(), group))
        for each, times in news.items():
            self._metrics.alerts_received(each, times)
        return news

    def _receive(self) -> ReceiveSettings | None:
        section = self._settings().alertmanager
        return section.receive if section is not None else None

    def _briefs(self) -> Callable[[ReceivedAlert], PolicySnapshot]:
        """Return the function that gives the policy of an alert by the current configuration."""
        settings, receive, made = self._settings(), self._receive(), dict[str, PolicySnapshot]()

        def brief(alert: ReceivedAlert) -> PolicySnapshot:
            told_by = receive.told_by(alert.labels) if receive else ""
            if told_by not in made:
                made[told_by] = settings.heeded(settings.noc_brief(subject="", subject_en="", told_by=told_by))
            return made[told_by]

        return brief

    def _say(self, what: str, **fields: object) -> None:
        if self._throttle.admit((what, fields.get("reason"))) is not None:
            log.warning(what, **fields)
