"""Whoever is on call is rung, and rung again, and nobody else is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from pantau_lab.carrier.phone import PhoneBehaviour
from pantau_lab.mail import Fault
from tests.stories.theatre import JCM, Theatre, theatre


def rewrite(play: Theatre, **sections: Any) -> None:
    """Replace sections of the agency's file; take them into force with a reload."""
    file = play.directory / "agencies" / "jcm.yaml"
    text = yaml.safe_load(file.read_text()) | sections
    file.write_text(yaml.safe_dump(text, sort_keys=False))


async def ask(play: Theatre, path: str) -> Any:
    """Ask over the control socket."""
    socket = httpx.AsyncHTTPTransport(uds=str(play.directory / "state" / "control.sock"))
    async with httpx.AsyncClient(transport=socket, base_url="http://pantau", timeout=30) as client:
        return (await client.get(path)).json()


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


SITI = [JCM.duty.key]
ROTAS = {"bertugas": {"layers": [{"every": "weekly", "from": days_ago(30), "people": SITI}]}}
CALL = {"rotas": ["bertugas"], "channels": ["voice"]}


async def test_whoever_took_the_duty_over_is_called_until_a_key_is_pressed(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        again = {"every": "1s", "times": 3}
        rewrite(play, rotas=ROTAS, escalation={"steps": [CALL | {"redial": again}], "fallback": JCM.duty.key})
        assert (await play.control("/reload", by="Pegawai Contoh")).json()["taken"] is True
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        order = {"rota": "JCM/bertugas", "person": JCM.deputy.key, "ends_at": until, "by": "Pegawai Contoh"}
        assert (await play.control("/overrides", **order)).status_code == 200
        ali = play.phone(JCM.deputy.number)
        ali.behaviour = PhoneBehaviour.VOICEMAIL

        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        taken_by_a_machine = await ali.expect_call("Tekan satu untuk mengesahkan")
        ali.behaviour = PhoneBehaviour.ANSWERS
        ali.keys = ["1"]
        taken = await ali.expect_call("telah disahkan")

        assert (taken_by_a_machine.keys, taken.keys) == ("", "1")
        [incident] = await play.get("/incidents")
        assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", JCM.deputy.name)
        assert play.duty.unexpected() == [], "the one who was planned sleeps"
        [duty] = await ask(play, "/on-call?agency=JCM")
        assert (duty["person"]["key"], duty["overridden_by"]) == (JCM.deputy.key, "Pegawai Contoh")


async def test_when_nobody_is_on_call_the_fallback_is_told_and_prometheus_hears_of_it(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        later = {"bertugas": {"layers": [{"from": days_ago(-30), "people": SITI}]}}
        rewrite(play, rotas=later, escalation={"steps": [CALL], "fallback": JCM.deputy.key})
        assert (await play.control("/reload", by="Pegawai Contoh")).json()["taken"] is True
        ali = play.phone(JCM.deputy.number)
        ali.keys = ["1"]

        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await ali.expect_call("telah disahkan")

        assert play.duty.unexpected() == []
        async with play.web() as client:
            metrics = (await client.get("/metrics")).text
        assert 'pantau_nobody_on_call_total{agency="JCM"} 1' in metrics
        [duty] = await ask(play, "/on-call?agency=JCM")
        assert duty["person"] is None
        assert len(duty["gaps"]) == 1


async def test_a_duty_that_is_handed_over_while_the_service_is_dead_is_known_after_it_rises(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        rewrite(play, rotas=ROTAS, escalation={"steps": [CALL], "repeat_after": "1s", "rounds": 20})
        assert (await play.control("/reload", by="Pegawai Contoh")).json()["taken"] is True
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        order = {"rota": "JCM/bertugas", "person": JCM.deputy.key, "ends_at": until, "by": "Pegawai Contoh"}

        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_call("Tekan satu untuk mengesahkan")
        assert (await play.control("/overrides", **order)).status_code == 200
        await play.kill()
        await asyncio.sleep(0)
        await play.start()

        ali = play.phone(JCM.deputy.number)
        ali.keys = ["1"]
        await ali.expect_call("telah disahkan")
