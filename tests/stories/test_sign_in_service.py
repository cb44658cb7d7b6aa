"""A sign-in service that dies locks everybody out: staff are told, and nothing is shown to be up that nobody can see."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES
from tests.stories.lookout import Scraped
from tests.stories.theatre import JCM, Theatre, theatre


async def scraped(play: Theatre) -> Scraped:
    async with play.web() as client:
        return Scraped(text=(await client.get("/metrics")).text)


@pytest.mark.blind
@pytest.mark.falsegreen
async def test_sign_in_service_that_dies_is_told_to_staff_and_shown_as_unknown(tmp_path: Path) -> None:
    """Defect: A sign-in service that is down answers as for a wrong password.

    Everything stays up, and the NOC gets a fault of our account.

    Pantau: What goes through a refused account is unknown, and staff are notified.
    """
    async with theatre(tmp_path, agencies=AGENCIES[:2]) as play:
        await play.everybody_is_up()
        system = play.world.network.systems[JCM.code]

        await system.break_(Fault.PASSWORD)  # to everybody, as saslauthd does when it is dead
        await play.duty.expect_sms("Log masuk e-mel ditolak", "mungkin bagi semua pengguna", "Ruj JCM-01")
        now = await scraped(play)
        assert {now.value("mail_up", agency=JCM.code, direction=each) for each in ("outbound", "inbound")} == {None}
        assert now.value("monitoring_fault", cause="credentials", reference="JCM/utama") == 1
        agencies = {each["agency"]: each for each in await play.get("/agencies")}
        assert [agencies[each.code]["state"] for each in AGENCIES[:2]] == ["unknown", "up"]
        assert [(i["number"], i["type"]) for i in await play.get("/incidents") if i["agency"]] == [
            ("JCM-01", "sign_in")
        ]
        # Nobody else is told.
        told = {phone.owner for phone in play.world.carrier.phones.values() if phone.inbox or phone.calls}
        assert told == {play.duty.owner}
        assert play.letters() == []

        await system.repair()
        await play.duty.expect_sms("PULIH", "kembali seperti biasa", "Ruj JCM-01")
        await play.everybody_is_up()
        assert (await scraped(play)).value("monitoring_fault", cause="credentials", reference="JCM/utama") is None
