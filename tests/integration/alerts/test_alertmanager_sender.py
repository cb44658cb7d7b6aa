"""Incidents sent to a real Alertmanager, with restarts of either side and the resolution."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from alerts.engine.event_handler import handle_event
from alerts.model.event import Resolve, Trigger
from alerts.model.notification import IncidentType
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.config.model.alertmanager import AlertmanagerSettings, SendSettings
from monitor.config.model.settings import NocSettings, ServiceMode, Settings
from monitor.metrics import Metrics
from monitor.service.alertmanager.sender import RESEND_INTERVAL, RESOLVED_RESEND_PERIOD, AlertSender
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from tests.real.alertmanager import alertmanager
from tests.unit.alerts.people import MINUTE, SNAPSHOT

UNREACHABLE_URL = "http://127.0.0.1:9"


@dataclass
class SenderEnv:
    """A store with incidents, and the sender of their alerts."""

    store: SqlStore
    to: tuple[str, ...] = ()
    mode: ServiceMode = ServiceMode.NOTIFY
    ahead: timedelta = timedelta(0)
    away: bool = False
    send: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics = Metrics(version="1", now=self.now)
        self.teller = AlertSender(store=self._store(), metrics=self.metrics, clock=self, settings=self._settings)

    def _store(self) -> Any:
        return self

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        if self.away:
            raise StoreUnavailable("disk full")
        async with self.store.reading() as uow:
            yield uow

    def _settings(self) -> Settings:
        send = SendSettings(urls=self.to, **self.send)
        noc = NocSettings(name="Pusat Operasi Contoh")
        return Settings(
            agencies=Path("agencies"), noc=noc, mode=self.mode, alertmanager=AlertmanagerSettings(send=send)
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def send_once(self) -> None:
        async with httpx.AsyncHTTPTransport(trust_env=False) as transport:
            await self.teller.send_if_due(transport)

    async def trigger(self, matter: IncidentType, key: str = "JCM") -> None:
        snapshot = SNAPSHOT if key == "JCM" else replace(SNAPSHOT, agency="", subject="x", subject_en="x")
        at = datetime.now(UTC)
        async with self.store.transaction() as uow:
            await handle_event(uow, Trigger(dedup_key=key, at=at, type=matter, began_at=at - MINUTE, policy=snapshot))

    async def resolve(self, key: str = "JCM") -> None:
        at = datetime.now(UTC)
        async with self.store.transaction() as uow:
            await handle_event(uow, Resolve(dedup_key=key, at=at, ended_at=at))

    def shown(self) -> list[str]:
        return [line.split()[-1] for line in self.metrics.render().decode().splitlines() if "alertmanager_up{" in line]


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[SenderEnv]:
    async with Database.open(tmp_path, None) as database:
        yield SenderEnv(SqlStore(database))


def labels(agency: str = "JCM", incident: str = "JCM-01", severity: str = "critical") -> dict[str, str]:
    return {
        "alertname": "PantauIncident",
        "agency": agency,
        "severity": severity,
        "incident": incident,
    }


async def test_incident_stays_alert_until_resolved_across_restarts(env: SenderEnv, tmp_path: Path) -> None:
    await env.trigger(IncidentType.SENDING)
    await env.trigger(IncidentType.ALERT, "alert/0011223344556677")
    async with alertmanager(tmp_path / "one") as server, alertmanager(tmp_path / "two") as other:
        env.to = (server.url, other.url)
        await env.send_once()
        for each in (server, other):
            [alert] = await each.alerts()
            assert alert["labels"] == labels(), "what Alertmanager has brought is not told back"
        assert alert["annotations"]["summary"] == "Official e-mail cannot be sent."
        ends = datetime.fromisoformat(alert["endsAt"])
        assert timedelta(minutes=55) < ends - datetime.now(UTC) <= timedelta(hours=1), "our death ends nothing soon"
        assert alert["annotations"]["direction"] == "sending"
        # An outage that spreads stays the same alert: otherwise the former would be resolved.
        await env.trigger(IncidentType.BOTH)
        await env.send_once()
        assert [(each["labels"], each["annotations"]["direction"]) for each in await server.alerts()] == [
            (labels(), "both")
        ]
        assert env.shown() == ["1.0", "1.0"]

    # One Alertmanager has restarted without its alerts, and the other is gone.
    async with alertmanager(tmp_path / "one") as server:
        env.to = (server.url, other.url)
        await env.send_once()
        assert await server.alerts() == [], "told a moment ago"
        env.ahead, env.away = RESEND_INTERVAL, True
        with capture_logs() as lines:
            await env.send_once()
            env.ahead = 2 * RESEND_INTERVAL
            await env.send_once()
        assert [each["labels"] for each in await server.alerts()] == [labels()], "also while the store is away"
        assert [line["event"] for line in lines] == ["Alertmanager does not accept incidents"], "said once"
        assert sorted(env.shown()) == ["0.0", "1.0"]

        env.ahead, env.away, env.to = timedelta(0), False, (server.url,)
        await env.resolve()
        await env.send_once()
        assert await server.alerts() == []
        assert env.shown() == ["1.0"]


async def test_incident_resolved_while_stopped_is_resent_for_quarter_hour(env: SenderEnv, tmp_path: Path) -> None:
    await env.trigger(IncidentType.MONITORING_FAULT, "ours/network")
    async with alertmanager(tmp_path / "alertmanager") as server:
        env.to = (server.url,)
        await env.send_once()
        assert [each["labels"] for each in await server.alerts()] == [
            labels(agency="pantau", incident="NOC-01", severity="warning")
        ]
        await env.resolve("ours/network")
        after_a_start = SenderEnv(env.store, env.to)
        await after_a_start.send_once()
        assert await server.alerts() == []
        after_a_start.ahead = RESOLVED_RESEND_PERIOD + MINUTE
        await after_a_start.send_once()
        assert after_a_start.shown() == ["1.0"], "nothing to tell is told, too: it is known that it listens"


async def test_outage_from_slowness_while_stopped_is_one_alert(env: SenderEnv, tmp_path: Path) -> None:
    await env.trigger(IncidentType.DEGRADED)
    async with alertmanager(tmp_path / "alertmanager") as server:
        env.to = (server.url,)
        await env.send_once()
        assert [each["labels"] for each in await server.alerts()] == [labels(severity="warning")]
        # Killed before it sent anything.
        await env.trigger(IncidentType.RECEIVING)
        await SenderEnv(env.store, env.to).send_once()
        assert [each["labels"] for each in await server.alerts()] == [labels()]


async def test_resolution_is_sent_after_clock_set_back(env: SenderEnv, tmp_path: Path) -> None:
    await env.trigger(IncidentType.BOTH)
    async with alertmanager(tmp_path / "alertmanager") as server:
        env.to = (server.url,)
        await env.send_once()
        assert len(await server.alerts()) == 1
        await env.resolve()
        with capture_logs() as lines:
            env.ahead = -30 * MINUTE
            await env.send_once()
        assert (await server.alerts(), lines) == ([], [])


async def test_silenced_incident_has_annotation_until_silence_ends(env: SenderEnv, tmp_path: Path) -> None:
    await env.trigger(IncidentType.BOTH)
    began = env.now()
    async with env.store.transaction() as uow:
        await uow.add_silence("JCM", began, began + 10 * MINUTE, "naik taraf", "Siti Contoh")
        await uow.add_audit_entry(AuditEntry(at=began, actor="Siti Contoh", event="silence begun"))
    async with alertmanager(tmp_path / "alertmanager") as server:
        env.to = (server.url,)
        await env.send_once()
        [alert] = await server.alerts()
        assert alert["labels"] == labels(), "what Alertmanager does with it is its own silences' matter"
        assert alert["annotations"]["silenced"].endswith("by Siti Contoh: naik taraf")
        env.ahead = 10 * MINUTE
        await env.send_once()
        [alert] = await server.alerts()
        assert "silenced" not in alert["annotations"]


async def test_monitor_only_sends_no_alerts(env: SenderEnv, tmp_path: Path) -> None:
    await env.trigger(IncidentType.BOTH)
    async with alertmanager(tmp_path / "alertmanager") as server:
        env.to, env.mode = (server.url,), ServiceMode.MONITOR_ONLY
        await env.send_once()
        assert (await server.alerts(), env.shown()) == ([], [])
        env.mode = ServiceMode.NOTIFY
        await env.send_once()
        assert len(await server.alerts()) == 1


async def test_unreachable_alertmanager_delays_nothing_and_logs_no_secret(env: SenderEnv) -> None:
    env.to, env.send = (UNREACHABLE_URL,), {"token": SecretStr("rahsia-olok-olok")}
    with capture_logs() as lines:
        await env.send_once()
    assert (env.shown(), "rahsia" in str(lines)) == (["0.0"], False)
    assert [line["reason"] for line in lines] == ["ConnectError"]
