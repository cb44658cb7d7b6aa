"""Orders below /api/v1: who may give them, in whose name, for which agency, and once."""

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
from tests.unit.monitor.web.signed import House, house
from tests.unit.monitor.web.source import TOKEN, Service

LATER = timedelta(minutes=10)
HERE = "/api/v1/incidents/JCM-01"
SILENCE = {"target": "jcm", "duration": "2h", "reason": "kerja rangkaian"}
DECLARATION = {"agency": "jcm", "type": "receiving", "reason": "mel web tidak dapat dibuka"}
OVERRIDE = {"rota": "JCM/bertugas", "person": "siti", "ends_at": "2026-12-03T08:00:00+08:00"}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, Service(codes=("JCM", "MDC"))) as opened:
        yield opened


async def rows(place: House, table: Any) -> list[Any]:
    async with place.database.read() as connection:
        return list(await connection.execute(select(table)))


async def test_a_program_says_who_told_it_to_and_a_person_is_known(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    open_one = service.incident
    async with house(tmp_path, service) as place:
        program, siti = await place.program("duty:JCM"), await place.admitted("siti", "duty:JCM")
        refused = await siti.post(f"{HERE}/acknowledge", json={"by": "Ravi Contoh"})
        said = []
        for browser, word in ((program, {"by": "Ravi Contoh"}), (program, None), (siti, None)):
            service.incident = open_one
            answer = await browser.post(f"{HERE}/acknowledge", json=word)
            said.append(answer.json()["acknowledged_by"])
    assert said == ["Ravi Contoh (program konsol)", "program konsol", "Siti Contoh (siti)"]
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"detail": "is known: Siti Contoh (siti) has signed in; leave it out", "pointer": "#/by"}
    ]


async def test_a_token_of_the_settings_acknowledges_as_it_did_and_orders_nothing_else(place: House) -> None:
    async with place.browser(Authorization=f"Bearer {TOKEN}") as web:
        took = await web.post(f"{HERE}/acknowledge", json={"by": "Siti Contoh"})
        assert (took.status_code, took.json()["acknowledged_by"]) == (200, "Siti Contoh (konsol-noc)")
        assert (await web.post(f"{HERE}/acknowledge")).status_code == 422
        assert (await web.post(f"{HERE}/release")).status_code == 401


async def test_orders_about_an_incident(place: House) -> None:
    program = await place.program("duty:JCM")
    for order, body in (
        ("notes", {"text": "sedang disemak"}),
        ("escalate", {}),
        ("release", {}),
        ("false-alarm", {"reason": "rujukan silap"}),
    ):
        answer = await program.post(f"{HERE}/{order}", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["number"] == "JCM-01"
    assert answer.json()["false_alarm_by"] == "program konsol"
    again = await program.post(f"{HERE}/false-alarm", json={"reason": "rujukan silap"})
    assert (again.status_code, again.json()["detail"][:32]) == (409, "JCM-01 was declared a false alar")


@pytest.mark.parametrize(
    ("order", "body"),
    [("release", {}), ("false-alarm", {"reason": "silap"})],
)
async def test_order_that_contradicts_what_is_measured_says_what_to_name(
    tmp_path: Path, order: str, body: Mapping[str, object]
) -> None:
    async with house(tmp_path, Service(contradiction=Contradiction.STILL_FAILS)) as place:
        program = await place.program("duty:JCM")
        refused = await program.post(f"{HERE}/{order}", json=body)
        done = await program.post(f"{HERE}/{order}", json={**body, "despite": "still-fails"})
        unknown = await program.post(f"{HERE}/{order}", json={**body, "despite": "ya"})
    assert (refused.status_code, refused.json()["despite"]) == (409, "still-fails")
    assert (done.status_code, done.json()["number"]) == (200, "JCM-01")
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "#/despite")


async def test_the_journal_tells_where_an_order_came_from_and_no_more_often_than_it_was_carried_out(
    place: House,
) -> None:
    program = await place.program("duty:JCM", **{"Idempotency-Key": "satu"})
    for _ in range(2):
        assert (await program.post(f"{HERE}/notes", json={"text": "disemak"})).status_code == 200
    refused = {"target": "JCM", "for": "bertahun"}
    assert (await program.post("/api/v1/silences", json=refused)).status_code == 422
    told = [(each.actor, each.detail) for each in await rows(place, audit_log) if each.event == "order over the API"]
    assert told == [("program konsol", {"order": f"POST {HERE}/notes", "address": "127.0.0.1"})]


