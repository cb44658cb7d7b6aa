"""A real Alertmanager is told of our incidents: while they last, when it has forgotten them, and when they are over."""

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
from monitor.store.engine.ledger import SqlStore
from tests.real.alertmanager import alertmanager
from tests.unit.alerts.people import BRIEF, MINUTE

NOBODY = "http://127.0.0.1:9"


@dataclass
class IssuingOffice:
    """A store with incidents, and who tells of them."""

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

    async def look(self) -> None:
        async with httpx.AsyncHTTPTransport(trust_env=False) as transport:
            await self.teller.send_if_due(transport)

    async def trigger(self, matter: IncidentType, key: str = "JCM") -> None:
        brief = BRIEF if key == "JCM" else replace(BRIEF, agency="", subject="x", subject_en="x")
        at = datetime.now(UTC)
        async with self.store.transaction() as uow:
            await handle_event(uow, Trigger(dedup_key=key, at=at, type=matter, began_at=at - MINUTE, policy=brief))

    async def resolve(self, key: str = "JCM") -> None:
        at = datetime.now(UTC)
        async with self.store.transaction() as uow:
            await handle_event(uow, Resolve(dedup_key=key, at=at, ended_at=at))

    def shown(self) -> list[str]:
        return [line.split()[-1] for line in self.metrics.render().decode().splitlines() if "alertmanager_up{" in line]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[IssuingOffice]:
    async with Database.open(tmp_path, None) as database:
        yield IssuingOffice(SqlStore(database))


def labels(agency: str = "JCM", incident: str = "JCM-01", severity: str = "critical") -> dict[str, str]:
    return {
        "alertname": "PantauIncident",
        "agency": agency,
        "severity": severity,
        "incident": incident,
    }


async def test_an_incident_is_an_alert_there_until_it_is_over_whoever_starts_anew(
    office: IssuingOffice, tmp_path: Path
) -> None:
    await office.trigger(IncidentType.SENDING)
    await office.trigger(IncidentType.ALERT, "alert/0011223344556677")
    async with alertmanager(tmp_path / "one") as server, alertmanager(tmp_path / "two") as other:
        office.to = (server.url, other.url)
        await office.look()
        for each in (server, other):
            [alert] = await each.alerts()
            assert alert["labels"] == labels(), "what Alertmanager has brought is not told back"
        assert alert["annotations"]["summary"] == "Official e-mail cannot be sent."
        ends = datetime.fromisoformat(alert["endsAt"])
        assert timedelta(minutes=55) < ends - datetime.now(UTC) <= timedelta(hours=1), "our death ends nothing soon"
        assert alert["annotations"]["direction"] == "sending"
        # An outage that spreads is the same alert: the former would be called resolved.
        await office.trigger(IncidentType.BOTH)
        await office.look()
        assert [(each["labels"], each["annotations"]["direction"]) for each in await server.alerts()] == [
            (labels(), "both")
        ]
        assert office.shown() == ["1.0", "1.0"]

    # One has started anew and knows nothing, and the other is gone.
    async with alertmanager(tmp_path / "one") as server:
        office.to = (server.url, other.url)
        await office.look()
        assert await server.alerts() == [], "told a moment ago"
        office.ahead, office.away = RESEND_INTERVAL, True
        with capture_logs() as lines:
            await office.look()
            office.ahead = 2 * RESEND_INTERVAL
            await office.look()
        assert [each["labels"] for each in await server.alerts()] == [labels()], "also while the store is away"
        assert [line["event"] for line in lines] == ["Alertmanager does not accept incidents"], "said once"
        assert sorted(office.shown()) == ["0.0", "1.0"]

        office.ahead, office.away, office.to = timedelta(0), False, (server.url,)
        await office.resolve()
        await office.look()
        assert await server.alerts() == []
        assert office.shown() == ["1.0"]


