"""Incidents and notifications in the API: filters, pages and invalid queries."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from alerts.model.delivery import NotificationState
from alerts.model.incident import IncidentState
from monitor.store.engine.listing import IncidentFilter, NotificationFilter
from monitor.web.portal import portal
from tests.unit.monitor.web.fake_service import Service, client
from tests.unit.monitor.web.test_portal import NUMBERS

HOSTS = ["localhost"]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ACKNOWLEDGED, RESOLVED, TRIGGERED = IncidentState.ACKNOWLEDGED, IncidentState.RESOLVED, IncidentState.TRIGGERED


@pytest.mark.parametrize(
    ("path", "wanted", "most"),
    [
        ("incidents", IncidentFilter(), 200),
        ("incidents?limit=1000&agency=jcm", IncidentFilter(agencies={"JCM"}), 1000),
        ("incidents?state=open", IncidentFilter(states={ACKNOWLEDGED, TRIGGERED}), 200),
        ("incidents?state=open&state=triggered", IncidentFilter(states={ACKNOWLEDGED, TRIGGERED}), 200),
        ("incidents?state=resolved", IncidentFilter(states={RESOLVED}), 200),
        ("incidents?since=2026-11-24T12:00:00Z", IncidentFilter(since=NOON), 200),
        # The plus sign of an offset, not encoded as %2B.
        ("incidents?until=2026-11-24T20:00+08:00", IncidentFilter(until=NOON), 200),
        ("incidents?until=2026-11-24T20:00:00%2B0800", IncidentFilter(until=NOON), 200),
        ("notifications", NotificationFilter(), 200),
        ("notifications?incident=JCM-01&limit=5", NotificationFilter(incident_id=1), 5),
        (
            "notifications?state=unknown&state=failed",
            NotificationFilter(states={NotificationState.FAILED, NotificationState.UNKNOWN}),
            200,
        ),
        ("notifications?since=2026-11-24T12:00:00Z", NotificationFilter(since=NOON), 200),
        ("notifications?agency=JCM", NotificationFilter(agencies={"JCM"}), 200),
    ],
)
async def test_list_query_becomes_filter(path: str, wanted: IncidentFilter | NotificationFilter, most: int) -> None:
    service = Service()
    async with client(portal(service, HOSTS)) as web:
        answer = await web.get(f"/api/v1/{path}")

    assert (answer.status_code, len(answer.json())) == (200, 1)
    assert service.list_queries == [(wanted, most, None)]


@pytest.mark.parametrize("listed", ["incidents", "notifications"])
async def test_list_next_link_repeats_query_after_last_row(listed: str) -> None:
    service = Service(next_after=17)
    async with client(portal(service, HOSTS)) as web:
        first = await web.get(f"/api/v1/{listed}?agency=JCM&limit=3&agency=jcm")
        following = first.links["next"]["url"]
        service.next_after = None
        last = await web.get(following)

    address = urlsplit(following)
    assert address.path == f"/api/v1/{listed}"
    assert parse_qs(address.query)["agency"] == ["JCM", "jcm"]
    assert [(most, after) for _, most, after in service.list_queries] == [(3, None), (3, 17)]
    assert "link" not in last.headers


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("incidents?state=over", "state: Input should be 'open', 'triggered', 'acknowledged' or 'resolved'"),
        ("incidents?since=yesterday", "since: Input should be a valid datetime"),
        ("incidents?since=2026-11-24T12:00:00", "since: has no zone; write 2026-12-01T22:00:00Z or"),
        ("incidents?since=2026-11-24T12:00:00Z&until=2026-11-24T12:00:00Z", "until: is not later than since"),
        ("incidents?direction=inbound", "direction: is not a parameter here; there are agency, cursor, limit"),
        ("incidents?limit=0", "limit: Input should be greater than or equal to 1"),
        ("notifications?incident=JCM-99", "incident: there is no incident JCM-99"),
        ("notifications?sate=failed", "sate: is not a parameter here; did you mean state?"),
        *(
            (f"incidents?cursor={each}", "cursor: is not a cursor of this list; start again without a cursor")
            for each in (
                "",
                "x",
                cursor("notices:1"),
                cursor("incidents:"),
                cursor("incidents:-1"),
                cursor("incidents:٣"),
            )
        ),
        (f"notifications?cursor={cursor('notices:' + '9' * 60)}", "cursor: is not a cursor of this list"),
        (f"notifications?cursor={cursor('notices:0')}", "cursor: is not a cursor of this list"),
        ("notifications/0", "notification_id: Input should be greater than or equal to 1"),
        ("notifications/99999999999", "notification_id: Input should be less than 2147483648"),
    ],
)
async def test_list_invalid_query_is_refused_and_named(path: str, says: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        answer = await web.get(f"/api/v1/{path}")

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(says)


async def test_incident_by_number_and_notification_by_id_are_found() -> None:
    async with client(portal(Service(), HOSTS)) as web:
        found, missing = await web.get("/api/v1/incidents/JCM-01"), await web.get("/api/v1/incidents/JCM-99")
        notice, none = await web.get("/api/v1/notifications/1"), await web.get("/api/v1/notifications/2")

    assert (found.json()["number"], missing.status_code) == ("JCM-01", 404)
    assert missing.json()["detail"] == "there is no incident JCM-99; `pantau incidents` lists them"
    assert notice.json()["notification"]["person"] == "Jabatan Contoh Malaysia, Kementerian Contoh"
    assert (none.status_code, none.json()["detail"]) == (
        404,
        "there is no notification 2; `pantau notifications` lists them",
    )


@pytest.mark.parametrize("path", ["incidents", "incidents/JCM-01", "notifications", "notifications/1"])
async def test_incident_and_notification_responses_hold_no_telephone_number(path: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        text = (await web.get(f"/api/v1/{path}")).text

    assert not any(number.lstrip("+") in text for number in NUMBERS)