async def test_what_another_has_is_taken_over_from_them_and_from_nobody_else(place: House) -> None:
    program = await place.program("duty:JCM")
    siti = await place.admitted("siti", "duty:JCM")
    await siti.post(f"{HERE}/acknowledge", json={})
    wrong = await program.post(f"{HERE}/take-over", json={"from_user": "Ravi"})
    assert (wrong.status_code, wrong.json()["acknowledged_by"]) == (200, "Siti Contoh (siti)")
    right = await program.post(f"{HERE}/take-over", json={"from_user": "Siti Contoh (siti)"})
    assert (right.status_code, right.json()["acknowledged_by"]) == (200, "program konsol")
    assert (await program.post(f"{HERE}/take-over", json={})).status_code == 422


async def test_an_outage_is_declared_and_closed(place: House) -> None:
    program = await place.program("duty:JCM")
    made = await program.post("/api/v1/declarations", json=DECLARATION)
    assert made.status_code == 201
    number = made.json()["incident"]["number"]
    # The portal of these tests shows one incident, whatever the store has.
    assert number == "JCM-01"
    closed = await program.post(f"/api/v1/incidents/{number}/close", json={"reason": "sudah pulih", "recovered": True})
    assert (closed.status_code, closed.json()["state"]) == (200, "resolved")
    [row] = await rows(place, incident)
    assert row.declared_by == "program konsol"


async def test_a_silence_is_begun_listed_and_ended(place: House) -> None:
    program, other = await place.program("duty:JCM"), await place.program("viewer:MDC", name="lain")
    made = await program.post("/api/v1/silences", json=SILENCE)
    assert (made.status_code, made.json()["target"], made.json()["by"]) == (201, "JCM", "program konsol")
    assert [each["id"] for each in (await program.get("/api/v1/silences")).json()] == [1]
    assert (await other.get("/api/v1/silences")).json() == []
    assert (await program.delete("/api/v1/silences/1")).status_code == 200
    assert (await program.delete("/api/v1/silences/1")).status_code == 404
    wrong = await program.post("/api/v1/silences", json={**SILENCE, "duration": "dua jam"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "#/duration")


async def test_a_duty_is_handed_over_and_taken_back(place: House) -> None:
    program, other = await place.program("officer:JCM"), await place.program("officer:MDC", name="lain")
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
        # One that all may name is nobody's.
        ("/api/v1/overrides", {**OVERRIDE, "rota": "bertugas"}),
    ],
)
async def test_an_agency_in_the_body_counts_as_one_in_the_path(place: House, path: str, body: dict[str, str]) -> None:
    program, everywhere = await place.program("duty:MDC"), await place.program("duty", name="semua")
    refused = await program.post(path, json=body)
    assert refused.status_code == 403, refused.text
    assert (await everywhere.post(path, json=body)).status_code in {201, 409}


async def test_what_goes_on_about_another_agency_is_not_ended(place: House) -> None:
    ours, theirs = await place.program("duty:JCM"), await place.program("duty:MDC", name="lain")
    await ours.post("/api/v1/silences", json=SILENCE)
    assert (await theirs.delete("/api/v1/silences/1")).status_code == 403
    assert (await ours.delete("/api/v1/silences/1")).status_code == 200


async def test_a_strangers_page_orders_nothing_in_a_sessions_name(place: House) -> None:
    siti = await place.admitted("siti", "duty")
    stranger = {"Sec-Fetch-Site": "cross-site"}
    assert (await siti.post("/api/v1/silences", json=SILENCE, headers=stranger)).status_code == 401
    await siti.post("/api/v1/silences", json=SILENCE)
    assert (await siti.delete("/api/v1/silences/1", headers=stranger)).status_code == 401


# -- once ------------------------------------------------------------------------------------------------------------


