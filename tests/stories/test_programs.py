"""A program of the operations centre has a token, and orders with it, though the service dies in between."""

from __future__ import annotations

from pathlib import Path

from tests.stories.theatre import theatre

DECLARATION = {"agency": "JCM", "type": "receiving", "reason": "mel web tidak dapat dibuka", "by": "Siti Contoh"}


async def test_what_a_program_orders_is_done_once_though_the_service_was_killed(tmp_path: Path) -> None:
    def sign_in(settings: Path) -> None:
        with settings.open("a") as file:
            file.write("portal: {}\n")

    async with theatre(tmp_path, prepare=sign_in) as play:
        code, said = await play.pantau("token", "add", "konsol", "--role", "duty:JCM", "--for", "30d")
        assert code == 0, said
        shown = {"Authorization": f"Bearer {said.split()[-1]}"}
        once = {**shown, "Idempotency-Key": "2026-12-01/17"}
        async with play.web() as web:
            assert (await web.get("/api/v1/agencies")).status_code == 401
            assert [each["agency"] for each in (await web.get("/api/v1/agencies", headers=shown)).json()] == ["JCM"]
            first = await web.post("/api/v1/declarations", json=DECLARATION, headers=once)
        assert first.status_code == 201, first.text
        assert first.json()["incident"]["declared_by"] == "Siti Contoh (program konsol)"

        await play.kill()
        await play.start()

        async with play.web() as web:
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

            assert (await play.pantau("token", "revoke", "1"))[0] == 0
            assert (await web.get("/api/v1/incidents", headers=shown)).status_code == 401
