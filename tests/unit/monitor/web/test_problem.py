"""What a program is told where it is answered nothing else, and that HEAD says the same as GET."""

from __future__ import annotations

import pytest

from monitor.web.command.control import control
from monitor.web.portal import portal
from tests.unit.monitor.web.source import TOKEN, Service, client

HOSTS = ["localhost"]
ORDER = "/api/v1/incidents/JCM-01/acknowledge"
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
        ("GET", "/notices/9", 404, "Not Found", "there is no notice 9"),
        ("GET", "/notices/x", 422, "Unprocessable", "notice_id: Input should be a valid integer"),
        ("DELETE", "/api/v1/agencies", 405, "Method Not Allowed", "DELETE is not possible here, only GET, HEAD"),
        ("GET", ORDER, 405, "Method Not Allowed", "GET is not possible here, only POST"),
        ("POST", ORDER, 401, "Unauthorized", "no token that is known"),
    ],
)
async def test_every_error_is_a_problem_that_says_what_to_do(
    method: str, path: str, status: int, title: str, says: str
) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        answer = await web.request(method, path)

    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, told["status"], told["type"]) == (status, status, "about:blank")
    assert told["title"].startswith(title)
    assert told["detail"].startswith(says)


async def test_what_is_possible_instead_stands_in_the_header() -> None:
    async with client(portal(Service(), HOSTS)) as web:
        assert (await web.delete("/api/v1/agencies")).headers["allow"] == "GET, HEAD"
        assert (await web.get(ORDER)).headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b'{"by": ""}', {"pointer": "#/by", "detail": "String should have at least 1 character"}),
        (b'{"by": "Siti", "a/~b": 1}', {"pointer": "#/a~1~0b", "detail": "Extra inputs are not permitted"}),
        (b"{", {"pointer": "#", "detail": "is no JSON"}),
        (b"", {"pointer": "#", "detail": "Field required"}),
    ],
)
async def test_what_is_wrong_with_an_order_is_pointed_at(body: bytes, wrong: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with client(portal(Service(), HOSTS), **headers) as web:
        answer = await web.post(ORDER, content=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [wrong]
    assert wrong["detail"] in answer.json()["detail"]


async def test_an_error_of_ours_is_a_problem_too_and_tells_nothing_of_it() -> None:
    class Broken(Service):
        def own(self) -> list[object]:  # type: ignore[override]  # it fails
            raise RuntimeError("secret")

    for app in (portal(Broken(), HOSTS), control(Broken())):
        async with client(app) as web:
            answer = await web.get("/api/v1/own-health")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "secret" not in answer.text
    assert answer.status_code == 404


@pytest.mark.parametrize("path", GETS)
async def test_head_is_answered_as_get_would_be_without_the_body(path: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        whole, head = await web.get(path), await web.head(path)
        refused = await web.head(ORDER)

    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(whole.headers)
    assert (refused.status_code, refused.content) == (405, b"")
