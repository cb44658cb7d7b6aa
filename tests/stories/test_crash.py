"""Killed at any point and started again: nothing is lost, and no fax or letter goes out twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PATIENCE, Call, Sms
from pantau_lab.faxservice.service import Fax
from pantau_lab.mail import Fault
from tests.stories.theatre import BRISK, JCM, LOOK, Theatre, settled, stands, theatre

pytestmark = pytest.mark.crash

#: What everybody is owed in the end, by channel: at least once; and on paper not more than once.
SMS_AND_CALLS_AT_MOST = 2


async def outage_to_its_end(play: Theatre) -> None:
    """Wait until all notices of the outage have come to an end, and check how often each person got each."""
    await play.until(lambda: settled(play), "everybody was told, or a person looks")
    outage = [sms for sms in play.duty.inbox if "gagal" in sms.text]
    assert 1 <= len(outage) <= SMS_AND_CALLS_AT_MOST
    # On a slow machine the kill may also cut the fax off: then it is laid before a person, and not sent again.
    assert len(play.faxes()) <= 1
    assert len(play.faxes()) == 1 or await stands(play, "fax") == "unknown"
    assert len(play.letters()) == 1, "one letter"
    assert [i["number"] for i in await play.get("/incidents")] == ["JCM-01"]


@pytest.mark.parametrize("moment", [Sms, Call, Fax])
async def test_a_kill_in_the_middle_of_an_escalation_loses_nothing_and_doubles_no_paper(
    tmp_path: Path, moment: type[Sms | Call | Fax]
) -> None:
    async with theatre(tmp_path, replace(BRISK, release_after="3s")) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"] * 9
        killed = asyncio.Event()

        def kill(taken: Sms | Call | Fax) -> None:
            """Kill the service when the provider has taken the order and has not answered yet."""
            if not killed.is_set() and type(taken) is moment:
                assert play.service is not None
                play.service.kill()
                killed.set()

        play.world.carrier.on_taken = kill
        play.world.fax_service.on_taken = kill
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await asyncio.wait_for(killed.wait(), PATIENCE)
        assert play.service is not None
        await play.service.wait()

        await play.start()
        await outage_to_its_end(play)
        if moment is Fax:
            assert await stands(play, "fax") == "delivered", "the provider says that it has it"
        faxes = len(play.faxes())

        await play.world.network.systems[JCM.code].repair()
        await play.duty.expect_sms("PULIH")
        await play.until_notice("fax", "recovery", "delivered")
        assert len(play.faxes()) == faxes + 1, "the outage and the recovery, once each"


async def test_a_kill_with_the_letter_in_the_tray_does_not_lay_it_there_again(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"] * 9
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.until(lambda: _lies_there(play), "a letter lies in the tray", look_again=LOOK)
        await play.kill()

        await play.start()

        await outage_to_its_end(play)


async def _lies_there(play: Theatre) -> bool:
    return bool(play.letters())


async def test_a_kill_before_the_first_notice_delays_it_and_no_more(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.until(lambda: _opened(play), "an incident is open", look_again=LOOK)
        await play.kill()

        await play.start()

        sms = await play.duty.expect_sms("AMARAN", "gagal")
        assert "JCM-01" in sms.text


async def _opened(play: Theatre) -> bool:
    return 'event="incident opened"' in play.log()


async def test_health_survives_a_restart_and_a_known_outage_is_not_told_again(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"] * 9
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_sms("gagal")
        await play.duty.expect_call("gagal")
        await play.until_notice("fax", "outage", "delivered")
        # On a slow machine one route is known to be down before the next is: then it is told of twice, rightly.
        told = play.world.carrier.unexpected()

        await play.stop()
        await play.start()
        await play.until(lambda: _judged_down(play), "the outage is known at once")
        await play.until_notice("letter", "outage", "sent")

        assert len(await play.get("/incidents")) == 1
        assert play.world.carrier.unexpected() == told
        assert len(play.faxes()) == 1


async def _judged_down(play: Theatre) -> bool:
    return "down" in (await play.health()).values()
