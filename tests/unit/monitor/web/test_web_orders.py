"""Programs that acknowledge over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from monitor.web.api.route.command import MAX_COMMAND_SIZE
from monitor.web.command.control import control
from monitor.web.portal import portal
from tests.unit.monitor.web.source import TOKEN, Service, client

PATH = "/api/v1/incidents/JCM-01/acknowledge"
WORD = {"by": "Siti Contoh"}


async def test_a_program_with_a_token_acknowledges_in_a_persons_name_and_its_own() -> None:
    service = Service()
    async with client(portal(service, ["localhost"]), Authorization=f"Bearer {TOKEN}") as web:
        answer = await web.post(PATH, json=WORD)
        unknown = await web.post(PATH.replace("01", "99"), json=WORD)
        nobody = await web.post(PATH, json={"by": ""})

    assert (answer.status_code, answer.json()["acknowledged_by"]) == (200, "Siti Contoh (konsol-noc)")
    assert (unknown.status_code, nobody.status_code) == (404, 422)


@pytest.mark.parametrize("header", [None, "Bearer salah", f"Basic {TOKEN}", "Bearer ", TOKEN])
async def test_without_a_known_token_nothing_is_acknowledged(header: str | None) -> None:
    service = Service()
    headers = {} if header is None else {"Authorization": header}
    async with client(portal(service, ["localhost"]), **headers) as web:
        answer = await web.post(PATH, json=WORD)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert service.incident.acknowledged_by is None


@pytest.mark.parametrize("order", ["release", "correct"])
async def test_nothing_else_can_be_ordered_over_http(order: str) -> None:
    async with client(portal(Service(), ["localhost"]), Authorization=f"Bearer {TOKEN}") as web:
        answer = await web.post(f"/api/v1/incidents/JCM-01/{order}", json={**WORD, "reason": "silap"})

    assert answer.status_code == 404


#: What JSON can say and no answer can: half a pair, no number; and what cannot be shown as a name.
UNREADABLE = [
    *(b'{"by": "\\ud800"}', b'{"by": NaN}', b'{"by": "Siti", "\\ud800": 1}', b'{"by": "  "}', b'{"by": "Si\\u0000ti"}'),
    *(b'{"by": "\\u202eitiS"}', b'{"by": "\\u001b[2J"}'),
]


@pytest.mark.parametrize("body", UNREADABLE)
async def test_a_name_that_cannot_be_kept_or_shown_is_refused_and_told_to_nobody_without_a_token(body: bytes) -> None:
    service, kind = Service(), {"Content-Type": "application/json"}
    async with client(portal(service, ["localhost"]), **kind) as web:
        stranger = await web.post(PATH, content=body)
        known = await web.post(PATH, content=body, headers={"Authorization": f"Bearer {TOKEN}"})
    async with client(control(service), **kind) as cli:
        ordered = await cli.post("/incidents/JCM-01/acknowledge", content=body)

    assert (stranger.status_code, known.status_code, ordered.status_code) == (401, 422, 422)
    assert all(wrong["pointer"].startswith("#") for wrong in known.json()["errors"])
    assert service.incident.acknowledged_by is None


@pytest.mark.parametrize("token", [TOKEN, ""])
async def test_an_order_that_is_larger_than_any_is_refused_before_it_is_read_to_its_end(token: str) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 10_000_000:
            read += 1024
            yield b"x" * 1024

    service, kind = Service(), {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    async with client(portal(service, ["localhost"]), **kind) as web:
        told = await web.post(PATH, content=b'{"by": "' + b"x" * MAX_COMMAND_SIZE + b'"}')
        streamed = await web.post(PATH, content=endless())

    assert (told.status_code, streamed.status_code) == (413, 413)
    assert read < 10 * MAX_COMMAND_SIZE
    assert told.json()["detail"] == "a command has at most 16384 octets"
    assert service.incident.acknowledged_by is None
