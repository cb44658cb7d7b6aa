"""Alertmanager webhook: authentication, refusals, and retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from alerts.model.alert import AlertEffect, AlertGroup, ReceivedAlert
from alerts.persistence.store import StoreUnavailable
from monitor.config.agency.escalation import EscalationSettings
from monitor.config.model.alertmanager import AlertmanagerSettings, AlertRouteSettings, ReceiveSettings
from monitor.config.model.settings import NocSettings, ServiceMode, Settings
from monitor.metrics import Metrics
from monitor.service.alertmanager.intake import MAX_OCTETS, AlertIntake, IntakeFullError, pause_after
from monitor.service.alertmanager.receiver import AlertReceiver
from monitor.web.api.alertmanager import MAX_WEBHOOK
from monitor.web.portal import portal
from tests.unit.alerts.inbound.test_alertmanager import ALERT, octets
from tests.unit.alerts.people import T0
from tests.unit.monitor.web.fake_service import TOKEN, Service, client

PATH = "/api/v1/alertmanager"
NOC = NocSettings.model_validate(
    {
        "name": "Pusat Operasi Contoh",
        "contacts": {"noc": {"name": "Noor Contoh", "sms": "010-000 0900"}, "net": {"name": "Neil Contoh", "sms": "010-000 0901"}},
        "escalation": {"steps": [{"contacts": ["noc"], "channels": ["sms"]}]},
    }
)  # fmt: skip
NETWORK = EscalationSettings.model_validate({"steps": [{"contacts": ["net"], "channels": ["sms"]}]})
RECEIVE = ReceiveSettings(
    token=SecretStr(TOKEN), routes={"rangkaian": AlertRouteSettings(match={"team": "net"}, escalation=NETWORK)}
)
SETTINGS = Settings(
    agencies=Path("agencies"), noc=NOC, alertmanager=AlertmanagerSettings(receive=RECEIVE), mode=ServiceMode.NOTIFY
)


@dataclass
class FakeDispatcher:
    """Fake dispatcher that records the recipients of each alert."""

    notified: list[tuple[str, list[str]]] = field(default_factory=list)
    fault: Exception | None = None
    groups: list[AlertGroup] = field(default_factory=list)

    async def handle_alerts(
        self, alerts: Sequence[ReceivedAlert], snapshot: Any, group: AlertGroup
    ) -> Sequence[AlertEffect]:
        if self.fault is not None:
            raise self.fault
        self.groups.append(group)
        self.notified += [(each.subject, [p.key for p in snapshot(each).escalation.people]) for each in alerts]
        return [AlertEffect.FIRES for _ in alerts]


@dataclass
class ReceiverEnv:
    engine: FakeDispatcher = field(default_factory=FakeDispatcher)
    settings: Settings = SETTINGS
    metrics: Metrics = field(default_factory=lambda: Metrics(version="1", now=lambda: datetime(2026, 3, 2, tzinfo=UTC)))

    def now(self) -> datetime:
        return T0

    def receiver(self) -> AlertReceiver:
        engine: Any = self.engine
        return AlertReceiver(dispatcher=engine, metrics=self.metrics, clock=self, settings=lambda: self.settings)

    async def post(self, body: bytes = b"", token: str | None = TOKEN) -> tuple[int, Any]:
        known = [] if token is None else [(b"Authorization", f"Bearer {token}".encode())]
        async with client(portal(Service(), ["localhost"], alert_receiver=self.receiver())) as web:
            answer = await web.post(PATH, content=body, headers=known)
        return answer.status_code, answer.json()

    def has_metric(self, sample: str) -> bool:
        return sample in self.metrics.render().decode()


@pytest.fixture
def env() -> ReceiverEnv:
    return ReceiverEnv()


@contextmanager
def captured_logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


async def test_alert_webhook_stored_returns_effects_and_counts_them(env: ReceiverEnv) -> None:
    assert await env.post(octets()) == (200, {"fires": 1})
    assert env.engine.notified == [("CakeraPenuh (web01 9100)", ["noc"])]
    assert env.has_metric('pantau_alerts_received_total{effect="fires"} 1.0')


async def test_alert_webhook_recipients_follow_configuration_not_labels(env: ReceiverEnv) -> None:
    alerts = [
        {**ALERT, "labels": {"alertname": name, **labels}}
        for name, labels in (
            ("A", {"team": "net"}),
            ("B", {"team": "NET"}),
            ("C", {"team": "net", "contacts": "noc", "tell": "noc"}),
            ("D", {"contact": "net", "told_by": "rangkaian", "receiver": "rangkaian"}),
        )
    ]
    await env.post(octets(alerts=alerts, receiver="rangkaian"))
    assert env.engine.notified == [("A", ["net"]), ("B", ["noc"]), ("C", ["net"]), ("D", ["noc"])]


async def test_alert_webhook_monitor_only_is_stored_and_notifies_nobody(env: ReceiverEnv) -> None:
    env.settings = SETTINGS.model_copy(update={"mode": ServiceMode.MONITOR_ONLY})
    assert (await env.post(octets()))[0] == 200
    assert env.engine.notified == [("CakeraPenuh (web01 9100)", [])]


async def test_alert_webhook_own_incident_is_ignored(env: ReceiverEnv) -> None:
    ours = {**ALERT, "labels": {"alertname": "PantauIncident", "incident": "JCM-01"}}
    assert await env.post(octets(alerts=[ours, ALERT])) == (200, {"fires": 1})


@pytest.mark.parametrize(
    "token", [None, "", "salah", TOKEN + "x", TOKEN[:-1], "s\N{LATIN SMALL LETTER A WITH ACUTE}lah"]
)
async def test_alert_webhook_wrong_token_is_refused_unread(env: ReceiverEnv, token: str | None) -> None:
    status, answer = await env.post(b"not even JSON", token)
    assert (status, TOKEN in str(answer)) == (401, False)
    assert env.has_metric('pantau_alert_webhooks_refused_total{reason="untrusted"} 1.0')


async def test_alert_webhook_without_receive_settings_is_forbidden(env: ReceiverEnv) -> None:
    env.settings = SETTINGS.model_copy(update={"alertmanager": None})
    status, answer = await env.post(octets())
    assert (status, "alertmanager.receive" in answer["detail"]) == (403, True)


@pytest.mark.parametrize("body", [b"\xff", b"[" * 100_000, b'{"text": "Cakera penuh"}', octets(version="3")])
async def test_alert_webhook_malformed_is_refused_and_logged_with_reason(env: ReceiverEnv, body: bytes) -> None:
    with captured_logs() as lines:
        status, answer = await env.post(body)
    assert (status, env.engine.notified) == (400, [])
    assert [(line["event"].partition(";")[0], line["reason"]) for line in lines] == [
        ("webhook rejected", answer["detail"])
    ]
    assert env.has_metric('pantau_alert_webhooks_refused_total{reason="malformed"} 1.0')


async def test_alert_webhook_size_limit_is_eight_megabytes(env: ReceiverEnv) -> None:
    room = MAX_WEBHOOK - len(octets(externalURL=""))
    assert (await env.post(octets(externalURL="x" * room)))[0] == 200
    assert (await env.post(octets(externalURL="x" * (room + 1))))[0] == 413
    assert env.has_metric('pantau_alert_webhooks_refused_total{reason="too_large"} 1.0')


async def test_alert_webhook_store_unavailable_returns_503_until_available(env: ReceiverEnv) -> None:
    env.engine.fault = StoreUnavailable("disk full")
    assert (await env.post(octets()))[0] == 503
    env.engine.fault = None
    assert (await env.post(octets()))[0] == 200


async def test_alert_webhook_truncated_alerts_are_logged(env: ReceiverEnv) -> None:
    with captured_logs() as lines:
        await env.post(octets(truncatedAlerts=7))
    assert [(line["event"].partition(";")[0], line["count"]) for line in lines] == [
        ("Alertmanager truncated alerts", 7)
    ]


async def test_alert_webhook_thousand_alerts_are_accepted(env: ReceiverEnv) -> None:
    alerts = [{**ALERT, "fingerprint": f"{number:016x}"} for number in range(1000)]
    assert await env.post(octets(alerts=alerts)) == (200, {"fires": 1000})


@pytest.mark.parametrize(("firing", "shares_incident"), [(20, False), (21, True)])
async def test_alert_webhook_large_group_shares_incident_by_firing_count(
    env: ReceiverEnv, firing: int, *, shares_incident: bool
) -> None:
    over = {"status": "resolved", "endsAt": "2026-11-24T06:12:00Z"}
    alerts = [{**ALERT, "fingerprint": f"{number:016x}", **({} if number < firing else over)} for number in range(600)]
    assert (await env.post(octets(alerts=alerts)))[0] == 200
    assert env.engine.groups == [AlertGroup(name='{}:{alertname="CakeraPenuh"}', shares_incident=shares_incident)] * 3


@pytest.mark.blind
async def test_alert_webhooks_beyond_capacity_are_refused_with_retry_after(env: ReceiverEnv) -> None:
    """Defect: All webhooks are held in memory.

    Pantau: Those without room are refused and come again.
    """
    receiver = AlertReceiver(
        dispatcher=env.engine,  # type: ignore[arg-type]
        metrics=env.metrics,
        clock=env,
        settings=lambda: env.settings,
        intake=AlertIntake(1),
    )
    known = {"Authorization": f"Bearer {TOKEN}"}
    async with client(portal(Service(), ["localhost"], alert_receiver=receiver)) as web:
        with receiver.reserve(1):
            refused = await web.post(PATH, content=octets(), headers=known)
        taken = await web.post(PATH, content=octets(), headers=known)
    assert (refused.status_code, refused.headers["Retry-After"], taken.status_code) == (429, "30", 200)
    assert "group_interval" in refused.json()["detail"]
    assert env.has_metric('pantau_alert_webhooks_refused_total{reason="busy"} 1.0')


def test_alert_intake_limits_octets_but_accepts_single_large_webhook() -> None:
    intake = AlertIntake()
    with intake.reserve(MAX_OCTETS + 1), pytest.raises(IntakeFullError), intake.reserve(1):
        pass
    with intake.reserve(MAX_OCTETS - 1), intake.reserve(1), pytest.raises(IntakeFullError), intake.reserve(1):
        pass


@pytest.mark.parametrize(("took", "rest"), [(0.0, 0.0), (0.1, 0.3), (1.0, 3.0), (60.0, 5.0)])
def test_alert_intake_pause_is_three_times_duration_up_to_limit(took: float, rest: float) -> None:
    assert pause_after(took) == pytest.approx(rest)


async def test_alert_intake_stores_one_part_at_a_time_also_after_failure() -> None:
    intake, under_way, most = AlertIntake(), 0, 0

    async def part(fault: Exception | None) -> None:
        nonlocal under_way, most
        async with intake.part_slot():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            if fault is not None:
                raise fault

    done = await asyncio.gather(
        *(part(each) for each in (None, StoreUnavailable("disk full"), None)), return_exceptions=True
    )
    assert most == 1
    assert [type(each) for each in done] == [type(None), StoreUnavailable, type(None)]


async def test_alert_webhook_get_and_cross_site_post_are_refused(env: ReceiverEnv) -> None:
    async with client(portal(Service(), ["localhost"], alert_receiver=env.receiver())) as web:
        assert (await web.get(PATH)).status_code == 405
        form = await web.post(PATH, content=json.dumps({}), headers={"Origin": "https://contoh.example"})
        assert form.status_code == 401
