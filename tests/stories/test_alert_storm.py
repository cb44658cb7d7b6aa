"""A storm of the NOC's own alerts while a ministry's mail fails: the ministry's staff are told first."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from pantau_lab.mail import Fault
from tests.stories.test_alertmanager import TOKEN, webhook
from tests.stories.theatre import JCM, Theatre, theatre

GROUPS, ALERTS = 400, 100
#: So many webhooks are under way at a time.
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


async def storm(play: Theatre, answers: Counter[int]) -> None:
    """Bring all groups once, as fast as they are answered."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, timeout=300, limits=limits) as web:

        async def bring(number: int) -> None:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            answers[(await web.post(webhook(play), content=group(number), headers=headers)).status_code] += 1

        await asyncio.gather(*(bring(number) for number in range(GROUPS)))


@pytest.mark.blind
async def test_outage_during_forty_thousand_alerts_is_notified(tmp_path: Path) -> None:
    """Defect: During 40,000 alerts in 20 s an outage opens after three minutes and is not notified within seven.

    Pantau: Alerts are bounded at listener, store, engine and in number; the outage is notified during the storm.
    """
    answers = Counter[int]()
    async with theatre(tmp_path, prepare=receiving) as play:
        await play.everybody_is_up()
        raging = asyncio.create_task(storm(play, answers))

        async def begun() -> bool:
            return answers[200] > 0

        await play.until(begun, "some alerts are stored")
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_sms("RM0 JCM ICT: AMARAN", "keluar dan masuk gagal", "Ruj JCM-01")
        await play.noc.expect_sms("AMARAN pemantauan NOC", f"({ALERTS} amaran)")
        raging.cancel()
        await asyncio.gather(raging, return_exceptions=True)
        page = await play.get("/incidents?limit=50")
        alerts = [each for each in page if each["type"] == "alert"]
    assert answers.keys() <= {200, 429}
    assert len(page) <= 50
    assert all(f"({ALERTS} amaran)" in each["subject"] for each in alerts)
