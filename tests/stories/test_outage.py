"""The main story: mail fails, people are told, it recovers, people are told that too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES
from tests.stories.theatre import BRISK, CALLED_ONCE, JCM, theatre

#: What comes after three seconds is slow, and not lost, though the machine stands still for some more.
SLOW_AFTER_TWO = replace(BRISK, slow_threshold="2s", arrival_timeout="15s")


async def test_an_unanswered_sms_becomes_a_call_and_recovery_is_told_to_those_who_were_told(tmp_path: Path) -> None:
    async with theatre(tmp_path, CALLED_ONCE) as play:
        await play.everybody_is_up()
        play.duty.keys = ["2", "1"]

        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        sms = await play.duty.expect_sms("RM0 JCM ICT: AMARAN", "keluar dan masuk gagal", "Ruj JCM-01")
        call = await play.duty.expect_call("Tekan satu untuk mengesahkan")
        assert call.keys == "21"
        assert call.text.count("Sila sahkan gangguan") == 2, "in full once, and again after key 2"
        assert "telah disahkan" in call.spoken[-1].text
        assert sms.segments == 1
        [incident] = await play.get("/incidents")
        assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", JCM.duty.name)

        await play.until_notice("fax", "outage", "delivered")
        await play.until_notice("letter", "outage", "sent")
        assert "GANGGUAN PERKHIDMATAN E-MEL RASMI JABATAN CONTOH MALAYSIA" in play.faxes()[0]
        assert len(play.letters()) == 1
        letter = next(n for n in await play.get("/notifications") if n["channel"] == "letter")
        assert (
            await play.control(f"/notifications/{letter['id']}/posted-unprinted", by="Kerani Contoh")
        ).status_code == 200

        await play.world.network.systems[JCM.code].repair()
        await play.duty.expect_sms("PULIH", "JCM-01")
        await play.until_notice("fax", "recovery", "delivered")
        await play.until_notice("letter", "recovery", "sent")
        assert "PEMULIHAN PERKHIDMATAN E-MEL RASMI" in play.faxes()[1]
        assert len(play.letters("posted")) == 1
        assert play.world.carrier.unexpected() == []


async def test_a_letter_that_was_not_posted_is_withdrawn_and_needs_no_recovery_letter(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"] * 9
        await play.world.network.systems[JCM.code].break_(Fault.BOUNCE)
        await play.until_notice("letter", "outage", "sent")

        await play.world.network.systems[JCM.code].repair()
        await play.until_notice("letter", "outage", "withdrawn")
        await play.until_notice("fax", "recovery", "delivered")

        assert (play.letters(), len(play.letters("withdrawn"))) == ([], 1)
        assert not [
            n for n in await play.get("/notifications") if (n["channel"], n["purpose"]) == ("letter", "recovery")
        ]


@pytest.mark.parametrize(
    ("first", "second"), [(Fault.REFUSE, Fault.AUTH), (Fault.LOSE, Fault.BOUNCE), (Fault.CORRUPT, Fault.IMAP)]
)
async def test_each_way_of_failing_is_found_and_told(tmp_path: Path, first: Fault, second: Fault) -> None:
    async with theatre(tmp_path, agencies=AGENCIES) as play:
        await play.everybody_is_up()
        jcm, mdc, ucm = AGENCIES

        await play.world.network.systems[jcm.code].break_(first)
        await play.world.network.systems[mdc.code].break_(second)
        await play.phone(jcm.duty.number).expect_sms("RM0 JCM ICT: AMARAN", "gagal")
        await play.phone(mdc.duty.number).expect_sms("RM0 MDC ICT: AMARAN", "gagal")

        assert set((await play.health(ucm.code)).values()) == {"up"}, "whose mail works stays up"
        assert not [sms for sms in play.phone(ucm.duty.number).inbox if "gagal" in sms.text]
        assert not play.noc.inbox, "it is no fault of ours"


async def test_slow_mail_is_told_to_staff_and_to_nobody_outside(tmp_path: Path) -> None:
    async with theatre(tmp_path, SLOW_AFTER_TWO) as play:
        await play.everybody_is_up()
        system = play.world.network.systems[JCM.code]

        await system.break_(Fault.SLOW)
        await play.duty.expect_sms("E-mel lambat", "Tiada notis kepada pihak luar")
        await play.duty.expect_call()

        assert play.faxes() == []
        assert play.letters() == []
