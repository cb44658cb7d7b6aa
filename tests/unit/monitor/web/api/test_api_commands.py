"""Commands of the API: permission, actor, agency and idempotency."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from alerts.model.contradiction import Contradiction
from alerts.persistence.store import StoreUnavailable
from monitor.store.schema.tables import audit_log, incident, silence
from tests.unit.alerts.people import trigger
from tests.unit.monitor.web.fake_service import Service
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

LATER = timedelta(minutes=10)
INCIDENT = "/api/v1/incidents/JCM-01"
SILENCE = {"target": "jcm", "duration": "2h", "reason": "kerja rangkaian"}
DECLARATION = {"agency": "jcm", "type": "receiving", "reason": "mel web tidak dapat dibuka"}
OVERRIDE = {"rota": "JCM/bertugas", "person": "siti", "ends_at": "2026-12-03T08:00:00+08:00"}


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path, Service(codes=("JCM", "MDC"))) as opened:
        yield opened


async def rows(env: PortalEnv, table: Any) -> list[Any]:
    async with env.database.read() as connection:
        return list(await connection.execute(select(table)))


async def test_command_actor_is_program_with_named_person_or_signed_in_user(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    open_one = service.incident
    async with open_portal(tmp_path, service) as env:
        program, siti = await env.program("duty:JCM"), await env.session_for("siti", "duty:JCM")
        refused = await siti.post(f"{INCIDENT}/acknowledge", json={"by": "Ravi Contoh"})
        actors = []
        for browser, command_body in ((program, {"by": "Ravi Contoh"}), (program, None), (siti, None)):
            service.incident = open_one
            answer = await browser.post(f"{INCIDENT}/acknowledge", json=command_body)
            actors.append(answer.json()["acknowledged_by"])
    assert actors == ["Ravi Contoh (program konsol)", "program konsol", "Siti Contoh (siti)"]
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"detail": "must be omitted: Siti Contoh (siti) is signed in", "pointer": "#/by"}
    ]


async def test_incident_commands_succeed_and_repeated_false_alarm_conflicts(env: PortalEnv) -> None:
    program = await env.program("duty:JCM")
    for order, body in (
        ("notes", {"text": "sedang disemak"}),
        ("escalate", {}),
        ("release", {}),
        ("false-alarm", {"reason": "rujukan silap"}),
    ):
        answer = await program.post(f"{INCIDENT}/{order}", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["number"] == "JCM-01"
    assert answer.json()["false_alarm_by"] == "program konsol"
    again = await program.post(f"{INCIDENT}/false-alarm", json={"reason": "rujukan silap"})
    assert (again.status_code, again.json()["detail"][:32]) == (409, "JCM-01 was declared a false alar")


@pytest.mark.parametrize(
    ("order", "body"),
    [("release", {}), ("false-alarm", {"reason": "silap"})],
)
async def test_command_contradicting_probes_requires_despite(
    tmp_path: Path, order: str, body: Mapping[str, object]
) -> None:
    async with open_portal(tmp_path, Service(contradiction=Contradiction.STILL_FAILS)) as env:
        program = await env.program("duty:JCM")
        refused = await program.post(f"{INCIDENT}/{order}", json=body)
        done = await program.post(f"{INCIDENT}/{order}", json={**body, "despite": "still-fails"})
        unknown = await program.post(f"{INCIDENT}/{order}", json={**body, "despite": "ya"})
    assert (refused.status_code, refused.json()["despite"]) == (409, "still-fails")
    assert (done.status_code, done.json()["number"]) == (200, "JCM-01")
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "#/despite")


async def test_audit_log_records_origin_once_per_executed_command(
    env: PortalEnv,
) -> None:
    program = await env.program("duty:JCM", **{"Idempotency-Key": "satu"})
    for _ in range(2):
        assert (await program.post(f"{INCIDENT}/notes", json={"text": "disemak"})).status_code == 200
    refused = {"target": "JCM", "for": "bertahun"}
    assert (await program.post("/api/v1/silences", json=refused)).status_code == 422
    audit_entries = [
        (each.actor, each.detail) for each in await rows(env, audit_log) if each.event == "order over the API"
    ]
    assert audit_entries == [("program konsol", {"order": f"POST {INCIDENT}/notes", "address": "127.0.0.1"})]


async def test_take_over_from_other_than_assignee_changes_nothing(env: PortalEnv) -> None:
    program = await env.program("duty:JCM")
    siti = await env.session_for("siti", "duty:JCM")
    await siti.post(f"{INCIDENT}/acknowledge", json={})
    wrong = await program.post(f"{INCIDENT}/take-over", json={"from_user": "Ravi"})
    assert (wrong.status_code, wrong.json()["acknowledged_by"]) == (200, "Siti Contoh (siti)")
    right = await program.post(f"{INCIDENT}/take-over", json={"from_user": "Siti Contoh (siti)"})
    assert (right.status_code, right.json()["acknowledged_by"]) == (200, "program konsol")
    assert (await program.post(f"{INCIDENT}/take-over", json={})).status_code == 422


async def test_outage_is_declared_and_closed(env: PortalEnv) -> None:
    program = await env.program("duty:JCM")
    made = await program.post("/api/v1/declarations", json=DECLARATION)
    assert made.status_code == 201
    number = made.json()["incident"]["number"]
    # The fake service has one incident, whatever the database has.
    assert number == "JCM-01"
    closed = await program.post(f"/api/v1/incidents/{number}/close", json={"reason": "sudah pulih", "recovered": True})
    assert (closed.status_code, closed.json()["state"]) == (200, "resolved")
    [row] = await rows(env, incident)
    assert row.declared_by == "program konsol"


async def test_silence_is_added_listed_and_removed(env: PortalEnv) -> None:
    program, other = await env.program("duty:JCM"), await env.program("viewer:MDC", name="lain")
    made = await program.post("/api/v1/silences", json=SILENCE)
    assert (made.status_code, made.json()["target"], made.json()["by"]) == (201, "JCM", "program konsol")
    assert [each["id"] for each in (await program.get("/api/v1/silences")).json()] == [1]
    assert (await other.get("/api/v1/silences")).json() == []
    assert (await program.delete("/api/v1/silences/1")).status_code == 200
    assert (await program.delete("/api/v1/silences/1")).status_code == 404
    wrong = await program.post("/api/v1/silences", json={**SILENCE, "duration": "dua jam"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "#/duration")


async def test_override_is_added_listed_and_removed(env: PortalEnv) -> None:
    program, other = await env.program("officer:JCM"), await env.program("officer:MDC", name="lain")
    made = await program.post("/api/v1/overrides", json=OVERRIDE)
    assert (made.status_code, made.json()["person"], made.json()["by"]) == (201, "siti", "program konsol")
    assert made.json()["tell"] == [{"key": "siti", "name": "Siti"}]
    assert [each["id"] for each in (await program.get("/api/v1/overrides")).json()] == [1]
    assert (await other.get("/api/v1/overrides")).json() == []
    assert (await other.delete("/api/v1/overrides/1")).status_code == 403
    assert (await program.delete("/api/v1/overrides/1")).status_code == 200
    assert (await program.delete("/api/v1/overrides/1")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/declarations", DECLARATION),
        ("/api/v1/silences", SILENCE),
        ("/api/v1/silences", {**SILENCE, "target": " JCM/internal"}),
        ("/api/v1/overrides", OVERRIDE),
        ("/api/v1/overrides", {**OVERRIDE, "rota": "jcm/bertugas"}),
        # A rota for all agencies belongs to none.
        ("/api/v1/overrides", {**OVERRIDE, "rota": "bertugas"}),
    ],
)
async def test_permission_checks_agency_in_body(env: PortalEnv, path: str, body: dict[str, str]) -> None:
    program, everywhere = await env.program("duty:MDC"), await env.program("duty", name="semua")
    refused = await program.post(path, json=body)
    assert refused.status_code == 403, refused.text
    assert (await everywhere.post(path, json=body)).status_code in {201, 409}


async def test_silence_of_other_agency_is_not_removed(env: PortalEnv) -> None:
    ours, theirs = await env.program("duty:JCM"), await env.program("duty:MDC", name="lain")
    await ours.post("/api/v1/silences", json=SILENCE)
    assert (await theirs.delete("/api/v1/silences/1")).status_code == 403
    assert (await ours.delete("/api/v1/silences/1")).status_code == 200


async def test_cross_site_command_with_session_is_refused(env: PortalEnv) -> None:
    siti = await env.session_for("siti", "duty")
    cross_site = {"Sec-Fetch-Site": "cross-site"}
    assert (await siti.post("/api/v1/silences", json=SILENCE, headers=cross_site)).status_code == 401
    await siti.post("/api/v1/silences", json=SILENCE)
    assert (await siti.delete("/api/v1/silences/1", headers=cross_site)).status_code == 401


# -- once ------------------------------------------------------------------------------------------------------------


async def test_idempotency_key_executes_command_once_and_repeats_response(env: PortalEnv) -> None:
    program, key = await env.program("duty:JCM"), {"Idempotency-Key": "pesanan 1"}
    first = await program.post("/api/v1/silences", json=SILENCE, headers=key)
    # Later than a double click.
    env.clock.move(LATER)
    again = await program.post("/api/v1/silences", json=SILENCE, headers=key)
    assert (first.status_code, first.content, first.headers["content-type"]) == (
        again.status_code,
        again.content,
        again.headers["content-type"],
    )
    assert len(await rows(env, silence)) == 1
    other_body = await program.post("/api/v1/silences", json={**SILENCE, "duration": "3h"}, headers=key)
    assert other_body.status_code == 422
    assert other_body.json()["errors"][0]["parameter"] == "Idempotency-Key"
    other_place = await program.post("/api/v1/declarations", json=SILENCE | DECLARATION, headers=key)
    assert other_place.status_code == 422
    # The key of another program is another key, and without a key it is another command.
    somebody = await env.program("duty:JCM", name="lain")
    await somebody.post("/api/v1/silences", json=SILENCE, headers=key)
    await program.post("/api/v1/silences", json=SILENCE)
    assert len(await rows(env, silence)) == 3
    env.clock.move(timedelta(days=1))
    assert (await program.post("/api/v1/silences", json=SILENCE, headers=key)).content != first.content


async def test_idempotency_key_concurrent_commands_execute_once(env: PortalEnv) -> None:
    program, key = await env.program("duty:JCM"), {"Idempotency-Key": "serentak"}
    answers = await asyncio.gather(*(program.post("/api/v1/overrides", json=OVERRIDE, headers=key) for _ in range(8)))
    assert len((await program.get("/api/v1/overrides")).json()) == 1
    assert {each.status_code for each in answers} <= {201, 409}


async def test_idempotency_key_of_refused_command_is_reusable(env: PortalEnv) -> None:
    program, key = await env.program("duty:JCM"), {"Idempotency-Key": "k"}
    order: dict[str, object] = {"reason": "sudah pulih"}
    assert (await program.post(f"{INCIDENT}/close", json=order, headers=key)).status_code == 404
    await env.station.submit(trigger())
    order["recovered"] = True
    refused = await program.post(f"{INCIDENT}/close", json=order, headers=key)
    assert (refused.status_code, refused.json()["despite"]) == (409, "still-fails")
    assert (
        await program.post(f"{INCIDENT}/close", json={**order, "despite": "still-fails"}, headers=key)
    ).status_code == 200


async def test_idempotency_key_after_role_loss_is_refused(env: PortalEnv) -> None:
    siti, key = await env.session_for("siti", "duty:JCM"), {"Idempotency-Key": "k"}
    assert (await siti.post("/api/v1/silences", json=SILENCE, headers=key)).status_code == 201
    await env.administration.assign("siti", ["duty:MDC"], by="Ujian")
    assert (await siti.post("/api/v1/silences", json=SILENCE, headers=key)).status_code == 403


async def test_idempotency_key_of_interrupted_command_conflicts(
    env: PortalEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, key = await env.program("duty:JCM"), {"Idempotency-Key": "k"}

    async def unavailable(*_: object, **__: object) -> None:
        raise StoreUnavailable("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(type(env.station.dispatcher), "submit", unavailable)
        assert (await program.post("/api/v1/declarations", json=DECLARATION, headers=key)).status_code == 503
    answer = await program.post("/api/v1/declarations", json=DECLARATION, headers=key)
    assert answer.status_code == 409
    assert "no response to it is stored" in answer.json()["detail"]
    assert (await program.post("/api/v1/declarations", json=DECLARATION)).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201, "kunci\x7f", "künci"])
async def test_idempotency_key_invalid_is_refused(env: PortalEnv, key: str) -> None:
    program = await env.program("duty:JCM")
    answer = await program.post("/api/v1/silences", json=SILENCE, headers={b"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert not await rows(env, silence)


async def test_command_unknown_query_parameter_is_refused(env: PortalEnv) -> None:
    program = await env.program("duty:JCM")
    answer = await program.post("/api/v1/silences?reason=x", json=SILENCE)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "reason")


async def test_audit_log_names_program(env: PortalEnv) -> None:
    program = await env.program("duty:JCM")
    await program.post("/api/v1/silences", json={**SILENCE, "by": "Ravi Contoh"})
    entries = [(each.event, each.actor) for each in await rows(env, audit_log)]
    assert entries[-2:] == [
        ("silence begun", "Ravi Contoh (program konsol)"),
        ("order over the API", "program konsol"),
    ]
