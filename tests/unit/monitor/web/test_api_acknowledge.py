"""Acknowledgement over the API with a token of the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from monitor.web.api.route.command import MAX_COMMAND_SIZE
from monitor.web.command.control import control
from monitor.web.portal import portal
from tests.unit.monitor.web.fake_service import TOKEN, Service, client

PATH = "/api/v1/incidents/JCM-01/acknowledge"
BODY = {"by": "Siti Contoh"}


async def test_acknowledge_with_token_records_person_and_program() -> None:
    service = Service()
    async with client(portal(service, ["localhost"]), Authorization=f"Bearer {TOKEN}") as web:
        answer = await web.post(PATH, json=BODY)
        unknown = await web.post(PATH.replace("01", "99"), json=BODY)
        nobody = await web.post(PATH, json={"by": ""})

    assert (answer.status_code, answer.json()["acknowledged_by"]) == (200, "Siti Contoh (konsol-noc)")
    assert (unknown.status_code, nobody.status_code) == (404, 422)


@pytest.mark.parametrize("header", [None, "Bearer salah", f"Basic {TOKEN}", "Bearer ", TOKEN])
async def test_acknowledge_without_known_token_is_refused(header: str | None) -> None:
    service = Service()
    headers = {} if header is None else {"Authorization": header}
    async with client(portal(service, ["localhost"]), **headers) as web:
        answer = await web.post(PATH, json=BODY)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert service.incident.acknowledged_by is None


@pytest.mark.parametrize("order", ["release", "correct"])
async def test_portal_without_users_has_no_other_command(order: str) -> None:
    async with client(portal(Service(), ["localhost"]), Authorization=f"Bearer {TOKEN}") as web:
        answer = await web.post(f"/api/v1/incidents/JCM-01/{order}", json={**BODY, "reason": "silap"})

    assert answer.status_code == 404


#: Bodies that JSON permits and a response or a name cannot contain.
INVALID_BODIES = [
    *(b'{"by": "\\ud800"}', b'{"by": NaN}', b'{"by": "Siti", "\\ud800": 1}', b'{"by": "  "}', b'{"by": "Si\\u0000ti"}'),
    *(b'{"by": "\\u202eitiS"}', b'{"by": "\\u001b[2J"}'),
]


@pytest.mark.parametrize("body", INVALID_BODIES)
async def test_acknowledge_invalid_name_is_refused_and_unread_without_token(body: bytes) -> None:
    service, kind = Service(), {"Content-Type": "application/json"}
    async with client(portal(service, ["localhost"]), **kind) as web:
        without_token = await web.post(PATH, content=body)
        with_token = await web.post(PATH, content=body, headers={"Authorization": f"Bearer {TOKEN}"})
    async with client(control(service), **kind) as cli:
        by_control = await cli.post("/incidents/JCM-01/acknowledge", content=body)

    assert (without_token.status_code, with_token.status_code, by_control.status_code) == (401, 422, 422)
    assert all(wrong["pointer"].startswith("#") for wrong in with_token.json()["errors"])
    assert service.incident.acknowledged_by is None


@pytest.mark.parametrize("token", [TOKEN, ""])
async def test_acknowledge_too_large_body_is_refused_early(token: str) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 10_000_000:
            read += 1024
            yield b"x" * 1024

    service, kind = Service(), {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    async with client(portal(service, ["localhost"]), **kind) as web:
        too_large = await web.post(PATH, content=b'{"by": "' + b"x" * MAX_COMMAND_SIZE + b'"}')
        streamed = await web.post(PATH, content=endless())

    assert (too_large.status_code, streamed.status_code) == (413, 413)
    assert read < 10 * MAX_COMMAND_SIZE
    assert too_large.json()["detail"] == "a command has at most 16384 octets"
    assert service.incident.acknowledged_by is None
