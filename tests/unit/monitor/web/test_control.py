"""Control socket: commands of the command line."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.model.event import Resolve
from alerts.model.incident import apply
from alerts.model.notification import IncidentType
from monitor.config.files.problem import Problem, Severity
from monitor.web.command.control import control
from tests.unit.alerts.people import T0, incident
from tests.unit.monitor.web.fake_service import Service, client


async def test_acknowledge_records_person() -> None:
    async with client(control(Service())) as web:
        answer = await web.post("/incidents/JCM-01/acknowledge", json={"by": "Siti Contoh"})

    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["acknowledged_by"]) == ("acknowledged", "Siti Contoh")


async def test_release_records_person_and_announcement() -> None:
    async with client(control(Service())) as web:
        assert (await web.get("/incidents")).json()[0]["announcement"] == "waiting"
        answer = await web.post("/incidents/JCM-01/release", json={"by": "Siti Contoh"})

    assert (answer.json()["announcement"], answer.json()["released_by"]) == ("released", "Siti Contoh")


async def test_release_without_outage_has_no_announcement() -> None:
    async with client(control(Service(incident=incident(IncidentType.DEGRADED)))) as web:
        answer = await web.post("/incidents/JCM-01/release", json={"by": "Siti Contoh"})

    assert answer.json()["announcement"] == "none"


async def test_false_alarm_requires_reason_and_is_declared_once() -> None:
    service = Service()
    async with client(control(service)) as web:
        body = {"by": "Siti Contoh", "reason": "rujukan silap"}
        answer = await web.post("/incidents/JCM-01/false-alarm", json=body)
        again = await web.post("/incidents/JCM-01/false-alarm", json=body)
        without = await web.post("/incidents/JCM-01/false-alarm", json={"by": "Siti Contoh"})
        unknown = await web.post("/incidents/JCM-99/false-alarm", json=body)

    assert (answer.json()["state"], answer.json()["false_alarm_by"]) == ("resolved", "Siti Contoh")
    assert service.incident.false_alarm_reason == "rujukan silap"
    assert (again.status_code, again.json()["detail"]) == (
        409,
        "JCM-01 was declared a false alarm by Siti Contoh before",
    )
    assert (without.status_code, unknown.status_code) == (422, 404)


async def test_notification_status_requires_reason_and_known_value() -> None:
    service = Service()
    async with client(control(service)) as web:
        body = {"by": "Siti Contoh", "reason": "saya bertanya", "status": "lost"}
        answers = [
            await web.post("/notifications/7/set-status", json=each)
            for each in (body, body | {"status": "perhaps"}, {"by": "Siti Contoh", "status": "lost"})
        ]
        service.rejection = "notice 7 is delivered"
        refused = await web.post("/notifications/7/set-status", json=body)

    assert [answer.status_code for answer in answers] == [200, 422, 422]
    assert service.commands[0] == ("7", "lost by Siti Contoh: saya bertanya")
    assert (refused.status_code, refused.json()["detail"]) == (409, "notice 7 is delivered")


async def test_false_alarm_of_incident_ended_long_ago_is_refused() -> None:
    long_ago = T0 - timedelta(hours=25)
    over = apply(incident(), Resolve(dedup_key="JCM", at=long_ago, ended_at=long_ago))
    async with client(control(Service(incident=over))) as web:
        answer = await web.post("/incidents/JCM-01/false-alarm", json={"by": "Siti Contoh", "reason": "silap"})

    assert (answer.status_code, "more than 24 hours ago" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize("order", ["acknowledge", "release"])
async def test_command_unknown_incident_is_not_found(order: str) -> None:
    async with client(control(Service())) as web:
        answer = await web.post(f"/incidents/JCM-99/{order}", json={"by": "Siti Contoh"})

    assert answer.status_code == 404
    assert "there is no incident JCM-99" in answer.json()["detail"]


async def test_command_person_whitespace_is_collapsed() -> None:
    async with client(control(Service())) as web:
        answer = await web.post("/incidents/JCM-01/acknowledge", json={"by": " Siti\u00a0Contoh\n"})

    assert answer.json()["acknowledged_by"] == "Siti Contoh"


@pytest.mark.parametrize("by", ["", "  ", "x" * 101, "Siti\0", "\x1b[2JSiti"])
async def test_command_invalid_person_is_refused(by: str) -> None:
    async with client(control(Service())) as web:
        assert (await web.post("/incidents/JCM-01/acknowledge", json={"by": by})).status_code == 422


@pytest.mark.parametrize("body", [{}, {"by": "Siti", "role": "root"}])
async def test_command_requires_person_and_no_other_field(body: dict[str, str]) -> None:
    async with client(control(Service())) as web:
        assert (await web.post("/incidents/JCM-01/acknowledge", json=body)).status_code == 422


async def test_reload_invalid_configuration_returns_problems() -> None:
    problem = Problem(file="pantau.yaml", message="is no known key", severity=Severity.ERROR)
    async with client(control(Service(problems=[problem]))) as web:
        answer = await web.post("/reload")

    assert (answer.status_code, answer.json()["taken"]) == (400, False)


async def test_control_serves_no_schema() -> None:
    async with client(control(Service())) as web:
        assert [(await web.get(path)).status_code for path in ("/openapi.json", "/docs", "/redoc")] == [404] * 3


async def test_reload_records_person_or_control_socket() -> None:
    service = Service()
    async with client(control(service)) as web:
        await web.post("/reload", json={"by": "Siti Contoh"})
        await web.post("/reload")

    assert service.commands == [("reload", "Siti Contoh"), ("reload", "control socket")]
