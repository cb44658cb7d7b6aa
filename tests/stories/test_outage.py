"""The main story: mail fails, staff and offices are notified, and the recovery is notified too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES
from tests.stories.running_service import CALLED_ONCE, FAST_TIMING, JCM, running_service

#: Mail after three seconds is slow and not lost, even if the machine stands still for some more.
SLOW_AFTER_TWO = replace(FAST_TIMING, slow_threshold="2s", arrival_timeout="15s")


async def test_unanswered_sms_becomes_call_and_recovery_goes_to_notified(tmp_path: Path) -> None:
    async with running_service(tmp_path, CALLED_ONCE) as env:
        await env.wait_until_up()
        env.duty.keys = ["2", "1"]

        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        sms = await env.duty.expect_sms("RM0 JCM ICT: AMARAN", "keluar dan masuk gagal", "Ruj JCM-01")
        call = await env.duty.expect_call("Tekan satu untuk mengesahkan")
        assert call.keys == "21"
        assert call.text.count("Sila sahkan gangguan") == 2, "in full once, and again after key 2"
        assert "telah disahkan" in call.spoken[-1].text
        assert sms.segments == 1
        [incident] = await env.get("/incidents")
        assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", JCM.duty.name)

        await env.until_notification("fax", "outage", "delivered")
        await env.until_notification("letter", "outage", "sent")
        assert "GANGGUAN PERKHIDMATAN E-MEL RASMI JABATAN CONTOH MALAYSIA" in env.faxes()[0]
        assert len(env.letters()) == 1
        letter = next(n for n in await env.get("/notifications") if n["channel"] == "letter")
        assert (
            await env.control(f"/notifications/{letter['id']}/posted-unprinted", by="Kerani Contoh")
        ).status_code == 200

        await env.world.network.systems[JCM.code].repair()
        await env.duty.expect_sms("PULIH", "JCM-01")
        await env.until_notification("fax", "recovery", "delivered")
        await env.until_notification("letter", "recovery", "sent")
        assert "PEMULIHAN PERKHIDMATAN E-MEL RASMI" in env.faxes()[1]
        assert len(env.letters("posted")) == 1
        assert env.world.carrier.unexpected() == []


async def test_unposted_letter_is_withdrawn_without_recovery_letter(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        env.duty.keys = ["1"] * 9
        await env.world.network.systems[JCM.code].break_(Fault.BOUNCE)
        await env.until_notification("letter", "outage", "sent")

        await env.world.network.systems[JCM.code].repair()
        await env.until_notification("letter", "outage", "withdrawn")
        await env.until_notification("fax", "recovery", "delivered")

        assert (env.letters(), len(env.letters("withdrawn"))) == ([], 1)
        assert not [
            n for n in await env.get("/notifications") if (n["channel"], n["purpose"]) == ("letter", "recovery")
        ]


@pytest.mark.parametrize(
    ("first", "second"), [(Fault.REFUSE, Fault.AUTH), (Fault.LOSE, Fault.BOUNCE), (Fault.CORRUPT, Fault.IMAP)]
)
async def test_each_failure_mode_is_detected_and_notified(tmp_path: Path, first: Fault, second: Fault) -> None:
    async with running_service(tmp_path, agencies=AGENCIES) as env:
        await env.wait_until_up()
        jcm, mdc, ucm = AGENCIES

        await env.world.network.systems[jcm.code].break_(first)
        await env.world.network.systems[mdc.code].break_(second)
        await env.phone(jcm.duty.number).expect_sms("RM0 JCM ICT: AMARAN", "gagal")
        await env.phone(mdc.duty.number).expect_sms("RM0 MDC ICT: AMARAN", "gagal")

        assert set((await env.health(ucm.code)).values()) == {"up"}, "whose mail works stays up"
        assert not [sms for sms in env.phone(ucm.duty.number).inbox if "gagal" in sms.text]
        assert not env.noc.inbox, "it is no fault of ours"


async def test_slow_mail_is_notified_to_staff_only(tmp_path: Path) -> None:
    async with running_service(tmp_path, SLOW_AFTER_TWO) as env:
        await env.wait_until_up()
        system = env.world.network.systems[JCM.code]

        await system.break_(Fault.SLOW)
        await env.duty.expect_sms("E-mel lambat", "Tiada notis kepada pihak luar")
        await env.duty.expect_call()

        assert env.faxes() == []
        assert env.letters() == []
