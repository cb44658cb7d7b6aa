"""Receiver of Alertmanager webhooks: authorizes and parses them, and opens and resolves incidents for their alerts."""

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

#: Maximum of alerts that one transaction stores: other writers wait for its end.
_MAX_ALERTS_PER_TRANSACTION = 250


class AlertReceiver:
    """Receiver of webhooks. `intake` limits them, and the dispatcher opens and resolves the incidents."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        metrics: Metrics,
        clock: Clock,
        settings: Callable[[], Settings],
        intake: AlertIntake | None = None,
    ) -> None:
        """Take *settings*, which returns the current settings, and *intake*, which limits the webhooks in memory."""
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        self._intake = intake or AlertIntake()
        self._throttle = LogThrottle()

    def admits(self, token: str) -> bool | None:
        """Return whether *token* is the configured token; `None`: no token is configured, and no client is admitted."""
        if (receive := self._receive_settings()) is None:
            return None
        return hmac.compare_digest(receive.token.get_secret_value().encode(), token.encode())

    def record_rejection(self, status: int, reason: str) -> None:
        """Count a rejected webhook, and log it unless the same *reason* was logged a moment ago."""
        self._metrics.count_rejected_alert_webhook(status)
        # Alertmanager sends a webhook again after 429, but not after another error of the client (4xx).
        self._warn("webhook rejected", status=status, reason=reason)

    def reserve(self, octets: int) -> AbstractContextManager[None]:
        """Reserve memory for a webhook of *octets* while it is read and stored.

        Raise `IntakeFullError`; the client is told to send the webhook again.
        """
        return self._intake.reserve(octets)

    async def process(self, body: bytes) -> Mapping[AlertEffect, int]:
        """Store the alerts of a webhook; return the number of alerts by their effect on incidents.

        Processing is idempotent, because Alertmanager sends the whole webhook again after an error. Raise
        `WebhookRejectedError` for an invalid *body*. Raise `StoreUnavailable`; then Alertmanager must send the webhook
        again.
        """
        # Parse in a thread: eight megabytes take a quarter of a second.
        webhook = await asyncio.to_thread(read_webhook, body, self._clock.now())
        if webhook.omitted:
            self._warn(
                "Alertmanager truncated alerts; remove max_alerts from its webhook_configs", count=webhook.omitted
            )
        # Skip alerts that Pantau itself sent to Alertmanager: it notifies people of the incidents behind them anyway.
        alerts = [each for each in webhook.alerts if each.labels.get("alertname") != OWN_ALERT]
        firing_count, effects = sum(each.ended_at is None for each in alerts), Counter[AlertEffect]()
        receive_settings = self._receive_settings()
        # If more than `fold_above` alerts of a group fire, the new ones share one incident.
        group = AlertGroup(
            name=webhook.group,
            shares_incident=receive_settings is not None and firing_count > receive_settings.fold_above,
        )
        for first in range(0, len(alerts), _MAX_ALERTS_PER_TRANSACTION):
            async with self._intake.part_slot():
                part = alerts[first : first + _MAX_ALERTS_PER_TRANSACTION]
                effects.update(await self._dispatcher.handle_alerts(part, self._policy_reader(), group))
        for each, times in effects.items():
            self._metrics.count_alerts(each, times)
        return effects

    def _receive_settings(self) -> ReceiveSettings | None:
        section = self._settings().alertmanager
        return section.receive if section is not None else None

    def _policy_reader(self) -> Callable[[ReceivedAlert], PolicySnapshot]:
        """Return a function that returns the policy of an alert: whom to notify (in monitor-only mode nobody), and when.

        The policy depends on the alert's route, a key of `alertmanager.receive.routes`. It names no affected subject.
        """
        settings, receive_settings, policies = self._settings(), self._receive_settings(), dict[str, PolicySnapshot]()

        def read_policy(alert: ReceivedAlert) -> PolicySnapshot:
            route = receive_settings.match_route(alert.labels) if receive_settings else ""
            if route not in policies:
                policies[route] = settings.effective_policy(
                    settings.build_noc_policy(subject="", subject_en="", policy_name=route)
                )
            return policies[route]

        return read_policy

    def _warn(self, message: str, **fields: object) -> None:
        if self._throttle.admit((message, fields.get("reason"))) is not None:
            log.warning(message, **fields)
