"""A real Alertmanager and the real service: the NOC's own alerts are notified once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.real.alertmanager import alertmanager
from tests.stories.running_service import RunningService, running_service

TOKEN = "rahsia-olok-olok-alertmanager"
DISK = {"alertname": "CakeraPenuh", "instance": "web01", "severity": "critical"}
LINK = {"alertname": "TalianPutus", "instance": "wan02", "severity": "critical"}

#: More than one transaction stores.
MANY = 300
#: Otherwise the SMS of a second alert would wait until two minutes after the first, longer than any time-out here.
SHORT_INTERVALS = ("tests.stories.short_intervals", "gathering")


def receiving(settings: Path) -> None:
    (settings.parent / "secrets" / "alertmanager").write_text(TOKEN)
    with settings.open("a") as file:
        file.write("alertmanager: {receive: {token_file: secrets/alertmanager}}\n")
        # No mail is sent: these tests are about alerts.
        began, ends = (f"{datetime.now(UTC) + timedelta(hours=n):%Y-%m-%d %H:%M}Z" for n in (-1, 1))
        file.write(f"maintenance: [{{from: {began}, until: {ends}, reason: ujian}}]\n")


def webhook(env: RunningService) -> str:
    return f"{env.url}/api/v1/alertmanager"


async def states(env: RunningService) -> list[tuple[str, str]]:
    """Return subject and state of each alert's incident, oldest first."""
    found = [each for each in await env.get("/incidents") if each["type"] == "alert"]
    return [(each["subject"], each["state"]) for each in reversed(found)]


async def expect_states(env: RunningService, *expected: tuple[str, str]) -> None:
    async def is_expected() -> bool:
        return await states(env) == list(expected)

    await env.until(is_expected, f"the alerts stand as {expected}")


async def post(env: RunningService, *alerts: dict[str, Any]) -> httpx.Response:
    """Send alerts as Alertmanager does."""
    async with httpx.AsyncClient(trust_env=False, timeout=300) as web:
        body = json.dumps({"version": "4", "alerts": alerts})
        return await web.post(webhook(env), content=body, headers={"Authorization": f"Bearer {TOKEN}"})


def fires(number: int, at: datetime) -> dict[str, Any]:
    labels = {**DISK, "instance": f"web{number:04}"}
    return {"status": "firing", "labels": labels, "startsAt": at.isoformat(), "fingerprint": f"{number:016x}"}


async def test_alert_calls_until_acknowledged_and_ends_with_alertmanager(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    async with running_service(tmp_path, program=SHORT_INTERVALS, prepare=receiving) as env:
        place = tmp_path / "alertmanager"
        async with alertmanager(place, webhook=webhook(env), token=TOKEN) as server:
            await server.post_alerts(DISK, starts_at=began)
            alarm = await env.noc.expect_sms("AMARAN pemantauan NOC", "CakeraPenuh (web01)", "Bukan gangguan e-mel")
            assert "Ruj NOC-01" in alarm.text
            await expect_states(env, ("CakeraPenuh (web01)", "triggered"))
            # It repeats the same alert; a second alert is another incident.
            await asyncio.sleep(3)
            assert await states(env) == [("CakeraPenuh (web01)", "triggered")]
            assert (await env.control("/incidents/NOC-01/acknowledge", by="Noor Contoh")).is_success
            await expect_states(env, ("CakeraPenuh (web01)", "acknowledged"))

        # Alertmanager restarts without its state; Pantau is killed as well.
        await env.kill()
        async with alertmanager(place, webhook=webhook(env), token=TOKEN) as server:
            await server.post_alerts(DISK, starts_at=began)
            await env.start()
            await asyncio.sleep(3)
            assert await states(env) == [("CakeraPenuh (web01)", "acknowledged")]

            await server.post_alerts(DISK, starts_at=began, ended_at=datetime.now(UTC))
            await env.noc.expect_sms("SELESAI", "NOC-01")
            await expect_states(env, ("CakeraPenuh (web01)", "resolved"))
            # A new start time is another incident.
            await server.post_alerts(LINK, starts_at=datetime.now(UTC))
            await env.noc.expect_sms("AMARAN pemantauan NOC", "TalianPutus (wan02)")
            await server.post_alerts(LINK, starts_at=datetime.now(UTC), ended_at=datetime.now(UTC))
            await expect_states(env, ("CakeraPenuh (web01)", "resolved"), ("TalianPutus (wan02)", "resolved"))


async def test_database_unavailable_alertmanager_gets_503_and_retries(tmp_path: Path) -> None:
    async with running_service(tmp_path, prepare=receiving) as env:
        locked = sqlite3.connect(tmp_path / "state" / "pantau.sqlite", timeout=30)
        locked.execute("BEGIN IMMEDIATE")
        refused = await post(env, fires(1, datetime.now(UTC)))
        assert refused.status_code == 503, refused.text
        async with alertmanager(tmp_path / "alertmanager", webhook=webhook(env), token=TOKEN) as server:
            await server.post_alerts(DISK, starts_at=datetime.now(UTC))
            await asyncio.sleep(2)
            locked.rollback()
            locked.close()
            await env.noc.expect_sms("AMARAN pemantauan NOC", "CakeraPenuh (web01)")
        await expect_states(env, ("CakeraPenuh (web01)", "triggered"))


async def test_hundreds_of_alerts_survive_kill_and_are_bundled_in_one_sms(
    tmp_path: Path,
) -> None:
    began = datetime.now(UTC)
    alerts: Sequence[dict[str, Any]] = [fires(number, began) for number in range(MANY)]
    async with running_service(tmp_path, prepare=receiving) as env:
        cut_off = asyncio.create_task(post(env, *alerts))

        async def some() -> bool:
            return bool(await states(env))

        await env.until(some, "some of them are stored")
        await env.kill()
        await asyncio.wait([cut_off])
        # Usually unanswered, so it is repeated; all may have been stored by then.
        assert isinstance(cut_off.exception(), httpx.TransportError | None)
        await env.start()
        again = await post(env, *alerts)
        assert again.status_code == 200
        assert sum(again.json().values()) == MANY
        assert (await post(env, *alerts)).json() == {"goes_on": MANY}
        await env.noc.expect_sms("AMARAN pemantauan NOC", "Ruj NOC-")
