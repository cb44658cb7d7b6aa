"""Problem details of errors, and HEAD responses."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.files.problem import Problem, Severity
from monitor.web.command.control import control
from monitor.web.portal import SECURITY_HEADERS, portal
from tests.unit.monitor.web.fake_service import Service, client
from tests.unit.monitor.web.portal_env import open_portal

HOSTS = ["localhost"]
RELOAD = "/-/reload"
GETS = [
    "/",
    "/fragment",
    "/api/v1/agencies",
    "/api/v1/incidents",
    "/metrics",
    "/-/ready",
    "/static/status.css",
    "/openapi.json",
]


@pytest.mark.parametrize(
    ("method", "path", "status", "title", "says"),
    [
        (
            "GET",
            "/api/v1/agncies",
            404,
            "Not Found",
            "there is nothing at /api/v1/agncies",
        ),
        ("GET", "/static/nothing.css", 404, "Not Found", "there is nothing at /static/nothing.css"),
        ("GET", "/notifications/9", 404, "Not Found", "there is no notification 9"),
        ("GET", "/notifications/x", 422, "Unprocessable", "notification_id: Input should be a valid integer"),
        ("DELETE", "/api/v1/agencies", 405, "Method Not Allowed", "DELETE is not possible here, only GET, HEAD"),
        ("GET", RELOAD, 405, "Method Not Allowed", "GET is not possible here, only POST"),
    ],
)
async def test_error_is_problem_details_with_advice(method: str, path: str, status: int, title: str, says: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        answer = await web.request(method, path)

    problem_details = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem_details["status"], problem_details["type"]) == (status, status, "about:blank")
    assert problem_details["title"].startswith(title)
    assert problem_details["detail"].startswith(says)


async def test_method_not_allowed_lists_methods_in_header() -> None:
    async with client(portal(Service(), HOSTS)) as web:
        assert (await web.delete("/api/v1/agencies")).headers["allow"] == "GET, HEAD"
        assert (await web.get(RELOAD)).headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b'{"by": ""}', {"pointer": "#/by", "detail": "String should have at least 1 character"}),
        (b'{"by": "Siti", "a/~b": 1}', {"pointer": "#/a~1~0b", "detail": "Extra inputs are not permitted"}),
        (b"{", {"pointer": "#", "detail": "is not valid JSON"}),
    ],
)
async def test_command_error_points_at_field(tmp_path: Path, body: bytes, wrong: dict[str, str]) -> None:
    async with open_portal(tmp_path, Service()) as env:
        program = await env.program("duty", **{"Content-Type": "application/json"})
        answer = await program.post("/api/v1/incidents/JCM-01/acknowledge", content=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [wrong]
    assert wrong["detail"] in answer.json()["detail"]


async def test_internal_error_is_problem_details_without_cause() -> None:
    class Broken(Service):
        def own(self) -> list[object]:  # type: ignore[override]  # it fails
            raise RuntimeError("secret")

    for app, status in ((portal(Broken(), HOSTS), 500), (control(Broken()), 404)):
        async with client(app) as web:
            answer = await web.get("/api/v1/self-health")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status_code == status
        assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/v1/self-health", {}, 500),
        ("HEAD", "/api/v1/self-health", {}, 500),
        ("GET", "/", {}, 500),
        ("GET", "/api/v1/incidents", {"Host": "pantau.penyerang.example"}, 400),
        ("GET", "/-/ready", {"Host": ""}, 400),
        ("GET", "/-/ready", {}, 503),
        ("POST", "/-/reload", {}, 400),
        ("POST", "/-/reload", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/-/healthy", {}, 405),
        ("POST", "/api/v1/alertmanager", {}, 404),
        ("GET", "/nothing", {}, 404),
    ],
)
async def test_error_is_problem_details_with_security_headers(
    method: str, path: str, headers: dict[str, str], status: int
) -> None:
    class Broken(Service):
        def own(self) -> list[object]:  # type: ignore[override]  # it fails
            raise RuntimeError("secret")

    refused = Problem(file="pantau.yaml", message="is no known key", severity=Severity.ERROR)
    async with client(portal(Broken(not_ready="starting", problems=[refused]), HOSTS)) as web:
        answer = await web.request(method, path, headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert method == "HEAD" or answer.json()["status"] == status


@pytest.mark.parametrize("path", GETS)
async def test_head_matches_get_without_body(path: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        whole, head = await web.get(path), await web.head(path)
        refused = await web.head(RELOAD)

    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(whole.headers)
    assert (refused.status_code, refused.content) == (405, b"")
