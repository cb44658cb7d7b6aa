"""The service calls whoever is on call, repeats the call, and calls nobody else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from pantau_lab.carrier.phone import PhoneBehaviour
from pantau_lab.mail import Fault
from tests.stories.running_service import JCM, RunningService, running_service


def rewrite(env: RunningService, **sections: Any) -> None:
    """Replace sections of the agency's file, and reload."""
    file = env.directory / "agencies" / "jcm.yaml"
    text = yaml.safe_load(file.read_text()) | sections
    file.write_text(yaml.safe_dump(text, sort_keys=False))


async def ask(env: RunningService, path: str) -> Any:
    """Send a request to the control socket."""
    socket = httpx.AsyncHTTPTransport(uds=str(env.directory / "state" / "control.sock"))
    async with httpx.AsyncClient(transport=socket, base_url="http://pantau", timeout=30) as client:
        return (await client.get(path)).json()


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


SITI = [JCM.duty.key]
ROTAS = {"bertugas": {"layers": [{"every": "weekly", "from": days_ago(30), "people": SITI}]}}
CALL = {"rotas": ["bertugas"], "channels": ["voice"]}


async def test_officer_by_override_is_called_until_key_press(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        again = {"every": "1s", "times": 3}
        rewrite(env, rotas=ROTAS, escalation={"steps": [CALL | {"redial": again}], "fallback": JCM.duty.key})
        assert (await env.control("/reload", by="Pegawai Contoh")).json()["taken"] is True
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        order = {"rota": "JCM/bertugas", "person": JCM.deputy.key, "ends_at": until, "by": "Pegawai Contoh"}
        assert (await env.control("/overrides", **order)).status_code == 200
        ali = env.phone(JCM.deputy.number)
        ali.behaviour = PhoneBehaviour.VOICEMAIL

        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        taken_by_a_machine = await ali.expect_call("Tekan satu untuk mengesahkan")
        ali.behaviour = PhoneBehaviour.ANSWERS
        ali.keys = ["1"]
        taken = await ali.expect_call("telah disahkan")

        assert (taken_by_a_machine.keys, taken.keys) == ("", "1")
        [incident] = await env.get("/incidents")
        assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", JCM.deputy.name)
        assert env.duty.unexpected() == [], "the one who was planned sleeps"
        [duty] = await ask(env, "/on-call?agency=JCM")
        assert (duty["person"]["key"], duty["overridden_by"]) == (JCM.deputy.key, "Pegawai Contoh")


async def test_nobody_on_call_notifies_fallback_and_counts_metric(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        later = {"bertugas": {"layers": [{"from": days_ago(-30), "people": SITI}]}}
        rewrite(env, rotas=later, escalation={"steps": [CALL], "fallback": JCM.deputy.key})
        assert (await env.control("/reload", by="Pegawai Contoh")).json()["taken"] is True
        ali = env.phone(JCM.deputy.number)
        ali.keys = ["1"]

        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await ali.expect_call("telah disahkan")

        assert env.duty.unexpected() == []
        async with env.web() as client:
            metrics = (await client.get("/metrics")).text
        assert 'pantau_nobody_on_call_total{agency="JCM"} 1' in metrics
        [duty] = await ask(env, "/on-call?agency=JCM")
        assert duty["person"] is None
        assert len(duty["gaps"]) == 1


async def test_override_added_before_kill_applies_after_restart(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        rewrite(env, rotas=ROTAS, escalation={"steps": [CALL], "repeat_after": "1s", "rounds": 20})
        assert (await env.control("/reload", by="Pegawai Contoh")).json()["taken"] is True
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        order = {"rota": "JCM/bertugas", "person": JCM.deputy.key, "ends_at": until, "by": "Pegawai Contoh"}

        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_call("Tekan satu untuk mengesahkan")
        assert (await env.control("/overrides", **order)).status_code == 200
        await env.kill()
        await asyncio.sleep(0)
        await env.start()

        ali = env.phone(JCM.deputy.number)
        ali.keys = ["1"]
        await ali.expect_call("telah disahkan")
