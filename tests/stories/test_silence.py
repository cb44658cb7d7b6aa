"""A person lets nobody be told for a while: the outage is seen, nobody is rung, and it is told when the silence ends."""

from __future__ import annotations

from pathlib import Path

from pantau_lab.mail import Fault
from tests.stories.theatre import JCM, theatre


async def test_nobody_is_rung_while_it_is_silent_and_the_officer_is_when_it_ends(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        made = await play.control(
            "/silences", target=JCM.code, duration="1h", reason="kerja rangkaian", by="Siti Contoh"
        )
        assert made.status_code == 200

        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)

        async def opened() -> bool:
            return bool(await play.get("/incidents"))

        await play.until(opened, "the incident is stored and shown")
        before = await play.failures()

        async def failed_on() -> bool:
            return await play.failures() >= before + 6

        await play.until(failed_on, "it has failed several times more")
        assert (play.duty.inbox, play.duty.calls, play.faxes(), play.letters()) == ([], [], [], [])
        [agency] = await play.get("/agencies")
        assert agency["silence"]["reason"] == "kerja rangkaian"

        ended = await play.control(f"/silences/{made.json()['id']}/remove", by="Siti Contoh")
        assert ended.status_code == 200
        await play.duty.expect_sms("RM0 JCM ICT: AMARAN", "Ruj JCM-01")
