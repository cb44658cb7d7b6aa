"""What is our own fault is told to the NOC, and makes no agency red."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES, REFERENCES
from tests.stories.theatre import JCM, Theatre, theatre

#: One that is looked at, and another that could be blamed.
BOTH = AGENCIES[:2]


async def nobody_else_heard(play: Theatre) -> None:
    """Fail if any agency is down, has an incident, or anybody but the NOC was told anything."""
    assert all("down" not in agency["health"].values() for agency in await play.get("/agencies"))
    assert [i["number"] for i in await play.get("/incidents") if i["agency"]] == []
    told = [phone.owner for phone in play.world.carrier.phones.values() if phone.inbox or phone.calls]
    assert told == [play.noc.owner]
    assert play.letters() == []


@pytest.mark.parametrize("fault", [Fault.IMAP, Fault.LOSE, Fault.REFUSE])
async def test_a_dead_reference_mailbox_is_told_to_the_noc_only(tmp_path: Path, fault: Fault) -> None:
    async with theatre(tmp_path, agencies=BOTH) as play:
        await play.everybody_is_up()

        await play.world.network.systems[REFERENCES[0].key].break_(fault)
        await play.noc.expect_sms("peti mel", "Ruj NOC-01")
        # Long enough for every route across to the dead reference to have failed several times.
        await _many_more_failures(play)

        await nobody_else_heard(play)

        await play.world.network.systems[REFERENCES[0].key].repair()
        await play.noc.expect_sms("PULIH", "NOC-01")


async def test_a_dead_network_of_ours_is_told_to_the_noc_only(tmp_path: Path) -> None:
    async with theatre(tmp_path, agencies=BOTH) as play:
        await play.everybody_is_up()

        # Every server at once: whoever sees that sees their own cable.
        for system in play.world.network.systems.values():
            await system.break_(Fault.IMAP)
        await play.noc.expect_sms("rangkaian Pantau")
        await _many_more_failures(play)

        await nobody_else_heard(play)


async def test_a_refused_password_of_ours_is_told_to_the_noc_only(tmp_path: Path) -> None:
    async with theatre(tmp_path, agencies=BOTH) as play:
        await play.everybody_is_up()

        (tmp_path / "secrets" / JCM.code.lower()).write_text("bukan-kata-laluan\n")
        assert (await play.control("/reload")).json()["taken"] is True
        await play.noc.expect_sms("log masuk akaun ujian")

        await nobody_else_heard(play)


async def _many_more_failures(play: Theatre) -> None:
    """Wait until the routes of all agencies have failed several times more each."""
    before = await play.failures()

    async def failed() -> bool:
        return await play.failures() >= before + 8 * len(BOTH)

    await play.until(failed, "every agency's routes have failed several times more")
