"""A duty officer in the middle of the night: answers an SMS, lets a voicemail answer, releases, finds a false alarm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PhoneBehaviour, Sms
from pantau_lab.mail import Fault
from pantau_lab.provider_fault import ReplyFault
from pantau_lab.world import AGENCIES
from tests.stories.theatre import BRISK, CALLED_ONCE, JCM, Theatre, theatre

#: Long enough that nobody is called before an answer has come by any way.
BY_SMS = replace(BRISK, call_after="10m", release_after="10m")
#: A person releases it, soon after the first call.
BY_HAND = replace(BRISK, release="manual")


def code_in(sms: Sms) -> str:
    """Return the code that an SMS asks for."""
    found = re.search(r"Balas (\d+A) untuk sahkan", sms.text)
    assert found is not None, sms.text
    return found[1]


async def incident(play: Theatre) -> tuple[str, str | None]:
    [one] = await play.get("/incidents")
    return one["state"], one["acknowledged_by"]


#: How answers come, and what runs the service.
WAYS = [("webhook", ("monitor.cli",)), ("poll", ("tests.stories.impatient", "poller"))]


@pytest.mark.parametrize(("replies", "program"), WAYS, ids=["webhook", "poll"])
async def test_an_sms_with_the_code_acknowledges_and_is_thanked_whether_or_not_the_provider_reaches_us(
    tmp_path: Path, replies: str, program: Sequence[str]
) -> None:
    async with theatre(tmp_path, replace(BY_SMS, replies=replies), program=program) as play:
        await play.everybody_is_up()
        carrier = play.world.carrier
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        # On a slow machine one direction is known to be down before the other: then there was an SMS about that, rightly.
        sms = await play.duty.expect_sms("AMARAN", "keluar dan masuk gagal", "Ruj JCM-01")
        code, told_before = code_in(sms), carrier.unexpected()
        assert sms.segments == 1

        await carrier.answer(play.duty, "apa ini?")
        await play.duty.expect_sms(f"Jawapan tidak difahami. Balas {code} untuk sahkan JCM-01")
        assert await incident(play) == ("triggered", None)
        await carrier.answer(play.duty, f"terima {code.lower()}", ReplyFault.TWICE)
        await play.duty.expect_sms(f"JCM-01 telah disahkan oleh {JCM.duty.name}")
        assert await incident(play) == ("acknowledged", JCM.duty.name)

        await play.world.network.systems[JCM.code].repair()
        await play.duty.expect_sms("PULIH", "JCM-01")
        await carrier.answer(play.duty, code)
        await play.duty.expect_sms("JCM-01 telah selesai")
        assert carrier.unexpected() == told_before


async def test_a_voicemail_has_reached_nobody_and_the_person_is_called_again(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        play.duty.behaviour = PhoneBehaviour.VOICEMAIL
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_sms("AMARAN")
        call = await play.duty.expect_call("Tekan satu untuk mengesahkan")
        assert call.keys == ""
        play.duty.behaviour, play.duty.keys = PhoneBehaviour.ANSWERS, ["1"]

        assert await incident(play) == ("triggered", None)
        calls = [n["state"] for n in await play.get("/notifications") if n["channel"] == "voice"]
        assert "delivered" not in calls

        again = await play.duty.expect_call("telah disahkan")
        assert again.keys == "1"
        await play.until_notice("voice", "outage", "delivered")
        assert await incident(play) == ("acknowledged", JCM.duty.name)


async def test_a_duty_officer_releases_the_announcement_by_telephone(tmp_path: Path) -> None:
    async with theatre(tmp_path, BY_HAND, agencies=AGENCIES[:1]) as play:
        await play.everybody_is_up()
        # The first call comes before the release is offered: three menus pass. The next is answered.
        play.duty.keys = ["", "", "", "5", "111111#", "280146#", "1"]
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_sms("AMARAN")
        first = await play.duty.expect_call("Tekan satu untuk mengesahkan")
        assert "Tekan lima" not in first.text
        assert play.faxes() == []

        call = await play.duty.expect_call("telah dikeluarkan")
        assert call.text.count("Tekan lima untuk mengeluarkan notis gangguan") == 2, "before all of it, and after"
        told = [line.text for line in call.spoken if re.search(r"\bPIN\b|\bpenerima\b", line.text)]
        heard = [text for text in told if not text.startswith("Nombor notis")]
        assert any("PIN Pantau diminta hanya jika" in text for text in told), "it does not deny asking for one"
        assert [text.split(",")[0] for text in heard] == [
            "Sila masukkan PIN tuan atau puan",
            "PIN itu tidak betul. Sila masukkan PIN sekali lagi",
            heard[2].split(",")[0],
            "Notis telah dikeluarkan dan sedang dihantar kepada satu penerima. Terima kasih.",
        ]
        assert "kepada satu penerima, iaitu melalui satu faks dan satu surat." in heard[2]
        assert "pada setiap hari bekerja" in heard[2], "it covers what follows"

        await play.until_notice("fax", "outage", "delivered")
        await play.until_notice("letter", "outage", "sent")
        [one] = await play.get("/incidents")
        assert (one["announcement"], one["released_by"], one["state"]) == ("released", JCM.duty.name, "triggered")
        # Six digits may be a fraction of a second.
        written = re.sub(r"timestamp=\S+", "", play.log())
        assert "280146" not in written
        assert "111111" not in written


async def test_a_false_alarm_is_corrected_by_every_channel_and_nothing_is_said_to_have_recovered(
    tmp_path: Path,
) -> None:
    async with theatre(tmp_path, CALLED_ONCE) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"] * 9
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_sms("AMARAN")
        await play.duty.expect_call("telah disahkan")
        await play.until_notice("fax", "outage", "delivered")
        await play.until_notice("letter", "outage", "sent")
        letter = next(n for n in await play.get("/notifications") if n["channel"] == "letter")
        assert (
            await play.control(f"/notifications/{letter['id']}/posted-unprinted", by="Kerani Contoh")
        ).status_code == 200

        word = {"by": JCM.duty.name, "reason": "pelayan rujukan silap"}
        refused = await play.control("/incidents/JCM-01/false-alarm", **word)
        assert refused.status_code == 409, "it is measured to fail"
        word |= {"despite": refused.json()["despite"]}
        assert (await play.control("/incidents/JCM-01/false-alarm", **word)).status_code == 200
        await play.duty.expect_sms("PEMBETULAN", "Amaran JCM-01 dibatalkan")
        await play.until_notice("fax", "correction", "delivered")
        await play.until_notice("letter", "correction", "sent")

        assert "PEMBATALAN NOTIS GANGGUAN E-MEL RASMI JABATAN CONTOH MALAYSIA" in play.faxes()[1]
        assert (len(play.letters()), len(play.letters("posted"))) == (1, 1)
        await play.world.network.systems[JCM.code].repair()
        await play.everybody_is_up()
        assert not [n for n in await play.get("/notifications") if n["purpose"] == "recovery"]
        assert [i["number"] for i in await play.get("/incidents")] == ["JCM-01"], "it was not opened again meanwhile"
        assert play.world.carrier.unexpected() == []
