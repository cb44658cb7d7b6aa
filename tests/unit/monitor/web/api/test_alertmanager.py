"""The webhook of Alertmanager: who may bring alerts, what is refused and how, and what is to come again."""

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
from tests.unit.monitor.web.source import TOKEN, Service, client

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
class Engine:
    """Takes alerts as the dispatcher does, and remembers whom each would tell."""

    told: list[tuple[str, list[str]]] = field(default_factory=list)
    fault: Exception | None = None
    groups: list[AlertGroup] = field(default_factory=list)

    async def handle_alerts(
        self, alerts: Sequence[ReceivedAlert], brief: Any, group: AlertGroup
    ) -> Sequence[AlertEffect]:
        if self.fault is not None:
            raise self.fault
        self.groups.append(group)
        self.told += [(each.subject, [p.key for p in brief(each).escalation.people]) for each in alerts]
        return [AlertEffect.FIRES for _ in alerts]


@dataclass
class Door:
    engine: Engine = field(default_factory=Engine)
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

    def shown(self, sample: str) -> bool:
        return sample in self.metrics.render().decode()


@pytest.fixture
def door() -> Door:
    return Door()


@contextmanager
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


async def test_what_is_stored_is_answered_with_what_it_came_to_and_counted(door: Door) -> None:
    assert await door.post(octets()) == (200, {"fires": 1})
    assert door.engine.told == [("CakeraPenuh (web01 9100)", ["noc"])]
    assert door.shown('pantau_alerts_received_total{effect="fires"} 1.0')


async def test_the_configuration_decides_whose_telephone_rings_and_no_label_names_a_person(door: Door) -> None:
    alerts = [
        {**ALERT, "labels": {"alertname": name, **labels}}
        for name, labels in (
            ("A", {"team": "net"}),
            ("B", {"team": "NET"}),
            ("C", {"team": "net", "contacts": "noc", "tell": "noc"}),
            ("D", {"contact": "net", "told_by": "rangkaian", "receiver": "rangkaian"}),
        )
    ]
    await door.post(octets(alerts=alerts, receiver="rangkaian"))
    assert door.engine.told == [("A", ["net"]), ("B", ["noc"]), ("C", ["net"]), ("D", ["noc"])]


async def test_while_mail_is_only_watched_it_is_stored_and_tells_nobody(door: Door) -> None:
    door.settings = SETTINGS.model_copy(update={"mode": ServiceMode.MONITOR_ONLY})
    assert (await door.post(octets()))[0] == 200
    assert door.engine.told == [("CakeraPenuh (web01 9100)", [])]


async def test_our_own_incidents_that_come_back_are_no_news(door: Door) -> None:
    ours = {**ALERT, "labels": {"alertname": "PantauIncident", "incident": "JCM-01"}}
    assert await door.post(octets(alerts=[ours, ALERT])) == (200, {"fires": 1})


@pytest.mark.parametrize(
    "token", [None, "", "salah", TOKEN + "x", TOKEN[:-1], "s\N{LATIN SMALL LETTER A WITH ACUTE}lah"]
)
async def test_without_the_token_nothing_is_read(door: Door, token: str | None) -> None:
    status, answer = await door.post(b"not even JSON", token)
    assert (status, TOKEN in str(answer)) == (401, False)
    assert door.shown('pantau_alert_webhooks_refused_total{reason="untrusted"} 1.0')


async def test_where_none_is_configured_none_is_admitted(door: Door) -> None:
    door.settings = SETTINGS.model_copy(update={"alertmanager": None})
    status, answer = await door.post(octets())
    assert (status, "alertmanager.receive" in answer["detail"]) == (403, True)


@pytest.mark.parametrize("body", [b"\xff", b"[" * 100_000, b'{"text": "Cakera penuh"}', octets(version="3")])
async def test_what_cannot_be_read_is_refused_with_words_in_answer_and_log(door: Door, body: bytes) -> None:
    with logged() as lines:
        status, answer = await door.post(body)
    assert (status, door.engine.told) == (400, [])
    assert [(line["event"].partition(";")[0], line["reason"]) for line in lines] == [
        ("webhook rejected", answer["detail"])
    ]
    assert door.shown('pantau_alert_webhooks_refused_total{reason="malformed"} 1.0')


