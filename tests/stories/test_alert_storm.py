"""A storm of the NOC's own alerts while an agency's mail fails: its staff are notified."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from pantau_lab.mail import Fault
from tests.stories.running_service import JCM, RunningService, running_service
from tests.stories.test_alertmanager import TOKEN, webhook

GROUPS, ALERTS = 400, 100
#: Concurrent webhooks.
AT_ONCE = 100


def receiving(settings: Path) -> None:
    (settings.parent / "secrets" / "alertmanager").write_text(TOKEN)
    with settings.open("a") as file:
        file.write("alertmanager: {receive: {token_file: secrets/alertmanager}}\n")


def group(number: int) -> bytes:
    alerts: list[dict[str, Any]] = [
        {
            "status": "firing",
            "labels": {"alertname": f"Ribut{number}", "instance": f"web{each:04}"},
            "startsAt": "2026-11-24T06:10:21Z",
            "fingerprint": f"{number * ALERTS + each:016x}",
        }
        for each in range(ALERTS)
    ]
    return json.dumps({"version": "4", "groupKey": f"{{}}:{number}", "alerts": alerts}).encode()


async def storm(env: RunningService, answers: Counter[int]) -> None:
    """Send all groups once, as fast as they are answered."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, timeout=300, limits=limits) as web:

        async def bring(number: int) -> None:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            answers[(await web.post(webhook(env), content=group(number), headers=headers)).status_code] += 1

        await asyncio.gather(*(bring(number) for number in range(GROUPS)))


@pytest.mark.blind
async def test_outage_during_forty_thousand_alerts_is_notified(tmp_path: Path) -> None:
    """Defect: During 40,000 alerts in 20 s an outage opens after three minutes and is not notified within seven.

    Pantau: Alerts are bounded at listener, store, engine and in number; the outage is notified during the storm.
    """
    answers = Counter[int]()
    async with running_service(tmp_path, prepare=receiving) as env:
        await env.wait_until_up()
        raging = asyncio.create_task(storm(env, answers))

        async def begun() -> bool:
            return answers[200] > 0

        await env.until(begun, "some alerts are stored")
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_sms("RM0 JCM ICT: AMARAN", "keluar dan masuk gagal", "Ruj JCM-01")
        await env.noc.expect_sms("AMARAN pemantauan NOC", f"({ALERTS} amaran)")
        raging.cancel()
        await asyncio.gather(raging, return_exceptions=True)
        page = await env.get("/incidents?limit=50")
        alerts = [each for each in page if each["type"] == "alert"]
    assert answers.keys() <= {200, 429}
    assert len(page) <= 50
    assert all(f"({ALERTS} amaran)" in each["subject"] for each in alerts)
