"""What the command line may ask."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.model.event import Resolve
from alerts.model.incident import apply
from alerts.model.notification import IncidentType
from monitor.config.files.problem import Problem, Severity
from monitor.web.command.control import control
from tests.unit.alerts.people import T0, incident
from tests.unit.monitor.web.source import Service, client


async def test_a_person_acknowledges_in_their_name() -> None:
    async with client(control(Service())) as web:
        answer = await web.post("/incidents/JCM-01/acknowledge", json={"by": "Siti Contoh"})

    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["acknowledged_by"]) == ("acknowledged", "Siti Contoh")


async def test_a_duty_officer_releases_the_announcement() -> None:
    async with client(control(Service())) as web:
        assert (await web.get("/incidents")).json()[0]["announcement"] == "waiting"
        answer = await web.post("/incidents/JCM-01/release", json={"by": "Siti Contoh"})

    assert (answer.json()["announcement"], answer.json()["released_by"]) == ("released", "Siti Contoh")


async def test_what_is_no_outage_has_nothing_to_release() -> None:
    async with client(control(Service(incident=incident(IncidentType.DEGRADED)))) as web:
        answer = await web.post("/incidents/JCM-01/release", json={"by": "Siti Contoh"})

    assert answer.json()["announcement"] == "none"


async def test_a_false_alarm_is_declared_once_and_with_a_reason() -> None:
    service = Service()
    async with client(control(service)) as web:
        word = {"by": "Siti Contoh", "reason": "rujukan silap"}
        answer = await web.post("/incidents/JCM-01/false-alarm", json=word)
        again = await web.post("/incidents/JCM-01/false-alarm", json=word)
        without = await web.post("/incidents/JCM-01/false-alarm", json={"by": "Siti Contoh"})
        unknown = await web.post("/incidents/JCM-99/false-alarm", json=word)

    assert (answer.json()["state"], answer.json()["false_alarm_by"]) == ("resolved", "Siti Contoh")
    assert service.incident.false_alarm_reason == "rujukan silap"
    assert (again.status_code, again.json()["detail"]) == (
        409,
        "JCM-01 was declared a false alarm by Siti Contoh before",
    )
    assert (without.status_code, unknown.status_code) == (422, 404)


async def test_what_became_of_a_notice_is_said_with_a_reason_and_in_one_of_three_words() -> None:
    service = Service()
    async with client(control(service)) as web:
        word = {"by": "Siti Contoh", "reason": "saya bertanya", "status": "lost"}
        answers = [
            await web.post("/notifications/7/set-status", json=each)
            for each in (word, word | {"status": "perhaps"}, {"by": "Siti Contoh", "status": "lost"})
        ]
        service.wrong = "notice 7 is delivered"
        refused = await web.post("/notifications/7/set-status", json=word)

    assert [answer.status_code for answer in answers] == [200, 422, 422]
    assert service.orders[0] == ("7", "lost by Siti Contoh: saya bertanya")
    assert (refused.status_code, refused.json()["detail"]) == (409, "notice 7 is delivered")


async def test_what_ended_long_ago_is_not_corrected_any_more() -> None:
    long_ago = T0 - timedelta(hours=25)
    over = apply(incident(), Resolve(dedup_key="JCM", at=long_ago, ended_at=long_ago))
    async with client(control(Service(incident=over))) as web:
        answer = await web.post("/incidents/JCM-01/false-alarm", json={"by": "Siti Contoh", "reason": "silap"})

    assert (answer.status_code, "more than 24 hours ago" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize("order", ["acknowledge", "release"])
async def test_an_unknown_incident_is_said_to_be_unknown(order: str) -> None:
    async with client(control(Service())) as web:
        answer = await web.post(f"/incidents/JCM-99/{order}", json={"by": "Siti Contoh"})

    assert answer.status_code == 404
    assert "there is no incident JCM-99" in answer.json()["detail"]


async def test_a_name_is_written_down_with_single_blanks() -> None:
    async with client(control(Service())) as web:
        answer = await web.post("/incidents/JCM-01/acknowledge", json={"by": " Siti\u00a0Contoh\n"})

    assert answer.json()["acknowledged_by"] == "Siti Contoh"


@pytest.mark.parametrize("by", ["", "  ", "x" * 101, "Siti\0", "\x1b[2JSiti"])
async def test_what_no_terminal_or_store_can_hold_is_no_name(by: str) -> None:
    async with client(control(Service())) as web:
        assert (await web.post("/incidents/JCM-01/acknowledge", json={"by": by})).status_code == 422


@pytest.mark.parametrize("word", [{}, {"by": "Siti", "role": "root"}])
async def test_an_order_needs_a_name_and_nothing_else(word: dict[str, str]) -> None:
    async with client(control(Service())) as web:
        assert (await web.post("/incidents/JCM-01/acknowledge", json=word)).status_code == 422


async def test_a_refused_configuration_is_answered_with_its_problems() -> None:
    problem = Problem(file="pantau.yaml", message="is no known key", severity=Severity.ERROR)
    async with client(control(Service(problems=[problem]))) as web:
        answer = await web.post("/reload")

    assert (answer.status_code, answer.json()["taken"]) == (400, False)


async def test_it_shows_no_schema() -> None:
    async with client(control(Service())) as web:
        assert [(await web.get(path)).status_code for path in ("/openapi.json", "/docs", "/redoc")] == [404] * 3


async def test_a_reload_says_by_whose_word_also_when_nobody_gives_a_name() -> None:
    service = Service()
    async with client(control(service)) as web:
        await web.post("/reload", json={"by": "Siti Contoh"})
        await web.post("/reload")

    assert service.orders == [("reload", "Siti Contoh"), ("reload", "control socket")]
