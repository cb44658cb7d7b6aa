"""A silence of the running service: recorded outage, no notification until the silence ends."""

from __future__ import annotations

from pathlib import Path

from pantau_lab.mail import Fault
from tests.stories.running_service import JCM, running_service


async def test_silence_notifies_nobody_and_end_notifies_officer(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        made = await env.control(
            "/silences", target=JCM.code, duration="1h", reason="kerja rangkaian", by="Siti Contoh"
        )
        assert made.status_code == 200

        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)

        async def opened() -> bool:
            return bool(await env.get("/incidents"))

        await env.until(opened, "the incident is stored and shown")
        before = await env.failures()

        async def failed_on() -> bool:
            return await env.failures() >= before + 6

        await env.until(failed_on, "it has failed several times more")
        assert (env.duty.inbox, env.duty.calls, env.faxes(), env.letters()) == ([], [], [], [])
        [agency] = await env.get("/agencies")
        assert agency["silence"]["reason"] == "kerja rangkaian"

        ended = await env.control(f"/silences/{made.json()['id']}/remove", by="Siti Contoh")
        assert ended.status_code == 200
        await env.duty.expect_sms("RM0 JCM ICT: AMARAN", "Ruj JCM-01")
