"""On-call duty and gateways in the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.model.channel import Channel
from monitor.config.fields.window import MALAYSIA
from monitor.config.loading import load
from monitor.metrics import Metrics
from monitor.service.oncall import OnCall
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.views.self_health import GatewayStatus
from monitor.web.portal import portal
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.web.fake_service import Service, client

#: A Wednesday. In the sample it is Ali's week.
NOON = datetime(2026, 12, 2, 12, 0, tzinfo=MALAYSIA)


class FixedClock:
    def now(self) -> datetime:
        return NOON


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    office = IssuingOffice(tmp_path)
    configuration = load(office.config, ENVIRON).require_configuration()
    async with Database.open(tmp_path / "store") as database:
        metrics, store = Metrics(version="1", now=FixedClock().now), SqlStore(database)
        duty = OnCall(store=store, metrics=metrics, clock=FixedClock(), configuration=lambda: configuration)
        service = Service(codes=list(configuration.registry.agencies))
        async with client(portal(service, ["localhost"], on_call_service=duty)) as asking:
            yield asking


async def get_json(web: httpx.AsyncClient, path: str) -> Any:
    answer = await web.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_on_call_shows_present_and_next_without_number(web: httpx.AsyncClient) -> None:
    (rota,) = await get_json(web, "on-call?agency=jcontoh")

    assert rota == {
        "rota": "JCONTOH/bertugas",
        "person": {"key": "ali", "name": "Ali bin Contoh"},
        "overridden_by": "",
        "until": "2026-12-06T00:00:00Z",
        "next": {"key": "siti", "name": "Siti binti Contoh"},
        "gaps": [],
    }


async def test_on_call_at_requested_time_and_far_future_is_refused(web: httpx.AsyncClient) -> None:
    (sunday,) = await get_json(web, "on-call?agency=JCONTOH&at=2026-12-06T09:00:00+08:00")
    far = await web.get("/api/v1/on-call?at=2099-12-06T09:00:00Z")

    assert sunday["person"]["key"] == "siti"
    assert (far.status_code, far.json()["errors"][0]["parameter"]) == (422, "at")


async def test_on_call_lists_rotas_sorted_and_paged(web: httpx.AsyncClient) -> None:
    names = [each["rota"] for each in await get_json(web, "on-call")]
    first = await web.get("/api/v1/on-call?limit=1")
    found = [*first.json()]
    following = first
    while "next" in following.links:
        following = await web.get(following.links["next"]["url"])
        found += following.json()

    assert names == sorted(names)
    assert len(names) > 0
    assert [each["rota"] for each in found] == names
    assert await get_json(web, "on-call?agency=mpcontoh") == []
    assert (await web.get("/api/v1/on-call?agency=JCONTO")).json()["detail"].endswith("did you mean JCONTOH?")


async def test_gateways_filtered_by_channel_and_unused_has_no_state() -> None:
    class TwoGateways(Service):
        def gateways(self) -> list[GatewayStatus]:
            return [
                GatewayStatus(channel=Channel.SMS, gateway="satu", up=True),
                GatewayStatus(channel=Channel.FAX, gateway="faks"),
            ]

    async with client(portal(TwoGateways(), ["localhost"])) as web:
        assert [each["gateway"] for each in await get_json(web, "gateways")] == ["satu", "faks"]
        assert await get_json(web, "gateways?channel=fax") == [
            {"channel": "fax", "gateway": "faks", "up": None, "receipts_overdue_since": None}
        ]
        assert (await web.get("/api/v1/gateways?channel=email")).status_code == 422