async def test_eight_megabytes_are_taken_and_one_octet_more_is_not(door: Door) -> None:
    room = MAX_WEBHOOK - len(octets(externalURL=""))
    assert (await door.post(octets(externalURL="x" * room)))[0] == 200
    assert (await door.post(octets(externalURL="x" * (room + 1))))[0] == 413
    assert door.shown('pantau_alert_webhooks_refused_total{reason="too_large"} 1.0')


async def test_while_the_store_is_away_it_is_to_come_again_and_nothing_is_lost(door: Door) -> None:
    door.engine.fault = StoreUnavailable("disk full")
    assert (await door.post(octets()))[0] == 503
    door.engine.fault = None
    assert (await door.post(octets()))[0] == 200


async def test_what_alertmanager_left_out_is_said(door: Door) -> None:
    with logged() as lines:
        await door.post(octets(truncatedAlerts=7))
    assert [(line["event"].partition(";")[0], line["count"]) for line in lines] == [
        ("Alertmanager truncated alerts", 7)
    ]


async def test_a_thousand_alerts_are_taken_at_once(door: Door) -> None:
    alerts = [{**ALERT, "fingerprint": f"{number:016x}"} for number in range(1000)]
    assert await door.post(octets(alerts=alerts)) == (200, {"fires": 1000})


@pytest.mark.parametrize(("firing", "shares_incident"), [(20, False), (21, True)])
async def test_webhook_of_a_large_group_is_folded_by_what_fires_in_all_of_it(
    door: Door, firing: int, *, shares_incident: bool
) -> None:
    over = {"status": "resolved", "endsAt": "2026-11-24T06:12:00Z"}
    alerts = [{**ALERT, "fingerprint": f"{number:016x}", **({} if number < firing else over)} for number in range(600)]
    assert (await door.post(octets(alerts=alerts)))[0] == 200
    assert door.engine.groups == [AlertGroup(name='{}:{alertname="CakeraPenuh"}', shares_incident=shares_incident)] * 3


@pytest.mark.blind
async def test_more_webhooks_than_there_is_room_for_are_to_come_again(door: Door) -> None:
    """Defect: All webhooks are held in memory.

    Pantau: Those without room are refused and come again.
    """
    receiver = AlertReceiver(
        dispatcher=door.engine,  # type: ignore[arg-type]
        metrics=door.metrics,
        clock=door,
        settings=lambda: door.settings,
        intake=AlertIntake(1),
    )
    known = {"Authorization": f"Bearer {TOKEN}"}
    async with client(portal(Service(), ["localhost"], alert_receiver=receiver)) as web:
        with receiver.reserve(1):
            refused = await web.post(PATH, content=octets(), headers=known)
        taken = await web.post(PATH, content=octets(), headers=known)
    assert (refused.status_code, refused.headers["Retry-After"], taken.status_code) == (429, "30", 200)
    assert "group_interval" in refused.json()["detail"]
    assert door.shown('pantau_alert_webhooks_refused_total{reason="busy"} 1.0')


def test_alert_intake_holds_so_many_octets_and_always_one_webhook() -> None:
    intake = AlertIntake()
    with intake.reserve(MAX_OCTETS + 1), pytest.raises(IntakeFullError), intake.reserve(1):
        pass
    with intake.reserve(MAX_OCTETS - 1), intake.reserve(1), pytest.raises(IntakeFullError), intake.reserve(1):
        pass


@pytest.mark.parametrize(("took", "rest"), [(0.0, 0.0), (0.1, 0.3), (1.0, 3.0), (60.0, 5.0)])
def test_alert_intake_rests_three_times_as_long_as_it_took(took: float, rest: float) -> None:
    assert pause_after(took) == pytest.approx(rest)


async def test_alert_intake_stores_one_part_at_a_time_and_the_next_after_one_that_failed() -> None:
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


async def test_a_get_and_a_page_of_a_strangers_bring_nothing(door: Door) -> None:
    async with client(portal(Service(), ["localhost"], alert_receiver=door.receiver())) as web:
        assert (await web.get(PATH)).status_code == 405
        form = await web.post(PATH, content=json.dumps({}), headers={"Origin": "https://contoh.example"})
        assert form.status_code == 401