async def test_what_ended_while_we_were_not_there_is_told_for_a_quarter_of_an_hour(
    office: IssuingOffice, tmp_path: Path
) -> None:
    await office.trigger(IncidentType.MONITORING_FAULT, "ours/network")
    async with alertmanager(tmp_path / "alertmanager") as server:
        office.to = (server.url,)
        await office.look()
        assert [each["labels"] for each in await server.alerts()] == [
            labels(agency="pantau", incident="NOC-01", severity="warning")
        ]
        await office.resolve("ours/network")
        after_a_start = IssuingOffice(office.store, office.to)
        await after_a_start.look()
        assert await server.alerts() == []
        after_a_start.ahead = RESOLVED_RESEND_PERIOD + MINUTE
        await after_a_start.look()
        assert after_a_start.shown() == ["1.0"], "nothing to tell is told, too: it is known that it listens"


async def test_slowness_that_became_an_outage_while_we_were_not_there_is_one_alert_and_not_two(
    office: IssuingOffice, tmp_path: Path
) -> None:
    await office.trigger(IncidentType.DEGRADED)
    async with alertmanager(tmp_path / "alertmanager") as server:
        office.to = (server.url,)
        await office.look()
        assert [each["labels"] for each in await server.alerts()] == [labels(severity="warning")]
        # Killed before it could be told.
        await office.trigger(IncidentType.RECEIVING)
        await IssuingOffice(office.store, office.to).look()
        assert [each["labels"] for each in await server.alerts()] == [labels()]


async def test_an_end_is_told_also_when_the_clock_was_set_back_meanwhile(office: IssuingOffice, tmp_path: Path) -> None:
    await office.trigger(IncidentType.BOTH)
    async with alertmanager(tmp_path / "alertmanager") as server:
        office.to = (server.url,)
        await office.look()
        assert len(await server.alerts()) == 1
        await office.resolve()
        with capture_logs() as lines:
            office.ahead = -30 * MINUTE
            await office.look()
        assert (await server.alerts(), lines) == ([], [])


async def test_what_is_silent_is_told_there_with_who_has_ordered_that_until_its_end(
    office: IssuingOffice, tmp_path: Path
) -> None:
    await office.trigger(IncidentType.BOTH)
    began = office.now()
    async with office.store.transaction() as uow:
        await uow.add_silence("JCM", began, began + 10 * MINUTE, "naik taraf", "Siti Contoh")
        await uow.add_audit_entry(AuditEntry(at=began, actor="Siti Contoh", event="silence begun"))
    async with alertmanager(tmp_path / "alertmanager") as server:
        office.to = (server.url,)
        await office.look()
        [alert] = await server.alerts()
        assert alert["labels"] == labels(), "what Alertmanager does with it is its own silences' matter"
        assert alert["annotations"]["silenced"].endswith("by Siti Contoh: naik taraf")
        office.ahead = 10 * MINUTE
        await office.look()
        [alert] = await server.alerts()
        assert "silenced" not in alert["annotations"]


async def test_while_mail_is_only_watched_nobody_is_told_there_either(office: IssuingOffice, tmp_path: Path) -> None:
    await office.trigger(IncidentType.BOTH)
    async with alertmanager(tmp_path / "alertmanager") as server:
        office.to, office.mode = (server.url,), ServiceMode.MONITOR_ONLY
        await office.look()
        assert (await server.alerts(), office.shown()) == ([], [])
        office.mode = ServiceMode.NOTIFY
        await office.look()
        assert len(await server.alerts()) == 1


async def test_one_that_is_not_there_holds_nobody_up_and_no_secret_is_logged(office: IssuingOffice) -> None:
    office.to, office.send = (NOBODY,), {"token": SecretStr("rahsia-olok-olok")}
    with capture_logs() as lines:
        await office.look()
    assert (office.shown(), "rahsia" in str(lines)) == (["0.0"], False)
    assert [line["reason"] for line in lines] == ["ConnectError"]
