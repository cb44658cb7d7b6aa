"""What people, programs and providers are answered while the store is away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from alerts.model.gateway import CallbackRequest, CallbackResponse
from alerts.model.incident import Incident
from alerts.persistence.store import StoreUnavailable
from monitor.views.overview import AgencyView, IncidentView
from monitor.web.callbacks import callbacks
from monitor.web.command.control import control
from monitor.web.portal import portal
from tests.unit.monitor.web.source import Service, client

WHY = "database or disk is full"


class AwayService(Service):
    """A service whose store is away."""

    async def agencies(self) -> Sequence[AgencyView]:
        raise StoreUnavailable(WHY)

    async def incidents(self) -> Sequence[IncidentView]:
        raise StoreUnavailable(WHY)

    async def acknowledge(self, number: str, by: str) -> Incident:
        raise StoreUnavailable(WHY)

    async def handle_callback(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        raise StoreUnavailable(WHY)


@pytest.mark.parametrize(
    "path",
    [
        *("/api/v1/agencies", "/api/v1/agencies?state=down", "/api/v1/agencies/JCM"),
        *("/api/v1/incidents", "/api/v1/incidents?state=open&limit=1"),
    ],
)
async def test_a_list_says_why_it_cannot_be_shown(path: str) -> None:
    async with client(portal(AwayService(), ["localhost", "127.0.0.1"])) as web:
        answer = await web.get(path)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert WHY in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/api/v1/self-health"])
async def test_prometheus_and_who_asks_after_the_service_itself_are_answered_as_ever(path: str) -> None:
    async with client(portal(AwayService(), ["localhost", "127.0.0.1"])) as web:
        assert (await web.get(path)).status_code == 200


async def test_an_order_is_not_taken_and_the_reason_is_told() -> None:
    async with client(control(AwayService())) as web:
        answer = await web.post("/incidents/JCM-01/acknowledge", json={"by": "Siti Contoh"})

    assert answer.status_code == 503
    assert WHY in answer.json()["detail"]


async def test_a_provider_is_asked_to_come_again_and_told_nothing() -> None:
    async with client(callbacks(AwayService())) as web:
        answer = await web.post("/callbacks/sms-contoh/status/p1-1", data={"MessageStatus": "delivered"})

    assert (answer.status_code, answer.text) == (503, "")