async def test_an_order_with_a_key_is_carried_out_once_and_answered_the_same(place: House) -> None:
    program, key = await place.program("duty:JCM"), {"Idempotency-Key": "pesanan 1"}
    first = await program.post("/api/v1/silences", json=SILENCE, headers=key)
    # Later than anybody who has pressed twice.
    place.clock.move(LATER)
    again = await program.post("/api/v1/silences", json=SILENCE, headers=key)
    assert (first.status_code, first.content, first.headers["content-type"]) == (
        again.status_code,
        again.content,
        again.headers["content-type"],
    )
    assert len(await rows(place, silence)) == 1
    other_body = await program.post("/api/v1/silences", json={**SILENCE, "duration": "3h"}, headers=key)
    assert other_body.status_code == 422
    assert other_body.json()["errors"][0]["parameter"] == "Idempotency-Key"
    other_place = await program.post("/api/v1/declarations", json=SILENCE | DECLARATION, headers=key)
    assert other_place.status_code == 422
    # Somebody else's key is another one, and without any it is another order.
    somebody = await place.program("duty:JCM", name="lain")
    await somebody.post("/api/v1/silences", json=SILENCE, headers=key)
    await program.post("/api/v1/silences", json=SILENCE)
    assert len(await rows(place, silence)) == 3
    place.clock.move(timedelta(days=1))
    assert (await program.post("/api/v1/silences", json=SILENCE, headers=key)).content != first.content


async def test_many_at_once_are_one(place: House) -> None:
    program, key = await place.program("duty:JCM"), {"Idempotency-Key": "serentak"}
    answers = await asyncio.gather(*(program.post("/api/v1/overrides", json=OVERRIDE, headers=key) for _ in range(8)))
    assert len((await program.get("/api/v1/overrides")).json()) == 1
    assert {each.status_code for each in answers} <= {201, 409}


async def test_what_was_refused_may_be_sent_again(place: House) -> None:
    program, key = await place.program("duty:JCM"), {"Idempotency-Key": "k"}
    order: dict[str, object] = {"reason": "sudah pulih"}
    assert (await program.post(f"{HERE}/close", json=order, headers=key)).status_code == 404
    await place.station.submit(trigger())
    order["recovered"] = True
    refused = await program.post(f"{HERE}/close", json=order, headers=key)
    assert (refused.status_code, refused.json()["despite"]) == (409, "still-fails")
    assert (
        await program.post(f"{HERE}/close", json={**order, "despite": "still-fails"}, headers=key)
    ).status_code == 200


async def test_who_may_no_longer_is_not_answered_from_before(place: House) -> None:
    siti, key = await place.admitted("siti", "duty:JCM"), {"Idempotency-Key": "k"}
    assert (await siti.post("/api/v1/silences", json=SILENCE, headers=key)).status_code == 201
    await place.administration.assign("siti", ["duty:MDC"], by="Ujian")
    assert (await siti.post("/api/v1/silences", json=SILENCE, headers=key)).status_code == 403


async def test_of_what_broke_off_nobody_knows_and_it_is_not_done_twice(
    place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, key = await place.program("duty:JCM"), {"Idempotency-Key": "k"}

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(type(place.station.dispatcher), "submit", away)
        assert (await program.post("/api/v1/declarations", json=DECLARATION, headers=key)).status_code == 503
    answer = await program.post("/api/v1/declarations", json=DECLARATION, headers=key)
    assert answer.status_code == 409
    assert "whether it was carried out is not known" in answer.json()["detail"]
    assert (await program.post("/api/v1/declarations", json=DECLARATION)).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201, "kunci\x7f", "künci"])
async def test_a_key_that_cannot_be_kept_is_refused(place: House, key: str) -> None:
    program = await place.program("duty:JCM")
    answer = await program.post("/api/v1/silences", json=SILENCE, headers={b"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert not await rows(place, silence)


async def test_an_unknown_parameter_is_refused_as_elsewhere(place: House) -> None:
    program = await place.program("duty:JCM")
    answer = await program.post("/api/v1/silences?reason=x", json=SILENCE)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "reason")


async def test_the_journal_says_which_program(place: House) -> None:
    program = await place.program("duty:JCM")
    await program.post("/api/v1/silences", json={**SILENCE, "by": "Ravi Contoh"})
    entries = [(each.event, each.actor) for each in await rows(place, audit_log)]
    assert entries[-2:] == [
        ("silence begun", "Ravi Contoh (program konsol)"),
        ("order over the API", "program konsol"),
    ]
