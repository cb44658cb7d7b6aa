"""Acknowledgement over the API with a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.web.api.route.command import MAX_COMMAND_SIZE
from monitor.web.command.control import control
from monitor.web.portal import portal
from tests.unit.monitor.web.fake_service import Service, client
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

PATH = "/api/v1/incidents/JCM-01/acknowledge"
BODY = {"by": "Siti Contoh"}


@pytest.fixture
def service() -> Service:
    return Service(codes=("JCM", "MDC"))


@pytest.fixture
async def env(tmp_path: Path, service: Service) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path, service) as opened:
        yield opened


async def test_acknowledge_with_token_records_person_and_program(env: PortalEnv) -> None:
    program = await env.program("duty:JCM")
    answer = await program.post(PATH, json=BODY)
    unknown = await program.post(PATH.replace("01", "99"), json=BODY)
    nobody = await program.post(PATH, json={"by": ""})

    assert (answer.status_code, answer.json()["acknowledged_by"]) == (200, "Siti Contoh (program konsol)")
    assert (unknown.status_code, nobody.status_code) == (404, 422)


@pytest.mark.parametrize("header", [None, "Bearer salah", "Basic pantau_salah", "Bearer ", "pantau_salah"])
async def test_acknowledge_without_known_token_is_refused(env: PortalEnv, service: Service, header: str | None) -> None:
    async with env.browser() as web:
        answer = await web.post(PATH, json=BODY, headers={} if header is None else {"Authorization": header})

    assert answer.status_code in {401, 403}
    assert service.incident.acknowledged_by is None


@pytest.mark.parametrize("order", ["acknowledge", "release", "correct"])
async def test_portal_without_users_has_no_command(order: str) -> None:
    async with client(portal(Service(), ["localhost"])) as web:
        answer = await web.post(f"/api/v1/incidents/JCM-01/{order}", json={**BODY, "reason": "silap"})

    assert answer.status_code == 404


#: Bodies that JSON permits and a response or a name cannot contain.
INVALID_BODIES = [
    *(b'{"by": "\\ud800"}', b'{"by": NaN}', b'{"by": "Siti", "\\ud800": 1}', b'{"by": "  "}', b'{"by": "Si\\u0000ti"}'),
    *(b'{"by": "\\u202eitiS"}', b'{"by": "\\u001b[2J"}'),
]


@pytest.mark.parametrize("body", INVALID_BODIES)
async def test_acknowledge_invalid_name_is_refused(env: PortalEnv, service: Service, body: bytes) -> None:
    kind = {"Content-Type": "application/json"}
    program = await env.program("duty:JCM")
    with_token = await program.post(PATH, content=body, headers=kind)
    async with client(control(service), **kind) as cli:
        by_control = await cli.post("/incidents/JCM-01/acknowledge", content=body)

    assert (with_token.status_code, by_control.status_code) == (422, 422)
    assert all(wrong["pointer"].startswith("#") for wrong in with_token.json()["errors"])
    assert service.incident.acknowledged_by is None


async def test_acknowledge_too_large_body_is_refused_early(env: PortalEnv, service: Service) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 10_000_000:
            read += 1024
            yield b"x" * 1024

    program = await env.program("duty:JCM")
    kind = {"Content-Type": "application/json"}
    too_large = await program.post(PATH, content=b'{"by": "' + b"x" * MAX_COMMAND_SIZE + b'"}', headers=kind)
    streamed = await program.post(PATH, content=endless(), headers=kind)

    assert (too_large.status_code, streamed.status_code) == (413, 413)
    assert read < 10 * MAX_COMMAND_SIZE
    assert too_large.json()["detail"] == "a command has at most 16384 octets"
    assert service.incident.acknowledged_by is None
