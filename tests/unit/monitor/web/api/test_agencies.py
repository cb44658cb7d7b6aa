"""Agencies in the API: filters, pages, one agency by its code, and invalid queries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from alerts.model.notification import IncidentType
from monitor.model.day import DayTimeline, MinuteState
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.views.overview import AgencyView
from monitor.web.portal import portal
from tests.unit.alerts.people import T0
from tests.unit.monitor.web.fake_service import Service, client
from tests.unit.monitor.web.test_status_page import ManyAgencies, view

HOSTS = ["localhost"]
OUT, IN = Direction.OUTBOUND, Direction.INBOUND
UP, DOWN, DEGRADED, UNKNOWN = Health.UP, Health.DOWN, Health.DEGRADED, Health.UNKNOWN


def agency_view(code: str, health: Mapping[Direction, Health], **more: Any) -> AgencyView:
    return replace(view(code), health=health, **more)


VIEWS = [
    agency_view("AAA", {OUT: UP, IN: UP}),
    agency_view("BBB", {OUT: UP, IN: DOWN}),
    agency_view("CCC", {OUT: DEGRADED}),
    agency_view("DDD", {OUT: UP, IN: UP}, declared=IncidentType.BOTH),
    agency_view("EEE", {}),
]


@dataclass
class FiveAgencies(ManyAgencies):
    """A service with five agencies."""

    def __post_init__(self) -> None:
        self.views = list(VIEWS)
        self.codes = [each.agency for each in VIEWS]


async def codes(web: httpx.AsyncClient, query: str) -> list[str]:
    answer = await web.get(f"/api/v1/agencies?{query}")
    assert answer.status_code == 200, answer.text
    return [each["agency"] for each in answer.json()]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "AAA BBB CCC DDD EEE"),
        ("agency=bbb&agency=AAA", "AAA BBB"),
        ("state=up", "AAA"),
        ("state=down", "BBB DDD"),
        ("state=down&state=degraded", "BBB CCC DDD"),
        ("state=unknown", "EEE"),
        ("direction=inbound", "AAA BBB DDD"),
        ("direction=inbound&state=down", "BBB DDD"),
        ("direction=outbound&state=up", "AAA BBB"),
        ("direction=outbound&state=down", "DDD"),
        ("direction=internal", ""),
        ("direction=outbound&direction=inbound&state=degraded&state=down", "BBB CCC DDD"),
        ("agency=AAA&state=down", ""),
    ],
)
async def test_agencies_filtered_by_code_state_and_direction(query: str, found: str) -> None:
    async with client(portal(FiveAgencies(), HOSTS)) as web:
        assert await codes(web, query) == found.split()


async def test_agencies_pages_hold_each_once_while_list_changes() -> None:
    service = FiveAgencies()
    async with client(portal(service, HOSTS)) as web:
        first = await web.get("/api/v1/agencies?limit=2&state=up&state=down&state=unknown&state=degraded")
        assert [each["agency"] for each in first.json()] == ["AAA", "BBB"]
        service.views = [agency_view("AAB", {OUT: UP}), *(each for each in VIEWS if each.agency not in {"AAA", "BBB"})]
        second = await web.get(first.links["next"]["url"])
        third = await web.get(second.links["next"]["url"])

    assert [each["agency"] for each in second.json()] == ["CCC", "DDD"]
    assert [each["agency"] for each in third.json()] == ["EEE"]
    assert "link" not in third.headers


async def test_agency_code_is_case_insensitive() -> None:
    async with client(portal(FiveAgencies(), HOSTS)) as web:
        found, missing = await web.get("/api/v1/agencies/bbb"), await web.get("/api/v1/agencies/BBX")

    assert found.json()["agency"] == "BBB"
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no agency 'BBX'; did you mean BBB?")


@pytest.mark.parametrize(
    ("path", "parameter", "says"),
    [
        ("agencies?stat=down", "stat", "is not a parameter here; did you mean state?"),
        ("agencies?x=1", "x", "is not a parameter here; there are agency, cursor, direction, limit, state"),
        ("agencies/JCM?state=down", "state", "is not a parameter here; there is none"),
        ("agencies/JCM/days?day=7", "day", "is not a parameter here; did you mean days?"),
        ("agencies/JCM/days?days=401", "days", "Input should be less than or equal to 400"),
        ("self-health?" + "x" * 500, "x" * 60, "is not a parameter here; there is none"),
        ("self-checks?%ff=%00", "\ufffd", "is not a parameter here; there is none"),
        ("agencies?agency=JCN", "agency", "there is no agency 'JCN'; did you mean JCM?"),
        (
            "agencies?state=dwon",
            "state",
            "Input should be 'down', 'monitoring_fault', 'unknown', 'degraded', 'maintenance', 'silenced' or 'up'",
        ),
        ("agencies?direction=control", "direction", "Input should be 'internal', 'outbound' or 'inbound'"),
        ("agencies?limit=0", "limit", "Input should be greater than or equal to 1"),
        ("agencies?limit=1001", "limit", "Input should be less than or equal to 1000"),
        ("agencies?cursor=x", "cursor", "is not a cursor of this list; start again without a cursor"),
        ("agencies?cursor=aW5jaWRlbnRzOjE%3D", "cursor", "is not a cursor of this list; start again without a cursor"),
        ("agencies?cursor=%C3%A4", "cursor", "is not a cursor of this list; start again without a cursor"),
    ],
)
async def test_query_invalid_parameter_is_refused_and_named(path: str, parameter: str, says: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        answer = await web.get(f"/api/v1/{path}")

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"parameter": parameter, "detail": says}]
    assert answer.json()["detail"] == f"{parameter}: {says}"


@pytest.mark.parametrize("path", ["agencies", "agencies?limit=1", "agencies/JCM", "self-health", "letters"])
async def test_get_with_etag_returns_304_until_changed(path: str) -> None:
    service = Service()
    async with client(portal(service, HOSTS, service)) as web:
        first = await web.get(f"/api/v1/{path}")
        same = await web.get(f"/api/v1/{path}", headers={"If-None-Match": first.headers["etag"]})
        head = await web.head(f"/api/v1/{path}")
        service.name = "Jabatan Lain"
        changed = await web.get(f"/api/v1/{path}", headers={"If-None-Match": first.headers["etag"]})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert same.headers.get("link") == first.headers.get("link")
    assert head.headers["etag"] == first.headers["etag"]
    assert head.headers["content-length"] == str(len(first.content))
    assert changed.status_code == (200 if "agencies" in path else 304)


async def test_schema_lists_agencies_parameters_and_problem_details() -> None:
    async with client(portal(Service(), HOSTS)) as web:
        schema = (await web.get("/openapi.json")).json()

    asked = schema["paths"]["/api/v1/agencies"]["get"]
    assert {each["name"] for each in asked["parameters"]} == {"agency", "state", "direction", "limit", "cursor"}
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and "application/problem+json" in answer.get("content", {}):
                    shape = answer["content"]["application/problem+json"]["schema"]["$ref"]
                    assert shape == "#/components/schemas/ProblemDetails"
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert "$defs" not in json.dumps(schema["components"]["schemas"]["ProblemDetails"])


async def test_agency_days_and_availability_use_same_minutes() -> None:
    service = Service(timelines={T0.date() - timedelta(days=1): DayTimeline("w1080b360")})
    async with client(portal(service, HOSTS)) as web:
        answer = await web.get("/api/v1/agencies/jcm/days?days=2")
        usual = await web.get("/api/v1/agencies/JCM/days")
        missing = await web.get("/api/v1/agencies/JCN/days")
        listed = (await web.get("/api/v1/agencies")).json()
        one = (await web.get("/api/v1/agencies/JCM")).json()

    response = answer.json()
    assert (response["agency"], response["time_zone"]) == ("JCM", "Asia/Kuala_Lumpur")
    assert [(day["day"], day["availability"]) for day in response["days"]] == [
        ("2026-11-23", 0.75),
        ("2026-11-24", None),
    ]
    assert response["days"][0]["minutes"] == dict.fromkeys(MinuteState, 0) | {"up": 1080, "no_mail": 360}
    assert [(each["days"], each["availability"]) for each in response["availability"]] == [(30, 0.75), (90, 0.75)]
    assert len(usual.json()["days"]) == 90
    assert usual.json()["availability"] == response["availability"]
    assert listed == [one]
    assert one["availability"] == response["availability"]
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no agency 'JCN'; did you mean JCM?")
