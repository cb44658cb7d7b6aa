"""A program with an API token: each request acts once although the service is killed."""

from __future__ import annotations

from pathlib import Path

from tests.stories.running_service import running_service

DECLARATION = {"agency": "JCM", "type": "receiving", "reason": "mel web tidak dapat dibuka", "by": "Siti Contoh"}


async def test_api_requests_act_once_despite_kill(tmp_path: Path) -> None:
    def sign_in(settings: Path) -> None:
        with settings.open("a") as file:
            file.write("portal: {}\n")

    async with running_service(tmp_path, prepare=sign_in) as env:
        code, said = await env.pantau("token", "add", "konsol", "--role", "duty:JCM", "--for", "30d")
        assert code == 0, said
        shown = {"Authorization": f"Bearer {said.split()[-1]}"}
        once = {**shown, "Idempotency-Key": "2026-12-01/17"}
        async with env.web() as web:
            assert (await web.get("/api/v1/agencies")).status_code == 401
            assert [each["agency"] for each in (await web.get("/api/v1/agencies", headers=shown)).json()] == ["JCM"]
            first = await web.post("/api/v1/declarations", json=DECLARATION, headers=once)
        assert first.status_code == 201, first.text
        assert first.json()["incident"]["declared_by"] == "Siti Contoh (program konsol)"

        await env.kill()
        await env.start()

        async with env.web() as web:
            again = await web.post("/api/v1/declarations", json=DECLARATION, headers=once)
            assert (again.status_code, again.content) == (201, first.content)
            other = await web.post("/api/v1/declarations", json={**DECLARATION, "type": "sending"}, headers=once)
            assert other.status_code == 422
            [incident] = (await web.get("/api/v1/incidents", headers=shown)).json()
            path = f"/api/v1/incidents/{incident['number']}"
            assert (await web.post(f"{path}/acknowledge", headers=shown)).json()["acknowledged_by"] == "program konsol"
            duty = {"target": "JCM", "duration": "2h", "reason": "sedang dibaiki"}
            assert (await web.post("/api/v1/silences", json=duty, headers=shown)).status_code == 201
            closed = await web.post(f"{path}/close", json={"reason": "pulih", "recovered": True}, headers=shown)
            assert (closed.status_code, closed.json()["state"]) == (200, "resolved")

            assert (await env.pantau("token", "revoke", "1"))[0] == 0
            assert (await web.get("/api/v1/incidents", headers=shown)).status_code == 401
