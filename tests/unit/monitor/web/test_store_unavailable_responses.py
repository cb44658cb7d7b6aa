"""Responses while the database is unavailable."""

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
from tests.unit.monitor.web.fake_service import Service, client

REASON = "database or disk is full"


class UnavailableService(Service):
    """Fake service whose database is unavailable."""

    async def agencies(self) -> Sequence[AgencyView]:
        raise StoreUnavailable(REASON)

    async def incidents(self) -> Sequence[IncidentView]:
        raise StoreUnavailable(REASON)

    async def acknowledge(self, number: str, by: str) -> Incident:
        raise StoreUnavailable(REASON)

    async def handle_callback(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        raise StoreUnavailable(REASON)


@pytest.mark.parametrize(
    "path",
    [
        *("/api/v1/agencies", "/api/v1/agencies?state=down", "/api/v1/agencies/JCM"),
        *("/api/v1/incidents", "/api/v1/incidents?state=open&limit=1"),
    ],
)
async def test_list_store_unavailable_returns_503_with_reason(path: str) -> None:
    async with client(portal(UnavailableService(), ["localhost", "127.0.0.1"])) as web:
        answer = await web.get(path)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert REASON in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/api/v1/self-health"])
async def test_metrics_and_health_store_unavailable_still_respond(path: str) -> None:
    async with client(portal(UnavailableService(), ["localhost", "127.0.0.1"])) as web:
        assert (await web.get(path)).status_code == 200


async def test_command_store_unavailable_is_refused_with_reason() -> None:
    async with client(control(UnavailableService())) as web:
        answer = await web.post("/incidents/JCM-01/acknowledge", json={"by": "Siti Contoh"})

    assert answer.status_code == 503
    assert REASON in answer.json()["detail"]


async def test_callback_store_unavailable_returns_503_without_reason() -> None:
    async with client(callbacks(UnavailableService())) as web:
        answer = await web.post("/callbacks/sms-contoh/status/p1-1", data={"MessageStatus": "delivered"})

    assert (answer.status_code, answer.text) == (503, "")
