"""A real Alertmanager and the real service: alerts of the NOC's own monitoring reach its people, once."""

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
from tests.stories.theatre import Theatre, theatre

TOKEN = "rahsia-olok-olok-alertmanager"
DISK = {"alertname": "CakeraPenuh", "instance": "web01", "severity": "critical"}
LINK = {"alertname": "TalianPutus", "instance": "wan02", "severity": "critical"}

#: More than are taken in in one transaction.
MANY = 300
#: A second alert's SMS would else wait until two minutes after the first, and longer than anything is waited for here.
IMPATIENT = ("tests.stories.impatient", "gathering")


def receiving(settings: Path) -> None:
    (settings.parent / "secrets" / "alertmanager").write_text(TOKEN)
    with settings.open("a") as file:
        file.write("alertmanager: {receive: {token_file: secrets/alertmanager}}\n")
        # Nothing here is about mail: none is sent meanwhile.
        began, ends = (f"{datetime.now(UTC) + timedelta(hours=n):%Y-%m-%d %H:%M}Z" for n in (-1, 1))
        file.write(f"maintenance: [{{from: {began}, until: {ends}, reason: ujian}}]\n")


def webhook(play: Theatre) -> str:
    return f"{play.url}/api/v1/alertmanager"


async def states(play: Theatre) -> list[tuple[str, str]]:
    """Return what each alert's incident is called and how it stands, oldest first."""
    found = [each for each in await play.get("/incidents") if each["type"] == "alert"]
    return [(each["subject"], each["state"]) for each in reversed(found)]


async def stand(play: Theatre, *expected: tuple[str, str]) -> None:
    async def so() -> bool:
        return await states(play) == list(expected)

    await play.until(so, f"the alerts stand as {expected}")


async def post(play: Theatre, *alerts: dict[str, Any]) -> httpx.Response:
    """Bring alerts as Alertmanager does."""
    async with httpx.AsyncClient(trust_env=False, timeout=300) as web:
        body = json.dumps({"version": "4", "alerts": alerts})
        return await web.post(webhook(play), content=body, headers={"Authorization": f"Bearer {TOKEN}"})


def fires(number: int, at: datetime) -> dict[str, Any]:
    labels = {**DISK, "instance": f"web{number:04}"}
    return {"status": "firing", "labels": labels, "startsAt": at.isoformat(), "fingerprint": f"{number:016x}"}


async def test_an_alert_rings_until_somebody_has_it_and_is_over_when_alertmanager_says_so(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    async with theatre(tmp_path, program=IMPATIENT, prepare=receiving) as play:
        place = tmp_path / "alertmanager"
        async with alertmanager(place, webhook=webhook(play), token=TOKEN) as server:
            await server.take(DISK, starts_at=began)
            alarm = await play.noc.expect_sms("AMARAN pemantauan NOC", "CakeraPenuh (web01)", "Bukan gangguan e-mel")
            assert "Ruj NOC-01" in alarm.text
            await stand(play, ("CakeraPenuh (web01)", "triggered"))
            # It brings the same again and again; a second alert is another matter.
            await asyncio.sleep(3)
            assert await states(play) == [("CakeraPenuh (web01)", "triggered")]
            assert (await play.control("/incidents/NOC-01/acknowledge", by="Noor Contoh")).is_success
            await stand(play, ("CakeraPenuh (web01)", "acknowledged"))

        # Alertmanager starts anew, and has forgotten all; Pantau is killed as well.
        await play.kill()
        async with alertmanager(place, webhook=webhook(play), token=TOKEN) as server:
            await server.take(DISK, starts_at=began)
            await play.start()
            await asyncio.sleep(3)
            assert await states(play) == [("CakeraPenuh (web01)", "acknowledged")]

            await server.take(DISK, starts_at=began, ended_at=datetime.now(UTC))
            await play.noc.expect_sms("SELESAI", "NOC-01")
            await stand(play, ("CakeraPenuh (web01)", "resolved"))
            # A new beginning is another incident.
            await server.take(LINK, starts_at=datetime.now(UTC))
            await play.noc.expect_sms("AMARAN pemantauan NOC", "TalianPutus (wan02)")
            await server.take(LINK, starts_at=datetime.now(UTC), ended_at=datetime.now(UTC))
            await stand(play, ("CakeraPenuh (web01)", "resolved"), ("TalianPutus (wan02)", "resolved"))


async def test_while_the_store_is_away_alertmanager_is_told_to_come_again_and_does(tmp_path: Path) -> None:
    async with theatre(tmp_path, prepare=receiving) as play:
        locked = sqlite3.connect(tmp_path / "state" / "pantau.sqlite", timeout=30)
        locked.execute("BEGIN IMMEDIATE")
        refused = await post(play, fires(1, datetime.now(UTC)))
        assert refused.status_code == 503, refused.text
        async with alertmanager(tmp_path / "alertmanager", webhook=webhook(play), token=TOKEN) as server:
            await server.take(DISK, starts_at=datetime.now(UTC))
            await asyncio.sleep(2)
            locked.rollback()
            locked.close()
            await play.noc.expect_sms("AMARAN pemantauan NOC", "CakeraPenuh (web01)")
        await stand(play, ("CakeraPenuh (web01)", "triggered"))


async def test_hundreds_of_alerts_at_once_are_stored_through_a_kill_and_told_in_one_sms_at_first(
    tmp_path: Path,
) -> None:
    began = datetime.now(UTC)
    alerts: Sequence[dict[str, Any]] = [fires(number, began) for number in range(MANY)]
    async with theatre(tmp_path, prepare=receiving) as play:
        cut_off = asyncio.create_task(post(play, *alerts))

        async def some() -> bool:
            return bool(await states(play))

        await play.until(some, "some of them are stored")
        await play.kill()
        await asyncio.wait([cut_off])
        # Not answered, as a rule, so it comes again; all may have been stored by then.
        assert isinstance(cut_off.exception(), httpx.TransportError | None)
        await play.start()
        again = await post(play, *alerts)
        assert again.status_code == 200
        assert sum(again.json().values()) == MANY
        assert (await post(play, *alerts)).json() == {"goes_on": MANY}
        await play.noc.expect_sms("AMARAN pemantauan NOC", "Ruj NOC-")
